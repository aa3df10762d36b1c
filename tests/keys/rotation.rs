//! Keys that change on every server while all of them write.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use cloakroom::session::SessionId;
use cloakroom::store::SessionStore;
use cloakroom::store::redis::{Encryption, PlainRecords};
use futures_util::future::join_all;
use parking_lot::Mutex;

use super::support::redis_cluster::shared_cluster;
use super::support::store::{encryption, ring};
use super::{Deployment, Server, increment, new_session, rotation, set};

const SESSIONS: usize = 12;
const WORKERS: usize = 6;

/// A session that workers write to, and what they wrote.
struct Written {
    id: Mutex<SessionId>,
    added: AtomicU64,
}

/// Writes to random sessions by one server until it is told to stop. Every answer must be right.
async fn work(server: Arc<Server>, sessions: Arc<Vec<Written>>, mut dice: usize, stop: Arc<AtomicBool>) -> u64 {
    let mut writes = 0;
    while !stop.load(Ordering::Relaxed) {
        dice = dice
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let session = &sessions[(dice >> 33) % SESSIONS];
        let id = *session.id.lock();
        match (dice >> 20) % 8 {
            0 => {
                let new_id = super::sibling(id.bucket());
                let rotated = server
                    .store
                    .rotate(id, rotation(new_id), super::operation())
                    .await
                    .unwrap();
                // Of two that rotate at once, the later one stands.
                let newest = rotated.snapshot.session.id;
                let mut known = session.id.lock();
                if *known == id {
                    *known = newest;
                }
            }
            1..=3 => {
                server.change(id, set("word", &dice.to_string())).await.unwrap();
            }
            _ => {
                server.store.increment(id, increment("visits", 1)).await.unwrap();
                session.added.fetch_add(1, Ordering::Relaxed);
            }
        }
        writes += 1;
    }
    writes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s52_keys_rotate_under_load_and_nothing_is_lost() {
    let deployment = Deployment::new(shared_cluster().await.urls());
    let encryptions: Vec<Encryption> = (0..3).map(|_| encryption(&["first"], PlainRecords::Read)).collect();
    let mut servers = Vec::new();
    for encryption in &encryptions {
        servers.push(Arc::new(deployment.server(encryption.clone()).await));
    }
    let mut sessions = Vec::new();
    for number in 0..SESSIONS {
        let id = servers[0]
            .make(new_session(&servers[0], &format!("user {number}")))
            .await;
        sessions.push(Written {
            id: Mutex::new(id),
            added: AtomicU64::new(0),
        });
    }
    let (sessions, stop) = (Arc::new(sessions), Arc::new(AtomicBool::new(false)));
    let workers: Vec<_> = (0..WORKERS)
        .map(|worker| {
            let server = Arc::clone(&servers[worker % servers.len()]);
            tokio::spawn(work(server, Arc::clone(&sessions), worker + 1, Arc::clone(&stop)))
        })
        .collect();

    // The procedure of the documentation, server after server at each step, twice.
    for (old, new) in [("first", "second"), ("second", "third")] {
        for words in [vec![old, new], vec![new, old], vec![new]] {
            for encryption in &encryptions {
                encryption.replace(ring(&words));
                tokio::time::sleep(Duration::from_millis(150)).await;
            }
            if words == [new, old] {
                // Every session is written once more before the old key goes.
                write_each(&servers[0], &sessions).await;
            }
        }
    }
    stop.store(true, Ordering::Relaxed);
    let writes: u64 = join_all(workers).await.into_iter().map(Result::unwrap).sum();
    println!("{writes} writes, {} records sealed anew", resealed(&servers));
    assert!(writes > 100 && resealed(&servers) > 0);

    // The last key alone opens everything.
    let last = deployment.server(encryption(&["third"], PlainRecords::Refuse)).await;
    for session in sessions.iter() {
        let id = *session.id.lock();
        let found = last.found(id).await.session;
        let expected = 41 + session.added.load(Ordering::Relaxed);
        assert_eq!(found.data["visits"].get(), expected.to_string());
        assert_eq!(found.roles, ["reader"]);
    }
    assert_eq!((last.opened("older"), last.opened("none")), (0, 0));
}

async fn write_each(server: &Server, sessions: &[Written]) {
    for session in sessions {
        let id = *session.id.lock();
        server.change(id, set("last", "true")).await.unwrap();
    }
}

fn resealed(servers: &[Arc<Server>]) -> u64 {
    servers.iter().map(|server| server.metrics.records_resealed.get()).sum()
}
