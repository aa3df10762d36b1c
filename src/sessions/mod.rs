//! The façade: the one object that every face calls. It ties together the store, the coalescing of touches, migration,
//! the redo log of ends, events and metrics.

mod data;
mod end;
mod error;
mod events;
mod fleet;
mod issue;
mod requests;
mod touches;
mod validate;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

pub use error::Error;
pub use events::{EventFeed, FeedItem};
pub use requests::{
    Consistency, CreateRequest, Cursor, Freshness, InvalidReason, Issued, Page, PageRequest, Presented, RotateRequest,
    ServerInfo, Stats, ValidSession, Validation,
};

use crate::cluster::{RedoLog, View};
use crate::session::{Classes, Clock, Random, ServerId, Session, SessionId, Verdict};
use crate::store::{Lookup, SessionStore, Snapshot, StoreError, UserLimit};
use crate::telemetry::Metrics;
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
    /// How long ends are kept for repetition: node timeout, lag and margin.
    pub redo_window: Duration,
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
}

impl Sessions {
    /// Ties the parts together.
    pub fn new(settings: Settings, parts: Parts) -> Self {
        let redo = RedoLog::new(Arc::clone(&parts.clock), settings.redo_window);
        let events = EventHub::new(Arc::clone(&parts.store), parts.metrics.clone());
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
        }))
    }

    /// Whether the store answers.
    pub async fn ping(&self) -> Result<()> {
        Ok(self.0.store.ping().await?)
    }

    /// Where this server counts.
    pub fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    /// This server's id.
    pub fn server_id(&self) -> &ServerId {
        &self.0.settings.server_id
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

    /// The one way by which sessions are read.
    async fn read(&self, id: SessionId, _freshness: Freshness) -> Result<Lookup> {
        if self.0.redo.contains(&id) {
            return Ok(Lookup::Missing);
        }
        let lookup = self.0.store.get(id).await?;
        // The end may have come while the store was read.
        match &lookup {
            Lookup::Found(snapshot) if self.0.redo.contains(&snapshot.session.id) => Ok(Lookup::Missing),
            _ => Ok(lookup),
        }
    }
}

fn alive(snapshot: Snapshot) -> Option<Arc<Session>> {
    (snapshot.session.verdict(snapshot.now) == Verdict::Alive).then_some(snapshot.session)
}

fn alive_or_not_found(snapshot: Option<Arc<Session>>) -> Result<Arc<Session>> {
    snapshot.ok_or(Error::Store(StoreError::NotFound))
}
