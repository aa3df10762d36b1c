//! Values of the application beside the sessions: sealed, each for its own key.

use std::sync::Arc;
use std::time::Duration;

use cloakroom::session::SystemRandom;
use cloakroom::store::redis::{Encryption, PlainRecords};
use cloakroom::values::Values;

use super::support::server::RedisServer;
use super::support::single_redis::shared_single_redis;
use super::support::store::{encryption, ring};
use super::{Deployment, Server};

const LONG: Duration = Duration::from_mins(10);

/// What a server holds of this name, computed as `computed` where it holds nothing.
async fn ask(server: &Server, name: &str, computed: &str) -> String {
    let values = Values::new(Arc::new(server.store.clone()), Arc::new(SystemRandom));
    values.get_or_compute(name, LONG, async || computed.to_owned()).await
}

/// The keys of the values of a deployment.
async fn keys(redis: &RedisServer, deployment: &Deployment) -> Vec<String> {
    redis.keys(&format!("{}:{{*}}:v:*", deployment.prefix())).await
}

async fn only_key(redis: &RedisServer, deployment: &Deployment) -> String {
    let [key] = &keys(redis, deployment).await[..] else {
        panic!("one value is held")
    };
    key.clone()
}

async fn raw(redis: &RedisServer, key: &str) -> Vec<u8> {
    redis.ask(&["GET", key]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p7_neither_values_nor_their_names_can_be_read_in_redis() {
    let redis = shared_single_redis().await;
    for (encryption, is_readable) in [
        (Encryption::default(), true),
        (encryption(&["key"], PlainRecords::Refuse), false),
    ] {
        let deployment = Deployment::new(vec![redis.url()]);
        let server = deployment.server(encryption).await;
        assert_eq!(ask(&server, "telltale-name", "telltale-value").await, "telltale-value");
        assert_eq!(ask(&server, "telltale-name", "computed again").await, "telltale-value");
        let all = super::at_rest::everything(redis, deployment.prefix()).await;
        assert_eq!(super::at_rest::contains(&all, "telltale-value"), is_readable);
        assert!(!super::at_rest::contains(&all, "telltale-name"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p7_a_value_that_was_moved_changed_or_planted_is_refused_and_computed_anew() {
    let redis = shared_single_redis().await;
    let deployment = Deployment::new(vec![redis.url()]);
    let server = deployment.server(encryption(&["key"], PlainRecords::Refuse)).await;
    ask(&server, "rate of the euro", "1.09").await;
    let euro = only_key(redis, &deployment).await;
    ask(&server, "rate of the yen", "171").await;
    let all = keys(redis, &deployment).await;
    let yen = all.iter().find(|key| **key != euro).unwrap();
    let copy = "redis.call('SET', KEYS[2], redis.call('GET', KEYS[1]), 'KEEPTTL')";
    let plant = "redis.call('SET', KEYS[2], '\"planted\"', 'KEEPTTL')";
    let spoil = "local v = redis.call('GET', KEYS[2]); local last = string.byte(v, #v); \
                 redis.call('SET', KEYS[2], string.sub(v, 1, #v - 1) .. string.char((last + 1) % 256), 'KEEPTTL')";
    let cut = "redis.call('SET', KEYS[2], string.sub(redis.call('GET', KEYS[2]), 1, 20), 'KEEPTTL')";
    for (number, (what, script)) in (1..).zip([
        ("another's", copy),
        ("a plain value", plant),
        ("a changed byte", spoil),
        ("half of it", cut),
    ]) {
        redis.command(&["EVAL", script, "2", &euro, yen]).await;
        assert_eq!(
            ask(&server, "rate of the yen", "172").await,
            "172",
            "{what} is not believed"
        );
        assert_eq!(server.metrics.store_corrupt.get(), number, "{what} is counted");
        assert_eq!(
            ask(&server, "rate of the yen", "anew").await,
            "172",
            "{what} has lost its place"
        );
    }
    assert_eq!(ask(&server, "rate of the euro", "anew").await, "1.09");
    // Nor does what another deployment holds under the same name and key of encryption.
    let other = Deployment::new(vec![redis.url()]);
    let stranger = other.server(encryption(&["key"], PlainRecords::Refuse)).await;
    ask(&stranger, "rate of the euro", "0").await;
    let foreign = only_key(redis, &other).await;
    redis.command(&["EVAL", copy, "2", &foreign, &euro]).await;
    assert_eq!(ask(&server, "rate of the euro", "1.10").await, "1.10");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p8_a_ring_rotates_and_no_value_is_computed_again() {
    let redis = shared_single_redis().await;
    let deployment = Deployment::new(vec![redis.url()]);
    let keys = encryption(&["old"], PlainRecords::Refuse);
    let server = deployment.server(keys.clone()).await;
    ask(&server, "report", "first").await;
    let key = only_key(redis, &deployment).await;
    redis.command(&["PEXPIRE", &key, "300000"]).await;
    let before = raw(redis, &key).await;
    keys.replace(ring(&["old", "new"]));
    assert_eq!(ask(&server, "report", "again").await, "first");
    assert_eq!(raw(redis, &key).await, before, "it is as it should be");
    keys.replace(ring(&["new", "old"]));
    assert_eq!(ask(&server, "report", "again").await, "first");
    assert_eq!((server.opened("older"), server.metrics.records_resealed.get()), (1, 1));
    assert_ne!(raw(redis, &key).await, before, "it is sealed anew when it is read");
    let left: u64 = redis.ask(&["PTTL", &key]).await;
    assert!(
        (1..=300_000).contains(&left),
        "it lives as long as it was to: {left} ms"
    );
    keys.replace(ring(&["new"]));
    assert_eq!(ask(&server, "report", "again").await, "first");
    assert_eq!((server.opened("older"), server.metrics.store_corrupt.get()), (1, 0));

    // A key that went too early costs a computation.
    keys.replace(ring(&["newest"]));
    assert_eq!(ask(&server, "report", "second").await, "second");
    assert_eq!(ask(&server, "report", "again").await, "second");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p8_encryption_is_switched_on_and_off_and_no_value_is_computed_again() {
    let redis = shared_single_redis().await;
    let deployment = Deployment::new(vec![redis.url()]);
    let off = deployment.server(Encryption::default()).await;
    let [write, read, refuse] = [PlainRecords::Write, PlainRecords::Read, PlainRecords::Refuse]
        .map(|plain| deployment.server(encryption(&["key"], plain)));
    let (write, read, refuse) = (write.await, read.await, refuse.await);
    ask(&off, "report", "first").await;
    let key = only_key(redis, &deployment).await;
    let is_sealed = async || raw(redis, &key).await[0] == 1;
    for (server, seals) in [
        (&write, false),
        (&read, true),
        (&refuse, true),
        (&read, true),
        (&write, false),
        (&off, false),
    ] {
        assert_eq!(ask(server, "report", "again").await, "first");
        assert_eq!(is_sealed().await, seals);
    }
    assert_eq!(
        ask(&refuse, "report", "second").await,
        "second",
        "a plain value is not believed"
    );
    // Without keys nothing sealed can be read.
    assert_eq!(ask(&off, "report", "third").await, "third");
    assert_eq!(
        (refuse.metrics.store_corrupt.get(), off.metrics.store_corrupt.get()),
        (1, 1)
    );
}
