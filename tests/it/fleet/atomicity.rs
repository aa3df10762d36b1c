//! Changes of one session from everywhere at once.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{Answer, Fleet};
use crate::support::redis_cluster::shared_cluster;

#[tokio::test]
async fn concurrent_changes_from_three_replicas_lose_nothing() {
    let cluster = shared_cluster().await;
    let fleet = Fleet::start(cluster, &[]).await;
    let (path, _) = fleet.at(0).create(json!({"user_id": "alice"})).await;

    let counter = format!("{path}/data/visits/increment");
    let values = fleet
        .crowd(1_000, async |replica, _| {
            let answer = replica.call("POST", &counter, json!({})).await.expect(200);
            answer.json()["value"].as_u64().unwrap()
        })
        .await;
    assert_eq!(
        values.into_iter().collect::<BTreeSet<_>>(),
        (1..=1_000).collect(),
        "each value once"
    );

    let cart = format!("{path}/cart/items");
    fleet
        .crowd(300, async |replica, number| {
            let item = json!({"product_id": format!("p{}", number % 10), "quantity": 1 + number % 2});
            replica.call("POST", &cart, item).await.expect(200);
        })
        .await;
    fleet
        .crowd(90, async |replica, number| {
            let data = json!({"data": {format!("k{number}"): number}});
            replica.call("PATCH", &path, data).await.expect(200);
        })
        .await;

    for replica in &fleet.replicas {
        let session = replica
            .get(&format!("{path}?consistency=strong"))
            .await
            .expect(200)
            .json();
        let data = session["data"].as_object().unwrap();
        assert_eq!(data["visits"], 1_000);
        for number in 0..90 {
            assert_eq!(data[&format!("k{number}")], number);
        }
        let items = data["cart"].as_array().unwrap();
        assert_eq!(items.len(), 10);
        let total: u64 = items.iter().map(|item| item["quantity"].as_u64().unwrap()).sum();
        assert_eq!(total, 450);
        assert_eq!(session["version"], 1 + 1_000 + 300 + 90);
    }
    fleet.finish(cluster).await;
}

async fn patch_if(fleet: &Fleet, number: usize, path: &str, version: u64, body: &Value) -> Answer {
    let replica = fleet.at(number);
    let request = replica
        .request("PATCH", path)
        .header("authorization", &replica.credential)
        .header("if-match", format!("\"{version}\""))
        .json(body);
    Answer::of(request).await.unwrap()
}

#[tokio::test]
async fn of_changes_conditional_on_one_version_one_is_made() {
    let cluster = shared_cluster().await;
    let fleet = Fleet::start(cluster, &[]).await;
    let (path, _) = fleet.at(0).create(json!({"data": {"winner": null, "n": 0}})).await;
    for round in 1..=5 {
        let answers = fleet
            .crowd(100, async |_, number| {
                let body = json!({"data": {"winner": number, format!("of-{number}"): true}});
                (number, patch_if(&fleet, number, &path, round, &body).await)
            })
            .await;
        let winners: Vec<usize> = answers
            .into_iter()
            .filter_map(|(number, answer)| {
                let won = answer.status == 200;
                if !won {
                    answer.problem(412, "version_conflict");
                }
                won.then_some(number)
            })
            .collect();
        let [winner] = winners[..] else {
            panic!("not one winner but {winners:?}")
        };
        let session = fleet.at(1).get(&format!("{path}?consistency=strong")).await.json();
        assert_eq!(session["data"]["winner"], winner);
        assert_eq!(session["version"], round + 1);
        let changes = 2 + usize::try_from(round).unwrap();
        assert!(session["data"].as_object().unwrap().len() <= changes, "{session}");
    }
    fleet.finish(cluster).await;
}
