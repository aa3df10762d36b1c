//! What can be read in Redis, and what it costs.

use cloakroom::session::{CartItem, SecurityChange};
use cloakroom::store::redis::{Encryption, PlainRecords};
use cloakroom::store::{Change, EventId, SessionStore, StoreError};

use super::support::server::RedisServer;
use super::support::single_redis::shared_single_redis;
use super::support::store::encryption;
use super::{Deployment, GRACE, MAX_BYTES, Server, increment, json, key, new_session, operation, rotation, set, user};

/// What users put into a session, by where: none of it occurs anywhere else.
const TELLTALES: [&str; 12] = [
    "telltale-user",
    "telltale-value",
    "telltale-metadata",
    "telltale-role",
    "telltale-permission",
    "telltale-fingerprint",
    "telltale-action",
    "telltale-detail",
    "telltale-product",
    "telltale-later",
    "777000777",
    "31415926535",
];

/// A session that had everything done to it that writes what users put into it.
async fn live_a_life(server: &Server) {
    let mut new = new_session(server, "telltale-user");
    new.data.insert("word", json("\"telltale-value\""));
    new.metadata.insert("note", json("\"telltale-metadata\""));
    new.roles = vec!["telltale-role".to_owned()];
    new.fingerprint = Some("telltale-fingerprint".to_owned());
    let store = &server.store;
    let id = server.make(new).await;
    let change = Change {
        permissions: Some(vec!["telltale-permission".to_owned()]),
        security: SecurityChange {
            login_attempts: Some(777_000_777),
            ..SecurityChange::default()
        },
        ..set("later", "\"telltale-later\"")
    };
    server.change(id, change).await.unwrap();
    store.increment(id, increment("sum", 31_415_926_535)).await.unwrap();
    let item = CartItem {
        product_id: "telltale-product".to_owned(),
        quantity: 2,
    };
    store.add_to_cart(id, item, MAX_BYTES, operation()).await.unwrap();
    let note = |name: &str| {
        let detail = [("detail".to_owned(), json("\"telltale-detail\""))].into();
        store.record_activity(id, name.to_owned(), detail, operation())
    };
    note("telltale-action").await.unwrap();
    let new_id = super::sibling(id.bucket());
    store.rotate(id, rotation(new_id), operation()).await.unwrap();
    store.confirm(new_id, GRACE).await.unwrap();
    // Under its new id it is the same, with its activities.
    let activities = store.activities(new_id).await.unwrap();
    assert_eq!(activities[0].action, "telltale-action");
    assert_eq!(activities[0].metadata["detail"].get(), "\"telltale-detail\"");
    let text = super::shown(&server.found(new_id).await);
    for telltale in TELLTALES {
        let elsewhere = ["action", "detail", "fingerprint"];
        let is_elsewhere = elsewhere.iter().any(|place| telltale.ends_with(place));
        assert!(is_elsewhere || text.contains(telltale), "{telltale} in {text}");
    }
    let since = EventId {
        at: cloakroom::session::Timestamp::from_millis(1),
        sequence: 0,
        bucket: id.bucket(),
    };
    let events = store.events_since(id.bucket(), since).await.unwrap().events;
    assert!(events.len() >= 5 && events.iter().all(|event| event.user_id == Some(user("telltale-user"))));
}

/// Everything below a prefix, as Redis has it.
pub(super) async fn everything(redis: &RedisServer, prefix: &str) -> Vec<u8> {
    let mut all = Vec::new();
    for key in redis.keys(&format!("{prefix}:*")).await {
        let kind: String = redis.ask(&["TYPE", &key]).await;
        let command = match kind.as_str() {
            "hash" => vec!["HGETALL", &key],
            "string" => vec!["GET", &key],
            "list" => vec!["LRANGE", &key, "0", "-1"],
            "zset" => vec!["ZRANGE", &key, "0", "-1", "WITHSCORES"],
            "stream" => vec!["XRANGE", &key, "-", "+"],
            other => panic!("{key} is a {other}"),
        };
        all.extend_from_slice(key.as_bytes());
        gather(&redis.command(&command).await, &mut all);
    }
    all
}

fn gather(value: &redis::Value, into: &mut Vec<u8>) {
    match value {
        redis::Value::BulkString(bytes) => into.extend_from_slice(bytes),
        redis::Value::Array(values) | redis::Value::Set(values) => values.iter().for_each(|value| gather(value, into)),
        redis::Value::Map(pairs) => pairs.iter().for_each(|(name, value)| {
            gather(name, into);
            gather(value, into);
        }),
        redis::Value::SimpleString(text) => into.extend_from_slice(text.as_bytes()),
        redis::Value::Double(number) => into.extend_from_slice(number.to_string().as_bytes()),
        redis::Value::Int(number) => into.extend_from_slice(number.to_string().as_bytes()),
        other => panic!("{other:?}"),
    }
}

