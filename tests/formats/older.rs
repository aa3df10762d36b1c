//! An older program and this one share sessions, as during a roll.

use serde_json::json;

use crate::peer::Peer;
use crate::support::fleet::Replica;
use crate::support::server::ServerOptions;
use crate::support::single_redis::SingleRedis;
use crate::support::unique_prefix;
use crate::support::wait::{SOON, eventually};
use crate::{fresh, present};

/// Reads a session twice: the second answer is from memory.
async fn read(replica: &Replica, id: &str) -> serde_json::Value {
    let path = format!("/v1/sessions/{id}");
    replica.get(&path).await.expect(200);
    replica.get(&path).await.expect(200).json()
}

#[tokio::test]
async fn an_older_program_and_this_one_change_and_end_each_others_sessions() {
    let redis = SingleRedis::start(ServerOptions::default()).await;
    let prefix = unique_prefix();
    let new = present(&redis, &prefix, "newer").await;
    let old = Peer { redis: &redis, prefix };

    // Made by the older one.
    let (token, id) = fresh();
    old.create(
        &id,
        r#"{"server_id":"older","metadata":{"ip":"192.0.2.7"}}"#,
        &[("d:n", "1")],
    )
    .await;
    let session = read(&new, &id).await;
    assert_eq!(
        (&session["data"], &session["metadata"]),
        (&json!({"n": 1}), &json!({"ip": "192.0.2.7"}))
    );
    assert!(new.is_valid(&token).await);

    // Changed by each, and seen by the other: what memory holds is invalidated.
    for round in 2..20 {
        old.set(&id, "d:n", &round.to_string()).await;
        new.all_see(&id, round).await;
        let path = format!("/v1/sessions/{id}/data/by_new");
        new.call("PUT", &path, json!(round)).await.expect(204);
        assert_eq!(old.field(&id, "d:by_new").await, Some(round.to_string()));
    }
    old.touch(&id).await;
    old.migrate(&id, "elsewhere").await;
    eventually(SOON, "the move", async || {
        read(&new, &id).await["server_id"] == "elsewhere"
    })
    .await;

    // Rotated by the older one: the former id leads to the new one.
    let (_, rotated) = fresh();
    old.rotate(&id, &rotated).await;
    eventually(SOON, "the rotation", async || {
        read(&new, &id).await["id"] == rotated.as_str()
    })
    .await;
    assert_eq!(read(&new, &rotated).await["data"]["n"], 19);

    // Ended by the older one.
    old.end(&rotated).await;
    eventually(SOON, "the end", async || {
        new.get(&format!("/v1/sessions/{rotated}")).await.status == 404
    })
    .await;
    assert!(!new.is_valid(&token).await);

    // Made by this one, ended by the older, and the other way round.
    let (path, _) = new.create(json!({"data": {"k": [1, 2]}, "user_id": "alice"})).await;
    let (anonymous, _) = new.create(json!({})).await;
    let made = read(&new, path.rsplit('/').next().unwrap()).await;
    assert_eq!(made["data"]["k"], json!([1, 2]));
    let (_, theirs) = fresh();
    old.create(&theirs, r#"{"server_id":"older"}"#, &[]).await;
    for path in [&path, &anonymous, &format!("/v1/sessions/{theirs}")] {
        new.delete(path).await.expect(204);
    }
    assert_eq!(old.field(&theirs, "m").await, None);
    eventually(SOON, "the counts", async || {
        new.get("/v1/stats").await.json()["sessions"] == 0
    })
    .await;
    new.has_kept_calm();
}

impl Replica {
    /// Memory answers with the new state within the bound.
    async fn all_see(&self, id: &str, value: u64) {
        let told = tokio::time::Instant::now();
        while read(self, id).await["data"]["n"] != value {
            let age = told.elapsed();
            assert!(age < crate::support::fleet::BOUND * 2, "not seen after {age:?}");
        }
    }
}
