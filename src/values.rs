//! Values of the application beside its sessions, in the same store: computed once for all replicas, and kept for a time.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::session::{OperationId, Random};
use crate::store::{Claim, Held, Result, StoreError, ValueStore};

pub use crate::store::Count;

/// For so long the others wait for whoever computes a value; then one of them takes over.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often they look.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// The longest value that is kept, in bytes of JSON; a longer one is computed each time.
const MAX_BYTES: usize = 1024 * 1024;

/// Values that are expensive to compute and do no harm when they are lost, and counts, such as of attempts. Cheap to clone.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), cloakroom::runtime::OpenError> {
/// use std::time::Duration;
/// use cloakroom::Cloakroom;
///
/// let cloakroom = Cloakroom::in_memory().await?;
/// let rates = cloakroom.values();
/// let euro: f64 = rates.get_or_compute("euro", Duration::from_mins(1), async || 1.09).await;
/// let again: f64 = rates.get_or_compute("euro", Duration::from_mins(1), async || unreachable!()).await;
/// assert!((euro - again).abs() < f64::EPSILON);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Values(Arc<Inner>);

struct Inner {
    store: Arc<dyn ValueStore>,
    random: Arc<dyn Random>,
    /// Who is at it in this process, by name: the others wait their turn.
    turns: Mutex<HashMap<String, Weak<Turn>>>,
}

/// One asks for a value, or computes it; those who wait for their turn meanwhile take what it brought.
#[derive(Default)]
struct Turn {
    /// How many turns have ended.
    ended: AtomicU64,
    /// What the last of them brought, as JSON.
    brought: tokio::sync::Mutex<Option<String>>,
}

impl Values {
    /// Values in this store.
    pub fn new(store: Arc<dyn ValueStore>, random: Arc<dyn Random>) -> Self {
        Self(Arc::new(Inner {
            store,
            random,
            turns: Mutex::default(),
        }))
    }

    /// The value of this name, computed where it is not held. However many ask for it at the same time, on whichever
    /// replicas: one computes it, the others wait for that. A store that does not answer, a held value that cannot be read
    /// and one of another type than the one asked for cost a computation, and no more; a value that cannot be held (longer
    /// than 1 MiB of JSON) costs one each time.
    pub async fn get_or_compute<T, F, C>(&self, name: &str, ttl: Duration, compute: F) -> T
    where
        T: Serialize + DeserializeOwned,
        F: FnOnce() -> C,
        C: Future<Output = T>,
    {
        let turn = self.turn(name);
        let ended_before = turn.ended.load(Ordering::Relaxed);
        let mut brought = turn.brought.lock().await;
        let is_fresh = turn.ended.load(Ordering::Relaxed) > ended_before;
        if let Some(value) = brought.as_deref().filter(|_| is_fresh).and_then(read) {
            return value;
        }
        let claim = match self.held_or_claimed(name).await {
            Ok(Found::Value(value, json)) => {
                *brought = Some(json);
                turn.ended.fetch_add(1, Ordering::Relaxed);
                return value;
            }
            Ok(Found::Claimed(claim)) => Some(claim),
            Err(error) => {
                tracing::debug!(%error, "no held value can be had: computing it");
                None
            }
        };
        let value = compute().await;
        let json = serde_json::to_string(&value);
        match json {
            Ok(json) => {
                if let Some(claim) = claim {
                    claim.hold(&json, ttl).await;
                }
                *brought = Some(json);
                turn.ended.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) => tracing::warn!(%error, "a computed value cannot be written as JSON: it is not held"),
        }
        value
    }

