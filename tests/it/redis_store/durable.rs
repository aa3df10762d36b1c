//! Changes that wait for a replica: the answer is never better than the truth.

use std::time::Duration;

use cloakroom::session::SessionId;
use cloakroom::store::redis::RedisStore;
use cloakroom::store::{End, NewSession, Rotation, SessionStore};
use futures_util::future::join_all;
use tokio::time::Instant;

use super::calls::{log_out, plain_rotation};
use super::{make, new_id, new_session, operation, proxied, shaken, user};
use crate::support::audit::audit;
use crate::support::store::{connect, redis_options};

/// Makes, rotates and ends a session, each durably; what was answered about replicas.
async fn make_rotate_end(store: &RedisStore, new: NewSession) -> [Option<bool>; 3] {
    let created = store
        .create(NewSession { durable: true, ..new }, operation())
        .await
        .unwrap();
    let id = new_id(created.snapshot.session.id.bucket());
    let rotation = Rotation {
        durable: true,
        ..plain_rotation(id)
    };
    let rotated = store
        .rotate(created.snapshot.session.id, rotation, operation())
        .await
        .unwrap();
    let ended = store.end(id, durable_end()).await.unwrap();
    assert_eq!(ended.sessions, [id]);
    [created.durable, rotated.durable, ended.durable]
}

fn durable_end() -> End {
    End {
        durable: true,
        ..log_out()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn durability_is_told_as_it_is() {
    let cluster = shaken().await;
    let options = redis_options(cluster.urls());
    let (prefix, deadline) = (
        options.prefix.clone(),
        options.connect_timeout + options.response_timeout,
    );
    let store = connect(options).await;
    let owner = user("owner");
    assert_eq!(
        make_rotate_end(&store, new_session(&store, &owner)).await,
        [Some(true); 3]
    );
    let ended = store.end_user(&owner, None, true, operation()).await.unwrap();
    assert_eq!(ended.durable, Some(true));
    assert_eq!(
        store
            .end(new_id(store.keyring().bucket_of(&owner)), log_out())
            .await
            .unwrap()
            .durable,
        None
    );

    let primary = cluster
        .primary_of_key(&format!("{{{}}}", store.keyring().bucket_of(&owner)))
        .await;
    let replica = cluster.replicas_of(primary).await[0];
    replica.freeze();
    let started = Instant::now();
    // At the same time: one that waits does not hold up the others.
    let waiting: Vec<_> = (0..5)
        .map(|_| async {
            let new = NewSession {
                durable: true,
                ..new_session(&store, &owner)
            };
            let created = store.create(new, operation()).await.unwrap();
            assert_eq!(created.durable, Some(false));
            created.snapshot.session.id
        })
        .collect();
    let ids: Vec<SessionId> = join_all(waiting).await;
    assert!(started.elapsed() <= deadline, "{:?}", started.elapsed());
    let ended = store.end(ids[0], durable_end()).await.unwrap();
    assert_eq!((ended.sessions, ended.durable), (vec![ids[0]], Some(false)));
    replica.thaw();
    cluster.wait_until_healthy().await;
    assert_eq!(
        make_rotate_end(&store, new_session(&store, &owner)).await,
        [Some(true); 3]
    );
    audit(&cluster, &prefix).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_connection_is_never_a_confirmation() {
    let cluster = proxied().await;
    let mut options = redis_options(cluster.urls());
    options.response_timeout = Duration::from_secs(1);
    let prefix = options.prefix.clone();
    let store = connect(options).await;
    let owner = user("owner");
    let cut = || {
        for node in cluster.nodes() {
            node.proxy().clear();
            node.proxy().cut_before_reply(format!("{prefix}:"), 1);
        }
    };
    let id = make(&store, new_session(&store, &owner)).await;
    let rotated = new_id(id.bucket());

    cut();
    let new = NewSession {
        durable: true,
        ..new_session(&store, &owner)
    };
    let created = store.create(new, operation()).await.unwrap();
    assert_eq!(created.durable, Some(false), "create");
    cut();
    let rotation = Rotation {
        durable: true,
        ..plain_rotation(rotated)
    };
    assert_eq!(
        store.rotate(id, rotation, operation()).await.unwrap().durable,
        Some(false),
        "rotate"
    );
    cut();
    let ended = store.end(rotated, durable_end()).await.unwrap();
    assert_eq!((ended.sessions, ended.durable), (vec![rotated], Some(false)), "end");
    cut();
    let ended = store.end_user(&owner, None, true, operation()).await.unwrap();
    assert_eq!((ended.sessions.len(), ended.durable), (1, Some(false)), "end_user");

    // WAIT itself is lost.
    for node in cluster.nodes() {
        node.proxy().clear();
        node.proxy().cut_before_reply("WAIT", 1);
    }
    let new = NewSession {
        durable: true,
        ..new_session(&store, &owner)
    };
    assert_eq!(
        store.create(new, operation()).await.unwrap().durable,
        Some(false),
        "lost WAIT"
    );
    cluster.nodes().iter().for_each(|node| node.proxy().clear());
    assert_eq!(
        make_rotate_end(&store, new_session(&store, &owner)).await,
        [Some(true); 3]
    );
    audit(&cluster, &prefix).await;
}
