//! Who leads, and where sessions are homed.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::{Fleet, Replica};
use crate::support::redis_cluster::shared_cluster;
use crate::support::wait::{SOON, eventually};

/// What the leader's lease lasts, and how often another tries to take it.
const LEASE: Duration = Duration::from_secs(10 + 3);

async fn leaders(replica: &Replica) -> Vec<String> {
    let servers = replica.get("/v1/servers").await.expect(200).json();
    let servers = servers["servers"].as_array().unwrap();
    let leading = servers.iter().filter(|server| server["leader"] == true);
    leading
        .map(|server| server["server_id"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn one_replica_leads_and_another_takes_over_and_sweeps() {
    let cluster = shared_cluster().await;
    let settings = [
        ("session.classes.brief.idle", "1s"),
        ("session.classes.brief.absolute", "1h"),
    ];
    let mut fleet = Fleet::start(cluster, &settings).await;
    fleet.know_each_other().await;
    let first = leaders(fleet.at(0)).await;
    assert_eq!(first.len(), 1, "{first:?}");
    for replica in &fleet.replicas {
        eventually(SOON, "all to know the leader", async || leaders(replica).await == first).await;
    }
    let index = fleet
        .replicas
        .iter()
        .position(|replica| replica.id == first[0])
        .unwrap();
    fleet.at(index).program.kill();
    let killed = Instant::now();
    fleet.replicas.remove(index);
    let (_, _) = fleet.at(0).create(json!({"user_id": "alice", "class": "brief"})).await;
    let second = eventually(SOON, "another leader", async || {
        let known = [leaders(fleet.at(0)).await, leaders(fleet.at(1)).await];
        (known[0] == known[1] && known[0].len() == 1 && known[0] != first).then(|| known[0].clone())
    })
    .await;
    assert!(
        killed.elapsed() <= LEASE + Duration::from_secs(3),
        "{:?}",
        killed.elapsed()
    );
    assert!(fleet.replicas.iter().any(|replica| replica.id == second[0]));
    eventually(SOON, "the new leader's sweep", async || {
        fleet.at(0).get("/v1/stats").await.json()["sessions"] == 0
    })
    .await;
    fleet.finish(cluster).await;
}

async fn home(replica: &Replica, path: &str) -> Value {
    let session = replica
        .get(&format!("{path}?consistency=strong"))
        .await
        .expect(200)
        .json();
    json!([
        session["server_id"],
        session["previous_server_id"],
        session["migrations"]
    ])
}

async fn use_at(replica: &Replica, token: &str) {
    let body = json!({"token": token});
    let answer = replica.call("POST", "/v1/sessions/validate", body).await;
    assert_eq!(answer.json()["valid"], true);
}

#[tokio::test]
async fn by_the_policy_always_a_session_is_homed_where_it_is_used() {
    let cluster = shared_cluster().await;
    let fleet = Fleet::start(cluster, &[("migration.policy", "always")]).await;
    fleet.know_each_other().await;
    let (path, token) = fleet.at(0).create(json!({})).await;
    use_at(fleet.at(1), &token).await;
    eventually(SOON, "the move", async || {
        home(fleet.at(2), &path).await == json!(["replica-1", "replica-0", 1])
    })
    .await;
    use_at(fleet.at(2), &token).await;
    eventually(SOON, "the next move", async || {
        home(fleet.at(0), &path).await == json!(["replica-2", "replica-1", 2])
    })
    .await;
    assert_eq!(fleet.finish(cluster).await.by_server["replica-2"], 1);
}

#[tokio::test]
async fn by_the_policy_never_a_session_moves_on_request_only() {
    let cluster = shared_cluster().await;
    let fleet = Fleet::start(cluster, &[("migration.policy", "never")]).await;
    fleet.know_each_other().await;
    let (path, token) = fleet.at(0).create(json!({})).await;
    fleet.at(0).program.terminate();
    fleet.at(0).program.wait_exit(SOON).await;
    eventually(SOON, "the others to know that it left", async || {
        let servers = fleet.at(1).get("/v1/servers").await.json();
        servers["servers"]
            .as_array()
            .unwrap()
            .iter()
            .all(|server| server["server_id"] != "replica-0" || server["state"] != "live")
    })
    .await;
    use_at(fleet.at(1), &token).await;
    // The next use's record is surely later than that of the first.
    fleet
        .at(1)
        .call("POST", &format!("{path}/touch"), json!({}))
        .await
        .expect(200);
    assert_eq!(home(fleet.at(1), &path).await, json!(["replica-0", null, 0]));
    let target = json!({"server_id": "replica-1"});
    fleet
        .at(2)
        .call("POST", &format!("{path}/migrate"), target)
        .await
        .expect(200);
    assert_eq!(home(fleet.at(1), &path).await, json!(["replica-1", "replica-0", 1]));
    let nowhere = json!({"server_id": "replica-9"});
    let refused = fleet.at(2).call("POST", &format!("{path}/migrate"), nowhere).await;
    refused.problem(400, "invalid_request");
    fleet.finish(cluster).await;
}