    /// Counts one more of this name, such as an attempt to log in as somebody, and tells how many there were on all
    /// replicas together within a window of time, which begins with the first. A throttle counts before it tries, so that
    /// attempts at the same time count each. A connection that is lost on the way may have one counted twice.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use std::time::Duration;
    /// use cloakroom::Cloakroom;
    ///
    /// let cloakroom = Cloakroom::in_memory().await?;
    /// let attempts = cloakroom.values().count("log-in: dana", Duration::from_mins(10)).await?;
    /// assert_eq!(attempts.times, 1);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn count(&self, name: &str, window: Duration) -> Result<Count> {
        let operation = OperationId::generate(&*self.0.random)?;
        self.0.store.count_up(name, window, operation).await
    }

    /// Forgets what was counted of this name, as after a log-in that went well.
    pub async fn forget_count(&self, name: &str) -> Result<()> {
        let operation = OperationId::generate(&*self.0.random)?;
        self.0.store.forget_count(name, operation).await
    }

    async fn held_or_claimed<'a, T: DeserializeOwned>(&'a self, name: &'a str) -> Result<Found<'a, T>> {
        let claim = Claim {
            id: OperationId::generate(&*self.0.random)?,
            patience: PATIENCE,
        };
        let mut claimed = ClaimedName {
            store: &self.0.store,
            name,
            claim: claim.id,
            is_settled: false,
        };
        loop {
            match self.0.store.value_or_claim(name, claim).await {
                Ok(Held::Value(json)) => {
                    claimed.is_settled = true;
                    return Ok(match read(&json) {
                        Some(value) => Found::Value(value, json),
                        None => Found::Claimed(claimed),
                    });
                }
                // What will be held takes the place of what cannot be read.
                Ok(Held::Claimed) | Err(StoreError::Corrupt(_)) => return Ok(Found::Claimed(claimed)),
                Ok(Held::Awaited) => tokio::time::sleep(LOOK_EVERY).await,
                Err(error) => return Err(error),
            }
        }
    }

    fn turn(&self, name: &str) -> Arc<Turn> {
        let mut turns = self.0.turns.lock();
        if let Some(turn) = turns.get(name).and_then(Weak::upgrade) {
            return turn;
        }
        turns.retain(|_, turn| turn.strong_count() > 0);
        let turn: Arc<Turn> = Arc::default();
        turns.insert(name.to_owned(), Arc::downgrade(&turn));
        turn
    }
}

impl std::fmt::Debug for Values {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Values")
    }
}

enum Found<'a, T> {
    /// The value, and as it is held.
    Value(T, String),
    /// To be computed, under this claim.
    Claimed(ClaimedName<'a>),
}

/// The right to compute a value, given back when it is dropped: nobody need wait for a computation that was given up.
struct ClaimedName<'a> {
    store: &'a Arc<dyn ValueStore>,
    name: &'a str,
    claim: OperationId,
    is_settled: bool,
}

impl ClaimedName<'_> {
    async fn hold(mut self, json: &str, ttl: Duration) {
        self.is_settled = true;
        let outcome = if json.len() <= MAX_BYTES {
            self.store.hold_value(self.name, json, ttl, self.claim).await
        } else {
            tracing::warn!(
                bytes = json.len(),
                limit = MAX_BYTES,
                "a computed value is too long to be held"
            );
            self.store.give_back(self.name, self.claim).await
        };
        if let Err(error) = outcome {
            tracing::debug!(%error, "a computed value is not held");
        }
    }
}

impl Drop for ClaimedName<'_> {
    fn drop(&mut self) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        if !self.is_settled {
            let (store, name, claim) = (Arc::clone(self.store), self.name.to_owned(), self.claim);
            runtime.spawn(async move {
                if let Err(error) = store.give_back(&name, claim).await {
                    tracing::debug!(%error, "a claim is not given back: it ends by itself");
                }
            });
        }
    }
}

/// A value of JSON; nothing where it is of another type.
fn read<T: DeserializeOwned>(json: &str) -> Option<T> {
    let value = serde_json::from_str(json);
    value
        .inspect_err(|error| tracing::debug!(%error, "a held value is of another type: computing it"))
        .ok()
}
