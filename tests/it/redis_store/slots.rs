//! A bucket's slot on the move: nothing is half-written, and every answer is right or `Unavailable`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use cloakroom::session::{DataKey, SessionId, UserId};
use cloakroom::store::redis::RedisStore;
use cloakroom::store::{Lookup, SessionStore, StoreError};
use tokio::task::JoinSet;

use super::calls::{add, log_out, plain_rotation};
use super::{make, new_id, new_session, operation, shaken, user};
use crate::support::audit::audit;
use crate::support::redis_cluster::{ClusterNode, RedisCluster};
use crate::support::slot_move::SlotMove;
use crate::support::store::{connect, redis_options};
use crate::support::wait::{SOON, eventually};

/// The slot of a user's bucket, and a primary that does not serve it.
async fn slot_and_target<'a>(cluster: &'a RedisCluster, store: &RedisStore, owner: &UserId) -> (u16, &'a ClusterNode) {
    let slot = cluster
        .slot_of(&format!("{{{}}}", store.keyring().bucket_of(owner)))
        .await;
    let source = cluster.primary_of_slot(slot).await;
    let target = cluster.another_primary(source).await;
    (slot, target)
}

async fn assert_found(store: &RedisStore, asked: SessionId, id: SessionId, when: &str) {
    match store.get(asked).await {
        Ok(Lookup::Found(snapshot)) => assert_eq!(snapshot.session.id, id, "{when}"),
        other => panic!("{when}: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_read_goes_on_while_a_slot_is_half_moved() {
    let cluster = shaken().await;
    let mut options = redis_options(cluster.urls());
    options.response_timeout = Duration::from_millis(500);
    options.connect_timeout = Duration::from_millis(500);
    let prefix = options.prefix.clone();
    let store = connect(options).await;
    let owner = user("owner");
    let (slot, target) = slot_and_target(&cluster, &store, &owner).await;
    let plain = make(&store, new_session(&store, &owner)).await;
    let mut line = vec![make(&store, new_session(&store, &owner)).await];
    for _ in 0..3 {
        let next = new_id(plain.bucket());
        store
            .rotate(line[line.len() - 1], plain_rotation(next), operation())
            .await
            .unwrap();
        line.push(next);
    }
    let newest = line[line.len() - 1];
    let keys = cluster
        .primary_of_slot(slot)
        .await
        .keys(&format!("{prefix}:{{{}}}:*", plain.bucket()))
        .await;
    // Aliases before their session, and the other way round.
    for reversed in [false, true] {
        let target = if reversed {
            slot_and_target(&cluster, &store, &owner).await.1
        } else {
            target
        };
        let moving = SlotMove::begin(&cluster, slot, target).await;
        let mut order: Vec<_> = keys.iter().filter(|key| !key.contains("}:o:")).cloned().collect();
        if reversed {
            order.reverse();
        }
        for moved in 0..=order.len() {
            let when = if moved == 0 {
                "before any key moved"
            } else {
                &order[moved - 1]
            };
            assert_found(&store, plain, plain, when).await;
            for id in &line {
                assert_found(&store, *id, newest, when).await;
            }
            assert!(
                matches!(store.get(new_id(plain.bucket())).await, Ok(Lookup::Missing)),
                "{when}"
            );
            // A listing is whole, or refused.
            if moved % 4 == 1 {
                match store.sessions_of(&owner).await {
                    Ok(sessions) => assert_eq!(sessions.len(), 2, "{when}"),
                    Err(StoreError::Unavailable(_)) => {}
                    Err(error) => panic!("{when}: {error}"),
                }
            }
            if moved < order.len() {
                moving.migrate(&order[moved..=moved]).await;
            }
        }
        moving.finish().await;
        for id in &line {
            assert_found(&store, *id, newest, "after the move").await;
        }
    }
    assert_eq!(store.sessions_of(&owner).await.unwrap().len(), 2);
    audit(&cluster, &prefix).await;
}

/// What the load has done, as far as it was answered.
#[derive(Default)]
struct Tally {
    stop: AtomicBool,
    added: AtomicI64,
    perhaps: AtomicI64,
    reads: AtomicU64,
    refused: AtomicU64,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slot_moves_under_load_and_nothing_is_half_written() {
    let cluster = shaken().await;
    let options = redis_options(cluster.urls());
    let prefix = options.prefix.clone();
    let store = connect(options).await;
    let owner = user("owner");
    let (slot, target) = slot_and_target(&cluster, &store, &owner).await;
    let counted = make(&store, new_session(&store, &owner)).await;
    let former = make(&store, new_session(&store, &owner)).await;
    let rotated = new_id(former.bucket());
    store
        .rotate(former, plain_rotation(rotated), operation())
        .await
        .unwrap();

    let tally = Arc::new(Tally::default());
    let mut load = JoinSet::new();
    for worker in 0..12 {
        let (store, tally, owner) = (store.clone(), Arc::clone(&tally), owner.clone());
        load.spawn(async move {
            while !tally.stop.load(Ordering::Relaxed) {
                match worker % 4 {
                    0 => count_up(&store, counted, &tally).await,
                    1 => come_and_go(&store, &owner, &tally).await,
                    _ => read(&store, if worker % 2 == 0 { counted } else { former }, &tally).await,
                }
            }
        });
    }
    let reads_go_on = async |when: &str| {
        let before = tally.reads.load(Ordering::Relaxed);
        eventually(SOON, when, async || tally.reads.load(Ordering::Relaxed) > before + 50).await;
    };
    reads_go_on("reads before the move").await;
    let moving = SlotMove::begin(&cluster, slot, target).await;
    while let Some(key) = moving.keys_left().await.first().cloned() {
        moving.migrate(&[key]).await;
        reads_go_on("reads while the slot is half-moved").await;
    }
    moving.finish().await;
    reads_go_on("reads after the move").await;
    let added = tally.added.load(Ordering::Relaxed);
    eventually(SOON, "writes after the move", async || {
        tally.added.load(Ordering::Relaxed) > added
    })
    .await;
    tally.stop.store(true, Ordering::Relaxed);
    load.join_all().await;

    let Lookup::Found(snapshot) = store.get(counted).await.unwrap() else {
        panic!("the counted session is gone")
    };
    let sum: i64 = snapshot.session.data[DataKey::new("n").unwrap().as_str()]
        .get()
        .parse()
        .unwrap();
    let (added, perhaps) = (
        tally.added.load(Ordering::Relaxed),
        tally.perhaps.load(Ordering::Relaxed),
    );
    assert!(
        (1 + added..=1 + added + perhaps).contains(&sum),
        "{sum} of {added} and perhaps {perhaps} increments"
    );
    audit(&cluster, &prefix).await;
}

async fn count_up(store: &RedisStore, id: SessionId, tally: &Tally) {
    match store.increment(id, add(1)).await {
        Ok(_) => tally.added.fetch_add(1, Ordering::Relaxed),
        Err(StoreError::Unavailable(_)) => tally.perhaps.fetch_add(1, Ordering::Relaxed),
        Err(error) => panic!("an increment: {error}"),
    };
}

async fn come_and_go(store: &RedisStore, owner: &UserId, tally: &Tally) {
    let outcome = async {
        let created = store.create(new_session(store, owner), operation()).await?;
        let ended = store.end(created.snapshot.session.id, log_out()).await?;
        assert_eq!(ended.sessions.len(), 1);
        Ok::<_, StoreError>(())
    };
    match outcome.await {
        Ok(()) => {}
        Err(StoreError::Unavailable(_)) => drop(tally.refused.fetch_add(1, Ordering::Relaxed)),
        Err(error) => panic!("a session that comes and goes: {error}"),
    }
}

async fn read(store: &RedisStore, id: SessionId, tally: &Tally) {
    match store.get(id).await {
        Ok(Lookup::Found(_)) => tally.reads.fetch_add(1, Ordering::Relaxed),
        Err(StoreError::Unavailable(_)) => tally.refused.fetch_add(1, Ordering::Relaxed),
        other => panic!("a read: {other:?}"),
    };
}
