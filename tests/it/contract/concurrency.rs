use std::sync::Arc;

use cloakroom::session::SessionId;
use cloakroom::store::{Change, StoreError};
use tokio::task::JoinHandle;

use super::fixture::fresh_user;
use super::fixture::{Fixture, MAX_BYTES, fresh_id, increment, item, operation, rotation, set, touch};

pub(crate) async fn a_thousand_increments_are_a_thousand(f: &Fixture) {
    let id = f.make_one().await;
    let tasks: Vec<_> = (0..20)
        .map(|_| {
            let store = Arc::clone(&f.store);
            tokio::spawn(async move {
                for _ in 0..50 {
                    store.increment(id, increment("n", "1")).await.unwrap();
                }
            })
        })
        .collect();
    finish(tasks).await;
    let session = f.found(id).await.session;
    assert_eq!((session.data["n"].get(), session.version), ("1000", 1_001));
}

pub(crate) async fn concurrent_cart_lines_lose_nothing(f: &Fixture) {
    let id = f.make_one().await;
    let tasks: Vec<_> = (0..10)
        .map(|product| {
            let store = Arc::clone(&f.store);
            tokio::spawn(async move {
                for _ in 0..10 {
                    for line in [item(&format!("p{product}"), 1), item("common", 1)] {
                        store.add_to_cart(id, line, MAX_BYTES, operation()).await.unwrap();
                    }
                }
            })
        })
        .collect();
    finish(tasks).await;
    let cart = f
        .store
        .add_to_cart(id, item("last", 1), MAX_BYTES, operation())
        .await
        .unwrap();
    let quantity = |product: &str| {
        cart.iter()
            .find(|line| line.product_id == product)
            .map(|line| line.quantity)
    };
    assert_eq!((cart.len(), quantity("common")), (12, Some(100)));
    for product in 0..10 {
        assert_eq!(quantity(&format!("p{product}")), Some(10));
    }
}

pub(crate) async fn concurrent_changes_of_different_keys_all_stay(f: &Fixture) {
    let id = f.make_one().await;
    let tasks: Vec<_> = (0..50)
        .map(|n| {
            let store = Arc::clone(&f.store);
            tokio::spawn(async move {
                let change = set(&format!("key {n}"), &n.to_string());
                store.change(id, change, MAX_BYTES, operation()).await.unwrap();
            })
        })
        .collect();
    finish(tasks).await;
    let session = f.found(id).await.session;
    assert_eq!((session.data.len(), session.version), (50, 51));
    assert_eq!(session.data_bytes, cloakroom::session::data_bytes(&session.data));
}

pub(crate) async fn one_of_many_conditional_changes_wins(f: &Fixture) {
    let id = f.make_one().await;
    let tasks: Vec<_> = (0..20)
        .map(|n: u32| {
            let store = Arc::clone(&f.store);
            let change = Change {
                if_match: Some(vec![1]),
                ..set("winner", &n.to_string())
            };
            tokio::spawn(async move { store.change(id, change, MAX_BYTES, operation()).await })
        })
        .collect();
    let mut winners = Vec::new();
    for (n, task) in tasks.into_iter().enumerate() {
        match task.await.unwrap() {
            Ok(_) => winners.push(n.to_string()),
            Err(StoreError::Conflict { current: 2 }) => {}
            Err(error) => panic!("{error}"),
        }
    }
    let session = f.found(id).await.session;
    assert_eq!((winners.len(), session.version), (1, 2));
    assert_eq!(session.data["winner"].get(), winners[0]);
}

/// Sessions are made, used and rotated while their user is ended: whatever was there when the end began is gone.
pub(crate) async fn s22_no_session_survives_an_end_of_all_that_it_is_older_than(f: &Fixture) {
    let user = fresh_user();
    for _ in 0..5 {
        let mut before = Vec::new();
        for _ in 0..10 {
            before.push(f.make(f.new_session(&user)).await.session.id);
        }
        let mut tasks: Vec<_> = before.iter().map(|id| keep_busy(f, *id)).collect();
        for _ in 0..10 {
            let store = Arc::clone(&f.store);
            let new = f.new_session(&user);
            tasks.push(tokio::spawn(async move {
                store.create(new, operation()).await.unwrap();
            }));
        }
        let ended = f.store.end_user(&user, None, false, operation()).await.unwrap();
        finish(tasks).await;
        assert!(ended.sessions.len() >= before.len());
        for id in before.iter().chain(&ended.sessions).chain(&ended.kin) {
            f.assert_missing(*id).await;
        }
        let survivors = f.store.sessions_of(&user).await.unwrap();
        for survivor in &survivors {
            let session = f.found(survivor.session.id).await.session;
            assert_eq!(session.version, 1, "it was made after the end: nobody has changed it");
        }
        f.store.end_user(&user, None, false, operation()).await.unwrap();
        assert!(f.ids_of(&user).await.is_empty());
    }
}

/// Uses and rotates a session until it is gone.
fn keep_busy(f: &Fixture, first: SessionId) -> JoinHandle<()> {
    let store = Arc::clone(&f.store);
    tokio::spawn(async move {
        let mut id = first;
        for _ in 0..20 {
            let _ = store.touch(touch(id)).await;
            let new_id = fresh_id(id.bucket());
            match store.rotate(id, rotation(new_id), operation()).await {
                Ok(_) => id = new_id,
                Err(StoreError::NotFound) => return,
                Err(error) => panic!("{error}"),
            }
            tokio::task::yield_now().await;
        }
    })
}

async fn finish(tasks: Vec<JoinHandle<()>>) {
    for task in tasks {
        task.await.unwrap();
    }
}
