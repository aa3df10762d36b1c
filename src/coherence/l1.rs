//! The L1 cache: answers under the rules of COHERENCE.md, or says why not.

use std::time::Duration;

use parking_lot::RwLock;

use super::cover::Cover;
use super::fill::{Begun, Fill};
use super::hit::{Hit, Miss, ORDER, Served, Stale, Step};
use super::message::{Kind, Message};
#[cfg(test)]
use super::mutant::Mutant;
use super::parts::{Keyed, Limits, Map, Parts, Product, Value};
use super::tombstones::Tombstones;
use crate::session::Monotonic;

/// How long things may be kept and how many.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// B, the staleness bound.
    pub staleness: Duration,
    /// The oldest that an entry may get, however well it is covered.
    pub max_age: Duration,
    /// How long an end is remembered (W3): node timeout + replication lag + margin.
    pub keep_ends: Duration,
    /// How many ends are remembered at most; the oldest are forgotten early, and counted.
    pub max_ends: usize,
    /// Entries and bytes.
    pub limits: Limits,
}

/// The cache of one pod. Shared by every request; a hit takes no lock but its map shard's read lock.
pub struct L1<K: Keyed, V: Value, P: Parts = Product> {
    cover: Cover<P::Word>,
    map: P::Map<K, V>,
    ended: RwLock<Tombstones<K>>,
    max_age: Duration,
    #[cfg(test)]
    pub(super) left_out: Option<Mutant>,
}

impl<K: Keyed, V: Value, P: Parts> L1<K, V, P> {
    /// Empty and without cover.
    pub fn new(bounds: Bounds) -> Self {
        Self {
            cover: Cover::new(bounds.staleness),
            map: P::Map::with_limits(bounds.limits),
            ended: RwLock::new(Tombstones::new(bounds.keep_ends, bounds.max_ends)),
            max_age: bounds.max_age,
            #[cfg(test)]
            left_out: None,
        }
    }

    /// The same with one rule left out.
    #[cfg(test)]
    pub(crate) fn without(bounds: Bounds, left_out: Option<Mutant>) -> Self {
        let mut l1 = Self::new(bounds);
        l1.left_out = left_out;
        l1.cover.left_out = left_out;
        l1
    }

    /// The same with room for one bucket and one connection: every word is a point at which threads interleave.
    #[cfg(test)]
    pub(crate) fn small(bounds: Bounds, left_out: Option<Mutant>) -> Self {
        let mut l1 = Self::new(bounds);
        l1.left_out = left_out;
        l1.cover = Cover::sized(bounds.staleness, 1, 1);
        l1.cover.left_out = left_out;
        l1
    }

    /// Stamps and leases, for the transport to feed.
    pub fn cover(&self) -> &Cover<P::Word> {
        &self.cover
    }

    /// Rule H1, the hit. `clock` is read once, last.
    #[inline]
    pub fn lookup(&self, id: &K, clock: impl Fn() -> Monotonic) -> Result<Served<V>, Miss> {
        let mut hit = Hit::new();
        #[cfg(not(test))]
        let order = ORDER;
        #[cfg(test)]
        let order = self.order();
        for step in order {
            hit.take(step, self, id, &clock);
        }
        self.judge(hit)
    }

    /// The opt-in `serve_stale`: what was true at most B + `extra` ago, cover or no cover, however long it has been held;
    /// nothing where the entry is allowed no extra. Only for when the store is down; the answer must be marked.
    pub fn lookup_stale(
        &self,
        id: &K,
        extra: impl FnOnce(&V) -> Option<Duration>,
        clock: impl Fn() -> Monotonic,
    ) -> Result<Stale<V>, Miss> {
        let entry = self.map.get(id).ok_or(Miss::Absent)?;
        let extra = extra(&entry.value).ok_or(Miss::LeaseLapsed)?;
        // Under a cover before the last one it was true at least when it was read.
        let vouched = self.cover.vouched(id.bucket(), entry.stamp).unwrap_or(entry.sent);
        let covered_until = Monotonic::from_nanos(vouched.as_nanos().saturating_add(self.cover.bound())).after(extra);
        let now = clock();
        if self.has_ended(id, now) {
            return Err(Miss::Absent);
        }
        if now > covered_until {
            return Err(Miss::LeaseLapsed);
        }
        if now >= entry.ends {
            return Err(Miss::PastDeadline);
        }
        Ok(Stale {
            value: entry.value,
            age: now.since(vouched),
        })
    }

