//! Redis frozen, and a primary killed.

use std::time::Duration;

use cloakroom::session::{Bucket, SessionId};
use cloakroom::sessions::{CreateRequest, Freshness, RotateRequest, Sessions};
use cloakroom::store::redis::RedisStore;
use cloakroom::store::{Lookup, SessionStore, StoreError};
use futures_util::future::join_all;
use tokio::time::Instant;

use super::calls::{Call, Scene, add, log_out};
use super::{make, new_session, sessions, shaken, user};
use crate::support::audit::audit;
use crate::support::redis_cluster::{ClusterNode, RedisCluster};
use crate::support::store::{connect, redis_options};
use crate::support::wait::{SOON, eventually};

/// What a busy machine adds to a deadline.
const SLACK: Duration = Duration::from_millis(700);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frozen_redis_makes_everything_unavailable_and_loses_nothing() {
    let cluster = shaken().await;
    let options = redis_options(cluster.urls());
    let (prefix, deadline) = (
        options.prefix.clone(),
        options.connect_timeout + options.response_timeout,
    );
    let store = connect(options).await;
    let mut scenes = Vec::new();
    for call in Call::ALL {
        scenes.push(Scene::new(&store, call).await);
    }
    cluster.nodes().iter().for_each(|node| node.freeze());
    // The second round finds no connection: those of the first were given up.
    for round in 0..2 {
        join_all(scenes.iter().map(async |scene| {
            let started = Instant::now();
            let outcome = scene.run(&store).await;
            let (took, call) = (started.elapsed(), scene.call);
            assert!(
                matches!(outcome, Err(StoreError::Unavailable(_))),
                "{round}: {call:?}: {outcome:?}"
            );
            assert!(took <= deadline + SLACK, "{round}: {call:?} took {took:?}");
        }))
        .await;
    }
    cluster.nodes().iter().for_each(|node| node.thaw());
    for scene in &scenes {
        eventually(SOON, "the session to be read again", async || {
            !matches!(store.get(scene.rotated).await, Err(StoreError::Unavailable(_)))
        })
        .await;
    }
    // What was under way when Redis froze may have been done when it woke, or not.
    cluster.wait_until_healthy().await;
    for scene in scenes
        .iter()
        .filter(|scene| !matches!(scene.call, Call::EndUser | Call::EndBucket))
    {
        assert!(
            matches!(store.get(scene.rotated).await.unwrap(), Lookup::Found(_)),
            "{:?}",
            scene.call
        );
    }
    audit(&cluster, &prefix).await;
}

/// A user whose sessions live on a node.
async fn user_on(
    cluster: &RedisCluster,
    store: &RedisStore,
    node: &ClusterNode,
    name: &str,
) -> cloakroom::session::UserId {
    for number in 0.. {
        let candidate = user(&format!("{name} {number}"));
        if owner_of(cluster, store.keyring().bucket_of(&candidate)).await.id == node.id {
            return candidate;
        }
    }
    unreachable!("some user's bucket lies on every primary")
}

async fn owner_of(cluster: &RedisCluster, bucket: Bucket) -> &ClusterNode {
    cluster.primary_of_key(&format!("{{{bucket}}}")).await
}

async fn is_there(sessions: &Sessions, id: SessionId) -> bool {
    sessions.get(id, Freshness::default()).await.unwrap().is_some()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_primary_is_replaced_and_undoes_no_end() {
    let cluster = shaken().await;
    let options = redis_options(cluster.urls());
    let prefix = options.prefix.clone();
    let store = connect(options.clone()).await;
    let pod = sessions(&store, Duration::from_secs(30));
    let other = connect(options).await;
    let primary = cluster.primaries().await[0];
    let replica = cluster.replicas_of(primary).await[0];
    let owner = user_on(&cluster, &store, primary, "owner").await;
    let request = || CreateRequest {
        user_id: Some(owner.clone()),
        ..CreateRequest::default()
    };

    let kept = pod.create(request()).await.unwrap().session.id;
    let ended = pod.create(request()).await.unwrap().session.id;
    let former = pod.create(request()).await.unwrap().session.id;
    let rotated = pod.rotate(former, RotateRequest::default()).await.unwrap().session.id;
    let unanswered = pod.create(request()).await.unwrap().session.id;
    pod.redo_ends().await;

    // What follows reaches the primary alone: it is acknowledged and lost.
    let control = make(&store, new_session(&store, &owner)).await;
    eventually(SOON, "the replica to be in step", async || {
        replica.info("master_repl_offset").await == primary.info("master_repl_offset").await
    })
    .await;
    replica.freeze();
    primary.command(&["CLIENT", "KILL", "TYPE", "replica"]).await;
    store.end(control, log_out()).await.unwrap();
    pod.end(ended, false).await.unwrap();
    pod.end(rotated, false).await.unwrap();
    primary.freeze();
    assert!(pod.end(unanswered, false).await.is_err());
    primary.kill();
    let killed = Instant::now();
    replica.thaw();

    for id in [ended, rotated, former, unanswered] {
        assert!(!is_there(&pod, id).await, "the pod that ended a session answers for it");
    }
    let stop = tokio_util::sync::CancellationToken::new();
    let service = tokio::spawn({
        let (pod, stop) = (pod.clone(), stop.clone());
        async move {
            while !stop.is_cancelled() {
                pod.redo_ends().await;
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    });
    eventually(SOON, "reads and writes to be served again", async || {
        store.get(kept).await.is_ok() && store.increment(kept, add(1)).await.is_ok()
    })
    .await;
    let limit = cluster.options.node_timeout + Duration::from_secs(3);
    assert!(killed.elapsed() <= limit, "served again after {:?}", killed.elapsed());
    eventually(SOON, "the ends to be repeated", async || {
        for id in [ended, rotated, former, unanswered] {
            if !matches!(other.get(id).await, Ok(Lookup::Missing)) {
                return false;
            }
        }
        true
    })
    .await;
    for id in [ended, rotated, former, unanswered] {
        assert!(!is_there(&pod, id).await);
    }
    assert!(is_there(&pod, kept).await);
    let control = other.get(control).await.unwrap();
    assert!(
        matches!(control, Lookup::Found(_)),
        "the failover lost nothing: this test shows nothing"
    );
    assert_eq!(other.sessions_of(&owner).await.unwrap().len(), 2);
    stop.cancel();
    service.await.unwrap();

    primary.restart().await;
    cluster.wait_until_healthy().await;
    audit(&cluster, &prefix).await;
    make(&store, new_session(&store, &owner)).await;
}
