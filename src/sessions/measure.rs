//! The live measures of memory: how long invalidations take, and whether the staleness bound is kept.

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::cache::{Cache, SessionL1};
use crate::coherence::message::{Kind, Message};
use crate::coherence::{Cover, Feed};
use crate::session::{CartItem, Clock, Monotonic, SessionId};
use crate::store::{Lookup, Rotated, SessionStore, Snapshot};
use crate::telemetry::{Metrics, Traces, trace};

/// How often the sampler looks whether L1 still answers with what the primary no longer has.
const SAMPLE_POLL: Duration = Duration::from_millis(2);
/// How many own changes are followed to their invalidation at a time.
const FOLLOWED: usize = 256;

/// Own changes on their way, to measure how long their invalidations take: by the id that each was asked for.
#[derive(Default)]
pub(super) struct OwnChanges(Mutex<HashMap<SessionId, OwnChange>>);

struct OwnChange {
    /// When it was sent.
    begun: Monotonic,
    stage: Stage,
}

enum Stage {
    /// Not answered yet; the last invalidation of the session that was heard since.
    Sent(Option<(u64, Monotonic)>),
    /// It was answered with this version, whose invalidation was not heard yet.
    Answered(u64),
}

impl OwnChanges {
    fn begin(&self, id: &SessionId, now: Monotonic) {
        let mut changes = self.0.lock();
        if changes.len() >= FOLLOWED {
            // Those that were never heard of: what changed nothing, or cover that was lost.
            changes.clear();
        }
        let stage = Stage::Sent(None);
        changes.insert(*id, OwnChange { begun: now, stage });
    }

    /// The store's answer: the version that the session has under this id, or nothing where none is known. Gives the
    /// delay where the invalidation was faster.
    fn answered(&self, id: &SessionId, begun: Monotonic, version: Option<u64>) -> Option<Duration> {
        let mut changes = self.0.lock();
        let change = changes.get_mut(id).filter(|change| change.begun == begun)?;
        match (&change.stage, version) {
            (Stage::Sent(Some((heard, at))), Some(version)) if *heard == version => {
                let delay = at.since(begun);
                changes.remove(id);
                return Some(delay);
            }
            (Stage::Sent(_), Some(version)) => change.stage = Stage::Answered(version),
            _ => {
                changes.remove(id);
            }
        }
        None
    }

    /// An invalidation, with the version that it tells of, or nothing for an end. Gives the delay of the own change that
    /// it belongs to. One of another version belongs to somebody else's: a change that changed nothing published nothing.
    fn heard(&self, id: &SessionId, version: Option<u64>, now: Monotonic) -> Option<Duration> {
        let mut changes = self.0.lock();
        let change = changes.get_mut(id)?;
        match (&mut change.stage, version) {
            (Stage::Sent(heard), Some(version)) => *heard = Some((version, now)),
            (Stage::Answered(awaited), Some(version)) if version < *awaited => {}
            (Stage::Answered(awaited), version) => {
                let delay = (version == Some(*awaited)).then(|| now.since(change.begun));
                changes.remove(id);
                return delay;
            }
            (Stage::Sent(_), None) => {
                changes.remove(id);
            }
        }
        None
    }
}

/// What the store answers to a change.
pub(super) trait Answer {
    /// The version that the change gave to the session of this id, as its invalidation says it; nothing where the answer
    /// does not tell.
    fn version(&self, _id: &SessionId) -> Option<u64> {
        None
    }
}

impl Answer for Snapshot {
    /// A change under a former id is published under the present one.
    fn version(&self, id: &SessionId) -> Option<u64> {
        (self.session.id == *id).then_some(self.session.version)
    }
}

impl Answer for Rotated {
    /// A rotation is published under the id that it retires.
    fn version(&self, _id: &SessionId) -> Option<u64> {
        Some(self.snapshot.session.version)
    }
}

impl Answer for serde_json::Number {}

impl Answer for Vec<CartItem> {}

