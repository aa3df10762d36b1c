//! Settings of Redis that are wrong for sessions are said once, in the log; and a Redis that is full.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use cloakroom::cluster::{Leadership as _, MemberState, Membership as _};
use cloakroom::session::Class;
use cloakroom::store::{NewSession, SessionStore, StoreError};
use parking_lot::Mutex;

use super::calls::{log_out, plain_rotation, use_now};
use super::{json, make, new_id, new_session, operation, server, user};
use crate::support::audit::audit_single;
use crate::support::server::ServerOptions;
use crate::support::single_redis::SingleRedis;
use crate::support::store::{connect, redis_options};

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Log {
    /// The warnings of a store that connects to a server with these settings.
    async fn of_start(settings: &[(&str, &str)]) -> Vec<String> {
        let options = settings
            .iter()
            .fold(ServerOptions::default(), |options, (name, value)| {
                options.with(name, value)
            });
        let redis = SingleRedis::start(options).await;
        let log = Self::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_max_level(tracing::Level::WARN)
            .with_writer(move || writer.clone())
            .finish();
        let _guard = tracing::subscriber::set_default(subscriber);
        drop(connect(redis_options(vec![redis.url()])).await);
        let text = String::from_utf8(log.0.lock().clone()).unwrap();
        text.lines().map(str::to_owned).collect()
    }
}

// One thread: what is logged is caught by the thread that logs it.
#[tokio::test(flavor = "current_thread")]
async fn wrong_settings_are_said_once() {
    let lines = Log::of_start(&[("hash-max-listpack-value", "64"), ("maxmemory-policy", "allkeys-lru")]).await;
    for (setting, value) in [("hash-max-listpack-value", "64"), ("maxmemory-policy", "allkeys-lru")] {
        let about: Vec<_> = lines.iter().filter(|line| line.contains(setting)).collect();
        assert_eq!(about.len(), 1, "{lines:?}");
        assert!(
            about[0].contains("WARN") && about[0].contains(value) && about[0].contains("wanted"),
            "{about:?}"
        );
    }
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert_eq!(Log::of_start(&[]).await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_redis_refuses_sessions_and_still_ends_them() {
    let redis = SingleRedis::start(ServerOptions::default()).await;
    let options = redis_options(vec![redis.url()]);
    let prefix = options.prefix.clone();
    let store = connect(options).await;
    let owner = user("owner");
    let ids = [
        make(&store, new_session(&store, &owner)).await,
        make(&store, new_session(&store, &owner)).await,
        make(&store, new_session(&store, &owner)).await,
    ];
    let due = {
        let moment = Duration::from_millis(1);
        let new = NewSession {
            timeouts: Class {
                idle: moment,
                absolute: moment,
            },
            ..new_session(&store, &owner)
        };
        make(&store, new).await
    };
    let all = make(&store, new_session(&store, &owner)).await;

    let used = redis.used_memory().await + 1_000_000;
    redis.command(&["CONFIG", "SET", "maxmemory", &used.to_string()]).await;
    // Large sessions until Redis is full.
    let mut made = 0;
    let refusal = loop {
        let mut new = new_session(&store, &user(&format!("user {made}")));
        new.data = [("large".to_owned(), json(&format!("\"{}\"", "x".repeat(9_000))))].into();
        match store.create(new, operation()).await {
            Ok(_) => made += 1,
            Err(error) => break error,
        }
    };
    assert!(
        matches!(&refusal, StoreError::Unavailable(text) if text.contains("OOM")),
        "{refusal:?}"
    );
    assert!(made > 10, "{made}");
    // Full beyond doubt: what the large request itself took is free again.
    let less = redis.used_memory().await - 300_000;
    redis.command(&["CONFIG", "SET", "maxmemory", &less.to_string()]).await;
    for outcome in [
        store.create(new_session(&store, &owner), operation()).await.map(drop),
        store
            .rotate(ids[0], plain_rotation(new_id(ids[0].bucket())), operation())
            .await
            .map(drop),
        store
            .record_activity(ids[0], "look".to_owned(), [].into(), operation())
            .await
            .map(drop),
    ] {
        assert!(matches!(outcome, Err(StoreError::Unavailable(_))), "{outcome:?}");
    }
    audit_single(&redis, &prefix).await;

    // Those who have a session keep it, and the fleet goes on: nothing of this grows.
    store.touch(use_now(ids[0])).await.unwrap();
    store.ping().await.unwrap();
    let me = server("server-a");
    store
        .announce(&me, MemberState::Live, Duration::from_secs(10))
        .await
        .unwrap();
    assert_eq!(store.acquire(&me, Duration::from_secs(10)).await.unwrap(), Some(me));
    assert_eq!(store.end(ids[0], log_out()).await.unwrap().sessions, [ids[0]]);
    let swept = store.sweep(due.bucket(), 10).await.unwrap();
    assert_eq!(swept.ended.sessions, [due]);
    let ended = store.end_user(&owner, Some(all), false, operation()).await.unwrap();
    assert_eq!(ended.sessions.len(), 2);
    let step = store.end_bucket(all.bucket(), None, 10).await.unwrap();
    assert!(step.ended.sessions.contains(&all));
    assert!(store.sessions_of(&owner).await.unwrap().is_empty());
    audit_single(&redis, &prefix).await;
}
