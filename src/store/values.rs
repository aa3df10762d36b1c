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
    async fn value_or_claim(&self, name: &str, claim: Claim) -> Result<Held>;

    /// Holds a value for a time, and gives the claim back.
    async fn hold_value(&self, name: &str, value: &str, ttl: Duration, claim: OperationId) -> Result<()>;
}

/// The wish to compute a value that is not there.
#[derive(Debug, Clone, Copy)]
pub struct Claim {
    /// Names it.
    pub id: OperationId,
    /// For so long nobody else computes the value, unless it is there earlier.
    pub patience: Duration,
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
}

/// A value or the claim to compute it.
struct Entry {
    value: Option<String>,
    until: Monotonic,
}

impl MemoryValues {
    /// None yet.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            held: Mutex::default(),
        }
    }
}

#[async_trait]
impl ValueStore for MemoryValues {
    async fn value_or_claim(&self, name: &str, claim: Claim) -> Result<Held> {
        let now = self.clock.monotonic();
        let mut held = self.held.lock();
        if let Some(entry) = held.get(name).filter(|entry| now < entry.until) {
            return Ok(entry.value.clone().map_or(Held::Awaited, Held::Value));
        }
        let until = now.after(claim.patience);
        held.insert(name.to_owned(), Entry { value: None, until });
        Ok(Held::Claimed)
    }

    async fn hold_value(&self, name: &str, value: &str, ttl: Duration, _: OperationId) -> Result<()> {
        let now = self.clock.monotonic();
        let mut held = self.held.lock();
        held.retain(|_, entry| now < entry.until);
        let value = Some(value.to_owned());
        let until = now.after(ttl);
        held.insert(name.to_owned(), Entry { value, until });
        Ok(())
    }
}
