//! What happens at one replica is told at the others, and expiry by a real clock.

use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use super::{Fleet, Replica};
use crate::support::listener::Listener;
use crate::support::redis_cluster::shared_cluster;
use crate::support::wait::{SOON, eventually};

#[tokio::test]
async fn a_listener_hears_of_the_whole_fleet_resumes_and_is_let_go_by_a_drain() {
    let cluster = shared_cluster().await;
    let mut fleet = Fleet::start(cluster, &[]).await;
    fleet.know_each_other().await;
    let mut listener = Listener::start(fleet.at(0), None).await;
    let (path, _) = fleet.at(1).create(json!({"user_id": "alice"})).await;
    fleet
        .at(2)
        .call("PATCH", &path, json!({"data": {"a": 1}}))
        .await
        .expect(200);
    let target = json!({"server_id": "replica-2"});
    fleet
        .at(0)
        .call("POST", &format!("{path}/migrate"), target)
        .await
        .expect(200);
    let rotated = fleet.at(1).call("POST", &format!("{path}/rotate"), json!({})).await;
    let (new_path, _) = rotated.expect(201).issued();
    fleet.at(2).delete(&new_path).await.expect(204);
    let kinds: Vec<String> = listener
        .until("destroyed", &new_path)
        .await
        .into_iter()
        .map(|event| event.kind)
        .collect();
    assert_eq!(kinds, ["created", "changed", "migrated", "rotated", "destroyed"]);

    // The replica dies; the listener resumes at another and misses nothing.
    let seen = listener.last_id.clone().unwrap();
    fleet.at(0).program.kill();
    assert!(listener.next().await.is_none());
    let (missed, _) = fleet.at(1).create(json!({"user_id": "bob"})).await;
    fleet.at(2).delete("/v1/users/bob/sessions").await.expect(200);
    let mut resumed = Listener::start(fleet.at(1), Some(&seen)).await;
    let told = resumed.until("revoked", &missed).await;
    assert!(told.iter().any(|event| event.kind == "created" && event.is_of(&missed)));
    assert!(told.iter().all(|event| event.kind != "gap"));

    fleet.at(1).program.terminate();
    assert!(resumed.next().await.is_none());
    assert_eq!(fleet.at(1).program.wait_exit(SOON).await.code(), Some(0));
    fleet.replicas.drain(..2);
    fleet.finish(cluster).await;
}

#[tokio::test]
async fn sessions_expire_by_the_clock_and_are_swept() {
    let cluster = shared_cluster().await;
    let settings = [
        ("session.classes.brief.idle", "1s"),
        ("session.classes.brief.absolute", "1h"),
    ];
    let fleet = Fleet::start(cluster, &settings).await;
    let mut listener = Listener::start(fleet.at(2), None).await;
    let made = Instant::now();
    let (path, token) = fleet.at(0).create(json!({"user_id": "alice", "class": "brief"})).await;
    let created = Instant::now();
    let reason = async |replica: &Replica| {
        let valid = replica.validate(&token).await;
        valid["reason"].as_str().map(str::to_owned)
    };
    for replica in &fleet.replicas {
        let (found, now) = (reason(replica).await, Instant::now());
        assert!(found.is_none() || now - made > Duration::from_secs(1), "{found:?}");
    }
    tokio::time::sleep_until(created + Duration::from_millis(1_001)).await;
    for replica in &fleet.replicas {
        assert_eq!(reason(replica).await.as_deref(), Some("session_expired"));
        assert_eq!(replica.get(&path).await.status, 404);
    }
    let told = listener.until("expired", &path).await;
    let expired = told.last().unwrap();
    let lasted = expired.data["duration_seconds"].as_f64().unwrap();
    assert!((1.0..1.1).contains(&lasted), "{lasted}");

    // Told once: what follows is of another session.
    let (next, _) = fleet.at(1).create(json!({})).await;
    fleet.at(1).delete(&next).await.expect(204);
    let after = listener.until("destroyed", &next).await;
    assert!(after.iter().all(|event| event.kind != "expired"), "{after:?}");
    eventually(SOON, "the counts to be 0", async || {
        let stats = fleet.at(0).get("/v1/stats").await.json();
        stats["sessions"] == 0 && stats["users"] == 0 && stats["by_class"]["brief"] == 0
    })
    .await;
    let audit = fleet.finish(cluster).await;
    assert_eq!((audit.sessions, audit.users), (0, 0));
}
