//! Endpoints that fail for long, hang, or refuse one event: what is repeated, given up, and told as lost.

use std::collections::BTreeSet;
use std::time::Duration;

use axum::http::StatusCode;
use serde_json::{Value, json};

use crate::receiver::{Delivery, Manner, Receiver};
use crate::support::fleet::{Fleet, Replica};
use crate::support::wait::{SOON, eventually};
use crate::webhooks::{NEW, fleet, id_of, leader, verified};

/// How many events of an endpoint are on their way at a time: `WINDOW` of `src/webhooks/deliver.rs`.
const WINDOW: usize = 8;
/// How many events a bucket's stream holds: `EVENTS` of `src/store/redis/scripts/lib.lua`.
const KEPT: usize = 64;
/// A listener of the feed that is this far behind has lost some: `LISTENER_BACKLOG` of `src/sessions/events.rs`.
const BACKLOG: usize = 4_096;

/// For thousands of deliveries, or several ever longer pauses.
const LONG: Duration = Duration::from_mins(2);

async fn shows(replica: &Replica, line: &str) -> bool {
    let url = format!("http://{}/metrics", replica.admin);
    let text = reqwest::get(url).await.unwrap().text().await.unwrap();
    text.lines().any(|shown| shown == line)
}

/// What the server that delivers shows, among those that run.
async fn one_shows(fleet: &Fleet, besides: Option<usize>, line: &str) {
    eventually(LONG, line, async || {
        for (index, replica) in fleet.replicas.iter().enumerate() {
            if Some(index) != besides && shows(replica, line).await {
                return true;
            }
        }
        false
    })
    .await;
}

fn created(delivery: &Delivery) -> Option<String> {
    let body = delivery.json();
    let id = body["data"]["session_id"].as_str()?;
    (body["type"] == "session.created").then(|| id.to_owned())
}

#[tokio::test]
async fn events_that_the_streams_no_longer_hold_are_told_as_a_gap_and_the_rest_follows() {
    let receiver = Receiver::start().await;
    let fleet = fleet(&receiver, &[("webhooks.shop.kinds", "created")]).await;
    let first = leader(&fleet).unwrap();

    // All sessions of a user are in one bucket: its stream cannot hold them all.
    receiver.answer(503);
    let mut made = Vec::new();
    for number in 0..KEPT + 20 {
        let (path, _) = fleet.at(number).create(json!({"user_id": "alice"})).await;
        made.push(id_of(&path).to_owned());
    }
    fleet.at(first).program.terminate();
    assert_eq!(fleet.at(first).program.wait_exit(SOON).await.code(), Some(0));
    receiver.answer(204);

    let gap = eventually(LONG, "a gap", async || {
        receiver
            .taken()
            .into_iter()
            .find(|delivery| delivery.json()["type"] == "gap")
    })
    .await;
    assert_eq!(gap.json()["data"], json!({}));
    assert!(gap.headers["webhook-id"].starts_with("gap-"), "{gap:?}");
    if let Some(valid) = verified(&gap, NEW) {
        assert!(valid, "{gap:?}");
    }
    one_shows(
        &fleet,
        Some(first),
        "cloakroom_webhook_losses_total{reason=\"trimmed\",webhook=\"shop\"} 1",
    )
    .await;
    for id in &made[made.len() - KEPT..] {
        receiver.delivery("created", id).await;
    }
}

#[tokio::test]
async fn an_endpoint_that_hangs_holds_up_a_few_deliveries_and_nobody_else_and_loses_nothing() {
    let (receiver, other) = (Receiver::start().await, Receiver::start().await);
    let settings = [
        ("webhooks.shop.timeout", "2s"),
        ("webhooks.shop.kinds", "created"),
        ("webhooks.other.url", other.url.as_str()),
        ("webhooks.other.secrets", NEW),
        ("webhooks.other.kinds", "created"),
    ];
    let fleet = fleet(&receiver, &settings).await;

    // More than the feed of a listener holds: what is dropped there is read from the streams again.
    receiver.behave(Manner {
        hangs: true,
        ..Manner::default()
    });
    let count = BACKLOG + 500;
    let made = fleet
        .crowd(count, async |replica, number| {
            let body = json!({"user_id": format!("user-{number}")});
            // A busy machine answers some late: those are asked again.
            eventually(LONG, "a session to be created", async || {
                let answer = replica.try_call("POST", "/v1/sessions", Some(&body)).await.ok()?;
                (answer.status == 201).then(|| id_of(&answer.issued().0).to_owned())
            })
            .await
        })
        .await;
    eventually(LONG, "the other endpoint to have had them all", async || {
        other.taken_count() >= count
    })
    .await;
    assert!(
        receiver.most_open() <= WINDOW,
        "{} deliveries at a time",
        receiver.most_open()
    );
    assert!(receiver.taken_count() < 100, "the endpoint hangs");

    receiver.answer(204);
    let had = receiver.taken_count();
    eventually(LONG, "as many as were made meanwhile", async || {
        receiver.taken_count() >= had + count
    })
    .await;
    // Some came twice: where it was left off is remembered once a second.
    eventually(LONG, "every one of them", async || {
        let taken: BTreeSet<String> = receiver.taken().iter().filter_map(created).collect();
        made.iter().all(|id| taken.contains(id))
    })
    .await;
    assert!(
        receiver.most_open() <= WINDOW,
        "{} deliveries at a time",
        receiver.most_open()
    );
    assert!(
        receiver.taken().iter().all(|delivery| delivery.json()["type"] != "gap"),
        "nothing was lost"
    );
}

