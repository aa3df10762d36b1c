//! Rule H1, the hit: four loads in an order that matters, then the verdict.

use std::time::Duration;

use super::cover::Stamp;
use super::l1::L1;
#[cfg(test)]
use super::mutant::Mutant;
use super::parts::{Entry, Keyed, Map, Parts, Value};
use crate::session::Monotonic;

/// One step of a hit. Other threads may do anything between two of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Ask the bucket's stamp which connection covers it; that it is still so is checked by `Stamp`.
    Slot,
    /// Load that connection's lease.
    Lease,
    /// Load the bucket's stamp.
    Stamp,
    /// Look the entry up.
    LookUp,
    /// Read the clock.
    Clock,
}

/// The order of H1. The lease before everything that it vouches for, the clock after everything.
pub(crate) const ORDER: [Step; 5] = [Step::Slot, Step::Lease, Step::Stamp, Step::LookUp, Step::Clock];

/// What L1 answers with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Served<V> {
    /// The value.
    pub value: V,
    /// Until when this very answer keeps the promise: the lease + B, or the entry's deadline.
    pub until: Monotonic,
}

/// What L1 answers with beyond the staleness bound, where that is accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stale<V> {
    /// The value.
    pub value: V,
    /// How long ago it was known to be so: the time since the last lease that vouched for it.
    pub age: Duration,
}

/// Why L1 does not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Miss {
    /// Nothing is held for this id.
    Absent,
    /// The bucket is not subscribed.
    NoCover,
    /// The entry's stamp is not the bucket's.
    OtherStamp,
    /// No lease, or one older than B.
    LeaseLapsed,
    /// Past the idle deadline, the absolute deadline or the maximum age.
    PastDeadline,
}

impl Miss {
    /// The name of this reason in metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::NoCover => "no_cover",
            Self::OtherStamp => "other_stamp",
            Self::LeaseLapsed => "lease_lapsed",
            Self::PastDeadline => "past_deadline",
        }
    }
}

/// A hit under way.
pub(crate) struct Hit<V> {
    slot: Option<Stamp>,
    lease: Option<Monotonic>,
    stamp: Option<Stamp>,
    entry: Option<Entry<V>>,
    now: Monotonic,
}

impl<V: Value> Hit<V> {
    #[inline]
    pub(crate) fn new() -> Self {
        Self {
            slot: None,
            lease: None,
            stamp: None,
            entry: None,
            now: Monotonic::default(),
        }
    }

    /// Takes one step.
    #[inline]
    pub(crate) fn take<K: Keyed, P: Parts>(
        &mut self,
        step: Step,
        l1: &L1<K, V, P>,
        id: &K,
        clock: &impl Fn() -> Monotonic,
    ) {
        match step {
            Step::Slot => self.slot = l1.cover().stamp(id.bucket()),
            Step::Lease => self.lease = self.slot.and_then(|stamp| l1.cover().lease(stamp)),
            Step::Stamp => self.stamp = l1.cover().stamp(id.bucket()),
            Step::LookUp => self.entry = l1.map().get(id),
            Step::Clock => self.now = clock(),
        }
    }

    /// F3: the entry came from a joined fill, in place of the step `LookUp`.
    pub(crate) fn joined(&mut self, entry: Entry<V>) {
        self.entry = Some(entry);
    }

    /// The verdict, once every step is taken. `bound` is B in nanoseconds.
    #[inline]
    pub(crate) fn judge(self, bound: u64, #[cfg(test)] left_out: Option<Mutant>) -> Result<Served<V>, Miss> {
        let entry = self.entry.ok_or(Miss::Absent)?;
        let stamp = self.stamp.ok_or(Miss::NoCover)?;
        let stamps_agree = entry.stamp == stamp;
        #[cfg(test)]
        let stamps_agree = stamps_agree || left_out == Some(Mutant::StampNotChecked);
        if !stamps_agree {
            return Err(Miss::OtherStamp);
        }
        // A stamp never comes back, so between two equal loads the slot was this connection's.
        let lease = self
            .lease
            .filter(|_| self.slot == self.stamp)
            .ok_or(Miss::LeaseLapsed)?;
        if self.now.lapsed(lease, bound) {
            return Err(Miss::LeaseLapsed);
        }
        if self.now >= entry.until {
            return Err(Miss::PastDeadline);
        }
        let covered_until = Monotonic::from_nanos(lease.as_nanos().saturating_add(bound));
        Ok(Served {
            value: entry.value,
            until: covered_until.min(entry.until),
        })
    }
}
