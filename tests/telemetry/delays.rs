//! The measured delay of invalidations: of a server's own changes, each against its own invalidation.

use std::fmt::Debug;
use std::str::FromStr;

use serde_json::json;

use crate::support::fleet::{Fleet, Replica};
use crate::support::redis_cluster::shared_cluster;
use crate::support::wait::{SOON, eventually};

/// A number that a server shows; a labelled one is given with its labels.
async fn shown<T: FromStr<Err: Debug>>(replica: &Replica, series: &str) -> T {
    let text = reqwest::get(format!("http://{}/metrics", replica.admin)).await.unwrap();
    let text = text.text().await.unwrap();
    let mut lines = text.lines().filter_map(|line| line.strip_prefix(series));
    let value = lines.find_map(|rest| rest.strip_prefix(' '));
    value.unwrap_or_else(|| panic!("no {series}:\n{text}")).parse().unwrap()
}

async fn measured(replica: &Replica) -> u64 {
    shown(replica, "cloakroom_invalidation_delay_seconds_count").await
}

/// Somebody else's change, and the wait until this server has heard it.
async fn heard(here: &Replica, kind: &str, change: impl Future<Output = ()>) {
    let series = format!("cloakroom_invalidations_total{{kind=\"{kind}\"}}");
    let before: u64 = shown(here, &series).await;
    change.await;
    eventually(SOON, "the other server's invalidation", async || {
        shown::<u64>(here, &series).await > before
    })
    .await;
}

#[tokio::test]
async fn changes_that_published_nothing_are_not_measured_by_what_others_publish_later() {
    let fleet = Fleet::start(shared_cluster().await, &[]).await;
    let (here, there) = (fleet.at(0), fleet.at(1));
    let change = async |path: &str| {
        there
            .call("PATCH", path, json!({"data": {"by": "there"}}))
            .await
            .expect(200);
    };

    let (touched, _) = here.create(json!({})).await;
    here.call("POST", &format!("{touched}/touch"), json!({}))
        .await
        .expect(200);
    heard(here, "changed", change(&touched)).await;
    assert_eq!(measured(here).await, 0, "a use, and then another server's change");

    let (refused, _) = here.create(json!({})).await;
    let conditional = here
        .request("PATCH", &refused)
        .header("authorization", &here.credential)
        .header("if-match", "\"41\"")
        .json(&json!({"data": {"by": "here"}}));
    assert_eq!(conditional.send().await.unwrap().status(), 412);
    heard(here, "changed", change(&refused)).await;
    assert_eq!(measured(here).await, 0, "a refused change, and then another server's");

    // Known by its former id until the grace is over: published under the present one, and its end under both.
    let (former, _) = there.create(json!({})).await;
    let rotated = there
        .call("POST", &format!("{former}/rotate"), json!({}))
        .await
        .expect(201);
    let (present, _) = rotated.issued();
    heard(here, "changed", async {
        here.call("PATCH", &former, json!({"data": {"by": "here"}}))
            .await
            .expect(200);
    })
    .await;
    heard(here, "ended", async {
        there.delete(&present).await.expect(204);
    })
    .await;
    assert_eq!(measured(here).await, 0, "a change under a former id, and then the end");
}

#[tokio::test]
async fn every_own_change_and_rotation_is_measured_once() {
    let fleet = Fleet::start(shared_cluster().await, &[]).await;
    let here = fleet.at(0);
    let (path, _) = here.create(json!({})).await;
    for round in 1..=20 {
        here.call("PATCH", &path, json!({"data": {"round": round}}))
            .await
            .expect(200);
        eventually(SOON, "a change to be measured", async || measured(here).await == round).await;
    }
    here.call("POST", &format!("{path}/rotate"), json!({}))
        .await
        .expect(201);
    eventually(SOON, "a rotation to be measured", async || measured(here).await == 21).await;
    let sum: f64 = shown(here, "cloakroom_invalidation_delay_seconds_sum").await;
    assert!(sum > 0.0 && sum < 21.0, "{sum}");
}
