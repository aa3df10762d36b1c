//! The store of record: one trait, an embedded store and a Redis store.
//!
//! Every operation on one session or one user is atomic and, in Redis, one script in one slot and one round trip. Side
//! effects (indexes, counts, invalidations, events) happen inside it. One contract suite runs against every store.

mod edit;
mod error;
mod event;
mod memory;
pub mod redis;
mod types;
mod values;

use async_trait::async_trait;
use tokio::sync::mpsc;

pub use error::StoreError;
pub use event::{EndReason, Event, EventId, EventKind, InvalidEventId};
pub use memory::MemoryStore;
pub use types::{
    BucketCounts, Change, Created, Durations, End, Ended, Filter, Increment, LimitPolicy, Lineage, Lookup, NewSession,
    Replay, Rotated, Rotation, Snapshot, Step, Touch, UserLimit,
};

pub use values::{Claim, Count, Held, MemoryValues, ValueStore};

use crate::coherence::ConnectionId;
use crate::session::{
    Activity, Bucket, CartItem, JsonMap, Keyring, OperationId, ServerId, SessionId, Timestamp, UserId,
};

/// The outcome of a store operation.
pub type Result<T> = std::result::Result<T, StoreError>;

/// The store of record of all sessions.
///
/// What changes a session fails with [`StoreError::NotFound`] where there is none, or where it has expired: an update
/// never makes one (no resurrection after a log-out). Ids that a rotation retired stand for their session as long as
/// their grace lasts. An operation id makes a change count once, however often the client library sends it.
#[async_trait]
pub trait SessionStore: Send + Sync + 'static {
    /// What is derived from the deployment's secret.
    fn keyring(&self) -> &Keyring;

    /// Reads a session.
    async fn get(&self, id: SessionId) -> Result<Lookup>;

    /// Reads a session for L1 (rule F1): at the first attempt, and from the very node to which the connection leads that
    /// covers its bucket. Fails where that node is another by now.
    async fn get_covered(&self, id: SessionId, connection: ConnectionId) -> Result<Lookup>;

    /// Makes a session, and room for it where the limit's policy says so. A second run with the same id makes nothing.
    async fn create(&self, new: NewSession, operation: OperationId) -> Result<Created>;

    /// Notes the first use of a rotated session's new token: its former token works for `grace` from now on. Does
    /// nothing where that was noted before.
    async fn confirm(&self, id: SessionId, grace: std::time::Duration) -> Result<Snapshot>;

    /// Changes data, metadata, roles, permissions or security fields. Removing what is not there changes nothing; the
    /// version rises only with a change.
    async fn change(&self, id: SessionId, change: Change, max_bytes: u64, operation: OperationId) -> Result<Snapshot>;

    /// Adds to a number in the data (a key that is missing counts as 0) and gives the sum as JSON. Integers stay exact
    /// within 64 bits.
    async fn increment(&self, id: SessionId, increment: Increment) -> Result<serde_json::Number>;

    /// Adds a line to the cart.
    async fn add_to_cart(
        &self,
        id: SessionId,
        item: CartItem,
        max_bytes: u64,
        operation: OperationId,
    ) -> Result<Vec<CartItem>>;

    /// Records a use at once.
    async fn touch(&self, touch: Touch) -> Result<Snapshot>;

    /// Records many uses, each for itself; an outcome a use, in order: whether the session was there.
    async fn touch_all(&self, touches: Vec<Touch>) -> Vec<Result<bool>>;

    /// Homes a session at another server; changes nothing where it is homed there already.
    async fn migrate(&self, id: SessionId, to: ServerId) -> Result<Snapshot>;

    /// Gives a session a new id. The old one stays as an alias until its grace, unless this is a log-in.
    async fn rotate(&self, id: SessionId, rotation: Rotation, operation: OperationId) -> Result<Rotated>;

    /// Ends a session; an unknown one is no error, and nothing is written for it. [`StoreError::Conflict`] where it has
    /// another version than the end is conditional on.
    async fn end(&self, id: SessionId, end: End) -> Result<Ended>;

    /// Ends all sessions of a user, but for one.
    async fn end_user(
        &self,
        user: &UserId,
        except: Option<SessionId>,
        durable: bool,
        operation: OperationId,
    ) -> Result<Ended>;

    /// The live sessions of a user.
    async fn sessions_of(&self, user: &UserId) -> Result<Vec<Snapshot>>;

    /// Adds to a session's activities, of which the newest [`crate::session::MAX_ACTIVITIES`] are kept for 24 hours; gives them, newest first.
    async fn record_activity(
        &self,
        id: SessionId,
        action: String,
        metadata: JsonMap,
        operation: OperationId,
    ) -> Result<Vec<Activity>>;

    /// A session's activities, newest first.
    async fn activities(&self, id: SessionId) -> Result<Vec<Activity>>;

    /// How sessions of a user ended, but for those that expired: the newest [`crate::session::MAX_ACTIVITIES`], for 24
    /// hours after the last, newest first.
    async fn user_activities(&self, user: &UserId) -> Result<Vec<Activity>>;

    /// Ends at most `limit` sessions of a bucket that were made before `before` (now, where it is nothing).
    async fn end_bucket(&self, bucket: Bucket, before: Option<Timestamp>, limit: u32) -> Result<Step>;

    /// Clears up after at most `limit` expired sessions of a bucket: their index entries, counts, and events.
    async fn sweep(&self, bucket: Bucket, limit: u32) -> Result<Step>;

    /// Counts a bucket's live sessions; expired ones are cleared up first.
    async fn count(&self, bucket: Bucket) -> Result<BucketCounts>;

    /// The live sessions of a bucket that the filter lets through, in the order of their ids, after one.
    async fn page(
        &self,
        bucket: Bucket,
        after: Option<SessionId>,
        limit: u32,
        filter: &Filter,
    ) -> Result<Vec<Snapshot>>;

    /// What a bucket's stream of events holds since a time.
    async fn events_since(&self, bucket: Bucket, since: EventId) -> Result<Replay>;

    /// All events from now on; it returns once they are sure to come. A listener that falls behind loses its stream
    /// (the receiver closes) and resumes by [`SessionStore::events_since`]. So it does where the stream may have missed
    /// some.
    async fn events(&self) -> Result<mpsc::Receiver<Event>>;

    /// How far a reader of the events has come, by its name: sets it where it is given, and gives it. It is kept for a
    /// week after it was set last.
    async fn bookmark(&self, reader: &str, at: Option<EventId>) -> Result<Option<EventId>>;

    /// The present lineages.
    async fn lineage(&self) -> Result<Lineage>;

    /// Whether the store answers and is still the one that this server began with; gives its time.
    async fn ping(&self) -> Result<Timestamp>;
}
