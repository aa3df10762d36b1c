//! Durability on demand: what the API says of it is what the replicas of Redis know.

use serde_json::{Value, json};

use super::support::fleet::{Fleet, Replica};
use super::support::redis_cluster::{ClusterOptions, RedisCluster};

/// Creates, rotates and logs in, each durably; what was answered about replicas, and the paths of what was made.
async fn make(replica: &Replica) -> (Vec<Value>, Vec<String>) {
    let path = |issued: &Value| format!("/v1/sessions/{}", issued["session"]["id"].as_str().unwrap());
    let post = async |path: &str, body: Value| replica.call("POST", path, body).await.expect(201).json();
    let created = post("/v1/sessions", json!({"user_id": "alice", "durable": true})).await;
    let rotated = post(&format!("{}/rotate", path(&created)), json!({"durable": true})).await;
    let anonymous = post("/v1/sessions", json!({})).await;
    assert_eq!(anonymous["durable"], Value::Null, "nobody asked");
    let login = json!({"user_id": "bob", "durable": true});
    let logged_in = post(&format!("{}/rotate", path(&anonymous)), login).await;
    let told = [&created, &rotated, &logged_in].map(|issued| issued["durable"].clone());
    (told.to_vec(), vec![path(&rotated), path(&logged_in)])
}

#[tokio::test]
async fn n10_durability_is_told_as_it_is_by_every_call_that_takes_it() {
    let cluster = RedisCluster::start(ClusterOptions::default()).await;
    let fleet = Fleet::start(&cluster, &[]).await;
    let replica = fleet.at(0);
    let (told, paths) = make(replica).await;
    assert_eq!(told, [true, true, true]);
    replica.delete(&format!("{}?durable=true", paths[0])).await.expect(204);
    replica.delete("/v1/users/bob/sessions?durable=true").await.expect(200);

    // Every replica of Redis stops listening, and every primary goes on.
    for node in &cluster.nodes()[3..] {
        node.freeze();
    }
    let (told, paths) = make(replica).await;
    assert_eq!(told, [false, false, false], "made, and said to be on no replica");
    let refused = replica.delete(&format!("{}?durable=true", paths[0])).await;
    assert!(refused.headers.contains_key("retry-after"));
    refused.problem(503, "not_confirmed");
    let everywhere = replica.delete("/v1/users/bob/sessions?durable=true").await;
    everywhere.problem(503, "not_confirmed");
    // Ended they are all the same; and who does not ask is not kept waiting.
    for path in &paths {
        let answer = fleet.at(1).get(&format!("{path}?consistency=strong")).await;
        answer.problem(404, "session_not_found");
    }
    let (path, _) = replica.create(json!({})).await;
    replica.delete(&path).await.expect(204);
    for node in &cluster.nodes()[3..] {
        node.thaw();
    }
    drop(fleet);
}
