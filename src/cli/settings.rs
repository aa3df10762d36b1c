//! What the settings mean for the listeners.

use parking_lot::Mutex;

use crate::config::{Config, Secret};
use crate::http::listener::Limits;
use crate::http::{HttpSettings, TokenKeys};
use crate::runtime::settings::{follow, for_cookie};
use crate::session::SigningKeys;

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

/// The ring of `token.keys`; else a key derived from the secrets that callers' tokens are signed with.
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
    let keys = TokenKeys::new(SigningKeys::derived(bytes_of(source.value())));
    let (followed, former) = (keys.clone(), Mutex::new(source.value().clone()));
    follow(source, move |ring| {
        // Tokens that the former keys signed are still under way.
        let former = std::mem::replace(&mut *former.lock(), ring.clone());
        let dropped = former.iter().filter(|secret| !ring.contains(secret));
        let dropped = dropped.map(|secret| secret.expose().as_bytes());
        followed.replace(SigningKeys::derived(bytes_of(ring).chain(dropped)));
        !followed.is_last()
    });
    Some(keys)
}

fn bytes_of(ring: &[Secret]) -> impl Iterator<Item = &[u8]> {
    ring.iter().map(|secret| secret.expose().as_bytes())
}

/// What the traffic listener is told.
pub fn for_traffic(config: &Config) -> Limits {
    Limits {
        max_connections: usize::try_from(config.http.max_connections.get()).unwrap_or(usize::MAX),
        ..Limits::default()
    }
}
