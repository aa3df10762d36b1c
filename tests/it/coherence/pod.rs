//! A replica without a process: the façade over a store, with its memory fed by a transport.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use cloakroom::cluster::{Member, MemberState, Members, View};
use cloakroom::coherence::{BUCKETS, Feed, Pace, Store, Transport};
use cloakroom::session::{Classes, DataKey, JsonMap, ServerId, Session, SessionId, SystemClock, SystemRandom, UserId};
use cloakroom::sessions::{
    CacheSettings, Consistency, CreateRequest, Freshness, MigrationPolicy, Parts, Sessions, Settings,
};
use cloakroom::store::redis::{RedisOptions, RedisStore};
use cloakroom::store::{MemoryStore, SessionStore};
use cloakroom::telemetry::Metrics;
use serde_json::value::to_raw_value;
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::BOUND;
use crate::support::wait::{SOON, eventually};

pub(super) const STRONG: Freshness = Freshness {
    consistency: Consistency::Strong,
    min_version: None,
    accept_stale: false,
};
pub(super) const FROM_MEMORY: Freshness = Freshness {
    consistency: Consistency::Bounded,
    min_version: None,
    accept_stale: false,
};

pub(super) struct Pod {
    pub(super) sessions: Sessions,
    pub(super) metrics: Metrics,
    _stop: DropGuard,
}

/// How these pods hold sessions in memory where a test does not say otherwise.
pub(super) fn memory() -> CacheSettings {
    CacheSettings {
        staleness_bound: BOUND,
        heartbeat: Duration::from_millis(100),
        max_entries: 10_000,
        max_bytes: 64 << 20,
        max_age: Duration::from_mins(1),
    }
}

impl Pod {
    /// A pod whose memory covers every bucket.
    pub(super) async fn start(
        store: Arc<dyn SessionStore>,
        transport: Arc<dyn Transport>,
        cache: CacheSettings,
    ) -> Self {
        Self::count(store, transport, cache, Metrics::new().unwrap()).await
    }

    /// A pod over Redis, with metrics that it shares with its store.
    pub(super) async fn over_redis(url: String, prefix: &str, cache: CacheSettings) -> Self {
        let metrics = Metrics::new().unwrap();
        let options = RedisOptions {
            urls: vec![url],
            prefix: prefix.to_owned(),
            credentials: Arc::default(),
            ca_file: None,
            connect_timeout: Duration::from_secs(1),
            response_timeout: Duration::from_secs(1),
            node_timeout: None,
            encryption: cloakroom::store::redis::Encryption::default(),
        };
        let store = RedisStore::connect(options, Arc::new(SystemRandom), metrics.clone())
            .await
            .unwrap();
        let store = Arc::new(store);
        Self::count(Arc::clone(&store) as _, store, cache, metrics).await
    }

    async fn count(
        store: Arc<dyn SessionStore>,
        transport: Arc<dyn Transport>,
        cache: CacheSettings,
        metrics: Metrics,
    ) -> Self {
        let settings = Settings {
            server_id: ServerId::new("one").unwrap(),
            classes: Classes::default(),
            max_bytes: 10_240,
            rotation_grace: Duration::from_secs(10),
            limit: None,
            migration: MigrationPolicy::default(),
            redo_window: Duration::from_secs(30),
            cache: Some(cache),
            binding: cloakroom::sessions::Binding::default(),
            recent_authentication: Duration::from_mins(10),
            serve_stale: std::collections::BTreeMap::new(),
        };
        let parts = Parts {
            store,
            clock: Arc::new(SystemClock),
            random: Arc::new(SystemRandom),
            view: watch::channel(fleet()).1,
            metrics: metrics.clone(),
            traces: cloakroom::telemetry::Traces::off(),
        };
        let sessions = Sessions::new(settings, parts);
        let stop = CancellationToken::new();
        let (fed, until) = (sessions.clone(), stop.clone());
        tokio::spawn(async move { fed.keep_covered(transport, until).await });
        let pod = Self {
            sessions,
            metrics,
            _stop: stop.drop_guard(),
        };
        pod.covered().await;
        pod
    }

    pub(super) async fn covered(&self) {
        eventually(SOON, "every bucket to be covered", async || self.sessions.is_covered()).await;
    }

    /// Makes a session with `n` = 0, nobody's or a user's.
    pub(super) async fn create(&self, user: Option<&str>) -> SessionId {
        let request = CreateRequest {
            user_id: user.map(|user| UserId::new(user).unwrap()),
            data: JsonMap::from([("n".to_owned(), to_raw_value(&0).unwrap())]),
            ..CreateRequest::default()
        };
        self.sessions.create(request).await.unwrap().session.id
    }

    /// Reads until memory answers, and gives what it answers.
    pub(super) async fn warm(&self, id: SessionId) -> Arc<Session> {
        let answers = self.metrics.reads.with_label_values(&["l1"]);
        eventually(SOON, "memory to answer", async || {
            let before = answers.get();
            let session = self
                .sessions
                .get(id, FROM_MEMORY)
                .await
                .unwrap()
                .expect("a live session");
            (answers.get() > before).then_some(session)
        })
        .await
    }
}

/// What every pod knows of its fleet.
fn fleet() -> View {
    let member = |name| Member {
        server_id: ServerId::new(name).unwrap(),
        state: MemberState::Live,
    };
    View {
        members: Some(Members(vec![member("one"), member("two")])),
        ..View::default()
    }
}

/// What sets a session's `n`.
pub(super) fn number(n: u64) -> cloakroom::store::Change {
    cloakroom::store::Change {
        data: BTreeMap::from([(key(), Some(to_raw_value(&n).unwrap()))]),
        ..cloakroom::store::Change::default()
    }
}

pub(super) fn key() -> DataKey {
    DataKey::new("n").unwrap()
}

pub(super) fn number_of(session: &Session) -> u64 {
    session.data["n"].get().parse().unwrap()
}

pub(super) fn url(proxy: SocketAddr) -> String {
    format!("redis://{proxy}")
}

pub(super) fn memory_store() -> Arc<MemoryStore> {
    Arc::new(MemoryStore::new(Arc::new(SystemClock), Arc::new(SystemRandom)).unwrap())
}

/// Covers every bucket, and never hears of any change.
pub(super) struct Deaf;

#[async_trait]
impl Transport for Deaf {
    async fn feed(&self, l1: Arc<dyn Feed>, pace: Pace) {
        let cover = l1.cover();
        while !pace.stop.is_cancelled() {
            let connection = cover.connection_begun(pace.clock.monotonic()).unwrap();
            for bucket in 0..BUCKETS {
                cover.subscribed(u16::try_from(bucket).unwrap(), connection);
            }
            while let Ok(nonce) = cover.heartbeat_sent(connection, pace.clock.monotonic())
                && cover.heartbeat_reply(connection, nonce, pace.clock.monotonic()).is_ok()
            {
                tokio::time::sleep(pace.heartbeat).await;
            }
        }
    }

    async fn facts(&self) -> Store {
        Store::Single
    }
}
