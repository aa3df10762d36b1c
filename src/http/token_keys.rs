use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::session::SigningKeys;

/// The keys that sign the JWTs of sessions, which may be replaced while the server runs. Cheap to clone; the clones share
/// them.
#[derive(Clone, Debug)]
pub struct TokenKeys(Arc<ArcSwap<SigningKeys>>);

impl TokenKeys {
    /// Starts with this ring.
    pub fn new(keys: SigningKeys) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(keys)))
    }

    /// Replaces the ring. Takes effect with the next request.
    pub fn replace(&self, keys: SigningKeys) {
        self.0.store(Arc::new(keys));
    }

    /// Whether nobody else shares the ring.
    pub fn is_last(&self) -> bool {
        Arc::strong_count(&self.0) == 1
    }

    pub(super) fn current(&self) -> Arc<SigningKeys> {
        self.0.load_full()
    }
}