    /// Rules F1 and F3: after a miss, waits for the fill at work on `id` or begins one. Never skip the miss: this
    /// throws out an entry that is no longer good.
    pub async fn begin_fill<'a>(&'a self, id: &'a K, clock: impl Fn() -> Monotonic) -> Begun<'a, K, V, P> {
        let started = clock();
        if self.has_ended(id, started) {
            return Begun::Ended;
        }
        let Some(stamp) = self.cover.stamp(id.bucket()) else {
            return Begun::Read(Fill::unshared(*id, started));
        };
        self.map
            .remove_if(id, |entry| entry.stamp != stamp || started >= entry.until);
        let mut hit = Hit::new();
        hit.take(Step::Slot, self, id, &clock);
        hit.take(Step::Lease, self, id, &clock);
        match self.map.join(id).await {
            Ok(entry) => {
                #[cfg(test)]
                if self.left_out == Some(Mutant::JoinedUnchecked) {
                    return Begun::Joined(Served {
                        value: entry.value,
                        until: entry.until,
                    });
                }
                hit.joined(entry);
                hit.take(Step::Stamp, self, id, &clock);
                hit.take(Step::Clock, self, id, &clock);
                self.answer_joined(*id, hit, clock())
            }
            Err(guard) => {
                // Noted before the read is sent, and only now: waiting for the place may have taken long.
                let noted = self.cover.noted(id.bucket());
                let sent = clock();
                match noted {
                    Some((stamp, connection)) => Begun::Read(Fill::shared(*id, sent, guard, stamp, connection)),
                    None => Begun::Read(Fill::unshared(*id, sent)),
                }
            }
        }
    }

    /// Rule F3: what a joined fill gave is served if it would be a hit; otherwise this request reads for itself.
    fn answer_joined(&self, id: K, hit: Hit<V>, now: Monotonic) -> Begun<'_, K, V, P> {
        match self.judge(hit) {
            _ if self.has_ended(&id, now) => Begun::Ended,
            Ok(served) => Begun::Joined(served),
            Err(_) => Begun::Read(Fill::unshared(id, now)),
        }
    }

    /// Rule F2: applies a message of `bucket`'s channel. Call it in the connection's reader, in order, before any later
    /// reply on the connection is handed on. Ids are those that [`Message::parse`] checked.
    pub fn heard(&self, bucket: u16, message: &Message<'_>, now: Monotonic)
    where
        K: std::str::FromStr,
    {
        match message.kind() {
            Kind::Bucket => self.cover.renew(bucket),
            Kind::Ended => message.ids().for_each(|id| self.end(&id, now)),
            Kind::Changed | Kind::Rotated => message.ids().for_each(|id| self.invalidate(&id)),
        }
    }

    /// Removes the entry of `id`, and takes the place from whoever fills it.
    pub fn invalidate(&self, id: &K) {
        self.map.remove(id);
    }

    /// Every entry of `bucket` is void (W1, kind *bucket*).
    pub fn invalidate_bucket(&self, bucket: u16) {
        self.cover.renew(bucket);
    }

    /// Rule W2: this pod wrote `id`. Call it before answering; what was written is never inserted.
    pub fn drop_own(&self, id: &K) {
        self.map.remove(id);
    }

    /// Rule W3: `id` ended, as heard or as done by this pod; nothing is answered for it from now on. Remembered first,
    /// so that no fill slips in behind the removal.
    pub fn end(&self, id: &K, now: Monotonic) {
        self.remember_end(id, now);
        self.map.remove(id);
    }

    fn remember_end(&self, id: &K, now: Monotonic) {
        #[cfg(test)]
        if self.left_out == Some(Mutant::EndForgotten) {
            return;
        }
        self.ended.write().add(*id, now);
    }

    /// Rule W3: whether `id` is known to have ended, whatever a node may say of it.
    pub fn has_ended(&self, id: &K, now: Monotonic) -> bool {
        self.ended.read().holds(id, now)
    }

    /// How many ends were forgotten early because [`Bounds::max_ends`] was reached.
    pub fn ends_forgotten_early(&self) -> u64 {
        self.ended.read().dropped()
    }

    /// How many sessions are held, about.
    pub fn len(&self) -> usize {
        self.map.count()
    }

    /// Whether something is held for `id`, be it good or not.
    pub fn holds(&self, id: &K) -> bool {
        self.map.get(id).is_some()
    }

    /// The bytes that they take, about, as the limits count them.
    pub fn weight(&self) -> u64 {
        self.map.weight()
    }

    /// Whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn map(&self) -> &P::Map<K, V> {
        &self.map
    }

    pub(super) const fn max_age(&self) -> Duration {
        self.max_age
    }

    #[inline]
    pub(crate) fn judge(&self, hit: Hit<V>) -> Result<Served<V>, Miss> {
        hit.judge(
            self.cover.bound(),
            #[cfg(test)]
            self.left_out,
        )
    }

    /// The order of H1, or the wrong one that is to be caught.
    #[cfg(test)]
    pub(crate) fn order(&self) -> [Step; 5] {
        use Step::{Clock, Lease, LookUp, Slot, Stamp};
        match self.left_out {
            Some(Mutant::LeaseAfterLookUp) => [Slot, Stamp, LookUp, Lease, Clock],
            Some(Mutant::StampBeforeLease) => [Slot, Stamp, Lease, LookUp, Clock],
            Some(Mutant::ClockBeforeLookUp) => [Slot, Lease, Stamp, Clock, LookUp],
            _ => ORDER,
        }
    }
}
