//! What was written, ended and read, and what of it breaks the promise.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use super::fleet::Seen;

/// A write that was acknowledged.
#[derive(Clone, Copy)]
pub(super) struct Write {
    pub(super) n: u64,
    pub(super) version: u64,
    pub(super) acknowledged: Instant,
}

/// A read that was answered.
#[derive(Clone, Copy)]
pub(super) struct Read {
    pub(super) replica: usize,
    pub(super) seen: Seen,
    pub(super) asked: Instant,
    pub(super) answered: Instant,
}

/// One session's history: its writes set `n` to 1, 2, 3, …, one after the other.
#[derive(Default)]
pub(super) struct History {
    pub(super) writes: Vec<Write>,
    /// When its end was acknowledged.
    pub(super) ended: Option<Instant>,
    pub(super) reads: Vec<Read>,
}

impl History {
    /// The writes that stand. An acknowledged write was lost by a failover if a later one has no higher version: only
    /// that excuses it.
    fn standing(&self) -> Vec<Write> {
        let seen = |read: &Read| match read.seen {
            Seen::Alive { n, version } => Some((n, version)),
            Seen::Gone | Seen::Unknown => None,
        };
        let mut facts: Vec<(u64, u64)> = self.writes.iter().map(|write| (write.n, write.version)).collect();
        facts.extend(self.reads.iter().filter_map(seen));
        facts.sort_unstable();
        // From the highest number down: the lowest version of any higher one.
        let (mut above, mut lowest_above) = (u64::MAX, HashMap::new());
        for same in facts.chunk_by(|one, other| one.0 == other.0).rev() {
            lowest_above.insert(same[0].0, above);
            above = above.min(same[0].1);
        }
        let stands = |write: &&Write| write.version < lowest_above.get(&write.n).copied().unwrap_or(u64::MAX);
        self.writes.iter().filter(stands).copied().collect()
    }

    /// How long each read came after what it gave had been replaced or ended. A read that took longer than `at_most`
    /// counts from when it was asked: it waited in a process that was frozen.
    pub(super) fn staleness(&self, at_most: Duration) -> Vec<Duration> {
        let standing = self.standing();
        let replaced = |n: u64| {
            let next = standing.partition_point(|write| write.n <= n);
            let overwritten = standing.get(next).map(|write| write.acknowledged);
            overwritten.into_iter().chain(self.ended).min()
        };
        let stale = |read: &Read| {
            let Seen::Alive { n, .. } = read.seen else { return None };
            let took = read.answered - read.asked;
            let judged = if took > at_most { read.asked } else { read.answered };
            replaced(n).map(|replaced| judged.saturating_duration_since(replaced))
        };
        self.reads.iter().filter_map(stale).collect()
    }

    /// For each write that stands, and for the end: how long after it was acknowledged a replica still answered with an
    /// older state.
    pub(super) fn delays(&self, replicas: usize) -> Vec<Duration> {
        let older = |read: &Read, limit: u64| matches!(read.seen, Seen::Alive { n, .. } if n < limit);
        let writes = self.standing().into_iter().map(|write| (write.n, write.acknowledged));
        let end = self.ended.map(|ended| (u64::MAX, ended));
        let mut delays = Vec::new();
        for (limit, acknowledged) in writes.chain(end) {
            for replica in 0..replicas {
                let last = self
                    .reads
                    .iter()
                    .filter(|read| read.replica == replica && older(read, limit));
                let last = last.map(|read| read.answered).max();
                delays.extend(last.map(|last| last.saturating_duration_since(acknowledged)));
            }
        }
        delays
    }

    pub(super) fn was_gone(&self) -> bool {
        self.reads.iter().any(|read| read.seen == Seen::Gone)
    }
}

/// The value below which so many of a hundred lie; zero of nothing.
pub(super) fn percentile(values: &mut [Duration], percent: usize) -> Duration {
    values.sort_unstable();
    let index = (values.len() * percent).div_ceil(100).saturating_sub(1);
    values.get(index).copied().unwrap_or_default()
}
