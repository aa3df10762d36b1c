use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus::IntCounter;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::measure::{MeasuredFeed, OwnChanges, Sampler};
use super::stale::Outages;
use super::{Error, Result, Sessions};
use crate::coherence::{
    Answer, Begun, Bounds, Feed, Fill, L1, Limits, Miss, Pace, Product, Record, Served, Source, Transport,
};
use crate::session::{Clock, Monotonic, Session, SessionId, Timestamp, Verdict};
use crate::store::{Lookup, Snapshot, StoreError};
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
    fn version(&self) -> Option<u64> {
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
    hits: AtomicU64,
    /// Found beforehand: a hit looks no label up.
    reads_from_l1: IntCounter,
    samples: mpsc::Sender<(SessionId, u64)>,
    own_changes: Arc<OwnChanges>,
    metrics: Metrics,
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
                hits: AtomicU64::new(0),
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
    fn feed(&self) -> Arc<dyn Feed> {
        let own_changes = Arc::clone(&self.own_changes);
        Arc::new(MeasuredFeed {
            l1: Arc::clone(&self.l1),
            own_changes,
            metrics: self.metrics.clone(),
            traces: self.traces.clone(),
        })
    }

    /// Rule H1: what L1 answers.
    fn hit(&self, id: &SessionId, clock: &dyn Clock) -> Option<Vouched> {
        let answer = self.recall(id, clock);
        if let Err(miss) = &answer {
            self.metrics.l1_misses.with_label_values(&[miss.label()]).inc();
        }
        answer.ok()
    }

    /// As [`Cache::hit`], for those who will ask again after a miss: it is not counted.
    fn recall(&self, id: &SessionId, clock: &dyn Clock) -> std::result::Result<Vouched, Miss> {
        let now = Cell::new(Monotonic::default());
        let read_clock = || {
            now.set(clock.monotonic());
            now.get()
        };
        let Served { value, until } = self.l1.lookup(id, read_clock)?;
        self.reads_from_l1.inc();
        let snapshot = value.snapshot(now.get());
        if self.hits.fetch_add(1, Ordering::Relaxed).is_multiple_of(SAMPLE_EVERY) {
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
    pub(super) fn own_copy(&self, id: SessionId, clock: &dyn Clock) -> OwnCopy<'_> {
        self.own_changes.begin(&id, clock.monotonic());
        OwnCopy { l1: &self.l1, id }
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

/// Memory's copy of a session while this server changes it; the copy goes with it, answered or cancelled.
pub(super) struct OwnCopy<'a> {
    l1: &'a SessionL1,
    id: SessionId,
}

impl Drop for OwnCopy<'_> {
    fn drop(&mut self) {
        self.l1.drop_own(&self.id);
    }
}

impl Sessions {
    /// What memory holds of a live session, without asking anybody; nothing where the store would have to be asked.
    pub(super) fn held(&self, id: &SessionId) -> Option<(Snapshot, Option<Monotonic>)> {
        let Vouched { lookup, until, .. } = self.0.cache.as_ref()?.recall(id, &*self.0.clock).ok()?;
        match lookup {
            Lookup::Found(held) if held.session.verdict(held.now) == Verdict::Alive => Some((held, until)),
            _ => None,
        }
    }

    /// The one way by which sessions are read: from L1, or through it from the store.
    pub(super) async fn read(&self, id: SessionId, freshness: super::Freshness) -> Result<Lookup> {
        let freshness = super::Freshness {
            accept_stale: false,
            ..freshness
        };
        Ok(self.read_vouched(id, freshness).await?.lookup)
    }

    /// As [`Sessions::read`], and tells how long the answer will do.
    pub(super) async fn read_vouched(&self, id: SessionId, freshness: super::Freshness) -> Result<Vouched> {
        let Some(cache) = self
            .0
            .cache
            .as_ref()
            .filter(|_| freshness.consistency == super::Consistency::Bounded)
        else {
            return Ok(self.read_strong(id).await?.into());
        };
        let vouched = match cache.hit(&id, &*self.0.clock) {
            Some(hit) => hit,
            None if freshness.accept_stale => self.read_or_stale(cache, id).await?,
            None => self.read_through(cache, id).await?,
        };
        match (vouched.version(), freshness.min_version) {
            // What is held, or what a joined read brought, may be older than what the caller has seen.
            (Some(version), Some(wanted)) if version < wanted => Ok(self.read_strong(id).await?.into()),
            _ => Ok(vouched),
        }
    }

    /// For how long others may reuse the answer that a session is valid without breaking the promise of the staleness
    /// bound; zero where this server cannot tell.
    pub fn reusable_for(&self, valid: &super::ValidSession) -> Duration {
        // The end of an alias is not known here.
        let Some(until) = valid.vouched_until.filter(|_| valid.presented == valid.session.id) else {
            return Duration::ZERO;
        };
        let to_expiry = valid.session.expires_at.since(valid.now);
        until.since(self.0.clock.monotonic()).min(to_expiry)
    }

    /// From the store of record, round L1.
    async fn read_strong(&self, id: SessionId) -> Result<Lookup> {
        self.0.read_strong.inc();
        if self.has_ended(&id) {
            return Ok(Lookup::Missing);
        }
        let lookup = self.0.store.get(id).await?;
        Ok(self.unless_ended(lookup))
    }

    /// Rules F1 and F3: joins a read that is under way, or reads, and keeps what may be kept.
    pub(super) async fn read_through(&self, cache: &Cache, id: SessionId) -> Result<Vouched> {
        let clock = || self.0.clock.monotonic();
        // An end that was never answered is known for longer than L1 remembers it.
        if self.0.redo.contains(&id) {
            return Ok(Lookup::Missing.into());
        }
        // What another read brings later than the bound would not be served.
        let begun = tokio::time::timeout(cache.bound, cache.l1.begin_fill(&id, clock)).await;
        let Ok(begun) = begun else {
            return Ok(self.read_strong(id).await?.into());
        };
        let fill = match begun {
            Begun::Ended => return Ok(Lookup::Missing.into()),
            Begun::Joined(served) => {
                self.0.metrics.reads.with_label_values(&["joined"]).inc();
                return Ok(Vouched {
                    lookup: Lookup::Found(served.value.snapshot(clock())),
                    until: Some(served.until),
                    stale: None,
                });
            }
            Begun::Read(fill) => fill,
        };
        self.0.metrics.reads.with_label_values(&["store"]).inc();
        let sent = clock();
        let (lookup, source) = self.read_for(cache, &fill, id).await?;
        let snapshot = match lookup {
            Lookup::Found(snapshot)
                if snapshot.session.id == id && snapshot.session.verdict(snapshot.now) == Verdict::Alive =>
            {
                snapshot
            }
            other => {
                // Rule A: nothing is held under an alias; and neither is absence, nor what has expired.
                fill.absent();
                if self.took_too_long(sent) {
                    return Ok(self.read_again(id).await?.into());
                }
                return Ok(self.unless_ended(other).into());
            }
        };
        let completed = fill.complete(&cache.l1, record(&snapshot, sent, source), clock);
        if let Err(refusal) = completed.inserted {
            self.0
                .metrics
                .l1_fills_refused
                .with_label_values(&[refusal.label()])
                .inc();
        }
        match completed.answer {
            Answer::Serve(served) => Ok(Vouched {
                lookup: Lookup::Found(snapshot),
                until: Some(served.until),
                stale: None,
            }),
            Answer::Ended => Ok(Lookup::Missing.into()),
            Answer::OtherId => Err(Error::Store(StoreError::Mismatch)),
            Answer::TooSlow => Ok(self.read_again(id).await?.into()),
        }
    }

    /// Where the read may become an entry, it goes to the node whose connection covers the bucket.
    async fn read_for(
        &self,
        cache: &Cache,
        fill: &Fill<'_, SessionId, Held, Product>,
        id: SessionId,
    ) -> Result<(Lookup, Source)> {
        if let Some(connection) = fill.connection() {
            let sent = self.0.clock.monotonic();
            match self.0.store.get_covered(id, connection).await {
                Ok(lookup) => return Ok((lookup, Source::Asked)),
                // A desynchronised connection is told of, never passed over (S51).
                Err(error @ StoreError::Mismatch) => return Err(error.into()),
                // A silent node has cost the time for another try.
                Err(error) if self.0.clock.monotonic().since(sent) >= cache.bound / 2 => return Err(error.into()),
                Err(_) => {}
            }
        }
        Ok((self.0.store.get(id).await?, Source::Elsewhere))
    }

    /// Rule F3: an answer that took longer than the bound is asked for once more.
    async fn read_again(&self, id: SessionId) -> Result<Lookup> {
        let sent = self.0.clock.monotonic();
        let lookup = self.read_strong(id).await?;
        if self.took_too_long(sent) {
            return Err(StoreError::Unavailable("its answers take longer than the staleness bound".to_owned()).into());
        }
        Ok(lookup)
    }

    fn took_too_long(&self, sent: Monotonic) -> bool {
        let took = self.0.clock.monotonic().since(sent);
        self.0.settings.cache.is_some_and(|cache| took > cache.staleness_bound)
    }

    /// Whether the session is known to have ended, whatever the store may say of it after a failover (rule W3).
    pub(super) fn has_ended(&self, id: &SessionId) -> bool {
        let heard = |cache: &Cache| cache.l1.has_ended(id, self.0.clock.monotonic());
        self.0.redo.contains(id) || self.0.cache.as_ref().is_some_and(heard)
    }

    fn unless_ended(&self, lookup: Lookup) -> Lookup {
        match lookup {
            Lookup::Found(snapshot) if self.has_ended(&snapshot.session.id) => Lookup::Missing,
            other => other,
        }
    }

    /// Feeds L1 from the store until it is told to stop; nothing to do where this server has none.
    pub async fn keep_covered(&self, transport: Arc<dyn Transport>, stop: CancellationToken) {
        let (Some(cache), Some(settings)) = (&self.0.cache, self.0.settings.cache) else {
            return;
        };
        let sampler = self.0.sampler.lock().take();
        let sampling = async {
            if let Some(sampler) = sampler {
                sampler.run(&*self.0.store, &*self.0.clock).await;
            }
            std::future::pending::<()>().await;
        };
        let pace = Pace {
            heartbeat: settings.heartbeat,
            clock: Arc::clone(&self.0.clock),
            stop,
        };
        tokio::select! {
            () = transport.feed(cache.feed(), pace) => {}
            () = sampling => {}
        }
    }

    /// Whether L1 answers for every bucket; true where this server has none.
    pub fn is_covered(&self) -> bool {
        self.0
            .cache
            .as_ref()
            .is_none_or(|cache| cache.covered() == crate::coherence::BUCKETS)
    }

    /// Brings the gauges of L1 up to date.
    pub fn show_cache(&self) {
        if let Some(cache) = &self.0.cache {
            cache.show(self.0.clock.monotonic());
        }
    }
}

fn record(snapshot: &Snapshot, sent: Monotonic, source: Source) -> Record<SessionId, Held> {
    let session = &snapshot.session;
    // The store told the millisecond, and not how much of it had passed: to refuse at the same instant as the store does
    // (S16), memory must take it for over.
    let left = |deadline: Timestamp| deadline.since(snapshot.now).saturating_sub(Duration::from_millis(1));
    Record {
        id: session.id,
        value: Held {
            session: Arc::clone(session),
            now: snapshot.now,
            sent,
        },
        bytes: session.weight(),
        idle_left: left(session.expires_at),
        absolute_left: left(session.absolute_expires_at),
        source,
    }
}
