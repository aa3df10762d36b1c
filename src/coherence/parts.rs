//! The two things that L1 is built on, as traits: an atomic word and a concurrent map with placeholders.
//!
//! The product has one of each ([`Product`]); tests put stand-ins under the same rules to try every interleaving.

use std::hash::Hash;
use std::sync::atomic::{AtomicU64, Ordering};

use quick_cache::DefaultHashBuilder;
use quick_cache::Weighter;
use quick_cache::sync::{Cache, DefaultLifecycle, PlaceholderGuard};

use super::cover::Stamp;
use crate::session::Monotonic;

/// How many buckets there are, for the whole life of a deployment.
pub const BUCKETS: usize = 1024;

/// An id that says which bucket it belongs to.
pub trait Keyed: Copy + Eq + Hash + Send + Sync + 'static {
    /// The bucket, below [`BUCKETS`].
    fn bucket(&self) -> u16;
}

/// What L1 holds: cheap to clone (an `Arc`).
pub trait Value: Clone + Send + Sync + 'static {}
impl<V: Clone + Send + Sync + 'static> Value for V {}

/// A value with all that H1 asks about it.
#[derive(Clone, Debug)]
pub struct Entry<V> {
    pub(super) value: V,
    /// The cover stamp noted before the read that gave the value.
    pub(super) stamp: Stamp,
    /// The first of idle deadline, absolute deadline and maximum age.
    pub(super) until: Monotonic,
    /// Before the read that gave the value was sent.
    pub(super) sent: Monotonic,
    /// The first of idle and absolute deadline.
    pub(super) ends: Monotonic,
    pub(super) weight: u32,
}

/// How much L1 may hold.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Sessions, about.
    pub entries: usize,
    /// Bytes of records, about, as the fills declare them.
    pub bytes: u64,
}

/// A 64-bit atomic.
pub trait Word: Send + Sync + 'static {
    /// A word that holds zero.
    fn zero() -> Self;
    /// As [`AtomicU64::load`] with `Acquire`.
    fn acquire(&self) -> u64;
    /// As [`AtomicU64::store`] with `Release`.
    fn release(&self, value: u64);
}

impl Word for AtomicU64 {
    fn zero() -> Self {
        Self::new(0)
    }

    #[inline]
    fn acquire(&self) -> u64 {
        self.load(Ordering::Acquire)
    }

    #[inline]
    fn release(&self, value: u64) {
        self.store(value, Ordering::Release);
    }
}

/// A concurrent map in which a filler holds a place until it knows the value, and a removal takes the place away.
pub trait Map<K: Keyed, V: Value>: Send + Sync + Sized {
    /// A place held; dropped unfilled it lets those that wait through one by one.
    type Guard<'a>: Guard<V> + Send
    where
        Self: 'a;

    /// An empty map.
    fn with_limits(limits: Limits) -> Self;
    /// The value under `id`; a place held counts as none.
    fn get(&self, id: &K) -> Option<Entry<V>>;
    /// Removes the value under `id`, or takes its place away from whoever fills it.
    fn remove(&self, id: &K);
    /// Removes the value under `id` if it is `stale`; leaves a place held alone.
    fn remove_if(&self, id: &K, stale: impl FnOnce(&Entry<V>) -> bool);
    /// The value under `id`, or what the filler at work brings, *even if its place was taken away meanwhile*, or the place.
    fn join<'a>(&'a self, id: &'a K) -> impl Future<Output = Result<Entry<V>, Self::Guard<'a>>> + Send + 'a;
    /// How many values there are.
    fn count(&self) -> usize;
    /// What they weigh together, as the limits count it.
    fn weight(&self) -> u64;
    /// Inserts without a place: what a build without the guard would do.
    #[cfg(test)]
    fn put(&self, id: K, entry: Entry<V>);
}

/// A place held in a [`Map`].
pub trait Guard<V> {
    /// Fills the place and gives the value to all that wait; false if the place had been taken away.
    fn fill(self, entry: Entry<V>) -> bool;
}

/// What L1 is built from.
pub trait Parts: Send + Sync + 'static {
    /// The word that stamps and leases are kept in.
    type Word: Word;
    /// The map that entries are kept in.
    type Map<K: Keyed, V: Value>: Map<K, V>;
}

/// The parts of the product: the machine's atomics and `quick_cache`.
#[derive(Debug)]
pub enum Product {}

impl Parts for Product {
    type Word = AtomicU64;
    type Map<K: Keyed, V: Value> = QuickMap<K, V>;
}

/// Weighs an entry by its bytes, but never less than an equal share: so one bound keeps both limits.
#[derive(Clone, Debug)]
pub struct AtLeast(u64);

impl<K, V> Weighter<K, Entry<V>> for AtLeast {
    fn weight(&self, _: &K, entry: &Entry<V>) -> u64 {
        u64::from(entry.weight).max(self.0)
    }
}

/// [`Map`] as `quick_cache` gives it.
pub struct QuickMap<K, V> {
    cache: Cache<K, Entry<V>, AtLeast>,
}

impl<K: Keyed, V: Value> Map<K, V> for QuickMap<K, V> {
    type Guard<'a> = PlaceholderGuard<'a, K, Entry<V>, AtLeast, DefaultHashBuilder, DefaultLifecycle<K, Entry<V>>>;

    fn with_limits(limits: Limits) -> Self {
        let share = limits.bytes / (limits.entries.max(1) as u64);
        let cache = Cache::with_weighter(limits.entries, limits.bytes, AtLeast(share.max(1)));
        Self { cache }
    }

    #[inline]
    fn get(&self, id: &K) -> Option<Entry<V>> {
        self.cache.get(id)
    }

    fn remove(&self, id: &K) {
        self.cache.remove(id);
    }

    fn remove_if(&self, id: &K, stale: impl FnOnce(&Entry<V>) -> bool) {
        self.cache.remove_if(id, stale);
    }

    fn join<'a>(&'a self, id: &'a K) -> impl Future<Output = Result<Entry<V>, Self::Guard<'a>>> + Send + 'a {
        self.cache.get_value_or_guard_async(id)
    }

    fn count(&self) -> usize {
        self.cache.len()
    }

    fn weight(&self) -> u64 {
        self.cache.weight()
    }

    #[cfg(test)]
    fn put(&self, id: K, entry: Entry<V>) {
        self.cache.insert(id, entry);
    }
}

impl<K: Keyed, V: Value> Guard<V>
    for PlaceholderGuard<'_, K, Entry<V>, AtLeast, DefaultHashBuilder, DefaultLifecycle<K, Entry<V>>>
{
    fn fill(self, entry: Entry<V>) -> bool {
        self.insert(entry).is_ok()
    }
}
