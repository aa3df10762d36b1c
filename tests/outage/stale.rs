//! `serve_stale`: what was chosen for a class is served from memory while Redis is out of reach, marked, for so long and no
//! longer; nothing else is.

use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use super::support::fleet::{Answer, BOUND, Fleet, Replica};
use super::support::redis_cluster::{ClusterNode, ClusterOptions, RedisCluster};
use super::support::wait::{SOON, eventually};

type User = (String, String);

/// What the mark says, in milliseconds.
fn age(answer: &Answer) -> Option<u64> {
    let mark = answer.headers.get("x-cloakroom-stale")?;
    Some(mark.to_str().unwrap().parse().unwrap())
}

/// The faces that read a session.
async fn ask(replica: &Replica, (path, token): &User) -> [Answer; 5] {
    [
        replica.as_browser("/auth", token).await,
        replica.as_browser("/session", token).await,
        replica
            .call("POST", "/v1/sessions/validate", json!({"token": token}))
            .await,
        replica.get(path).await,
        replica.as_browser("/session/csrf", token).await,
    ]
}

async fn log_in(fleet: &Fleet, user: &str, class: &str) -> User {
    let user = fleet.at(0).create(json!({"user_id": user, "class": class})).await;
    for replica in &fleet.replicas {
        for answer in ask(replica, &user).await {
            assert_eq!((answer.status, age(&answer)), (200, None), "{}", answer.text);
        }
    }
    user
}

/// How many reads a replica has answered from memory.
async fn hits(replica: &Replica) -> u64 {
    let page = reqwest::get(format!("http://{}/metrics", replica.admin)).await.unwrap();
    let page = page.text().await.unwrap();
    let line = page
        .lines()
        .find_map(|line| line.strip_prefix(r#"cloakroom_reads_total{source="l1"} "#));
    line.unwrap().parse().unwrap()
}

/// Waits until every replica holds the session in memory: on a busy machine a lease may just have lapsed.
async fn until_held(fleet: &Fleet, (path, _): &User) {
    for replica in &fleet.replicas {
        eventually(SOON, "the session to be held", async || {
            let before = hits(replica).await;
            replica.get(path).await.expect(200);
            hits(replica).await > before
        })
        .await;
    }
}

async fn freeze_or_kill(outage: fn(&ClusterNode)) {
    let cluster = RedisCluster::start(ClusterOptions::default()).await;
    let settings = [
        ("session.classes.normal.serve_stale", "1m"),
        ("auth.cache_for", "900ms"),
    ];
    let fleet = Fleet::start(&cluster, &settings).await;
    let chosen = log_in(&fleet, "alice", "normal").await;
    let other = log_in(&fleet, "bob", "temporary").await;
    let ended = log_in(&fleet, "carol", "normal").await;
    assert_eq!(fleet.at(0).delete(&ended.0).await.status, 204);
    fleet
        .all_show("the log-out", async |replica| !replica.is_valid(&ended.1).await)
        .await;

    until_held(&fleet, &chosen).await;
    cluster.nodes().iter().for_each(outage);
    let began = Instant::now();
    tokio::time::sleep_until(began + BOUND).await;
    for replica in &fleet.replicas {
        for answer in ask(replica, &chosen).await {
            assert_eq!(answer.status, 200, "{}", answer.text);
            let age = Duration::from_millis(age(&answer).expect("a mark, for the lease is over"));
            assert!(age >= BOUND && age <= began.elapsed() + BOUND, "{age:?}");
            assert!(!answer.headers.contains_key("x-auth-cache-for"), "nobody may reuse it");
        }
        // One of those that ask tries Redis; the others need not wait for it.
        let started = Instant::now();
        for _ in 0..40 {
            assert_eq!(replica.as_browser("/auth", &chosen.1).await.status, 200);
        }
        assert!(started.elapsed() < 10 * BOUND, "{:?}", started.elapsed());
        // Who did not choose it, who wants the truth, who writes, and who was logged out gets nothing.
        for answer in ask(replica, &other).await {
            answer.unavailable();
        }
        let (path, token) = &chosen;
        replica.get(&format!("{path}?consistency=strong")).await.unavailable();
        replica.get(&format!("{path}?min_version=2")).await.unavailable();
        replica.get(&format!("{path}/data/theme")).await.unavailable();
        replica
            .call("POST", &format!("{path}/token"), json!({"audience": "a"}))
            .await
            .unavailable();
        let answer = replica.call(
            "POST",
            "/v1/sessions/validate",
            json!({"token": token, "consistency": "strong"}),
        );
        answer.await.unavailable();
        assert_ne!(replica.as_browser("/session", &ended.1).await.status, 200);
        assert_ne!(replica.get(&ended.0).await.status, 200);
    }
    drop(fleet);
}

#[tokio::test]
async fn s48_a_class_that_chose_it_is_served_stale_and_marked_while_redis_is_killed() {
    freeze_or_kill(|node| node.kill()).await;
}

#[tokio::test]
async fn s48_a_class_that_chose_it_is_served_stale_and_marked_while_redis_is_frozen() {
    freeze_or_kill(|node| node.freeze()).await;
}

#[tokio::test]
async fn s48_stale_answers_end_with_their_time_with_the_session_and_with_the_outage() {
    const LONGER: Duration = Duration::from_secs(3);
    const LIFE: Duration = Duration::from_secs(10);
    let cluster = RedisCluster::start(ClusterOptions::default()).await;
    let settings = [
        ("session.classes.normal.serve_stale", "3s"),
        ("session.classes.kiosk.serve_stale", "1h"),
        ("session.classes.kiosk.idle", "10s"),
        ("session.classes.kiosk.absolute", "10s"),
    ];
    let fleet = Fleet::start(&cluster, &settings).await;
    let short = log_in(&fleet, "bob", "normal").await;
    let before = Instant::now();
    let kiosk = log_in(&fleet, "alice", "kiosk").await;
    let made = Instant::now();
    until_held(&fleet, &short).await;
    cluster.nodes().iter().for_each(|node| node.freeze());
    let began = Instant::now();
    tokio::time::sleep_until(began + BOUND).await;
    let answer = fleet.at(1).get(&short.0).await;
    assert!(answer.status == 200 && age(&answer).is_some(), "{}", answer.text);
    tokio::time::sleep_until(began + BOUND + LONGER).await;
    fleet.at(1).get(&short.0).await.unavailable();
    let answer = fleet.at(1).get(&kiosk.0).await;
    assert!(answer.status == 200 || before.elapsed() >= LIFE, "{}", answer.text);
    tokio::time::sleep_until(made + LIFE).await;
    fleet.at(1).get(&kiosk.0).await.unavailable();
    cluster.nodes().iter().for_each(|node| node.thaw());
    for replica in &fleet.replicas {
        eventually(SOON, "redis to be asked again", async || {
            let answer = replica.as_browser("/session", &short.1).await;
            assert!(matches!(answer.status, 200 | 503), "{}", answer.text);
            answer.status == 200 && age(&answer).is_none()
        })
        .await;
    }
    drop(fleet);
}
