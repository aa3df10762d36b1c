//! Redis stores for tests.

use std::sync::Arc;
use std::time::Duration;

use cloakroom::session::{SealingKeys, SystemRandom};
use cloakroom::store::redis::{Encryption, PlainRecords, RedisOptions, RedisStore};
use cloakroom::telemetry::Metrics;

use super::unique_prefix;

/// How tests reach Redis: a key prefix of their own, and timeouts that a busy machine keeps.
pub(crate) fn redis_options(urls: Vec<String>) -> RedisOptions {
    RedisOptions {
        urls,
        prefix: unique_prefix(),
        credentials: Arc::default(),
        ca_file: None,
        connect_timeout: Duration::from_secs(1),
        response_timeout: Duration::from_secs(2),
        node_timeout: None,
        encryption: Encryption::default(),
    }
}

/// A store with a key prefix of its own.
pub(crate) async fn redis_store(urls: Vec<String>) -> RedisStore {
    connect(redis_options(urls)).await
}

/// A store with these options.
pub(crate) async fn connect(options: RedisOptions) -> RedisStore {
    RedisStore::connect(options, Arc::new(SystemRandom), Metrics::new().unwrap())
        .await
        .unwrap()
}

/// Encryption by keys that are derived from these words.
pub(crate) fn encryption(words: &[&str], plain: PlainRecords) -> Encryption {
    Encryption::new(ring(words), plain)
}

/// A ring of keys that are derived from these words.
pub(crate) fn ring(words: &[&str]) -> SealingKeys {
    let secrets: Vec<_> = words.iter().map(|word| format!("{word:-<32}")).collect();
    let mut secrets = secrets.iter().map(String::as_bytes);
    SealingKeys::new(secrets.next().unwrap(), secrets).unwrap()
}