/// The pauses between the attempts to deliver to a session.
fn pauses(refusals: &[Delivery], session: &str) -> Vec<Duration> {
    let of_it: Vec<_> = refusals
        .iter()
        .filter(|refused| refused.body.contains(session))
        .collect();
    of_it.windows(2).map(|pair| pair[1].at - pair[0].at).collect()
}

#[tokio::test]
async fn an_event_that_is_refused_alone_is_repeated_ever_more_slowly_then_given_up() {
    let receiver = Receiver::start().await;
    let fleet = fleet(&receiver, &[("webhooks.shop.retry_for", "4s")]).await;
    let (poison, _) = fleet.at(0).create(json!({})).await;
    let poisoned = id_of(&poison).to_owned();
    receiver.delivery("created", &poisoned).await;
    receiver.behave(Manner {
        status: Some(StatusCode::UNPROCESSABLE_ENTITY),
        only: Some(poisoned.clone()),
        ..Manner::default()
    });
    fleet
        .at(1)
        .call("PATCH", &poison, json!({"data": {"a": 1}}))
        .await
        .expect(200);
    // Others go on meanwhile: hence it is the event that is wrong, not the endpoint.
    eventually(LONG, "an event to be given up", async || {
        let (path, _) = fleet.at(2).create(json!({})).await;
        receiver.delivery("created", id_of(&path)).await;
        let mut shown = false;
        for replica in &fleet.replicas {
            shown |= shows(
                replica,
                "cloakroom_webhook_losses_total{reason=\"given_up\",webhook=\"shop\"} 1",
            )
            .await;
        }
        shown
    })
    .await;
    let pauses = pauses(&receiver.refusals(), &poisoned);
    assert!((2..6).contains(&pauses.len()), "{pauses:?}");
    for (number, pause) in pauses.iter().enumerate() {
        let least = Duration::from_millis(500 << number);
        assert!(*pause >= least, "attempt {number} came after {pause:?}, not {least:?}");
    }
    // What follows in that session is not lost with it.
    receiver.answer(204);
    fleet.at(0).delete(&poison).await.expect(204);
    receiver.delivery("destroyed", &poisoned).await;
}

#[tokio::test]
async fn an_outage_longer_than_the_repeats_disables_an_endpoint_until_it_is_back() {
    let receiver = Receiver::start().await;
    let fleet = fleet(
        &receiver,
        &[("webhooks.shop.retry_for", "3s"), ("webhooks.shop.kinds", "created")],
    )
    .await;
    receiver.answer(503);
    let (path, _) = fleet.at(0).create(json!({})).await;
    let id = id_of(&path).to_owned();
    one_shows(&fleet, None, "cloakroom_webhook_disabled{webhook=\"shop\"} 1").await;
    // Events of a disabled endpoint wait.
    let (later, _) = fleet.at(1).create(json!({})).await;
    let tried = receiver.refusals().len();
    eventually(LONG, "a disabled endpoint to be tried", async || {
        receiver.refusals().len() > tried
    })
    .await;
    receiver.answer(204);
    let delivered = receiver.delivery("created", &id).await;
    receiver.delivery("created", id_of(&later)).await;
    one_shows(&fleet, None, "cloakroom_webhook_disabled{webhook=\"shop\"} 0").await;
    let first: Value = receiver
        .refusals()
        .iter()
        .find(|refused| refused.body.contains(&id))
        .unwrap()
        .json();
    assert_eq!(first, delivered.json());
    for replica in &fleet.replicas {
        assert!(
            !shows(
                replica,
                "cloakroom_webhook_losses_total{reason=\"given_up\",webhook=\"shop\"} 1"
            )
            .await
        );
    }
}

#[tokio::test]
async fn a_pause_that_an_endpoint_asks_for_is_kept() {
    let receiver = Receiver::start().await;
    let fleet = fleet(&receiver, &[("webhooks.shop.kinds", "created")]).await;
    receiver.behave(Manner {
        status: Some(StatusCode::TOO_MANY_REQUESTS),
        retry_after: Some(3),
        ..Manner::default()
    });
    let (path, _) = fleet.at(0).create(json!({})).await;
    let refused = async || pauses(&receiver.refusals(), id_of(&path)).len() >= 2;
    eventually(LONG, "three attempts", refused).await;
    for pause in pauses(&receiver.refusals(), id_of(&path)) {
        assert!(pause >= Duration::from_secs(3), "{pause:?}");
    }
}
