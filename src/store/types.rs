use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::EndReason;
use crate::session::{
    Bucket, Class, ClassName, DataKey, Json, JsonMap, OperationId, SecurityChange, ServerId, Session, SessionId,
    Timestamp, UserId,
};

/// A session as it was at one time of the store's clock.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// The session.
    pub session: Arc<Session>,
    /// The store's time when it read it.
    pub now: Timestamp,
}

/// What a look-up of an id found.
#[derive(Debug, Clone)]
pub enum Lookup {
    /// The session, alive or expired; its id is another than the one asked for where that is an alias, the id that the
    /// session had before a rotation.
    Found(Snapshot),
    /// The id was retired by a rotation and its grace is over. To present its token is theft.
    Replayed {
        /// The id that the session has now.
        current: SessionId,
    },
    /// Nothing.
    Missing,
}

/// A session to be made.
#[derive(Debug, Clone)]
pub struct NewSession {
    /// Its id, which also tells its bucket: that of the user, where it has one.
    pub id: SessionId,
    /// Whose it is.
    pub user_id: Option<UserId>,
    /// The name of its class.
    pub class: ClassName,
    /// The timeouts of its class.
    pub timeouts: Class,
    /// Its data, at most as large as allowed: the store does not check it again.
    pub data: JsonMap,
    /// The user's roles.
    pub roles: Vec<String>,
    /// The user's permissions.
    pub permissions: Vec<String>,
    /// Where it came from.
    pub metadata: JsonMap,
    /// A hash of the client's fingerprint.
    pub fingerprint: Option<String>,
    /// The server where it is homed.
    pub server_id: ServerId,
    /// Whether the user has just proved who they are.
    pub authenticated: bool,
    /// How many sessions the user may have.
    pub limit: Option<UserLimit>,
    /// The ids that it had before a log-in, for the log of ends.
    pub kin: Vec<SessionId>,
    /// Whether to wait for a replica.
    pub durable: bool,
}

/// How many live sessions a user may have, and what to do about one more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UserLimit {
    /// At most so many.
    pub max: u32,
    /// What happens to one more.
    pub policy: LimitPolicy,
}

/// What happens when a user's sessions reach their limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LimitPolicy {
    /// The new session is refused.
    #[default]
    Refuse,
    /// The one made first ends.
    EndOldest,
    /// The one with the oldest recorded activity ends.
    EndLeastRecentlyUsed,
}

/// What making a session did.
#[derive(Debug, Clone)]
pub struct Created {
    /// The new session.
    pub snapshot: Snapshot,
    /// The sessions that ended to make room, with their former ids.
    pub ended: Vec<SessionId>,
    /// Whether a replica has it; nothing where that was not asked.
    pub durable: Option<bool>,
}

/// A change of a session. Objects merge by their top-level keys: `None` removes one, a value replaces it whole.
#[derive(Debug, Clone, Default)]
pub struct Change {
    /// Data keys to set or remove.
    pub data: BTreeMap<DataKey, Option<Json>>,
    /// Metadata to set or remove.
    pub metadata: BTreeMap<String, Option<Json>>,
    /// The new roles.
    pub roles: Option<Vec<String>>,
    /// The new permissions.
    pub permissions: Option<Vec<String>>,
    /// The new security fields.
    pub security: SecurityChange,
    /// The versions of which the session must have one; any where there is none.
    pub if_match: Option<Vec<u64>>,
}

/// The use of a session, to be recorded.
#[derive(Debug, Clone)]
pub struct Touch {
    /// The session used.
    pub id: SessionId,
    /// How long ago.
    pub age: Duration,
    /// Its new home, where the one that it was read with (first) is gone.
    pub migrate: Option<(ServerId, ServerId)>,
}

/// How a session gets a new token.
#[derive(Debug, Clone)]
pub struct Rotation {
    /// The new id, in the same bucket.
    pub new_id: SessionId,
    /// The new class and its timeouts, which start new deadlines.
    pub class: Option<(ClassName, Class)>,
    /// Whether this is a log-in: new deadlines, and no alias is left.
    pub login: bool,
    /// The data keys that stay; all where there is none.
    pub keep: Option<Vec<DataKey>>,
    /// The new roles.
    pub roles: Option<Vec<String>>,
    /// The new permissions.
    pub permissions: Option<Vec<String>>,
    /// Whether the user has just proved who they are.
    pub authenticated: bool,
    /// Whether to wait for a replica.
    pub durable: bool,
}

/// What a rotation did.
#[derive(Debug, Clone)]
pub struct Rotated {
    /// The session under its new id.
    pub snapshot: Snapshot,
    /// Whether a replica has it; nothing where that was not asked.
    pub durable: Option<bool>,
}

/// How a session is to end.
#[derive(Debug, Clone, Copy)]
pub struct End {
    /// Why.
    pub reason: EndReason,
    /// End it only if it has this version.
    pub if_version: Option<u64>,
    /// Whether to wait for a replica.
    pub durable: bool,
}

