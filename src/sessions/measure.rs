//! The live measures of memory: how long invalidations take, and whether the staleness bound is kept.

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::cache::SessionL1;
use crate::coherence::message::Message;
use crate::coherence::{Cover, Feed};
use crate::session::{Clock, Monotonic, SessionId};
use crate::store::{Lookup, SessionStore};
use crate::telemetry::{Metrics, Traces, trace};

/// How often the sampler looks whether L1 still answers with what the primary no longer has.
const SAMPLE_POLL: Duration = Duration::from_millis(2);
/// How many own changes are followed to their invalidation at a time.
const FOLLOWED: usize = 256;

/// Own changes on their way, to measure how long their invalidations take.
#[derive(Default)]
pub(super) struct OwnChanges(Mutex<HashMap<SessionId, Monotonic>>);

impl OwnChanges {
    pub(super) fn begin(&self, id: &SessionId, now: Monotonic) {
        let mut changes = self.0.lock();
        if changes.len() >= FOLLOWED {
            // Those that were never heard of: refused changes, or cover that was lost.
            changes.clear();
        }
        changes.insert(*id, now);
    }

    fn heard(&self, id: &SessionId) -> Option<Monotonic> {
        self.0.lock().remove(id)
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
        for id in message.ids::<SessionId>() {
            if let Some(begun) = self.own_changes.heard(&id) {
                self.metrics.invalidation_delay.observe(now.since(begun).as_secs_f64());
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
