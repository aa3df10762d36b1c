//! What a newer program may leave in Redis, and how this one takes it.

use serde_json::{Value, json};

use crate::peer::Peer;
use crate::support::fleet::Replica;
use crate::support::server::ServerOptions;
use crate::support::single_redis::SingleRedis;
use crate::support::unique_prefix;
use crate::support::wait::{SOON, eventually};
use crate::{fresh, present};

struct Mixed {
    redis: &'static SingleRedis,
    prefix: String,
    server: Replica,
}

impl Mixed {
    async fn start() -> Self {
        let redis: &SingleRedis = Box::leak(Box::new(SingleRedis::start(ServerOptions::default()).await));
        let prefix = unique_prefix();
        let server = present(redis, &prefix, "server-a").await;
        Self { redis, prefix, server }
    }

    fn peer(&self) -> Peer<'_> {
        Peer {
            redis: self.redis,
            prefix: self.prefix.clone(),
        }
    }

    /// A session to which a newer program has added something.
    async fn session_with(&self, more_meta: &str, more_core: &Value) -> String {
        let (_, id) = fresh();
        let peer = self.peer();
        let mut core = json!({"server_id": "server-a"});
        core.as_object_mut()
            .unwrap()
            .extend(more_core.as_object().unwrap().clone());
        peer.create(&id, &core.to_string(), &[("d:n", "1")]).await;
        let meta = peer.field(&id, "m").await.unwrap();
        let key = peer.key(&format!("s:{id}"));
        self.redis
            .command(&["HSET", &key, "m", &format!("{meta}{more_meta}"), "later", "kept"])
            .await;
        id
    }
}

#[tokio::test]
async fn fields_that_are_not_known_are_kept() {
    let mixed = Mixed::start().await;
    let peer = mixed.peer();
    let later = json!({"later": {"deep": ["x"], "n": 7}});
    let id = mixed.session_with(" later=1 more", &later).await;
    let path = format!("/v1/sessions/{id}");
    assert_eq!(
        mixed.server.get(&path).await.expect(200).json()["data"],
        json!({"n": 1})
    );

    let change = json!({"data": {"n": 2}, "metadata": {"ip": "192.0.2.9"}});
    let changed = mixed.server.call("PATCH", &path, change).await;
    assert_eq!(changed.status, 200, "{}", changed.text);
    mixed
        .server
        .call("POST", &format!("{path}/touch"), json!({}))
        .await
        .expect(200);
    let rotated = mixed
        .server
        .call("POST", &format!("{path}/rotate"), json!({}))
        .await
        .expect(201)
        .json();
    let id = rotated["session"]["id"].as_str().unwrap();

    assert!(peer.field(id, "m").await.unwrap().ends_with(" later=1 more"));
    assert_eq!(peer.field(id, "later").await.as_deref(), Some("kept"));
    let core: Value = serde_json::from_str(&peer.field(id, "c").await.unwrap()).unwrap();
    assert_eq!(core["later"], later["later"]);
    assert_eq!(core["metadata"]["ip"], "192.0.2.9");
    mixed.server.has_kept_calm();
}

#[tokio::test]
async fn a_record_of_a_newer_format_is_neither_read_nor_changed_and_yet_it_can_be_ended() {
    let mixed = Mixed::start().await;
    let id = mixed.session_with(" f2 whatever", &json!({})).await;
    let (path, before) = (format!("/v1/sessions/{id}"), mixed.peer().field(&id, "m").await);
    for (method, path, body) in [
        ("PUT", format!("{path}/data/n"), json!(3)),
        ("POST", format!("{path}/rotate"), json!({})),
        ("POST", format!("{path}/data/n/increment"), json!({})),
    ] {
        mixed.server.call(method, &path, body).await.unavailable();
    }
    mixed.server.get(&path).await.unavailable();
    assert_eq!(mixed.peer().field(&id, "m").await, before, "nothing was written");
    mixed.server.delete(&path).await.expect(204);
    assert_eq!(mixed.peer().field(&id, "m").await, None);
    mixed.server.get(&path).await.expect(404);
    eventually(SOON, "the counts", async || {
        mixed.server.get("/v1/stats").await.json()["sessions"] == 0
    })
    .await;
}

/// The session that memory holds is read anew: slower, never wrong.
#[tokio::test]
async fn an_invalidation_of_a_newer_format_costs_the_cover_and_nothing_else() {
    let mixed = Mixed::start().await;
    let peer = mixed.peer();
    let id = mixed.session_with("", &json!({})).await;
    let path = format!("/v1/sessions/{id}");
    for _ in 0..3 {
        mixed.server.get(&path).await.expect(200);
    }
    let key = peer.key(&format!("s:{id}"));
    mixed.redis.command(&["HSET", &key, "d:n", "2"]).await;
    mixed
        .redis
        .command(&["SPUBLISH", &peer.key("inv"), &format!("2 changed-in-another-way {id}")])
        .await;
    eventually(SOON, "the new state", async || {
        mixed.server.get(&path).await.expect(200).json()["data"]["n"] == 2
    })
    .await;
    // It covers the buckets anew.
    eventually(SOON, "cover", async || {
        mixed.redis.command(&["HSET", &key, "d:n", "3"]).await;
        mixed
            .redis
            .command(&["SPUBLISH", &peer.key("inv"), &format!("1 c 3 {id} later=1")])
            .await;
        mixed.server.get(&path).await.expect(200).json()["data"]["n"] == 3
    })
    .await;
}

#[tokio::test]
async fn events_and_members_of_kinds_that_are_not_known_are_passed_over() {
    let mixed = Mixed::start().await;
    let peer = mixed.peer();
    let servers = format!("{}:servers", mixed.prefix);
    let far: u64 = 99_999_999_999_999;
    mixed
        .redis
        .command(&["HSET", &servers, "newer", &format!("pondering {far} zone=a")])
        .await;

    let request = mixed
        .server
        .request("GET", "/v1/events")
        .header("authorization", &mixed.server.credential);
    let mut events = request.send().await.unwrap();
    let (_, id) = fresh();
    let unknown = json!({"event": "enchanted", "session_id": id, "at": 1, "class": "normal", "later": [1]}).to_string();
    let tell = async || {
        let entry: String = mixed.redis.ask(&["XADD", &peer.key("e"), "*", "e", &unknown]).await;
        mixed
            .redis
            .command(&["SPUBLISH", &peer.key("ev"), &format!("{entry} {unknown}")])
            .await;
    };
    let mut heard = String::new();
    let listening = async {
        while !heard.contains(&id) {
            heard += &String::from_utf8_lossy(&events.chunk().await.unwrap().unwrap());
        }
    };
    let telling = async {
        tell().await;
        peer.create(&id, r#"{"server_id":"older"}"#, &[]).await;
        // Until the listener stands, it hears nothing.
        loop {
            tell().await;
            peer.set(&id, "d:n", "2").await;
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    let heard_it = async {
        tokio::select! { () = listening => {}, () = telling => {} }
    };
    tokio::time::timeout(SOON, heard_it)
        .await
        .expect("an event that is known");
    assert!(!heard.contains("enchanted"), "{heard}");

    let known = mixed.server.get("/v1/servers").await.expect(200).json();
    eventually(SOON, "the newer member", async || {
        let servers = mixed.server.get("/v1/servers").await.expect(200).json();
        servers["servers"]
            .as_array()
            .unwrap()
            .iter()
            .any(|server| server["server_id"] == "newer")
    })
    .await;
    assert!(known["servers"].is_array());
}
