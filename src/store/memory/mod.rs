//! The embedded store of record: everything in this process's memory, and gone with it.
//!
//! A bucket is what a Redis slot is: one lock, and one critical section an operation. A session is shared with its
//! readers and copied when it changes.

mod aliases;
mod bucket;
mod change;
mod create;
mod durations;
mod end;
mod operations;
mod read;
mod rotate;
mod stream;
mod touch;
mod transport;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::{Mutex, MutexGuard};
use serde_json::Number;
use tokio::sync::mpsc;

use self::bucket::State;
use self::stream::Listeners;
use super::{
    BucketCounts, Change, Created, End, Ended, Event, EventId, Filter, Increment, Lineage, Lookup, NewSession, Replay,
    Result, Rotated, Rotation, SessionStore, Snapshot, Step, StoreError, Touch,
};
use crate::coherence::ConnectionId;
use crate::session::{
    Activity, Bucket, CartItem, Clock, JsonMap, Keyring, OperationId, Random, RandomError, ServerId, SessionId,
    Timestamp, UserId,
};

/// A store of record in the memory of one process, for tests, for development and for a single replica.
///
/// What asks for durability is told that it is durable: there is no other copy that could disagree.
pub struct MemoryStore {
    keyring: Keyring,
    clock: Arc<dyn Clock>,
    buckets: Vec<Mutex<State>>,
    listeners: Arc<Listeners>,
    bookmarks: Mutex<HashMap<String, EventId>>,
}

impl MemoryStore {
    /// An empty store with a secret of its own, whose deadlines follow the clock's wall time.
    #[expect(clippy::needless_pass_by_value, reason = "callers share both in the same way")]
    pub fn new(clock: Arc<dyn Clock>, random: Arc<dyn Random>) -> std::result::Result<Self, RandomError> {
        let mut bucket_key = [0; Keyring::KEY_BYTES];
        random.fill(&mut bucket_key)?;
        let listeners = Arc::new(Listeners::default());
        let buckets = Bucket::all()
            .map(|bucket| Mutex::new(State::new(bucket, Arc::clone(&listeners))))
            .collect();
        Ok(Self {
            keyring: Keyring::new(&bucket_key),
            clock,
            buckets,
            listeners,
            bookmarks: Mutex::default(),
        })
    }

    fn lock(&self, bucket: Bucket) -> MutexGuard<'_, State> {
        let mut state = self.buckets[usize::from(bucket.number())].lock();
        state.enter(self.clock.now());
        state
    }
}

impl std::fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MemoryStore")
    }
}

#[async_trait]
impl SessionStore for MemoryStore {
    fn keyring(&self) -> &Keyring {
        &self.keyring
    }

    async fn get(&self, id: SessionId) -> Result<Lookup> {
        self.lock(id.bucket()).get(id)
    }

    async fn get_covered(&self, id: SessionId, _connection: ConnectionId) -> Result<Lookup> {
        self.get(id).await
    }

    async fn create(&self, new: NewSession, operation: OperationId) -> Result<Created> {
        self.lock(new.id.bucket()).create(new, operation)
    }

    async fn confirm(&self, id: SessionId, grace: Duration) -> Result<Snapshot> {
        self.lock(id.bucket()).confirm(id, grace)
    }

    async fn change(&self, id: SessionId, change: Change, max_bytes: u64, operation: OperationId) -> Result<Snapshot> {
        self.lock(id.bucket()).change(id, change, max_bytes, operation)
    }

    async fn increment(&self, id: SessionId, increment: Increment) -> Result<Number> {
        self.lock(id.bucket()).increment(id, &increment)
    }

    async fn add_to_cart(
        &self,
        id: SessionId,
        item: CartItem,
        max_bytes: u64,
        operation: OperationId,
    ) -> Result<Vec<CartItem>> {
        self.lock(id.bucket()).add_to_cart(id, item, max_bytes, operation)
    }

    async fn touch(&self, touch: Touch) -> Result<Snapshot> {
        self.lock(touch.id.bucket()).touch(touch)
    }

    async fn touch_all(&self, touches: Vec<Touch>) -> Vec<Result<bool>> {
        let touch_one = |touch: Touch| match self.lock(touch.id.bucket()).touch(touch) {
            Ok(_) => Ok(true),
            Err(StoreError::NotFound) => Ok(false),
            Err(error) => Err(error),
        };
        touches.into_iter().map(touch_one).collect()
    }

    async fn migrate(&self, id: SessionId, to: ServerId) -> Result<Snapshot> {
        self.lock(id.bucket()).migrate(id, to)
    }

    async fn rotate(&self, id: SessionId, rotation: Rotation, operation: OperationId) -> Result<Rotated> {
        self.lock(id.bucket()).rotate(id, rotation, operation)
    }

    async fn end(&self, id: SessionId, end: End) -> Result<Ended> {
        self.lock(id.bucket()).end(id, end)
    }

    async fn end_user(
        &self,
        user: &UserId,
        except: Option<SessionId>,
        durable: bool,
        operation: OperationId,
    ) -> Result<Ended> {
        let bucket = self.keyring.bucket_of(user);
        Ok(self.lock(bucket).end_user(user, except, durable, operation))
    }

    async fn sessions_of(&self, user: &UserId) -> Result<Vec<Snapshot>> {
        Ok(self.lock(self.keyring.bucket_of(user)).sessions_of(user))
    }

    async fn record_activity(
        &self,
        id: SessionId,
        action: String,
        metadata: JsonMap,
        operation: OperationId,
    ) -> Result<Vec<Activity>> {
        self.lock(id.bucket()).record_activity(id, action, metadata, operation)
    }

    async fn activities(&self, id: SessionId) -> Result<Vec<Activity>> {
        self.lock(id.bucket()).activities(id)
    }

    async fn user_activities(&self, user: &UserId) -> Result<Vec<Activity>> {
        Ok(self.lock(self.keyring.bucket_of(user)).user_activities(user))
    }

    async fn end_bucket(&self, bucket: Bucket, before: Option<Timestamp>, limit: u32) -> Result<Step> {
        Ok(self.lock(bucket).end_bucket(before, limit))
    }

    async fn sweep(&self, bucket: Bucket, limit: u32) -> Result<Step> {
        Ok(self.lock(bucket).sweep(limit))
    }

    async fn count(&self, bucket: Bucket) -> Result<BucketCounts> {
        Ok(self.lock(bucket).count())
    }

    async fn page(
        &self,
        bucket: Bucket,
        after: Option<SessionId>,
        limit: u32,
        filter: &Filter,
    ) -> Result<Vec<Snapshot>> {
        Ok(self.lock(bucket).page(after, limit, filter))
    }

    async fn events_since(&self, bucket: Bucket, since: EventId) -> Result<Replay> {
        Ok(self.lock(bucket).stream.since(since))
    }

    async fn events(&self) -> Result<mpsc::Receiver<Event>> {
        Ok(self.listeners.add())
    }

    async fn bookmark(&self, reader: &str, at: Option<EventId>) -> Result<Option<EventId>> {
        let mut bookmarks = self.bookmarks.lock();
        if let Some(at) = at {
            bookmarks.insert(reader.to_owned(), at);
        }
        Ok(bookmarks.get(reader).copied())
    }

    async fn lineage(&self) -> Result<Lineage> {
        Ok(Lineage::new(vec![1; usize::from(Bucket::COUNT)]))
    }

    async fn ping(&self) -> Result<Timestamp> {
        Ok(self.clock.now())
    }
}
