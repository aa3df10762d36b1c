//! Much at once, over several stores: what is left is in order.

use std::sync::Arc;
use std::time::Duration;

use cloakroom::session::{Bucket, CartItem, Class, SessionId};
use cloakroom::store::redis::{RedisOptions, RedisStore};
use cloakroom::store::{LimitPolicy, Lookup, SessionStore, StoreError, UserLimit};
use futures_util::StreamExt as _;
use futures_util::future::join_all;
use futures_util::stream;
use parking_lot::Mutex;

use super::calls::{add, log_out, plain_rotation, set, use_now};
use super::{new_id, new_session, operation, proxied, sessions, user};
use crate::support::audit::audit;
use crate::support::redis_cluster::{RedisCluster, shared_cluster};
use crate::support::store::{connect, redis_options};

/// A small generator of numbers whose run can be repeated.
#[derive(Clone)]
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub(super) fn below(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % sides
    }

    pub(super) fn pick<T: Copy>(&mut self, of: &[T]) -> Option<T> {
        let sides = u64::try_from(of.len()).unwrap();
        (sides > 0).then(|| of[usize::try_from(self.below(sides)).unwrap()])
    }
}

const WORKERS: u64 = 24;
const STEPS: u64 = 250;

/// Three servers' stores of one deployment.
async fn three_stores(options: &RedisOptions) -> [RedisStore; 3] {
    [
        connect(options.clone()).await,
        connect(options.clone()).await,
        connect(options.clone()).await,
    ]
}

/// Runs all kinds of operations at random, by many workers.
async fn random_workload(stores: &[RedisStore; 3]) {
    let known = Arc::new(Mutex::new(Vec::new()));
    let workers = (0..WORKERS).map(|worker| {
        let store = stores[usize::try_from(worker % 3).unwrap()].clone();
        let known = Arc::clone(&known);
        tokio::spawn(async move {
            let mut dice = Dice::new(worker + 1);
            for _ in 0..STEPS {
                let outcome = random_step(&store, &mut dice, &known).await;
                let is_fair = matches!(
                    outcome,
                    Ok(())
                        | Err(StoreError::NotFound | StoreError::TooManySessions { .. } | StoreError::Conflict { .. })
                );
                assert!(is_fair, "{outcome:?}");
            }
        })
    });
    for worker in join_all(workers).await {
        worker.unwrap();
    }
}

