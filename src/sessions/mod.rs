//! The façade: the one object that every face calls. It ties together the store, the coalescing of touches, migration,
//! the redo log of ends, events and metrics.

mod binding;
mod cache;
mod data;
mod end;
mod error;
mod events;
mod fleet;
mod issue;
mod measure;
mod reading;
mod requests;
mod stale;
mod to_the_end;
mod touches;
mod validate;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use prometheus::IntCounter;
use tokio::sync::watch;

pub use binding::{Binding, BindingPolicy};
pub use cache::CacheSettings;
pub use error::Error;
pub use events::{EventFeed, FeedItem};
pub use requests::{
    ClientIp, ClientTraits, Consistency, CreateRequest, Cursor, Freshness, InvalidReason, Issued, Page, PageRequest,
    Presented, RotateRequest, ServerInfo, Stats, ValidSession, Validation,
};
pub use stale::Seen;

pub(crate) use to_the_end::{Stopping, to_the_end};

use cache::Cache;
use measure::{Answer, Sampler};

use crate::cluster::{RedoLog, View};
use crate::session::{ClassName, Classes, Clock, Monotonic, Random, ServerId, Session, SessionId, Verdict};
use crate::store::{Lookup, SessionStore, Snapshot, StoreError, UserLimit};
use crate::telemetry::{Metrics, Traces};
use events::EventHub;
use touches::TouchBuffer;

/// The outcome of what a face asks for.
pub type Result<T> = std::result::Result<T, Error>;

/// When a session moves to the server that serves it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MigrationPolicy {
    /// When the server where it is homed has left or is leaving.
    #[default]
    HomeGone,
    /// Whenever another server serves it.
    Always,
    /// Only on request.
    Never,
}

/// What a deployment decides about its sessions.
#[derive(Debug, Clone)]
pub struct Settings {
    /// This server.
    pub server_id: ServerId,
    /// The classes there are.
    pub classes: Classes,
    /// The most that a session's data may take, in bytes.
    pub max_bytes: u64,
    /// How long a rotated token goes on working after the new one's first use.
    pub rotation_grace: Duration,
    /// How many sessions a user may have.
    pub limit: Option<UserLimit>,
    /// When sessions move.
    pub migration: MigrationPolicy,
    /// What sessions are bound to.
    pub binding: Binding,
    /// How long an authentication counts as recent.
    pub recent_authentication: Duration,
    /// How long ends are kept for repetition: node timeout, lag and margin.
    pub redo_window: Duration,
    /// For how much longer memory may answer while the store is out of reach, by class.
    pub serve_stale: BTreeMap<ClassName, Duration>,
    /// How sessions are held in memory; nothing where they must not be.
    pub cache: Option<CacheSettings>,
}

/// What the façade is built from.
pub struct Parts {
    /// The store of record.
    pub store: Arc<dyn SessionStore>,
    /// The clocks.
    pub clock: Arc<dyn Clock>,
    /// The source of randomness.
    pub random: Arc<dyn Random>,
    /// What this server knows of its fleet.
    pub view: watch::Receiver<View>,
    /// Where it counts.
    pub metrics: Metrics,
    /// Where it tells that copies were dropped.
    pub traces: Traces,
}

/// All that the faces do with sessions. Cheap to clone.
#[derive(Clone)]
pub struct Sessions(Arc<Inner>);

struct Inner {
    settings: Settings,
    store: Arc<dyn SessionStore>,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    view: watch::Receiver<View>,
    metrics: Metrics,
    touches: TouchBuffer,
    redo: RedoLog,
    events: EventHub,
    stats: fleet::StatsCache,
    cache: Option<Cache>,
    sampler: Mutex<Option<Sampler>>,
    /// Found beforehand: what is counted with almost every request looks no label up.
    found_valid: IntCounter,
    read_strong: IntCounter,
    recorded: binding::Recorded,
}

impl Sessions {
    /// Ties the parts together.
    pub fn new(settings: Settings, parts: Parts) -> Self {
        let redo = RedoLog::new(Arc::clone(&parts.clock), settings.redo_window);
        let events = EventHub::new(Arc::clone(&parts.store), parts.metrics.clone());
        let made = settings
            .cache
            .map(|cache| Cache::new(cache, settings.redo_window, parts.metrics.clone(), parts.traces));
        let (cache, sampler) = made.unzip();
        let found_valid = parts.metrics.validations.with_label_values(&["valid"]);
        let read_strong = parts.metrics.reads.with_label_values(&["strong"]);
        Self(Arc::new(Inner {
            settings,
            store: parts.store,
            clock: parts.clock,
            random: parts.random,
            view: parts.view,
            metrics: parts.metrics,
            touches: TouchBuffer::default(),
            redo,
            events,
            stats: fleet::StatsCache::default(),
            cache,
            sampler: Mutex::new(sampler),
            found_valid,
            read_strong,
            recorded: binding::Recorded::default(),
        }))
    }

    /// Whether the store answers.
    pub async fn ping(&self) -> Result<()> {
        self.0.store.ping().await?;
        self.0.metrics.store_answered_at.set(fleet::seconds(self.0.clock.now()));
        Ok(())
    }

    /// Where this server counts.
    pub fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    /// The wall clock of this server.
    pub fn now(&self) -> crate::session::Timestamp {
        self.0.clock.now()
    }

    /// This server's clock, as the rest of it should read it.
    pub fn monotonic(&self) -> Monotonic {
        self.0.clock.monotonic()
    }

    /// This server's id.
    pub fn server_id(&self) -> &ServerId {
        &self.0.settings.server_id
    }

    /// What sessions are bound to.
    pub fn binding(&self) -> &Binding {
        &self.0.settings.binding
    }

    /// The names of the deployment's classes.
    pub fn classes(&self) -> &Classes {
        &self.0.settings.classes
    }

    /// What this server knows of its fleet.
    pub fn view(&self) -> View {
        self.0.view.borrow().clone()
    }

    /// A live session by its id; nothing where there is none, or where it has expired.
    pub async fn get(&self, id: SessionId, freshness: Freshness) -> Result<Option<Arc<Session>>> {
        match self.read(id, freshness).await? {
            Lookup::Found(snapshot) => Ok(alive(snapshot)),
            Lookup::Replayed { .. } | Lookup::Missing => Ok(None),
        }
    }

    /// As [`Sessions::get`], from memory alone; nothing also where only the store can tell.
    pub fn get_held(&self, id: SessionId) -> Option<Arc<Session>> {
        self.held(&id).map(|(snapshot, _)| snapshot.session)
    }

    /// Rule W2: what this server changes it drops from its memory before it answers, whether or not it was answered
    /// itself, and also where nobody waits for the answer any more. What is known to have ended is not changed (W3).
    async fn changing<T: Answer>(
        &self,
        id: SessionId,
        change: impl Future<Output = crate::store::Result<T>>,
    ) -> Result<T> {
        if self.has_ended(&id) {
            return Err(StoreError::NotFound.into());
        }
        let mut changing = self.0.cache.as_ref().map(|cache| cache.changing(id, &*self.0.clock));
        let answer = change.await?;
        if let Some(changing) = &mut changing {
            changing.answered(&answer);
        }
        Ok(answer)
    }
}

fn alive(snapshot: Snapshot) -> Option<Arc<Session>> {
    (snapshot.session.verdict(snapshot.now) == Verdict::Alive).then_some(snapshot.session)
}

fn alive_or_not_found(snapshot: Option<Arc<Session>>) -> Result<Arc<Session>> {
    snapshot.ok_or(Error::Store(StoreError::NotFound))
}
