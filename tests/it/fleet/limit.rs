//! The limit of sessions a user, under log-ins at every replica at once.

use std::collections::BTreeSet;

use serde_json::json;

use super::Fleet;
use crate::support::redis_cluster::shared_cluster;

const LIMIT: usize = 5;
const LOG_INS: usize = 100;

/// The statuses of all log-ins at once, after which the user has as many sessions as allowed.
async fn log_ins(policy: &str) -> Vec<u16> {
    let cluster = shared_cluster().await;
    let settings = [("session.max_per_user", "5"), ("session.max_per_user_policy", policy)];
    let fleet = Fleet::start(cluster, &settings).await;
    let answers = fleet
        .crowd(LOG_INS, async |replica, number| {
            if number % 2 == 0 {
                return replica.call("POST", "/v1/sessions", json!({"user_id": "carol"})).await;
            }
            let (path, _) = replica.create(json!({})).await;
            let body = json!({"user_id": "carol"});
            replica.call("POST", &format!("{path}/rotate"), body).await
        })
        .await;
    let statuses = answers.iter().map(|answer| answer.status).collect();
    let mut issued = BTreeSet::new();
    let mut refused = 0;
    for answer in answers {
        if answer.status == 201 {
            issued.insert(answer.issued());
        } else {
            answer.problem(409, "too_many_sessions");
            refused += 1;
        }
    }
    for replica in &fleet.replicas {
        let listed = replica.get("/v1/users/carol/sessions").await.json();
        assert_eq!(listed["sessions"].as_array().unwrap().len(), LIMIT);
    }
    let mut alive = 0;
    for (path, token) in &issued {
        let found = fleet.at(2).get(&format!("{path}?consistency=strong")).await.status == 200;
        assert_eq!(fleet.at(1).is_valid(token).await, found);
        alive += usize::from(found);
    }
    assert_eq!(alive, LIMIT);
    let audit = fleet.finish(cluster).await;
    assert_eq!(audit.users, 1);
    // A log-in that was refused leaves the anonymous session as it was.
    assert!(audit.sessions >= LIMIT as u64 && audit.sessions <= (LIMIT + refused) as u64);
    statuses
}

fn made(statuses: &[u16]) -> usize {
    statuses.iter().filter(|status| **status == 201).count()
}

#[tokio::test]
async fn s53_beyond_the_limit_log_ins_are_refused() {
    assert_eq!(made(&log_ins("refuse").await), LIMIT);
}

#[tokio::test]
async fn beyond_the_limit_the_oldest_make_room() {
    assert_eq!(made(&log_ins("end_oldest").await), LOG_INS);
}

#[tokio::test]
async fn beyond_the_limit_the_least_used_make_room() {
    assert_eq!(made(&log_ins("end_least_recently_used").await), LOG_INS);
}