pub(super) fn contains(haystack: &[u8], needle: &str) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle.as_bytes())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p7_nothing_that_users_put_into_sessions_can_be_read_in_redis() {
    let redis = shared_single_redis().await;
    let plain = Deployment::new(vec![redis.url()]);
    live_a_life(&plain.server(Encryption::default()).await).await;
    let readable = everything(redis, plain.prefix()).await;
    for telltale in TELLTALES {
        assert!(
            contains(&readable, telltale),
            "{telltale} is looked for at the wrong places"
        );
    }
    let sealed = Deployment::new(vec![redis.url()]);
    live_a_life(&sealed.server(encryption(&["key"], PlainRecords::Refuse)).await).await;
    let readable = everything(redis, sealed.prefix()).await;
    for telltale in TELLTALES {
        assert!(!contains(&readable, telltale), "{telltale} can be read");
    }
    // What scripts work by can be: the names of data keys, the class, the home.
    for name in ["d:word", "normal", "server-a"] {
        assert!(contains(&readable, name), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s53_sizes_are_those_of_the_plain_values() {
    let redis = shared_single_redis().await;
    for encryption in [Encryption::default(), encryption(&["key"], PlainRecords::Read)] {
        let server = Deployment::new(vec![redis.url()]).server(encryption).await;
        let mut new = new_session(&server, "alice");
        new.data.clone_from(&[("a".to_owned(), json("\"12345\""))].into());
        let id = server.make(new).await;
        let limited = |change, most| server.store.change(id, change, most, operation());
        // "a" and its value take 8 bytes; "b" and "[1,2]" 6 more.
        let after = limited(set("b", "[1,2]"), 14).await.unwrap();
        assert_eq!(after.session.data_bytes, 14);
        let outcome = limited(set("b", "[1,23]"), 14).await;
        assert!(
            matches!(outcome, Err(StoreError::TooLarge { bytes: 15, limit: 14 })),
            "{outcome:?}"
        );
        let outcome = server
            .store
            .increment(
                id,
                cloakroom::store::Increment {
                    max_bytes: 15,
                    ..increment("n", 1)
                },
            )
            .await;
        assert!(
            matches!(outcome, Err(StoreError::TooLarge { bytes: 16, limit: 15 })),
            "{outcome:?}"
        );
        let replaced = limited(set("a", "\"1\""), 14).await.unwrap();
        assert_eq!(replaced.session.data_bytes, 10);
        let removal = Change {
            data: [(key("b"), None)].into(),
            ..Change::default()
        };
        assert_eq!(limited(removal, 14).await.unwrap().session.data_bytes, 4);
        let new_id = super::sibling(id.bucket());
        let rotation = cloakroom::store::Rotation {
            keep: Some(Vec::new()),
            ..rotation(new_id)
        };
        let rotated = server.store.rotate(id, rotation, operation()).await.unwrap();
        assert_eq!(rotated.snapshot.session.data_bytes, 0);
    }
}

/// The session of an ordinary shop: some 350 bytes of content.
fn typical(server: &Server) -> cloakroom::store::NewSession {
    let agent =
        "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36 .";
    let text = |text: &str| json(&serde_json::Value::from(text).to_string());
    let cart = r#"[{"product_id":"coat-4711","quantity":1},{"product_id":"hat-12","quantity":2}]"#;
    cloakroom::store::NewSession {
        data: [
            ("theme".to_owned(), text("dark")),
            ("locale".to_owned(), text("en-GB")),
            ("cart".to_owned(), json(cart)),
            ("last_page".to_owned(), text("/shop/coats/winter?page=2")),
        ]
        .into(),
        roles: vec!["customer".to_owned(), "reviewer".to_owned()],
        permissions: Vec::new(),
        metadata: [
            ("ip".to_owned(), text("192.0.2.117")),
            ("user_agent".to_owned(), text(agent)),
        ]
        .into(),
        fingerprint: None,
        ..new_session(server, "user-00000001")
    }
}

/// The CPU time of this thread, on which all of a test runs.
fn cpu_micros() -> i64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    time.tv_sec * 1_000_000 + time.tv_nsec / 1_000
}

#[tokio::test]
async fn what_sealing_costs() {
    const READS: i64 = 1_000;
    let redis = shared_single_redis().await;
    let mut costs = Vec::new();
    #[expect(clippy::cast_precision_loss, reason = "microseconds")]
    let per_call = |before: i64| (cpu_micros() - before) as f64 / READS as f64;
    for encryption in [Encryption::default(), encryption(&["key"], PlainRecords::Refuse)] {
        let deployment = Deployment::new(vec![redis.url()]);
        let server = deployment.server(encryption).await;
        let id = server.make(typical(&server)).await;
        let bytes: i64 = redis.ask(&["MEMORY", "USAGE", &deployment.key(id)]).await;
        server.found(id).await;
        let before = cpu_micros();
        for _ in 0..READS {
            server.found(id).await;
        }
        let read = per_call(before);
        let before = cpu_micros();
        for number in 0..READS {
            server.change(id, set("last_page", &number.to_string())).await.unwrap();
        }
        let change = per_call(before);
        costs.push((bytes, read, change));
    }
    let [(bytes, read, change), (sealed_bytes, sealed_read, sealed_change)] = costs[..] else {
        unreachable!("two of them");
    };
    println!("the record: {bytes} bytes plain, {sealed_bytes} sealed");
    println!(
        "CPU of a read: {read:.1} us plain, {sealed_read:.1} sealed; of a change: {change:.1} and {sealed_change:.1}"
    );
    // Five seals of 45 bytes, the user for the events in base64, and the allocator's size classes.
    assert!(sealed_bytes <= bytes + 600, "{bytes} and {sealed_bytes}");
    // Generous: without optimisation, and beside other tests.
    assert!(sealed_read <= 4.0 * read && sealed_change <= 4.0 * change);
}
