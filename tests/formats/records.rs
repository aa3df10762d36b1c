//! What was recorded of format 1 is understood, record by record and message by message.

use std::collections::BTreeMap;

use cloakroom::coherence::message::Message;
use cloakroom::session::SessionId;
use redis::FromRedisValue;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::peer::Peer;
use crate::support::fleet::{Replica, SECRET};
use crate::support::server::ServerOptions;
use crate::support::single_redis::SingleRedis;
use crate::support::wait::{SOON, eventually};
use crate::{fresh, present, recorded};

const PREFIX: &str = "recorded";

/// Everything that a program left in Redis, and what its API told of it.
#[derive(Serialize, Deserialize)]
struct Recording {
    /// By key: its type, when it expires (milliseconds since the epoch, or -1), and what it holds, in words of Redis.
    keys: BTreeMap<String, Key>,
    /// By id: the session as the API told it.
    sessions: BTreeMap<String, Value>,
    /// Former ids, and those that they lead to.
    aliases: BTreeMap<String, String>,
}

#[derive(Serialize, Deserialize)]
struct Key {
    kind: String,
    expires_at: i64,
    holds: Vec<String>,
}

/// The commands that read and write each type.
fn commands(kind: &str) -> (&'static [&'static str], &'static str) {
    match kind {
        "hash" => (&["HGETALL"], "HSET"),
        "string" => (&["GET"], "SET"),
        "list" => (&["LRANGE", "0", "-1"], "RPUSH"),
        "zset" => (&["ZRANGE", "0", "-1", "WITHSCORES"], "ZADD"),
        other => panic!("a key of type {other}"),
    }
}

async fn read_all(redis: &SingleRedis) -> BTreeMap<String, Key> {
    let mut keys = BTreeMap::new();
    for key in redis.keys("*").await {
        let kind: String = redis.ask(&["TYPE", &key]).await;
        // Streams and what is remembered for seconds are no records.
        if kind == "stream" || key.contains("}:o:") || key.ends_with(":servers") || key.ends_with(":leader") {
            continue;
        }
        let (read, _) = commands(&kind);
        let value = redis.command(&[&[read[0], &key], &read[1..]].concat()).await;
        let holds: Vec<String> = match value {
            redis::Value::BulkString(_) => vec![String::from_redis_value(value).unwrap()],
            list => Vec::from_redis_value(list).unwrap(),
        };
        let expires_at = redis.ask(&["PEXPIRETIME", &key]).await;
        keys.insert(
            key,
            Key {
                kind,
                expires_at,
                holds,
            },
        );
    }
    keys
}

async fn write_all(redis: &SingleRedis, keys: &BTreeMap<String, Key>) {
    for (
        name,
        Key {
            kind,
            expires_at,
            holds,
        },
    ) in keys
    {
        let (_, write) = commands(kind);
        let mut command = vec![write, name];
        if kind == "zset" {
            holds
                .chunks(2)
                .for_each(|pair| command.extend([pair[1].as_str(), pair[0].as_str()]));
        } else {
            command.extend(holds.iter().map(String::as_str));
        }
        redis.command(&command).await;
        if *expires_at > 0 {
            redis.command(&["PEXPIREAT", name, &expires_at.to_string()]).await;
        }
    }
}