/// This server's own change of a session, until it is answered or cancelled: then memory's copy is dropped (rule W2).
pub(super) struct Changing<'a> {
    cache: &'a Cache,
    id: SessionId,
    begun: Monotonic,
    version: Option<u64>,
}

impl<'a> Changing<'a> {
    pub(super) fn begin(cache: &'a Cache, id: SessionId, now: Monotonic) -> Self {
        cache.own_changes.begin(&id, now);
        let (begun, version) = (now, None);
        Self {
            cache,
            id,
            begun,
            version,
        }
    }

    /// The change was answered so.
    pub(super) fn answered(&mut self, answer: &impl Answer) {
        self.version = answer.version(&self.id);
    }
}

impl Drop for Changing<'_> {
    fn drop(&mut self) {
        self.cache.l1.drop_own(&self.id);
        if let Some(delay) = self.cache.own_changes.answered(&self.id, self.begun, self.version) {
            self.cache.metrics.invalidation_delay.observe(delay.as_secs_f64());
        }
    }
}

/// L1 as the transport sees it, with the delay of invalidations measured.
pub(super) struct MeasuredFeed {
    pub(super) l1: Arc<SessionL1>,
    pub(super) own_changes: Arc<OwnChanges>,
    pub(super) metrics: Metrics,
    pub(super) traces: Traces,
}

impl Feed for MeasuredFeed {
    fn cover(&self) -> &Cover {
        self.l1.cover()
    }

    fn heard(&self, bucket: u16, message: &Message<'_>, now: Monotonic) {
        let cause = message.extension("traceparent");
        let held = cause.map(|_| message.ids::<SessionId>().filter(|id| self.l1.holds(id)).count());
        self.l1.heard(bucket, message, now);
        if let (Some(cause), Some(dropped @ 1..)) = (cause, held) {
            trace::heard(&self.traces, message.kind().label(), cause, dropped);
        }
        self.metrics
            .invalidations
            .with_label_values(&[message.kind().label()])
            .inc();
        let version = (message.kind() != Kind::Ended).then_some(message.version());
        for id in message.ids::<SessionId>() {
            if let Some(delay) = self.own_changes.heard(&id, version, now) {
                self.metrics.invalidation_delay.observe(delay.as_secs_f64());
            }
        }
    }
}

/// The live measure of the promise: holds a small share of the hits against the primary.
pub(super) struct Sampler {
    pub(super) l1: Arc<SessionL1>,
    pub(super) taken: mpsc::Receiver<(SessionId, u64)>,
    pub(super) bound: Duration,
    pub(super) metrics: Metrics,
}

impl Sampler {
    pub(super) async fn run(mut self, store: &dyn SessionStore, clock: &dyn Clock) {
        while let Some((id, served)) = self.taken.recv().await {
            let Ok(lookup) = store.get(id).await else { continue };
            self.metrics.staleness_samples.inc();
            let present = match lookup {
                Lookup::Found(snapshot) if snapshot.session.id == id => Some(snapshot.session.version),
                _ => None,
            };
            if present == Some(served) {
                continue;
            }
            self.follow(id, present, clock).await;
        }
    }

    /// The primary has another state than the one that was served: follows how long L1 goes on answering with an older
    /// one. That time is a lower bound of the staleness, for the change was made before it was seen.
    async fn follow(&self, id: SessionId, present: Option<u64>, clock: &dyn Clock) {
        let seen = clock.monotonic();
        loop {
            let looked = Cell::new(seen);
            let read_clock = || {
                looked.set(clock.monotonic());
                looked.get()
            };
            let older = self
                .l1
                .lookup(&id, read_clock)
                .is_ok_and(|served| present.is_none_or(|version| served.value.session.version < version));
            let age = looked.get().since(seen);
            if !older {
                self.metrics.staleness_observed.observe(age.as_secs_f64());
                return;
            }
            if age > self.bound {
                tracing::error!(session_id = %id, ?age, "L1 answered with a state older than the staleness bound");
                self.metrics.staleness_violations.inc();
                self.metrics.staleness_observed.observe(age.as_secs_f64());
                return;
            }
            tokio::time::sleep(SAMPLE_POLL).await;
        }
    }
}