/// The counts that the store gives are those of a full scan.
async fn check_counts(cluster: &RedisCluster, prefix: &str, store: &RedisStore) {
    audit(cluster, prefix).await;
    // The count clears up what expired since.
    let stats = sessions(store, Duration::from_secs(10)).count_fleet().await.unwrap();
    let audit = audit(cluster, prefix).await;
    assert!(stats.sessions > 0);
    assert_eq!((stats.sessions, stats.users), (audit.sessions, audit.users));
    assert_eq!(stats.by_server, audit.by_server);
    for (class, count) in &audit.by_class {
        assert_eq!(stats.by_class[class], *count, "{class}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_random_workload_leaves_everything_in_order() {
    let cluster = shared_cluster().await;
    let options = redis_options(cluster.urls());
    let stores = three_stores(&options).await;
    random_workload(&stores).await;
    check_counts(cluster, &options.prefix, &stores[0]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn so_does_one_whose_connections_are_cut_all_the_time() {
    let cluster = proxied().await;
    let options = redis_options(cluster.urls());
    let stores = three_stores(&options).await;
    let cutting = async {
        let mut cuts = tokio::time::interval(Duration::from_millis(60));
        loop {
            cuts.tick().await;
            for node in cluster.nodes() {
                node.proxy().cut_all();
            }
        }
    };
    tokio::select! {
        () = random_workload(&stores) => {}
        () = cutting => {}
    }
    let connections = cluster
        .nodes()
        .iter()
        .map(|node| node.proxy().counts().accepted)
        .sum::<u64>();
    assert!(connections > 100, "{connections} connections: too few were cut");
    check_counts(&cluster, &options.prefix, &stores[0]).await;
}

async fn random_step(store: &RedisStore, dice: &mut Dice, known: &Mutex<Vec<SessionId>>) -> Result<(), StoreError> {
    let owner = user(&format!("user {}", dice.below(12)));
    let id = dice.pick(&known.lock()).unwrap_or_else(|| new_id(Bucket::new(7)));
    match dice.below(16) {
        0..=3 => {
            let mut new = new_session(store, &owner);
            if dice.below(3) == 0 {
                let short = Duration::from_millis(20 + dice.below(300));
                new.timeouts = Class {
                    idle: short,
                    absolute: 2 * short,
                };
            }
            let policies = [
                LimitPolicy::Refuse,
                LimitPolicy::EndOldest,
                LimitPolicy::EndLeastRecentlyUsed,
            ];
            new.limit = dice.pick(&policies).map(|policy| UserLimit { max: 8, policy });
            let created = store.create(new, operation()).await?;
            known.lock().push(created.snapshot.session.id);
        }
        4 => {
            store.get(id).await?;
        }
        5 => drop(store.change(id, set("k", "{\"a\": []}"), 10_000, operation()).await?),
        6 => {
            store.increment(id, add(1)).await?;
        }
        7 => {
            let item = CartItem {
                product_id: "hat".to_owned(),
                quantity: 1,
            };
            store.add_to_cart(id, item, 10_000, operation()).await?;
        }
        8 => drop(store.touch(use_now(id)).await?),
        9 => {
            let homes = ["server-a", "server-b", "server-c"];
            drop(store.migrate(id, super::server(dice.pick(&homes).unwrap())).await?);
        }
        10 | 11 => {
            let new = new_id(id.bucket());
            let mut rotation = plain_rotation(new);
            rotation.login = dice.below(4) == 0;
            if rotation.login || dice.below(4) == 0 {
                rotation.class = cloakroom::session::Classes::default().get("sensitive");
            }
            store.rotate(id, rotation, operation()).await?;
            known.lock().push(new);
        }
        12 => drop(store.end(id, log_out()).await?),
        13 => match dice.below(4) {
            0 => drop(
                store
                    .end_user(&owner, Some(id).filter(|_| dice.below(2) == 0), false, operation())
                    .await?,
            ),
            1 => drop(store.end_bucket(id.bucket(), None, 3).await?),
            _ => drop(store.sessions_of(&owner).await?),
        },
        14 => {
            store
                .record_activity(id, "look".to_owned(), [].into(), operation())
                .await?;
            store.activities(id).await?;
        }
        _ => {
            store
                .confirm(id, Duration::from_millis(dice.below(50)))
                .await
                .map(drop)
                .or_else(|error| match error {
                    StoreError::NotFound => Ok(()),
                    other => Err(other),
                })?;
            store.sweep(id.bucket(), 5).await?;
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s29_what_is_unknown_leaves_no_trace() {
    const IDS: u64 = 100_000;
    const OTHERS: u64 = 5_000;
    const CONCURRENCY: usize = 512;
    let cluster = shared_cluster().await;
    let options = redis_options(cluster.urls());
    let prefix = options.prefix.clone();
    let store = connect(options).await;
    let before = audit(cluster, &prefix).await.keys;
    stream::iter(0..IDS)
        .for_each_concurrent(CONCURRENCY, |number| {
            let store = store.clone();
            async move {
                let id = new_id(Bucket::new(u16::try_from(number % 1024).unwrap()));
                assert!(matches!(store.get(id).await.unwrap(), Lookup::Missing));
                assert!(store.end(id, log_out()).await.unwrap().sessions.is_empty());
            }
        })
        .await;
    stream::iter(0..OTHERS)
        .for_each_concurrent(CONCURRENCY, |number| {
            let store = store.clone();
            async move {
                let id = new_id(Bucket::new(u16::try_from(number % 1024).unwrap()));
                let outcome = match number % 8 {
                    0 => store.touch(use_now(id)).await.map(drop),
                    1 => store.increment(id, add(1)).await.map(drop),
                    2 => store.change(id, set("k", "1"), 10_000, operation()).await.map(drop),
                    3 => store
                        .rotate(id, plain_rotation(new_id(id.bucket())), operation())
                        .await
                        .map(drop),
                    4 => store
                        .record_activity(id, "look".to_owned(), [].into(), operation())
                        .await
                        .map(drop),
                    5 => store.migrate(id, super::server("server-b")).await.map(drop),
                    6 => store.confirm(id, Duration::from_secs(1)).await.map(drop),
                    _ => {
                        let nobody = user(&format!("nobody {number}"));
                        assert!(
                            store
                                .end_user(&nobody, None, false, operation())
                                .await
                                .unwrap()
                                .sessions
                                .is_empty()
                        );
                        assert!(store.sessions_of(&nobody).await.unwrap().is_empty());
                        return;
                    }
                };
                assert!(matches!(outcome, Err(StoreError::NotFound)), "{outcome:?}");
            }
        })
        .await;
    assert_eq!(audit(cluster, &prefix).await.keys, before);
}
