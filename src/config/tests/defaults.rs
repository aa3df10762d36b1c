//! Every default is the one of the contract.

use super::*;

#[test]
#[expect(clippy::too_many_lines, reason = "a line for each key")]
fn every_active_key_has_the_default_of_the_contract() {
    let loaded = Config::load(&Sources::default()).unwrap();
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let shown: Vec<(&str, String)> = loaded
        .rows
        .iter()
        .map(|row| {
            (
                row.key.as_str(),
                row.value
                    .as_ref()
                    .map_or("none".to_owned(), |value| value.to_string().replace('"', "")),
            )
        })
        .collect();
    let expected = [
        ("listen", "0.0.0.0:8080"),
        ("admin_listen", "0.0.0.0:9090"),
        ("server_id", host.as_str()),
        ("tls.cert_file", "none"),
        ("tls.key_file", "none"),
        ("redis.urls", "[]"),
        ("redis.prefix", "cloakroom"),
        ("redis.username", "none"),
        ("redis.password", "none"),
        ("redis.password_file", "none"),
        ("redis.ca_file", "none"),
        ("redis.connect_timeout", "1s"),
        ("redis.response_timeout", "1s"),
        ("redis.node_timeout", "none"),
        ("jwt.secret", "none"),
        ("jwt.secret_file", "none"),
        ("jwt.jwks_url", "none"),
        ("jwt.jwks_file", "none"),
        ("jwt.issuer", "none"),
        ("jwt.audience", "cloakroom"),
        ("kubernetes.enabled", "false"),
        ("kubernetes.namespace", "none"),
        ("kubernetes.service", "cloakroom-headless"),
        ("kubernetes.lease", "cloakroom"),
        ("kubernetes.service_accounts", "[]"),
        ("kubernetes.audience", "cloakroom"),
        ("token.keys", "none"),
        ("token.keys_file", "none"),
        ("coherence.staleness_bound", "1s"),
        ("coherence.heartbeat", "250ms"),
        ("coherence.max_entries", "100000"),
        ("coherence.max_bytes", "64MiB"),
        ("coherence.max_age", "1m"),
        ("session.classes.normal.idle", "1d"),
        ("session.classes.normal.absolute", "7d"),
        ("session.classes.normal.serve_stale", "none"),
        ("session.classes.remember_me.idle", "30d"),
        ("session.classes.remember_me.absolute", "90d"),
        ("session.classes.remember_me.serve_stale", "none"),
        ("session.classes.sensitive.idle", "15m"),
        ("session.classes.sensitive.absolute", "12h"),
        ("session.classes.sensitive.serve_stale", "none"),
        ("session.classes.temporary.idle", "5m"),
        ("session.classes.temporary.absolute", "1h"),
        ("session.classes.temporary.serve_stale", "none"),
        ("session.max_bytes", "10KiB"),
        ("session.rotation_grace", "10s"),
        ("session.max_per_user", "none"),
        ("session.max_per_user_policy", "refuse"),
        ("session.recent_authentication", "10m"),
        ("encryption.keys", "none"),
        ("encryption.keys_file", "none"),
        ("encryption.plain", "read"),
        ("binding.ip", "record"),
        ("binding.user_agent", "record"),
        ("binding.fingerprint", "record"),
        ("migration.policy", "home_gone"),
        ("cookie.preset", "default"),
        ("cookie.name", "__Host-cloakroom"),
        ("cookie.secrets", "none"),
        ("cookie.secrets_file", "none"),
        ("cookie.same_site", "lax"),
        ("cookie.domain", "none"),
        ("cookie.path", "/"),
        ("cookie.secure", "true"),
        ("cookie.partitioned", "false"),
        ("cookie.priority", "none"),
        ("cookie.browser_lifetime", "false"),
        ("http.trusted_proxies", "[]"),
        ("http.max_body", "64KiB"),
        ("http.timeout", "10s"),
        ("http.max_connections", "10000"),
        ("http.session_header", "true"),
        ("http.cors_origins", "[]"),
        ("http.throttle", "60"),
        ("auth.cache_for", "0s"),
        ("auth.return_urls", "[]"),
        ("shutdown.drain", "20s"),
        ("log.format", "none"),
        ("log.level", "info"),
        ("otlp.endpoint", "none"),
        ("otlp.protocol", "grpc"),
        ("otlp.sample", "0.01"),
        ("otlp.headers", "none"),
        ("otlp.headers_file", "none"),
        ("otlp.ca_file", "none"),
    ]
    .map(|(key, value)| (key, value.to_owned()));
    assert_eq!(shown, expected);
    assert!(
        loaded
            .rows
            .iter()
            .all(|row| row.origin == Origin::Default && !row.masked)
    );
}
