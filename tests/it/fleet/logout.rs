//! Who is logged out stays logged out, whatever is under way.

use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use serde_json::json;
use tokio::time::Instant;

use super::{Fleet, Replica};
use crate::support::redis_cluster::shared_cluster;

const IN_FLIGHT: usize = 1_000;
/// The request in whose place everything ends: half of them are sent before.
const HALF: usize = IN_FLIGHT / 2;

/// One of the changes that could bring a session back, and the token that it gave.
async fn change(replica: &Replica, number: usize, path: &str) -> Option<(String, String)> {
    let answer = match number % 4 {
        0 => replica.call("POST", &format!("{path}/touch"), json!({})).await,
        1 => replica.call("PATCH", path, json!({"data": {"n": number}})).await,
        2 => replica.call("POST", &format!("{path}/rotate"), json!({})).await,
        _ => {
            let target = json!({"server_id": format!("replica-{}", number % 3)});
            replica.call("POST", &format!("{path}/migrate"), target).await
        }
    };
    match answer.status {
        201 => Some(answer.issued()),
        200 => None,
        _ => {
            answer.problem(404, "session_not_found");
            None
        }
    }
}

async fn is_gone(fleet: &Fleet, path: &str, token: &str) {
    fleet
        .all_show("an end", async |replica| {
            replica.get(path).await.status == 404
                && replica.get(&format!("{path}?consistency=strong")).await.status == 404
                && !replica.is_valid(token).await
        })
        .await;
}

#[tokio::test]
async fn s21_a_log_out_amid_a_thousand_changes_ends_the_session_and_its_kin() {
    let cluster = shared_cluster().await;
    let fleet = Fleet::start(cluster, &[]).await;
    let made = fleet.at(0).create(json!({"user_id": "alice"})).await;
    let path = &made.0;
    let rotated = fleet
        .crowd(IN_FLIGHT, async |replica, number| {
            if number == HALF {
                replica.delete(path).await.expect(204);
                return None;
            }
            change(replica, number, path).await
        })
        .await;
    let kin: Vec<_> = rotated.into_iter().flatten().collect();
    assert!(!kin.is_empty(), "nothing was rotated before the end");
    for (path, token) in [&made].into_iter().chain(&kin) {
        is_gone(&fleet, path, token).await;
    }
    let listed = fleet.at(1).get("/v1/users/alice/sessions").await.json();
    assert_eq!(listed["sessions"], json!([]));
    assert_eq!(fleet.finish(cluster).await.sessions, 0);
}

/// A log-in, and whether it was answered before the end was asked for, or asked for after that was answered.
struct LogIn {
    issued: (String, String),
    sent: Instant,
    answered: Instant,
}

#[tokio::test]
async fn s22_a_log_out_everywhere_amid_a_thousand_changes_ends_all_that_was_there() {
    let cluster = shared_cluster().await;
    let fleet = Fleet::start(cluster, &[]).await;
    let old = fleet
        .crowd(10, async |replica, _| replica.create(json!({"user_id": "bob"})).await)
        .await;
    let anonymous = fleet
        .crowd(IN_FLIGHT / 10, async |replica, _| replica.create(json!({})).await)
        .await;
    let ended = Mutex::new(None);
    let is_asked = AtomicBool::new(false);
    let log_in = async |replica: &Replica, number: usize| {
        let sent = Instant::now();
        let answer = if number.is_multiple_of(2) {
            let path = &anonymous[number / 10].0;
            let body = json!({"user_id": "bob"});
            replica.call("POST", &format!("{path}/rotate"), body).await
        } else {
            replica.call("POST", "/v1/sessions", json!({"user_id": "bob"})).await
        };
        let issued = answer.expect(201).issued();
        let answered = Instant::now();
        LogIn { issued, sent, answered }
    };
    let outcomes = fleet
        .crowd(IN_FLIGHT, async |replica, number| {
            if number == HALF {
                is_asked.store(true, Ordering::SeqCst);
                let sent = Instant::now();
                replica.delete("/v1/users/bob/sessions").await.expect(200);
                *ended.lock() = Some((sent, Instant::now()));
                return (None, None);
            }
            if number % 10 == 9 || number % 10 == 0 {
                return (None, Some(log_in(replica, number).await));
            }
            (change(replica, number, &old[number % old.len()].0).await, None)
        })
        .await;
    let (asked, answered) = ended.lock().unwrap();
    let (rotated, log_ins): (Vec<_>, Vec<_>) = outcomes.into_iter().unzip();
    for (path, token) in old.iter().chain(rotated.iter().flatten()) {
        is_gone(&fleet, path, token).await;
    }
    let mut alive = 0;
    for log_in in log_ins.iter().flatten() {
        let (path, token) = &log_in.issued;
        if log_in.answered < asked {
            is_gone(&fleet, path, token).await;
        } else {
            let is_alive = fleet.at(0).get(&format!("{path}?consistency=strong")).await.status == 200;
            assert!(is_alive || log_in.sent < answered, "a later log-in was ended");
            alive += u64::from(is_alive);
        }
    }
    let audit = fleet.finish(cluster).await;
    // The end took the place of one log-in.
    let unused = 1;
    assert_eq!(audit.sessions, alive + unused);
}
