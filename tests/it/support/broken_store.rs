//! A store that never answers: what the faces say while the truth cannot be known.

use std::time::Duration;

use cloakroom::coherence::ConnectionId;
use cloakroom::session::{
    Activity, Bucket, CartItem, JsonMap, Keyring, OperationId, ServerId, SessionId, Timestamp, UserId,
};
use cloakroom::store::{
    BucketCounts, Change, Created, End, Ended, Event, EventId, Filter, Increment, Lineage, Lookup, NewSession, Replay,
    Result, Rotated, Rotation, SessionStore, Snapshot, Step, StoreError, Touch,
};
use tokio::sync::mpsc;

/// Every operation fails, but for the count of a bucket, which panics.
pub(crate) struct BrokenStore(Keyring);

impl BrokenStore {
    /// What it says, and nobody outside may hear.
    pub(crate) const WORDS: &'static str = "the wire was cut";

    fn error() -> StoreError {
        StoreError::Unavailable(Self::WORDS.to_owned())
    }
}

impl Default for BrokenStore {
    fn default() -> Self {
        Self(Keyring::new(&[7; Keyring::KEY_BYTES]))
    }
}

#[async_trait::async_trait]
impl SessionStore for BrokenStore {
    fn keyring(&self) -> &Keyring {
        &self.0
    }

    async fn get(&self, _id: SessionId) -> Result<Lookup> {
        Err(Self::error())
    }

    async fn get_covered(&self, _id: SessionId, _: ConnectionId) -> Result<Lookup> {
        Err(Self::error())
    }

    async fn create(&self, _new: NewSession, _operation: OperationId) -> Result<Created> {
        Err(Self::error())
    }

    async fn confirm(&self, _id: SessionId, _grace: Duration) -> Result<Snapshot> {
        Err(Self::error())
    }

    async fn change(
        &self,
        _id: SessionId,
        _change: Change,
        _max_bytes: u64,
        _operation: OperationId,
    ) -> Result<Snapshot> {
        Err(Self::error())
    }

    async fn increment(&self, _id: SessionId, _increment: Increment) -> Result<serde_json::Number> {
        Err(Self::error())
    }

    async fn add_to_cart(
        &self,
        _id: SessionId,
        _item: CartItem,
        _max_bytes: u64,
        _operation: OperationId,
    ) -> Result<Vec<CartItem>> {
        Err(Self::error())
    }

    async fn touch(&self, _touch: Touch) -> Result<Snapshot> {
        Err(Self::error())
    }

    async fn touch_all(&self, touches: Vec<Touch>) -> Vec<Result<bool>> {
        touches.iter().map(|_| Err(Self::error())).collect()
    }

    async fn migrate(&self, _id: SessionId, _to: ServerId) -> Result<Snapshot> {
        Err(Self::error())
    }

    async fn rotate(&self, _id: SessionId, _rotation: Rotation, _operation: OperationId) -> Result<Rotated> {
        Err(Self::error())
    }

    async fn end(&self, _id: SessionId, _end: End) -> Result<Ended> {
        Err(Self::error())
    }

    async fn end_user(
        &self,
        _user: &UserId,
        _except: Option<SessionId>,
        _durable: bool,
        _operation: OperationId,
    ) -> Result<Ended> {
        Err(Self::error())
    }

    async fn sessions_of(&self, _user: &UserId) -> Result<Vec<Snapshot>> {
        Err(Self::error())
    }

    async fn record_activity(
        &self,
        _id: SessionId,
        _action: String,
        _metadata: JsonMap,
        _operation: OperationId,
    ) -> Result<Vec<Activity>> {
        Err(Self::error())
    }

    async fn activities(&self, _id: SessionId) -> Result<Vec<Activity>> {
        Err(Self::error())
    }

    async fn user_activities(&self, _user: &UserId) -> Result<Vec<Activity>> {
        Err(Self::error())
    }

    async fn end_bucket(&self, _bucket: Bucket, _before: Option<Timestamp>, _limit: u32) -> Result<Step> {
        Err(Self::error())
    }

    async fn sweep(&self, _bucket: Bucket, _limit: u32) -> Result<Step> {
        Err(Self::error())
    }

    async fn count(&self, _bucket: Bucket) -> Result<BucketCounts> {
        panic!("{}", Self::WORDS)
    }

    async fn page(
        &self,
        _bucket: Bucket,
        _after: Option<SessionId>,
        _limit: u32,
        _filter: &Filter,
    ) -> Result<Vec<Snapshot>> {
        Err(Self::error())
    }

    async fn events_since(&self, _bucket: Bucket, _since: EventId) -> Result<Replay> {
        Err(Self::error())
    }

    async fn events(&self) -> Result<mpsc::Receiver<Event>> {
        Err(Self::error())
    }

    async fn lineage(&self) -> Result<Lineage> {
        Err(Self::error())
    }

    async fn bookmark(&self, _: &str, _: Option<EventId>) -> Result<Option<EventId>> {
        Err(Self::error())
    }

    async fn ping(&self) -> Result<Timestamp> {
        Err(Self::error())
    }
}
