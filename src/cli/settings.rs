//! What the settings mean for the façade and for the listeners.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::failure::Failure;
use crate::cluster::{Condition, Conditions};
use crate::coherence::{Transport, may_hold};
use crate::config::{
    self, Config, CookiePriority, MaxPerUserPolicy, Secret, SecretRing, SecretText, Sourced, WATCH_INTERVAL,
};
use crate::http::listener::Limits;
use crate::http::{CookiePreset, CookieSecrets, CookieSettings, HttpSettings, Priority, SameSite, TokenKeys};
use crate::session::{Class, ClassName, Classes, InvalidName, ServerId, SigningKeys};
use crate::sessions::{Binding, BindingPolicy, CacheSettings, MigrationPolicy, Settings};
use crate::store::{LimitPolicy, UserLimit};

/// What the façade is told, but for what only the open store tells: `redo_window` and `cache`.
pub fn for_sessions(config: &Config) -> Result<Settings, Failure> {
    let wrong = |key: &str| {
        let key = key.to_owned();
        move |rule: InvalidName| Failure::Setting(format!("{key}: {rule}"))
    };
    let mut classes = BTreeMap::new();
    for (name, class) in &config.session.classes {
        let (idle, absolute) = (class.idle.get(), class.absolute.get());
        let name = ClassName::new(name).map_err(wrong(&format!("session.classes.{name}")))?;
        classes.insert(name, Class { idle, absolute });
    }
    Ok(Settings {
        server_id: ServerId::new(&config.server.server_id).map_err(wrong("server_id"))?,
        classes: Classes::new(classes),
        max_bytes: config.session.max_bytes.bytes(),
        rotation_grace: config.session.rotation_grace.get(),
        limit: user_limit(config),
        migration: match config.migration.policy {
            config::MigrationPolicy::HomeGone => MigrationPolicy::HomeGone,
            config::MigrationPolicy::Always => MigrationPolicy::Always,
            config::MigrationPolicy::Never => MigrationPolicy::Never,
        },
        binding: Binding {
            ip: binding_policy(config.binding.ip),
            user_agent: binding_policy(config.binding.user_agent),
            fingerprint: binding_policy(config.binding.fingerprint),
        },
        recent_authentication: config.session.recent_authentication.get(),
        redo_window: Duration::ZERO,
        cache: None,
    })
}

/// How sessions are held in memory; nothing, and one clear line in the log, where the store does not let the staleness
/// bound be promised (rule S).
pub async fn for_cache(config: &Config, transport: &dyn Transport, conditions: &Conditions) -> Option<CacheSettings> {
    let coherence = &config.coherence;
    let cache = CacheSettings {
        staleness_bound: coherence.staleness_bound.get(),
        heartbeat: coherence.heartbeat.get(),
        max_entries: usize::try_from(coherence.max_entries.get()).unwrap_or(usize::MAX),
        max_bytes: coherence.max_bytes.bytes(),
        max_age: coherence.max_age.get(),
    };
    match may_hold(cache.staleness_bound, transport.facts().await) {
        Ok(()) => Some(cache),
        Err(reason) => {
            tracing::warn!(%reason, "every read goes to the store");
            conditions.tell(Condition::MemoryOff(reason.to_string()));
            None
        }
    }
}

fn binding_policy(policy: config::BindingPolicy) -> BindingPolicy {
    match policy {
        config::BindingPolicy::Ignore => BindingPolicy::Ignore,
        config::BindingPolicy::Record => BindingPolicy::Record,
        config::BindingPolicy::StepUp => BindingPolicy::StepUp,
        config::BindingPolicy::Refuse => BindingPolicy::Refuse,
    }
}

fn user_limit(config: &Config) -> Option<UserLimit> {
    let policy = match config.session.max_per_user_policy {
        MaxPerUserPolicy::Refuse => LimitPolicy::Refuse,
        MaxPerUserPolicy::EndOldest => LimitPolicy::EndOldest,
        MaxPerUserPolicy::EndLeastRecentlyUsed => LimitPolicy::EndLeastRecentlyUsed,
    };
    let max = config.session.max_per_user?.get();
    Some(UserLimit { max, policy })
}