/// Records anew where `CLOAKROOM_RECORD_FORMAT` is set: for a format that the repository does not have yet, never for one
/// that it has.
#[tokio::test]
async fn a_format_is_recorded_once() {
    let file = recorded("records.json");
    if std::env::var_os("CLOAKROOM_RECORD_FORMAT").is_none() {
        assert!(file.is_file(), "set CLOAKROOM_RECORD_FORMAT to record it");
        return;
    }
    let redis = SingleRedis::start(ServerOptions::default()).await;
    let url = redis.url();
    let settings = [
        ("redis.urls", url.as_str()),
        ("redis.prefix", PREFIX),
        ("jwt.secret", SECRET),
        ("session.classes.normal.idle", "36500d"),
        ("session.classes.normal.absolute", "36500d"),
    ];
    let server = Replica::start("older", "127.0.0.1", &settings);
    server.until_ready().await;
    let peer = Peer {
        redis: &redis,
        prefix: PREFIX.to_owned(),
    };
    let core = json!({
        "server_id": "older", "roles": ["reader", "writer"], "permissions": ["orders:read"], "fingerprint": "f".repeat(43),
        "metadata": {"ip": "192.0.2.7", "user_agent": "Mozilla/5.0", "nested": {"json": "{\"a\":[],\"b\":1.0}"}},
    });
    let ids: Vec<String> = (0..5).map(|_| fresh().1).collect();
    let data = [
        ("d:empty", "[]"),
        ("d:float", "1.0"),
        ("d:large", "12345678901234567890"),
        ("d:text", "\"ü\""),
    ];
    peer.create(&ids[0], &core.to_string(), &data).await;
    for id in &ids[1..4] {
        peer.create(id, r#"{"server_id":"older"}"#, &[]).await;
    }
    peer.patch(
        &ids[1],
        r#"{"security":{"login_attempts":3,"suspicious":true,"last_password_change":1700000000000}}"#,
    )
    .await;
    peer.set(&ids[1], "d:k", "{\"deep\":{\"er\":null}}").await;
    peer.migrate(&ids[2], "another").await;
    peer.rotate(&ids[3], &ids[4]).await;
    let mut sessions = BTreeMap::new();
    let user = json!({"user_id": "alice", "data": {"n": 1}, "metadata": {"device": ["a", {"b": 1.50}]}});
    let (of_alice, _) = server.create(user).await;
    let of_alice = of_alice.rsplit('/').next().unwrap().to_owned();
    for id in [&ids[0], &ids[1], &ids[2], &ids[4], &of_alice] {
        sessions.insert(
            id.clone(),
            server.get(&format!("/v1/sessions/{id}")).await.expect(200).json(),
        );
    }
    drop(server);
    let recording = Recording {
        keys: read_all(&redis).await,
        sessions,
        aliases: [(ids[3].clone(), ids[4].clone())].into(),
    };
    std::fs::write(file, serde_json::to_string_pretty(&recording).unwrap() + "\n").unwrap();
}

#[tokio::test]
async fn every_record_of_format_1_is_understood_and_can_be_used() {
    let recording: Recording = serde_json::from_slice(&std::fs::read(recorded("records.json")).unwrap()).unwrap();
    let redis = SingleRedis::start(ServerOptions::default()).await;
    write_all(&redis, &recording.keys).await;
    let server = present(&redis, PREFIX, "server-a").await;
    for (id, expected) in &recording.sessions {
        let told = server.get(&format!("/v1/sessions/{id}")).await.expect(200).json();
        // What is told besides by now is not looked at; what was told then is.
        for (name, value) in expected.as_object().unwrap() {
            assert_eq!(&told[name], value, "{name} of {id}");
        }
    }
    for (former, id) in &recording.aliases {
        let told = server.get(&format!("/v1/sessions/{former}")).await.expect(200).json();
        assert_eq!(told["id"], id.as_str());
    }
    let of_alice = server.get("/v1/users/alice/sessions").await.expect(200).json();
    assert_eq!(of_alice["sessions"].as_array().unwrap().len(), 1, "{of_alice}");
    let stats = server.get("/v1/stats").await.expect(200).json();
    assert_eq!(stats["sessions"], recording.sessions.len());
    assert_eq!(stats["by_server"], json!({"another": 1, "older": 4}));
    for id in recording.sessions.keys() {
        let path = format!("/v1/sessions/{id}");
        server
            .call("PUT", &format!("{path}/data/later"), json!({"n": [1]}))
            .await
            .expect(204);
        let told = server.get(&path).await.expect(200).json();
        assert_eq!(told["data"]["later"], json!({"n": [1]}));
        server.delete(&path).await.expect(204);
    }
    // Counts may be 15 s old.
    eventually(SOON, "the ends to be counted", async || {
        server.get("/v1/stats").await.expect(200).json()["sessions"] == 0
    })
    .await;
    // Of what was recorded, nothing is left but the layout, and the former ids that expire by themselves.
    let left = redis.keys("*").await;
    let indexes = left
        .iter()
        .filter(|key| key.contains("}:x:") || key.contains("}:s:") || key.ends_with("}:h"));
    assert_eq!(indexes.collect::<Vec<_>>(), Vec::<&String>::new());
}

#[test]
fn every_message_of_format_1_is_understood() {
    let text = std::fs::read_to_string(recorded("messages.txt")).unwrap();
    let mut lines = 0;
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (message, ids) = line.split_once(" => ").unwrap();
        let read = Message::parse::<SessionId>(message.as_bytes()).unwrap();
        let read: Vec<_> = read.ids::<SessionId>().map(|id| id.to_string()).collect();
        assert_eq!(read.join(" "), ids.trim(), "{line}");
        lines += 1;
    }
    assert!(lines >= 5);
}
