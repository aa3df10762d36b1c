//! Values of the application beside its sessions, in the same store: computed once for all replicas, and kept for a time.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::Mutex as Turn;

use crate::session::{OperationId, Random};
use crate::store::{Claim, Held, ValueStore};

/// For so long the others wait for whoever computes a value; then one of them takes over.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often they look.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// The longest value that is kept, in bytes of JSON; a longer one is computed each time.
const MAX_BYTES: usize = 1024 * 1024;

/// Values that are expensive to compute and do no harm when they are lost. Cheap to clone.
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
    turns: Mutex<HashMap<String, Weak<Turn<()>>>>,
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
    /// replicas: one computes it, the others wait for that. A store that does not answer, and a value of another type
    /// than the one that is held, cost a computation, and no more.
    pub async fn get_or_compute<T, F, C>(&self, name: &str, ttl: Duration, compute: F) -> T
    where
        T: Serialize + DeserializeOwned,
        F: FnOnce() -> C,
        C: Future<Output = T>,
    {
        let turn = self.turn(name);
        let _mine = turn.lock().await;
        let claim = match self.held_or_claimed(name).await {
            Ok(Found::Value(value)) => return value,
            Ok(Found::Claimed(claim)) => Some(claim),
            Err(error) => {
                tracing::debug!(%error, "no held value can be had: computing it");
                None
            }
        };
        let value = compute().await;
        if let Some(claim) = claim {
            self.hold(name, &value, ttl, claim).await;
        }
        value
    }

    async fn held_or_claimed<T: DeserializeOwned>(&self, name: &str) -> crate::store::Result<Found<T>> {
        let claim = Claim {
            id: OperationId::generate(&*self.0.random)?,
            patience: PATIENCE,
        };
        loop {
            match self.0.store.value_or_claim(name, claim).await? {
                Held::Value(json) => match serde_json::from_str(&json) {
                    Ok(value) => return Ok(Found::Value(value)),
                    Err(error) => {
                        tracing::debug!(%error, "a held value is of another type: computing it");
                        return Ok(Found::Claimed(claim.id));
                    }
                },
                Held::Claimed => return Ok(Found::Claimed(claim.id)),
                Held::Awaited => tokio::time::sleep(LOOK_EVERY).await,
            }
        }
    }

    async fn hold<T: Serialize>(&self, name: &str, value: &T, ttl: Duration, claim: OperationId) {
        match serde_json::to_string(value) {
            Ok(json) if json.len() <= MAX_BYTES => {
                if let Err(error) = self.0.store.hold_value(name, &json, ttl, claim).await {
                    tracing::debug!(%error, "a computed value is not held");
                }
            }
            Ok(json) => tracing::warn!(bytes = json.len(), "a computed value is too long to be held"),
            Err(error) => tracing::warn!(%error, "a computed value cannot be written as JSON: it is not held"),
        }
    }

    fn turn(&self, name: &str) -> Arc<Turn<()>> {
        let mut turns = self.0.turns.lock();
        if let Some(turn) = turns.get(name).and_then(Weak::upgrade) {
            return turn;
        }
        turns.retain(|_, turn| turn.strong_count() > 0);
        let turn = Arc::default();
        turns.insert(name.to_owned(), Arc::downgrade(&turn));
        turn
    }
}

impl std::fmt::Debug for Values {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Values")
    }
}

enum Found<T> {
    Value(T),
    /// To be computed, under this claim.
    Claimed(OperationId),
}
