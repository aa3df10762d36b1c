//! The opt-in `serve_stale`: while the store is out of reach, memory answers for some classes beyond the staleness bound.
//!
//! It is a path of its own, beside the rules of [`crate::coherence`]: only who says [`Freshness::accept_stale`] gets such
//! an answer, and every one is marked with its age.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::cache::{Cache, Vouched};
use super::{Error, Freshness, Result, Sessions};
use crate::coherence::BUCKETS;
use crate::session::{Bucket, Monotonic, Session, SessionId, Verdict};
use crate::store::{Lookup, StoreError};

/// A session that was read.
#[derive(Debug, Clone)]
pub struct Seen {
    /// The session.
    pub session: Arc<Session>,
    /// How long ago it was known to be so, where the store is out of reach and the answer is older than the bound.
    pub stale: Option<Duration>,
}

/// When a read of each bucket failed last, in nanoseconds of the monotonic clock; 0: the last one did not.
pub(super) struct Outages(Box<[AtomicU64]>);

impl Default for Outages {
    fn default() -> Self {
        Self((0..BUCKETS).map(|_| AtomicU64::new(0)).collect())
    }
}

impl Outages {
    fn of(&self, bucket: Bucket) -> Option<&AtomicU64> {
        self.0.get(usize::from(bucket.number()))
    }

    /// Whether a read failed less than `pause` ago, so that this one need not try. After a pause, one of those that ask
    /// tries, and the others take it that nothing has changed.
    fn goes_on(&self, bucket: Bucket, now: Monotonic, pause: Duration) -> bool {
        let Some(outage) = self.of(bucket) else { return false };
        let failed = outage.load(Ordering::Relaxed);
        if failed == 0 {
            return false;
        }
        let is_recent = now.since(Monotonic::from_nanos(failed)) < pause;
        let tries = || outage.compare_exchange(failed, now.as_nanos(), Ordering::Relaxed, Ordering::Relaxed);
        is_recent || tries().is_err()
    }

    fn note(&self, bucket: Bucket, failed: Option<Monotonic>) {
        let failed = failed.map_or(0, |now| now.as_nanos().max(1));
        if let Some(outage) = self.of(bucket)
            && outage.load(Ordering::Relaxed) != failed
        {
            outage.store(failed, Ordering::Relaxed);
        }
    }
}

impl Sessions {
    /// As [`Sessions::get`], and where that is accepted, from memory beyond the staleness bound while the store is out of
    /// reach.
    pub async fn get_marked(&self, id: SessionId, freshness: Freshness) -> Result<Option<Seen>> {
        let vouched = self.read_vouched(id, freshness).await?;
        let Lookup::Found(snapshot) = vouched.lookup else {
            return Ok(None);
        };
        let is_alive = snapshot.session.verdict(snapshot.now) == Verdict::Alive;
        Ok(is_alive.then_some(Seen {
            session: snapshot.session,
            stale: vouched.stale,
        }))
    }

    /// Reads through memory, and where the store is out of reach, takes what memory has.
    pub(super) async fn read_or_stale(&self, cache: &Cache, id: SessionId) -> Result<Vouched> {
        let (bucket, clock) = (id.bucket(), &*self.0.clock);
        let Some(fallback) = self.stale(cache, &id) else {
            return self.read_through(cache, id).await;
        };
        if cache.outages.goes_on(bucket, clock.monotonic(), cache.bound) {
            return Ok(self.counted(fallback));
        }
        // What takes longer than the bound would not be served by rule F3 either.
        let failure = match tokio::time::timeout(cache.bound, self.read_through(cache, id)).await {
            Ok(Err(Error::Store(error @ StoreError::Unavailable(_)))) => error,
            Err(_) => StoreError::Unavailable("it has not answered within the staleness bound".to_owned()),
            Ok(answered) => {
                cache.outages.note(bucket, None);
                return answered;
            }
        };
        cache.outages.note(bucket, Some(clock.monotonic()));
        // Looked up anew: the session may have changed or ended meanwhile, as far as this server has heard.
        let stale = self.stale(cache, &id).map(|stale| self.counted(stale));
        stale.ok_or_else(|| failure.into())
    }

    /// What memory has of a session that is alive and not known to have ended, as far as its class allows.
    fn stale(&self, cache: &Cache, id: &SessionId) -> Option<Vouched> {
        let allowances = &self.0.settings.serve_stale;
        if allowances.is_empty() || self.has_ended(id) {
            return None;
        }
        let now = Cell::new(Monotonic::default());
        let read_clock = || {
            now.set(self.0.clock.monotonic());
            now.get()
        };
        let allowed = |held: &super::cache::Held| allowances.get(&held.session.class).copied();
        let stale = cache.l1.lookup_stale(id, allowed, read_clock).ok()?;
        let snapshot = stale.value.snapshot(now.get());
        (snapshot.session.verdict(snapshot.now) == Verdict::Alive).then_some(Vouched {
            lookup: Lookup::Found(snapshot),
            until: None,
            stale: Some(stale.age),
        })
    }

    fn counted(&self, stale: Vouched) -> Vouched {
        self.0.metrics.reads.with_label_values(&["stale"]).inc();
        stale
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_an_outage_one_of_those_that_ask_tries_after_each_pause() {
        let (outages, bucket) = (Outages::default(), Bucket::new(7));
        let at = |seconds: u64| Monotonic::from_nanos(seconds * 1_000_000_000);
        let pause = Duration::from_secs(2);
        assert!(!outages.goes_on(bucket, at(9), pause), "nothing has failed");
        outages.note(bucket, Some(at(10)));
        assert!(outages.goes_on(bucket, at(11), pause));
        assert!(
            !outages.goes_on(Bucket::new(8), at(11), pause),
            "each bucket for itself"
        );
        assert!(!outages.goes_on(bucket, at(12), pause), "one tries");
        assert!(outages.goes_on(bucket, at(12), pause), "and the others wait for it");
        outages.note(bucket, None);
        assert!(!outages.goes_on(bucket, at(12), pause));
    }
}
