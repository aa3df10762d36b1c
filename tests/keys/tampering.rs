//! Records that somebody has put their hands on: corrupt, counted, and never anybody else's data.

use cloakroom::session::SessionId;
use cloakroom::store::redis::PlainRecords;
use cloakroom::store::{End, EndReason, SessionStore, StoreError};

use super::support::server::RedisServer;
use super::support::single_redis::shared_single_redis;
use super::support::store::encryption;
use super::{Deployment, Server, increment, json, new_session, operation, rotation, set, shown, sibling, user};

/// Two sessions of two users, with what they hold.
struct Two<'a> {
    redis: &'a RedisServer,
    deployment: Deployment,
    server: Server,
    alice: SessionId,
    mallory: SessionId,
}

async fn two() -> Two<'static> {
    let redis = shared_single_redis().await;
    let deployment = Deployment::new(vec![redis.url()]);
    let server = deployment.server(encryption(&["key"], PlainRecords::Refuse)).await;
    let mut new = new_session(&server, "alice");
    new.data.insert("theme", json("\"secret of alice\""));
    let alice = server.make(new).await;
    let mallory = server.make(new_session(&server, "mallory")).await;
    Two {
        redis,
        deployment,
        server,
        alice,
        mallory,
    }
}

impl Two<'_> {
    /// Puts a field of one record into another: as it is in Redis.
    async fn plant(&self, field: &str, from: SessionId, to: SessionId) {
        let script = "redis.call('HSET', KEYS[2], ARGV[1], redis.call('HGET', KEYS[1], ARGV[1]))";
        let (from, to) = (self.deployment.key(from), self.deployment.key(to));
        self.redis.command(&["EVAL", script, "2", &from, &to, field]).await;
    }

    async fn assert_refused(&self, id: SessionId, what: &str) {
        let before = self.server.metrics.store_corrupt.get();
        let store = &self.server.store;
        let read = store.get(id).await;
        assert!(matches!(read, Err(StoreError::Corrupt(_))), "{what}: {read:?}");
        assert_eq!(self.server.metrics.store_corrupt.get(), before + 1, "{what} is counted");
        let outcomes = [
            store.increment(id, increment("visits", 1)).await.err(),
            store
                .rotate(id, rotation(sibling(id.bucket())), operation())
                .await
                .err(),
            store.sessions_of(&user("mallory")).await.err(),
        ];
        for error in outcomes {
            assert!(matches!(error, Some(StoreError::Corrupt(_))), "{what}: {error:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p7_what_was_sealed_for_another_session_is_refused() {
    for fields in [
        &["d:theme"][..],
        &["s"],
        &["s", "d:theme", "d:visits"],
        &["s", "d:theme", "d:visits", "c"],
    ] {
        let two = two().await;
        for field in fields {
            two.plant(field, two.alice, two.mallory).await;
        }
        two.assert_refused(two.mallory, &format!("{fields:?} of alice")).await;
        assert!(
            shown(&two.server.found(two.alice).await).contains("secret of alice"),
            "she still has her own"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s51_two_records_that_were_swapped_are_refused() {
    let two = two().await;
    let (alice, mallory) = (two.deployment.key(two.alice), two.deployment.key(two.mallory));
    let script = "redis.call('RENAME', KEYS[1], 'swap'); redis.call('RENAME', KEYS[2], KEYS[1]); \
                  redis.call('RENAME', 'swap', KEYS[2])";
    two.redis.command(&["EVAL", script, "2", &alice, &mallory]).await;
    for id in [two.alice, two.mallory] {
        let read = two.server.store.get(id).await;
        assert!(matches!(read, Err(StoreError::Mismatch)), "{read:?}");
    }
    // With the id in the record made right, the seals still tell.
    for (id, other) in [(two.alice, two.mallory), (two.mallory, two.alice)] {
        let key = two.deployment.key(id);
        let meta: String = two.redis.ask(&["HGET", &key, "m"]).await;
        two.redis
            .command(&["HSET", &key, "m", &meta.replace(&other.to_string(), &id.to_string())])
            .await;
        let read = two.server.store.get(id).await;
        assert!(matches!(read, Err(StoreError::Corrupt(_))), "{read:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p7_what_was_moved_to_another_field_or_changed_or_planted_is_refused() {
    let two = two().await;
    let key = two.deployment.key(two.mallory);
    let steps = [
        (
            "another field",
            "redis.call('HSET', KEYS[1], 'd:visits', redis.call('HGET', KEYS[1], 'd:theme'))",
        ),
        ("a plain value", "redis.call('HSET', KEYS[1], 'd:theme', '\"planted\"')"),
        (
            "a changed byte",
            "local v = redis.call('HGET', KEYS[1], 's'); local last = string.byte(v, #v); \
             redis.call('HSET', KEYS[1], 's', string.sub(v, 1, #v - 1) .. string.char((last + 1) % 256))",
        ),
    ];
    for (what, script) in steps {
        let untouched: Vec<u8> = two.redis.ask(&["DUMP", &key]).await;
        two.redis.command(&["EVAL", script, "1", &key]).await;
        two.assert_refused(two.mallory, what).await;
        let mut connection = two.redis.connect().await.unwrap();
        let restore = redis::cmd("RESTORE")
            .arg(&key)
            .arg(600_000)
            .arg(untouched)
            .arg("REPLACE")
            .to_owned();
        restore.query_async::<()>(&mut connection).await.unwrap();
        two.server.found(two.mallory).await;
    }
    // Nor is a record that was made plain from the ground up.
    let plain = two
        .deployment
        .server(cloakroom::store::redis::Encryption::default())
        .await;
    let planted = plain.make(new_session(&plain, "mallory")).await;
    two.assert_refused(planted, "a plain record").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removed_key_is_told_by_name_and_log_outs_still_work() {
    let redis = shared_single_redis().await;
    let deployment = Deployment::new(vec![redis.url()]);
    let old = deployment.server(encryption(&["old"], PlainRecords::Read)).await;
    let (one, other) = (
        old.make(new_session(&old, "alice")).await,
        old.make(new_session(&old, "alice")).await,
    );
    let new = deployment.server(encryption(&["new"], PlainRecords::Read)).await;
    let error = new.store.get(one).await.unwrap_err().to_string();
    assert!(
        error.contains(&one.to_string()) && error.contains("is not among the keys"),
        "{error}"
    );
    let without = deployment.server(cloakroom::store::redis::Encryption::default()).await;
    for error in [
        without.store.get(one).await.err(),
        without.change(one, set("theme", "1")).await.err(),
        without.store.increment(one, increment("visits", 1)).await.err(),
        without
            .store
            .rotate(one, rotation(sibling(one.bucket())), operation())
            .await
            .err(),
    ] {
        let error = error.unwrap().to_string();
        assert!(error.contains("encryption.keys is not set"), "{error}");
    }
    assert_eq!(old.found(one).await.session.version, 1, "nothing was written");
    let end = End {
        reason: EndReason::Logout,
        if_version: None,
        durable: false,
    };
    assert_eq!(new.store.end(one, end).await.unwrap().sessions, [one]);
    let ended = new
        .store
        .end_user(&user("alice"), None, false, operation())
        .await
        .unwrap();
    assert_eq!(ended.sessions, [other]);
}
