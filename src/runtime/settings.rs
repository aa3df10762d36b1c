//! What the settings mean for the façade and for the session cookie.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::OpenError;
use crate::cluster::{Condition, Conditions};
use crate::coherence::{Transport, may_hold};
use crate::config::{
    self, Config, CookiePriority, MaxPerUserPolicy, Secret, SecretRing, SecretText, Sourced, WATCH_INTERVAL,
};
use crate::session::{Class, ClassName, Classes, InvalidName, ServerId};
use crate::sessions::{Binding, BindingPolicy, CacheSettings, MigrationPolicy, Settings};
use crate::store::{LimitPolicy, UserLimit};
use crate::telemetry::Metrics;
use crate::web::{CookiePreset, CookieSecrets, CookieSettings, Priority, SameSite};
use crate::webhooks::{self, Webhook};

/// What the façade is told, but for what only the open store tells: `redo_window` and `cache`.
pub fn for_sessions(config: &Config) -> Result<Settings, OpenError> {
    let wrong = |key: &str| {
        let key = key.to_owned();
        move |rule: InvalidName| OpenError::Setting(format!("{key}: {rule}"))
    };
    let (mut classes, mut serve_stale) = (BTreeMap::new(), BTreeMap::new());
    for (name, class) in &config.session.classes {
        let (idle, absolute) = (class.idle.get(), class.absolute.get());
        let name = ClassName::new(name).map_err(wrong(&format!("session.classes.{name}")))?;
        if let Some(longer) = class.serve_stale {
            serve_stale.insert(name.clone(), longer.get());
        }
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
        serve_stale,
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

/// What is known of the session cookie. Secrets that are kept in files are followed by tasks of the present runtime.
pub fn for_cookie(cookie: &config::CookieSettings) -> CookieSettings {
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
        secure: cookie.secure.into(),
        partitioned: cookie.partitioned,
        priority: cookie.priority.map(|priority| match priority {
            CookiePriority::Low => Priority::Low,
            CookiePriority::Medium => Priority::Medium,
            CookiePriority::High => Priority::High,
        }),
        browser_lifetime: cookie.browser_lifetime,
        ..CookieSettings::default()
    }
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

/// The endpoints of events. Files with their secrets are followed by tasks of the present runtime.
pub fn for_webhooks(config: &Config, metrics: &Metrics) -> Result<Arc<[Webhook]>, OpenError> {
    let made = config.webhooks.0.iter().map(|(name, settings)| {
        metrics.show_webhook(name);
        let secrets = settings.secrets.as_ref();
        let keys = webhooks::SigningKeys::new(secrets.map(|ring| ring.value().as_slice()).unwrap_or_default());
        if let Some(secrets) = secrets {
            let followed = keys.clone();
            follow(secrets, move |ring| {
                followed.replace(ring);
                !followed.is_last()
            });
        }
        Webhook::new(name, settings, keys).map_err(OpenError::Setting)
    });
    made.collect()
}

/// Hands over what a secret's file holds whenever it changes, until nobody is left to take it.
pub(crate) fn follow<T: SecretText>(source: &Sourced<T>, adopt: impl Fn(&T) -> bool + Send + Sync + 'static) {
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
