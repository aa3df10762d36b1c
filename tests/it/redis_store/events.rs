//! The events of the fleet while its nodes change: a stream that may have missed something ends, and the rest is there.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use cloakroom::session::{Bucket, SessionId, Timestamp, UserId};
use cloakroom::store::redis::RedisStore;
use cloakroom::store::{Event, EventId, EventKind, SessionStore};
use futures_util::stream::{self, StreamExt as _};
use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::{new_session, operation, shaken, user};
use crate::support::audit::audit;
use crate::support::redis_cluster::FAILOVER_LIMIT;
use crate::support::store::{connect, redis_options};
use crate::support::wait::{SOON, eventually};

/// How far the clocks of nodes may differ.
const SKEW: Duration = Duration::from_secs(1);

/// A listener that resumes whenever its stream ends, as the service does.
struct Listener {
    heard: Mutex<BTreeSet<SessionId>>,
    until: Mutex<Timestamp>,
    resumed: Mutex<u32>,
}

impl Listener {
    async fn listen(self: Arc<Self>, store: RedisStore, mut events: mpsc::Receiver<Event>) {
        loop {
            while let Some(event) = events.recv().await {
                self.hear(&event);
            }
            let since = self.until.lock().minus(SKEW);
            events = loop {
                if let Ok(events) = store.events().await {
                    break events;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            };
            for bucket in Bucket::all() {
                let since = EventId {
                    at: since,
                    sequence: 0,
                    bucket,
                };
                loop {
                    if let Ok(replay) = store.events_since(bucket, since).await {
                        replay.events.iter().for_each(|event| self.hear(event));
                        break;
                    }
                }
            }
            *self.resumed.lock() += 1;
        }
    }

    fn hear(&self, event: &Event) {
        if event.kind == EventKind::Created {
            self.heard.lock().insert(event.session_id);
        }
        let mut until = self.until.lock();
        *until = (*until).max(event.at);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listener_misses_nothing_over_a_slot_move_and_a_failover() {
    let cluster = shaken().await;
    let options = redis_options(cluster.urls());
    let prefix = options.prefix.clone();
    let store = connect(options).await;
    let events = store.events().await.unwrap();
    let listener = Arc::new(Listener {
        heard: Mutex::default(),
        until: Mutex::new(Timestamp::from_millis(0)),
        resumed: Mutex::default(),
    });
    let listening = tokio::spawn(Arc::clone(&listener).listen(store.clone(), events));
    let (made, stop) = (Arc::new(Mutex::new(BTreeSet::new())), Arc::new(AtomicBool::new(false)));
    let creating = tokio::spawn({
        let (store, made, stop) = (store.clone(), Arc::clone(&made), Arc::clone(&stop));
        async move {
            let numbers = stream::iter(0..).take_while(|_| {
                let stopped = stop.load(Ordering::Relaxed);
                async move { !stopped }
            });
            numbers
                .for_each_concurrent(8, |number: u64| {
                    create_one(&store, user(&format!("user {}", number % 97)), &made)
                })
                .await;
        }
    });
    let heard_more = async |what: &str| {
        let goal = made.lock().len() + 50;
        eventually(FAILOVER_LIMIT, what, async || listener.heard.lock().len() > goal).await;
    };
    heard_more("events before anything happens").await;
    assert_eq!(*listener.resumed.lock(), 0);

    let slot = cluster
        .slot_of(&format!("{{{}}}", store.keyring().bucket_of(&user("user 5"))))
        .await;
    let source = cluster.primary_of_slot(slot).await;
    let target = cluster.another_primary(source).await;
    cluster.move_slot(slot, target).await;
    eventually(SOON, "the stream to end with the slot's move", async || {
        *listener.resumed.lock() >= 1
    })
    .await;
    heard_more("events after the slot's move").await;

    let resumed = *listener.resumed.lock();
    let primary = cluster.primaries().await[0];
    cluster.failover(cluster.replicas_of(primary).await[0]).await;
    eventually(FAILOVER_LIMIT, "the stream to end with the failover", async || {
        *listener.resumed.lock() > resumed
    })
    .await;
    heard_more("events after the failover").await;

    stop.store(true, Ordering::Relaxed);
    creating.await.unwrap();
    eventually(SOON, "every session made to be heard of", async || {
        made.lock().is_subset(&listener.heard.lock())
    })
    .await;
    listening.abort();
    audit(&cluster, &prefix).await;
}

async fn create_one(store: &RedisStore, owner: UserId, made: &Mutex<BTreeSet<SessionId>>) {
    let mut new = new_session(store, &owner);
    new.limit = Some(cloakroom::store::UserLimit {
        max: 3,
        policy: cloakroom::store::LimitPolicy::EndOldest,
    });
    if let Ok(created) = store.create(new, operation()).await {
        made.lock().insert(created.snapshot.session.id);
    }
    // So slow that no stream is trimmed before its listener is back.
    tokio::time::sleep(Duration::from_millis(4)).await;
}
