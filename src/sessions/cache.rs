use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use prometheus::IntCounter;
use tokio::sync::mpsc;

use super::measure::{Changing, MeasuredFeed, OwnChanges, Sampler};
use super::stale::Outages;
use crate::coherence::{Bounds, Feed, L1, Limits, Miss, Served};
use crate::session::{Clock, Monotonic, Session, SessionId, Timestamp};
use crate::store::{Lookup, Snapshot};
use crate::telemetry::{Metrics, Traces};

/// One hit of so many is held against the primary.
const SAMPLE_EVERY: u64 = 256;
/// So many samples may wait; more are passed over.
const SAMPLES: usize = 8;
/// How many ends are remembered (rule W3).
const MAX_ENDS: usize = 1_000_000;

/// What a deployment decides about L1.
#[derive(Debug, Clone, Copy)]
pub struct CacheSettings {
    /// B, the staleness bound.
    pub staleness_bound: Duration,
    /// h, how often the store is asked for a heartbeat.
    pub heartbeat: Duration,
    /// The most sessions that L1 holds.
    pub max_entries: usize,
    /// The most bytes that they take.
    pub max_bytes: u64,
    /// The oldest that an entry may get.
    pub max_age: Duration,
}

/// A session in L1: what was read, and when.
#[derive(Clone)]
pub(super) struct Held {
    pub(super) session: Arc<Session>,
    /// The store's time in the answer.
    pub(super) now: Timestamp,
    /// The time before the read was sent.
    pub(super) sent: Monotonic,
}

impl Held {
    /// The session, and the store's time as far as this server can tell.
    pub(super) fn snapshot(self, now: Monotonic) -> Snapshot {
        Snapshot {
            session: self.session,
            now: self.now.plus(now.since(self.sent)),
        }
    }
}

/// What a read found, and until when that keeps the promise of the staleness bound, where this server can tell.
pub(super) struct Vouched {
    pub(super) lookup: Lookup,
    pub(super) until: Option<Monotonic>,
    /// How old it is, where it comes from beyond the bound.
    pub(super) stale: Option<Duration>,
}

impl Vouched {
    pub(super) fn version(&self) -> Option<u64> {
        match &self.lookup {
            Lookup::Found(snapshot) => Some(snapshot.session.version),
            Lookup::Replayed { .. } | Lookup::Missing => None,
        }
    }
}

impl From<Lookup> for Vouched {
    fn from(lookup: Lookup) -> Self {
        Self {
            lookup,
            until: None,
            stale: None,
        }
    }
}

pub(super) type SessionL1 = L1<SessionId, Held>;

/// This server's L1 with what is measured about it.
pub(super) struct Cache {
    pub(super) l1: Arc<SessionL1>,
    /// B.
    pub(super) bound: Duration,
    pub(super) outages: Outages,
    /// Found beforehand: a hit looks no label up.
    reads_from_l1: IntCounter,
    samples: mpsc::Sender<(SessionId, u64)>,
    pub(super) own_changes: Arc<OwnChanges>,
    pub(super) metrics: Metrics,
    traces: Traces,
}

impl Cache {
    /// An L1 without cover: it answers nothing until a transport feeds it.
    pub(super) fn new(
        settings: CacheSettings,
        keep_ends: Duration,
        metrics: Metrics,
        traces: Traces,
    ) -> (Self, Sampler) {
        let l1 = Arc::new(L1::new(Bounds {
            staleness: settings.staleness_bound,
            max_age: settings.max_age,
            keep_ends,
            max_ends: MAX_ENDS,
            limits: Limits {
                entries: settings.max_entries,
                bytes: settings.max_bytes,
            },
        }));
        let (sender, taken) = mpsc::channel(SAMPLES);
        let sampler = Sampler {
            l1: Arc::clone(&l1),
            taken,
            bound: settings.staleness_bound,
            metrics: metrics.clone(),
        };
        metrics.staleness_bound.set(settings.staleness_bound.as_secs_f64());
        let own_changes = Arc::default();
        let reads_from_l1 = metrics.reads.with_label_values(&["l1"]);
        (
            Self {
                l1,
                bound: settings.staleness_bound,
                outages: Outages::default(),
                reads_from_l1,
                samples: sender,
                own_changes,
                metrics,
                traces,
            },
            sampler,
        )
    }

    /// What a transport feeds.
    pub(super) fn feed(&self) -> Arc<dyn Feed> {
        let own_changes = Arc::clone(&self.own_changes);
        Arc::new(MeasuredFeed {
            l1: Arc::clone(&self.l1),
            own_changes,
            metrics: self.metrics.clone(),
            traces: self.traces.clone(),
        })
    }

    /// Rule H1: what L1 answers.
    pub(super) fn hit(&self, id: &SessionId, clock: &dyn Clock) -> Option<Vouched> {
        let answer = self.recall(id, clock);
        if let Err(miss) = &answer {
            self.metrics.l1_misses.with_label_values(&[miss.label()]).inc();
        }
        answer.ok()
    }

    /// As [`Cache::hit`], for those who will ask again after a miss: it is not counted.
    pub(super) fn recall(&self, id: &SessionId, clock: &dyn Clock) -> std::result::Result<Vouched, Miss> {
        let now = Cell::new(Monotonic::default());
        let read_clock = || {
            now.set(clock.monotonic());
            now.get()
        };
        let Served { value, until } = self.l1.lookup(id, read_clock)?;
        self.reads_from_l1.inc();
        let snapshot = value.snapshot(now.get());
        // Not exact where several threads count at once, and need not be.
        if self.reads_from_l1.get() % SAMPLE_EVERY == 1 {
            // A sampler that is busy is no reason to wait.
            let _ = self.samples.try_send((*id, snapshot.session.version));
        }
        Ok(Vouched {
            lookup: Lookup::Found(snapshot),
            until: Some(until),
            stale: None,
        })
    }

    /// Rule W2: this server changed the session.
    pub(super) fn drop_own(&self, id: &SessionId) {
        self.l1.drop_own(id);
    }

    /// Rule W2 for a change that is about to be sent: memory's copy goes with what this gives.
    pub(super) fn changing(&self, id: SessionId, clock: &dyn Clock) -> Changing<'_> {
        Changing::begin(self, id, clock.monotonic())
    }

    /// Rule W3: this server ended the session.
    pub(super) fn end(&self, id: &SessionId, now: Monotonic) {
        self.l1.end(id, now);
    }

    pub(super) fn show(&self, now: Monotonic) {
        fn count(number: impl TryInto<i64>) -> i64 {
            number.try_into().unwrap_or(i64::MAX)
        }
        let (metrics, cover) = (&self.metrics, self.l1.cover());
        metrics.l1_entries.set(count(self.l1.len()));
        metrics.l1_bytes.set(count(self.l1.weight()));
        metrics.l1_covered_buckets.set(count(cover.covered()));
        let (connections, oldest) = cover.leases();
        metrics.coherence_connections.set(count(connections));
        metrics
            .lease_age
            .set(oldest.map_or(0.0, |lease| now.since(lease).as_secs_f64()));
    }

    pub(super) fn covered(&self) -> usize {
        self.l1.cover().covered()
    }
}
