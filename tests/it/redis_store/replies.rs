//! Replies that come to the wrong caller, late, or to nobody.

use std::time::Duration;

use cloakroom::session::SystemRandom;
use cloakroom::store::redis::RedisStore;
use cloakroom::store::{Lookup, SessionStore, StoreError};
use cloakroom::telemetry::Metrics;
use tokio::task::JoinSet;

use super::load::Dice;
use super::{make, new_session, proxied, user};
use crate::support::audit::audit;
use crate::support::store::{connect, redis_options};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn swapped_replies_are_given_to_nobody() {
    const ROUNDS: u64 = 20;
    let cluster = proxied().await;
    let options = redis_options(cluster.urls());
    let metrics = [Metrics::new().unwrap(), Metrics::new().unwrap()];
    let mut stores = Vec::new();
    for metrics in &metrics {
        let store = RedisStore::connect(options.clone(), std::sync::Arc::new(SystemRandom), metrics.clone());
        stores.push(store.await.unwrap());
    }
    let owner = user("owner");
    let ids = [
        make(&stores[0], new_session(&stores[0], &owner)).await,
        make(&stores[0], new_session(&stores[0], &owner)).await,
    ];
    let node = cluster.primary_of_key(&format!("{{{}}}", ids[0].bucket())).await;
    let accepted = node.proxy().counts().accepted;
    for _ in 0..ROUNDS {
        node.proxy().swap_replies(ids[0].to_string(), ids[1].to_string());
        let (one, other) = tokio::join!(stores[0].get(ids[0]), stores[1].get(ids[1]));
        for outcome in [one, other] {
            assert!(matches!(outcome, Err(StoreError::Mismatch)), "{outcome:?}");
        }
        for (store, id) in stores.iter().zip(ids) {
            let Lookup::Found(snapshot) = store.get(id).await.unwrap() else {
                panic!("{id} is gone")
            };
            assert_eq!(snapshot.session.id, id);
        }
    }
    for metrics in &metrics {
        assert_eq!(metrics.store_mismatches.get(), ROUNDS);
    }
    assert!(
        node.proxy().counts().accepted >= accepted + 2 * ROUNDS,
        "each mismatch costs its connection"
    );
    // Sessions of two users: a listing too belongs to who asked for it.
    let (first, second) = (user("first"), same_node_user(&cluster, &stores[0], "first").await);
    for who in [&first, &second] {
        make(&stores[0], new_session(&stores[0], who)).await;
    }
    let node = cluster
        .primary_of_key(&format!("{{{}}}", stores[0].keyring().bucket_of(&first)))
        .await;
    node.proxy().swap_replies(
        stores[0].keyring().user_hash(&first),
        stores[0].keyring().user_hash(&second),
    );
    let (one, other) = tokio::join!(stores[0].sessions_of(&first), stores[1].sessions_of(&second));
    assert!(matches!(
        (one, other),
        (Err(StoreError::Mismatch), Err(StoreError::Mismatch))
    ));
    audit(&cluster, &options.prefix).await;
}

/// Another user whose bucket lies on the same primary as that of `name`.
async fn same_node_user(
    cluster: &crate::support::redis_cluster::RedisCluster,
    store: &RedisStore,
    name: &str,
) -> cloakroom::session::UserId {
    let owner = |user: &cloakroom::session::UserId| format!("{{{}}}", store.keyring().bucket_of(user));
    let wanted = cluster.primary_of_key(&owner(&user(name))).await.id.clone();
    for number in 0.. {
        let candidate = user(&format!("{name} {number}"));
        if cluster.primary_of_key(&owner(&candidate)).await.id == wanted {
            return candidate;
        }
    }
    unreachable!("some other user's bucket lies there")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replies_to_callers_that_went_away_reach_nobody_else() {
    const CALLS: u64 = 2_000;
    let cluster = proxied().await;
    let options = redis_options(cluster.urls());
    let prefix = options.prefix.clone();
    let store = connect(options).await;
    let mut ids = Vec::new();
    for number in 0..50 {
        ids.push(make(&store, new_session(&store, &user(&format!("user {number}")))).await);
    }
    for node in cluster.nodes() {
        node.proxy().delay_replies(Duration::from_millis(4));
    }
    let mut dice = Dice::new(11);
    let mut calls = JoinSet::new();
    for _ in 0..CALLS {
        let (store, id) = (store.clone(), dice.pick(&ids).unwrap());
        let patience = Duration::from_micros(dice.below(9_000));
        calls.spawn(async move {
            // Given up at any point: before it is sent, while it waits, or not at all.
            match tokio::time::timeout(patience, store.get(id)).await {
                Ok(Ok(Lookup::Found(snapshot))) => {
                    assert_eq!(snapshot.session.id, id);
                    true
                }
                Ok(other) => panic!("{other:?}"),
                Err(_) => false,
            }
        });
        if dice.below(16) == 0 {
            tokio::task::yield_now().await;
            tokio::time::sleep(Duration::from_micros(dice.below(2_000))).await;
        }
    }
    let answered = calls.join_all().await.into_iter().filter(|answered| *answered).count();
    let given_up = usize::try_from(CALLS).unwrap() - answered;
    assert!(
        answered > 100 && given_up > 500,
        "{answered} answered, {given_up} given up"
    );
    for id in &ids {
        assert!(matches!(store.get(*id).await.unwrap(), Lookup::Found(snapshot) if snapshot.session.id == *id));
    }
    cluster.nodes().iter().for_each(|node| node.proxy().clear());
    audit(&cluster, &prefix).await;
}