/// What the handlers are told. Secrets that are kept in files are followed by tasks of the present runtime.
pub fn for_http(config: &Config) -> HttpSettings {
    HttpSettings {
        max_body: config.http.max_body.as_len(),
        timeout: config.http.timeout.get(),
        session_header: config.http.session_header,
        trusted_proxies: config.http.trusted_proxies.clone(),
        cors_origins: config.http.cors_origins.clone(),
        recent_authentication: config.session.recent_authentication.get(),
        token_keys: token_keys(config),
        throttle: config.http.throttle,
        cache_for: config.auth.cache_for.get(),
        return_urls: config.auth.return_urls.clone(),
        cookie: for_cookie(&config.cookie),
        ..HttpSettings::default()
    }
}

fn for_cookie(cookie: &config::CookieSettings) -> CookieSettings {
    CookieSettings {
        name: cookie.name.clone(),
        preset: match cookie.preset {
            config::CookiePreset::Default => CookiePreset::Default,
            config::CookiePreset::Express => CookiePreset::Express,
        },
        secrets: cookie.secrets.as_ref().map(cookie_secrets),
        same_site: match cookie.same_site {
            config::SameSite::Strict => SameSite::Strict,
            config::SameSite::Lax => SameSite::Lax,
            config::SameSite::None => SameSite::None,
        },
        domain: cookie.domain.clone(),
        path: cookie.path.clone(),
        secure: cookie.secure,
        partitioned: cookie.partitioned,
        priority: cookie.priority.map(|priority| match priority {
            CookiePriority::Low => Priority::Low,
            CookiePriority::Medium => Priority::Medium,
            CookiePriority::High => Priority::High,
        }),
        browser_lifetime: cookie.browser_lifetime,
    }
}

/// The ring of `token.keys`; else a key derived from the secret that callers' tokens are signed with.
fn token_keys(config: &Config) -> Option<TokenKeys> {
    if let Some(source) = &config.token.keys {
        // The settings have read it once: it is well formed.
        let keys = TokenKeys::new(SigningKeys::from_pem(source.value().expose()).ok()?);
        let followed = keys.clone();
        follow(source, move |text| {
            if let Ok(ring) = SigningKeys::from_pem(text.expose()) {
                followed.replace(ring);
            }
            !followed.is_last()
        });
        return Some(keys);
    }
    let source = config.jwt.secret.as_ref()?;
    let derived = |secrets: &[&Secret]| SigningKeys::derived(secrets.iter().map(|secret| secret.expose().as_bytes()));
    let keys = TokenKeys::new(derived(&[source.value()]));
    let (followed, former) = (keys.clone(), Mutex::new(source.value().clone()));
    follow(source, move |secret| {
        // Tokens that the former key signed are still under way.
        let former = std::mem::replace(&mut *former.lock(), secret.clone());
        followed.replace(derived(&[secret, &former]));
        !followed.is_last()
    });
    Some(keys)
}

fn cookie_secrets(source: &SecretRing) -> CookieSecrets {
    fn bytes(ring: &[Secret]) -> impl Iterator<Item = &[u8]> {
        ring.iter().map(|secret| secret.expose().as_bytes())
    }
    let secrets = CookieSecrets::new(bytes(source.value()));
    let followed = secrets.clone();
    follow(source, move |ring| {
        followed.replace(bytes(ring));
        !followed.is_last()
    });
    secrets
}

/// Hands over what a secret's file holds whenever it changes, until nobody is left to take it.
fn follow<T: SecretText>(source: &Sourced<T>, adopt: impl Fn(&T) -> bool + Send + Sync + 'static) {
    let watched = Arc::new(source.watch());
    let mut news = watched.subscribe();
    tokio::spawn(async move {
        let adopting = async {
            while news.changed().await.is_ok() {
                let present = Arc::clone(&news.borrow_and_update());
                if !adopt(&present) {
                    break;
                }
            }
        };
        tokio::select! {
            () = watched.follow(WATCH_INTERVAL, CancellationToken::new()) => {}
            () = adopting => {}
        }
    });
}

/// What the traffic listener is told.
pub fn for_traffic(config: &Config) -> Limits {
    Limits {
        max_connections: usize::try_from(config.http.max_connections.get()).unwrap_or(usize::MAX),
        ..Limits::default()
    }
}
