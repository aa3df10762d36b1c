//! How sessions are read: from memory, or through it from the store.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::cache::{Cache, Held, Vouched};
use super::{Error, Result, Sessions};
use crate::coherence::{Answer, Begun, Fill, Pace, Product, Record, Source, Transport};
use crate::session::{Monotonic, SessionId, Timestamp, Verdict};
use crate::store::{Lookup, Snapshot, StoreError};

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
