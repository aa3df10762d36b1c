//! Redis frozen, and a primary lost: what is not known is said to be unknown, and nobody is logged out.

use std::time::Duration;

use futures_util::future::join_all;
use parking_lot::Mutex;
use serde_json::json;
use tokio::time::Instant;

use super::{Answer, BOUND, Fleet, Replica};
use crate::support::redis_cluster::{ClusterOptions, RedisCluster};
use crate::support::wait::{SOON, eventually};

const SESSIONS: usize = 60;
/// What an answer may take: waiting for another's read, at most for the bound, and then the timeouts for a connection and
/// for a reply, each by default 1 s.
const TIMEOUT: Duration = Duration::from_secs(1 + 2);
/// What a busy machine may add.
const SLACK: Duration = Duration::from_secs(1);

type Users = Vec<(String, String)>;

async fn log_in(fleet: &Fleet, count: usize) -> Users {
    fleet
        .crowd(count, async |replica, number| {
            replica.create(json!({"user_id": format!("user-{number}")})).await
        })
        .await
}

async fn timed(answer: impl Future<Output = Answer>) -> (Answer, Duration) {
    let started = Instant::now();
    (answer.await, started.elapsed())
}

/// A request at every face.
async fn ask_all_faces(replica: &Replica, (path, token): &(String, String)) -> Vec<(Answer, Duration)> {
    let (read, create, change, validate, list, auth, session) = tokio::join!(
        timed(replica.get(path)),
        timed(replica.call("POST", "/v1/sessions", json!({}))),
        timed(replica.call("PATCH", path, json!({"data": {"late": true}}))),
        timed(replica.call("POST", "/v1/sessions/validate", json!({"token": token}))),
        timed(replica.get("/v1/users/user-1/sessions")),
        timed(replica.as_browser("/auth", token)),
        timed(replica.as_browser("/session", token)),
    );
    vec![read, create, change, validate, list, auth, session]
}

#[tokio::test]
async fn s48_while_redis_is_frozen_nothing_is_known_and_afterwards_everybody_is_still_logged_in() {
    let cluster = RedisCluster::start(ClusterOptions::default()).await;
    let fleet = Fleet::start(&cluster, &[]).await;
    let users = log_in(&fleet, SESSIONS).await;
    fleet
        .crowd(3 * SESSIONS, async |replica, number| {
            assert!(replica.is_valid(&users[number % SESSIONS].1).await);
        })
        .await;

    cluster.nodes().iter().for_each(|node| node.freeze());
    let frozen = Instant::now();
    // What memory covers may be answered for the bound; then every face of every replica says that it cannot know.
    tokio::time::sleep_until(frozen + BOUND).await;
    let answers = join_all(fleet.replicas.iter().map(|replica| ask_all_faces(replica, &users[7]))).await;
    for (answer, took) in answers.into_iter().flatten() {
        answer.unavailable();
        assert!(took <= TIMEOUT + SLACK, "{took:?}");
    }
    for replica in &fleet.replicas {
        assert_eq!(replica.readiness().await, Some(200));
    }
    cluster.nodes().iter().for_each(|node| node.thaw());

    for replica in &fleet.replicas {
        eventually(SOON, "redis to be served again", async || {
            let body = json!({"token": users[7].1});
            replica.call("POST", "/v1/sessions/validate", body).await.status == 200
        })
        .await;
    }
    eventually(SOON, "every bucket to be served again", async || {
        let answers = fleet
            .crowd(SESSIONS, async |replica, number| {
                let answer = replica.as_browser("/session", &users[number].1).await;
                assert!(matches!(answer.status, 200 | 503), "{}", answer.text);
                answer.status == 200
            })
            .await;
        answers.into_iter().all(|served| served)
    })
    .await;
    drop(fleet);
}

/// The ends that were confirmed while a primary was lost, and those that were not.
#[derive(Default)]
struct Ends {
    answered: Vec<(String, String)>,
    unanswered: Vec<(String, String)>,
}

#[tokio::test]
async fn a_lost_primary_is_replaced_and_what_was_ended_stays_ended() {
    let options = ClusterOptions::default();
    let limit = options.node_timeout + Duration::from_secs(3);
    let cluster = RedisCluster::start(options).await;
    let fleet = Fleet::start(&cluster, &[]).await;
    let staying = log_in(&fleet, SESSIONS).await;
    let leaving = log_in(&fleet, 4 * SESSIONS).await;
    let ends = Mutex::new(Ends::default());

    let lost = &cluster.nodes()[0];
    let killed = Mutex::new(None);
    let ending = fleet.crowd(leaving.len(), async |replica, number| {
        if number == leaving.len() / 2 {
            lost.kill();
            *killed.lock() = Some(Instant::now());
        }
        let (path, token) = leaving[number].clone();
        let answer = replica.delete(&path).await;
        if answer.status == 204 {
            ends.lock().answered.push((path, token));
        } else {
            answer.unavailable();
            ends.lock().unanswered.push((path, token));
        }
    });
    ending.await;
    let killed = killed.lock().unwrap();
    eventually(SOON, "all to be served again", async || {
        let answers = fleet
            .crowd(3 * SESSIONS, async |replica, number| {
                let path = format!("{}?consistency=strong", staying[number % SESSIONS].0);
                let answer = replica.get(&path).await;
                assert!(matches!(answer.status, 200 | 503), "{}", answer.text);
                answer.status == 200
            })
            .await;
        answers.into_iter().all(|served| served)
    })
    .await;
    let took = killed.elapsed();
    assert!(took <= limit + SLACK, "served again after {took:?}");

    let ends = ends.into_inner();
    assert!(ends.answered.len() >= leaving.len() / 2, "{}", ends.answered.len());
    fleet
        .all_show("the ends", async |replica| {
            for (path, token) in &ends.answered {
                if replica.get(path).await.status != 404 || replica.is_valid(token).await {
                    return false;
                }
            }
            true
        })
        .await;
    // What was answered 503 is repeated, and comes true as well.
    for (path, _) in &ends.unanswered {
        eventually(SOON, "an unconfirmed end", async || {
            fleet.at(1).get(&format!("{path}?consistency=strong")).await.status == 404
        })
        .await;
    }
    for (path, token) in &ends.answered {
        for replica in &fleet.replicas {
            assert_eq!(replica.get(&format!("{path}?consistency=strong")).await.status, 404);
            assert!(!replica.is_valid(token).await);
        }
    }
    let audit = fleet.finish(&cluster).await;
    assert_eq!(audit.sessions, SESSIONS as u64);
}
