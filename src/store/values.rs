use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;

use super::Result;
use crate::session::{Clock, Monotonic, OperationId};

/// Values of the application beside its sessions: computed, kept for a time, and lost without harm.
#[async_trait]
pub trait ValueStore: Send + Sync + 'static {
    /// A value that is held; where none is, whether the caller is the one to compute it.
    ///
    /// Fails with [`StoreError::Corrupt`](super::StoreError::Corrupt) where one is held that cannot be read: whoever
    /// computes it may hold it in its place.
    async fn value_or_claim(&self, name: &str, claim: Claim) -> Result<Held>;

    /// Holds a value for a time, and gives the claim back.
    async fn hold_value(&self, name: &str, value: &str, ttl: Duration, claim: OperationId) -> Result<()>;

    /// Counts something of the application's up. The window begins with the first.
    async fn count_up(&self, name: &str, window: Duration, operation: OperationId) -> Result<Count>;

    /// Forgets a count.
    async fn forget_count(&self, name: &str, operation: OperationId) -> Result<()>;

    /// Gives a claim back without a value, so that nobody waits for one; does nothing where it is another's.
    async fn give_back(&self, name: &str, claim: OperationId) -> Result<()>;
}

/// The wish to compute a value that is not there.
#[derive(Debug, Clone, Copy)]
pub struct Claim {
    /// Names it.
    pub id: OperationId,
    /// For so long nobody else computes the value, unless it is there earlier.
    pub patience: Duration,
}

/// How often something was counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Count {
    /// How often within the present window.
    pub times: u64,
    /// When the window ends, from now.
    pub ends_in: Duration,
}

/// What a look for a value brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Held {
    /// The value, as JSON.
    Value(String),
    /// There is none: the caller is the one to compute it.
    Claimed,
    /// There is none yet: somebody else computes it.
    Awaited,
}

/// Values in the memory of one process.
pub struct MemoryValues {
    clock: Arc<dyn Clock>,
    held: Mutex<HashMap<String, Entry>>,
    counts: Mutex<HashMap<String, (u64, Monotonic)>>,
}

struct Entry {
    kept: Kept,
    until: Monotonic,
}

/// A value or the claim to compute it.
enum Kept {
    Value(String),
    Claim(OperationId),
}

impl MemoryValues {
    /// None yet.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            held: Mutex::default(),
            counts: Mutex::default(),
        }
    }
}

#[async_trait]
impl ValueStore for MemoryValues {
    async fn value_or_claim(&self, name: &str, claim: Claim) -> Result<Held> {
        let now = self.clock.monotonic();
        let mut held = self.held.lock();
        if let Some(entry) = held.get(name).filter(|entry| now < entry.until) {
            return Ok(match &entry.kept {
                Kept::Value(value) => Held::Value(value.clone()),
                Kept::Claim(_) => Held::Awaited,
            });
        }
        let (kept, until) = (Kept::Claim(claim.id), now.after(claim.patience));
        held.insert(name.to_owned(), Entry { kept, until });
        Ok(Held::Claimed)
    }

    async fn hold_value(&self, name: &str, value: &str, ttl: Duration, _: OperationId) -> Result<()> {
        let now = self.clock.monotonic();
        let mut held = self.held.lock();
        held.retain(|_, entry| now < entry.until);
        let (kept, until) = (Kept::Value(value.to_owned()), now.after(ttl));
        held.insert(name.to_owned(), Entry { kept, until });
        Ok(())
    }

    async fn count_up(&self, name: &str, window: Duration, _: OperationId) -> Result<Count> {
        let now = self.clock.monotonic();
        let mut counts = self.counts.lock();
        counts.retain(|_, (_, until)| now < *until);
        let (times, until) = counts.entry(name.to_owned()).or_insert_with(|| (0, now.after(window)));
        *times += 1;
        Ok(Count {
            times: *times,
            ends_in: until.since(now),
        })
    }

    async fn forget_count(&self, name: &str, _: OperationId) -> Result<()> {
        self.counts.lock().remove(name);
        Ok(())
    }

    async fn give_back(&self, name: &str, claim: OperationId) -> Result<()> {
        let mut held = self.held.lock();
        if matches!(held.get(name), Some(Entry { kept: Kept::Claim(holder), .. }) if *holder == claim) {
            held.remove(name);
        }
        Ok(())
    }
}