/// Which sessions ended.
#[derive(Debug, Clone, Default)]
pub struct Ended {
    /// The sessions that really ended, by the ids they had at the end.
    pub sessions: Vec<SessionId>,
    /// The ids that they had before rotations.
    pub kin: Vec<SessionId>,
    /// Whether a replica knows; nothing where that was not asked.
    pub durable: Option<bool>,
}

/// One bounded step of a pass over a bucket.
#[derive(Debug, Clone, Default)]
pub struct Step {
    /// The sessions that ended in it.
    pub ended: Ended,
    /// Whether there is more to do.
    pub more: bool,
    /// The store's time of the step.
    pub now: Timestamp,
    /// How long the oldest had been due.
    pub behind: Duration,
    /// How many keys a sweep looked at, whether they have a time to live.
    pub keys_audited: u64,
    /// Those that had none. They have one now.
    pub keys_without_ttl: Vec<String>,
}

/// What a bucket holds, expired sessions apart, at one time of the store's clock.
#[derive(Debug, Clone, Default)]
pub struct BucketCounts {
    /// Live sessions by class.
    pub by_class: BTreeMap<String, u64>,
    /// Live sessions by the server where they are homed.
    pub by_server: BTreeMap<String, u64>,
    /// Users with a live session.
    pub users: u64,
    /// How long the sessions lasted that ended since the beginning of yesterday.
    pub durations: Durations,
    /// How many expired sessions were cleared up first.
    pub cleared: u64,
    /// The store's time of the count.
    pub now: Timestamp,
}

/// A histogram of durations.
#[derive(Debug, Clone, Default)]
pub struct Durations {
    /// How many.
    pub count: u64,
    /// Their sum, in milliseconds.
    pub sum_millis: u64,
    /// How many by bin; see [`Durations::bin`].
    pub bins: BTreeMap<u32, u64>,
}

impl Durations {
    /// The bin of a duration: four to a doubling, counted from one second.
    pub fn bin(millis: u64) -> u32 {
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a bin"
        )]
        let bin = (4.0 * (millis as f64 / 1000.0 + 1.0).log2()).floor() as u32;
        bin
    }

    /// Adds one.
    pub fn record(&mut self, millis: u64) {
        self.count += 1;
        self.sum_millis += millis;
        *self.bins.entry(Self::bin(millis)).or_default() += 1;
    }

    /// Adds all of another.
    pub fn merge(&mut self, other: &Self) {
        self.count += other.count;
        self.sum_millis += other.sum_millis;
        for (bin, count) in &other.bins {
            *self.bins.entry(*bin).or_default() += count;
        }
    }

    /// Their mean, in seconds.
    #[expect(clippy::cast_precision_loss, reason = "a mean")]
    pub fn average(&self) -> Option<f64> {
        (self.count > 0).then(|| self.sum_millis as f64 / 1000.0 / self.count as f64)
    }

    /// The upper edge of the bin where this share of them is reached, in seconds: at most 19 % above the true value.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a rank among counts"
    )]
    pub fn quantile(&self, share: f64) -> Option<f64> {
        let rank = (self.count as f64 * share).ceil().max(1.0) as u64;
        let mut seen = 0;
        self.bins.iter().find_map(|(bin, count)| {
            seen += count;
            (seen >= rank).then(|| 2f64.powf(f64::from(bin + 1) / 4.0) - 1.0)
        })
    }
}

/// Which sessions a listing wants.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Of this class.
    pub class: Option<ClassName>,
    /// Homed at this server.
    pub server_id: Option<ServerId>,
}

/// What the stream of a bucket holds since some event.
#[derive(Debug, Clone, Default)]
pub struct Replay {
    /// The events, oldest first.
    pub events: Vec<super::Event>,
    /// Whether some that were asked for are held no more.
    pub trimmed: bool,
}

/// Something that identifies, for each bucket, the line of writes that its primary continues: it changes when another
/// primary takes over or when the primary starts anew, and then what was acknowledged last may be lost.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lineage(Vec<u64>);

impl Lineage {
    /// The lineages by bucket number.
    pub fn new(by_bucket: Vec<u64>) -> Self {
        Self(by_bucket)
    }

    /// That of one bucket; nothing where it is unknown.
    pub fn of(&self, bucket: Bucket) -> Option<u64> {
        self.0
            .get(usize::from(bucket.number()))
            .copied()
            .filter(|lineage| *lineage != 0)
    }
}

/// A numeric change of a data key.
#[derive(Debug, Clone)]
pub struct Increment {
    /// The data key.
    pub key: DataKey,
    /// By how much: a JSON number.
    pub by: serde_json::Number,
    /// The most that the session's data may take, in bytes.
    pub max_bytes: u64,
    /// Names the change.
    pub operation: OperationId,
}
