//! The Redis store over real servers that fail, move, lie and fill up. What every store must do is the contract suite's.

pub(crate) mod acl;
mod bare_keys;
mod calls;
mod commands;
mod durable;
mod events;
mod failover;
mod layout;
mod load;
mod memory;
mod replies;
mod servers;
mod settings;
mod slots;
mod twice;
mod values;

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use cloakroom::cluster::View;
use cloakroom::session::{Bucket, Classes, OperationId, ServerId, SystemClock, SystemRandom, Token, UserId};
use cloakroom::session::{ClassName, Json, SessionId};
use cloakroom::sessions::{MigrationPolicy, Parts, Sessions, Settings};
use cloakroom::store::redis::RedisStore;
use cloakroom::store::{NewSession, SessionStore};
use cloakroom::telemetry::Metrics;
use tokio::sync::{Mutex, MutexGuard, OnceCell, watch};

use crate::support::redis_cluster::{ClusterOptions, RedisCluster};

/// A cluster for one test at a time.
struct Exclusive(MutexGuard<'static, RedisCluster>);

impl Deref for Exclusive {
    type Target = RedisCluster;

    fn deref(&self) -> &RedisCluster {
        &self.0
    }
}

type Shared = OnceCell<Mutex<RedisCluster>>;

/// The cluster whose network the tests disturb: a proxy stands before each node.
async fn proxied() -> Exclusive {
    static CLUSTER: Shared = Shared::const_new();
    let options = ClusterOptions {
        proxied: true,
        ..ClusterOptions::default()
    };
    let cluster = exclusive(&CLUSTER, options).await;
    for node in cluster.nodes() {
        node.proxy().clear();
    }
    cluster
}

/// The cluster whose nodes the tests freeze, kill and relieve of their slots.
async fn shaken() -> Exclusive {
    static CLUSTER: Shared = Shared::const_new();
    exclusive(&CLUSTER, ClusterOptions::default()).await
}

/// Waits for its turn, and heals what a failed test may have left behind.
async fn exclusive(shared: &'static Shared, options: ClusterOptions) -> Exclusive {
    let start = || async { Mutex::new(RedisCluster::start(options).await) };
    let cluster = shared.get_or_init(start).await.lock().await;
    for node in cluster.nodes() {
        node.thaw();
        if !node.is_running() {
            node.restart().await;
        }
    }
    cluster.wait_until_healthy().await;
    Exclusive(cluster)
}

fn json(text: &str) -> Json {
    Json::from(serde_json::value::RawValue::from_string(text.to_owned()).unwrap())
}

fn user(name: &str) -> UserId {
    UserId::new(name).unwrap()
}

fn server(name: &str) -> ServerId {
    ServerId::new(name).unwrap()
}

fn operation() -> OperationId {
    OperationId::generate(&SystemRandom).unwrap()
}

fn new_id(bucket: Bucket) -> SessionId {
    Token::generate(bucket, &SystemRandom).unwrap().id()
}

/// A session of a user, of class `normal`, homed at `server-a`, whose data is `{"n": 1}`.
fn new_session(store: &RedisStore, owner: &UserId) -> NewSession {
    let (class, timeouts) = Classes::default().get(ClassName::DEFAULT).unwrap();
    NewSession {
        id: new_id(store.keyring().bucket_of(owner)),
        user_id: Some(owner.clone()),
        class,
        timeouts,
        data: [("n".to_owned(), json("1"))].into(),
        roles: vec!["reader".to_owned()],
        permissions: Vec::new(),
        metadata: [("ip".to_owned(), json("\"192.0.2.7\""))].into(),
        fingerprint: None,
        server_id: server("server-a"),
        authenticated: true,
        limit: None,
        kin: Vec::new(),
        durable: false,
    }
}

async fn make(store: &RedisStore, new: NewSession) -> SessionId {
    store.create(new, operation()).await.unwrap().snapshot.session.id
}

/// The façade over a store, as the service builds it.
fn sessions(store: &RedisStore, redo_window: Duration) -> Sessions {
    let settings = Settings {
        server_id: server("server-a"),
        classes: Classes::default(),
        max_bytes: 10 * 1024,
        rotation_grace: Duration::from_secs(10),
        limit: None,
        migration: MigrationPolicy::default(),
        redo_window,
        binding: cloakroom::sessions::Binding::default(),
        recent_authentication: Duration::from_mins(10),
        serve_stale: std::collections::BTreeMap::new(),
        cache: None,
    };
    let (_, view) = watch::channel(View::default());
    let parts = Parts {
        store: Arc::new(store.clone()),
        clock: Arc::new(SystemClock),
        random: Arc::new(SystemRandom),
        view,
        metrics: Metrics::new().unwrap(),
        traces: cloakroom::telemetry::Traces::off(),
    };
    Sessions::new(settings, parts)
}
