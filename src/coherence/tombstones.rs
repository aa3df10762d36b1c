//! W3: the ids that were heard to end. A failover may bring a session back until the redo log has run; a pod that
//! heard of the end answers nothing for it meanwhile.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::time::Duration;

use crate::session::Monotonic;

/// Ended ids, each kept for the same time after it was last heard of, oldest first.
#[derive(Debug)]
pub(super) struct Tombstones<K> {
    keep: Duration,
    capacity: usize,
    until: HashMap<K, Monotonic>,
    order: VecDeque<(K, Monotonic)>,
    dropped: u64,
}

impl<K: Copy + Eq + Hash> Tombstones<K> {
    pub(super) fn new(keep: Duration, capacity: usize) -> Self {
        Self {
            keep,
            capacity,
            until: HashMap::new(),
            order: VecDeque::new(),
            dropped: 0,
        }
    }

    /// Remembers that `id` ended; its time starts anew if it was known.
    pub(super) fn add(&mut self, id: K, now: Monotonic) {
        self.expire(now);
        if self.order.len() >= self.capacity {
            self.dropped += u64::from(self.drop_oldest());
        }
        let until = now.after(self.keep);
        self.until.insert(id, until);
        self.order.push_back((id, until));
    }

    /// Whether `id` was heard to end, and not too long ago.
    pub(super) fn holds(&self, id: &K, now: Monotonic) -> bool {
        self.until.get(id).is_some_and(|until| now < *until)
    }

    /// How many ends were forgotten before their time for want of room.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped
    }

    fn expire(&mut self, now: Monotonic) {
        while self.order.front().is_some_and(|(_, until)| *until <= now) {
            self.drop_oldest();
        }
    }

    /// Whether an id was forgotten by it, not just an older hearing of one that was heard of again.
    fn drop_oldest(&mut self) -> bool {
        let Some((id, until)) = self.order.pop_front() else {
            return false;
        };
        let last_hearing = self.until.get(&id) == Some(&until);
        if last_hearing {
            self.until.remove(&id);
        }
        last_hearing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Monotonic {
        Monotonic::default().after(Duration::from_secs(seconds))
    }

    #[test]
    fn an_end_is_kept_for_its_time_and_a_second_hearing_starts_it_anew() {
        let mut ended = Tombstones::new(Duration::from_secs(10), 8);
        ended.add('a', at(0));
        ended.add('a', at(6));
        assert!(ended.holds(&'a', at(15)));
        ended.add('b', at(12));
        assert!(
            ended.holds(&'a', at(15)),
            "the first hearing's expiry must not forget the second"
        );
        assert!(!ended.holds(&'a', at(16)));
        assert!(!ended.holds(&'c', at(0)));
    }

    #[test]
    fn memory_is_bounded_and_what_is_forgotten_early_is_counted() {
        let mut ended = Tombstones::new(Duration::from_secs(10), 2);
        for (second, id) in ['a', 'b', 'c'].into_iter().enumerate() {
            ended.add(id, at(second as u64));
        }
        assert!(!ended.holds(&'a', at(3)) && ended.holds(&'b', at(3)) && ended.holds(&'c', at(3)));
        assert_eq!(ended.dropped(), 1);
        ended.add('d', at(30));
        assert_eq!((ended.until.len(), ended.order.len(), ended.dropped()), (1, 1, 1));
    }
}
