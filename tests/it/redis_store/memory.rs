//! What a session costs in Redis.

use std::collections::BTreeMap;
use std::time::Duration;

use cloakroom::session::JsonMap;
use cloakroom::store::SessionStore;
use cloakroom::store::redis::RedisStore;
use futures_util::stream::{self, StreamExt as _};

use super::{json, new_session, operation, user};
use crate::support::audit::audit_single;
use crate::support::server::{RedisServer, ServerOptions};
use crate::support::single_redis::SingleRedis;
use crate::support::store::{connect, redis_options};
use crate::support::wait::eventually;

/// The most that a session with about 350 bytes of content may take, all indexes included, and without the streams of
/// events: these are as long however many sessions a bucket has.
const LIMIT: u64 = 900;
/// The same with the streams, at 20 sessions a bucket.
const LIMIT_WITH_STREAMS: u64 = 1_200;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_takes_little_memory() {
    const SESSIONS: u64 = 20_000;
    let redis = SingleRedis::start(ServerOptions::default()).await;
    let mut options = redis_options(vec![redis.url()]);
    options.prefix = "cloakroom".to_owned();
    let prefix = options.prefix.clone();
    let store = connect(options).await;
    let empty = redis.used_memory().await;
    stream::iter(0..SESSIONS)
        .for_each_concurrent(256, |number| make_typical(&store, number))
        .await;
    let with_operations = redis.used_memory().await;
    // What is remembered of operations goes by itself after some seconds: sooner here, to save the time.
    for key in redis.keys(&format!("{prefix}:*:o:*")).await.chunks(1_000) {
        let mut command = vec!["UNLINK"];
        command.extend(key.iter().map(String::as_str));
        redis.command(&command).await;
    }
    redis.command(&["MEMORY", "PURGE"]).await;
    eventually(Duration::from_secs(5), "the memory to be free", async || {
        redis.info("lazyfree_pending_objects").await.as_deref() == Some("0")
    })
    .await;
    let with_streams = redis.used_memory().await;
    let kinds = bytes_by_kind(&redis, &prefix).await;
    let each = |bytes: u64| bytes / SESSIONS;
    println!(
        "bytes a session: {} in all, {} with the operations of the last 30 s",
        each(with_streams - empty),
        each(with_operations - empty)
    );
    for (kind, (keys, bytes)) in &kinds {
        println!("  {kind}: {keys} keys, {} bytes a session", each(*bytes));
    }
    audit_single(&redis, &prefix).await;
    let total = each(with_streams - empty);
    let without_streams = total - each(kinds["e"].1);
    println!("bytes a session without the streams of events: {without_streams}");
    assert!(
        without_streams <= LIMIT && total <= LIMIT_WITH_STREAMS,
        "{without_streams} of {total} bytes a session"
    );
}

/// A session as an ordinary shop makes it, of a user of its own.
async fn make_typical(store: &RedisStore, number: u64) {
    let agent =
        "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36 .";
    let text = |text: &str| json(&serde_json::Value::from(text).to_string());
    let data: JsonMap = [
        ("theme".to_owned(), text("dark")),
        ("locale".to_owned(), text("en-GB")),
        (
            "cart".to_owned(),
            json(r#"[{"product_id":"coat-4711","quantity":1},{"product_id":"hat-12","quantity":2}]"#),
        ),
        ("last_page".to_owned(), text("/shop/coats/winter?page=2")),
    ]
    .into();
    let mut new = new_session(store, &user(&format!("user-{number:08}")));
    new.data = data;
    new.roles = vec!["customer".to_owned(), "reviewer".to_owned()];
    new.metadata = [
        ("ip".to_owned(), text("192.0.2.117")),
        ("user_agent".to_owned(), text(agent)),
    ]
    .into();
    store.create(new, operation()).await.unwrap();
}

/// The number of keys of each kind, and what they take by a sample of them.
async fn bytes_by_kind(redis: &RedisServer, prefix: &str) -> BTreeMap<String, (u64, u64)> {
    const SAMPLE: usize = 200;
    let mut by_kind: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for key in redis.keys(&format!("{prefix}:*")).await {
        let rest = &key[prefix.len() + 1..];
        let kind = rest
            .split_once("}:")
            .map_or(rest, |(_, kind)| kind.split(':').next().unwrap());
        by_kind.entry(kind.to_owned()).or_default().push(key);
    }
    let mut connection = redis.connect().await.unwrap();
    let mut bytes = BTreeMap::new();
    for (kind, keys) in by_kind {
        let sample = keys.iter().step_by(keys.len().div_ceil(SAMPLE));
        let mut pipeline = redis::Pipeline::new();
        for key in sample {
            pipeline.cmd("MEMORY").arg("USAGE").arg(key).arg("SAMPLES").arg(0);
        }
        let sampled: Vec<u64> = pipeline.query_async(&mut connection).await.unwrap();
        let keys = keys.len() as u64;
        bytes.insert(kind, (keys, sampled.iter().sum::<u64>() * keys / sampled.len() as u64));
    }
    bytes
}
