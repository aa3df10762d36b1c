use std::any::Any;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::Serialize;

use super::{ClassName, JsonMap, Security, ServerId, SessionId, Timestamp, UserId};

/// A session as the store of record holds it, and as callers see it (it never contains the token).
#[derive(Debug, Clone, Serialize)]
pub struct Session {
    /// The public handle.
    pub id: SessionId,
    /// Who is logged in; nobody in an anonymous session.
    pub user_id: Option<UserId>,
    /// Which timeouts it has.
    pub class: ClassName,
    /// Roles of the user, for authorisation by gateways and applications.
    pub roles: Vec<String>,
    /// Permissions of the user.
    pub permissions: Vec<String>,
    /// The application's values.
    pub data: JsonMap,
    /// Where the session came from: address, user agent, log-in method and the like.
    pub metadata: JsonMap,
    /// What the application notes about its safety.
    pub security: Security,
    /// When it was made; a rotation keeps it.
    pub created_at: Timestamp,
    /// The last recorded activity.
    pub last_activity_at: Timestamp,
    /// When it ends without further activity: the last activity and the idle timeout, at most the absolute deadline.
    pub expires_at: Timestamp,
    /// When it ends whatever its activity.
    pub absolute_expires_at: Timestamp,
    /// When the user last proved who they are.
    pub authenticated_at: Option<Timestamp>,
    /// Rises with every change that readers must see; not with a touch or an activity.
    pub version: u64,
    /// The bytes of all data keys and values.
    pub data_bytes: u64,
    /// The server where it is homed.
    pub server_id: ServerId,
    /// When it last moved to another server.
    pub migrated_at: Option<Timestamp>,
    /// How often it has moved.
    pub migrations: u32,
    /// Where it was homed before.
    pub previous_server_id: Option<ServerId>,
    /// The class's idle timeout when the session was made.
    #[serde(skip)]
    pub idle: Duration,
    /// A hash of the fingerprint given at creation.
    #[serde(skip)]
    pub fingerprint: Option<String>,
    /// Whether it was made by a rotation and its token has not been used yet.
    #[serde(skip)]
    pub unconfirmed: bool,
    /// What is remembered along with it.
    #[serde(skip)]
    pub memo: Memo,
}

/// What a server remembers along with the session that it holds in memory; no part of the record. A copy remembers
/// nothing, for it is made to be changed.
#[derive(Default)]
pub struct Memo {
    /// The last use that was noted here, in milliseconds of the store's clock.
    noted_use: AtomicU64,
    /// What a face made of the session.
    rendered: OnceLock<Box<dyn Any + Send + Sync>>,
}

impl Memo {
    /// Notes a use, unless one was noted less than `interval` before. Whether it did.
    pub fn note_use(&self, now: Timestamp, interval: Duration) -> bool {
        let noted = self.noted_use.load(Ordering::Relaxed);
        let due = now.since(Timestamp::from_millis(noted)) >= interval;
        due && self
            .noted_use
            .compare_exchange(noted, now.as_millis(), Ordering::Relaxed, Ordering::Relaxed)
            .is_ok()
    }

    /// What the first caller made of the session; nothing where that is of another type.
    pub fn rendered<T: Send + Sync + 'static>(&self, render: impl FnOnce() -> T) -> Option<&T> {
        self.rendered.get_or_init(|| Box::new(render())).downcast_ref()
    }
}

impl Clone for Memo {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl std::fmt::Debug for Memo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Memo")
    }
}

/// Whether a session is alive at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is.
    Alive,
    /// Its idle or absolute deadline has come.
    Expired,
}

impl Session {
    /// Judges the session at a time of the store's clock: it is dead from the very millisecond of its deadline on.
    pub fn verdict(&self, now: Timestamp) -> Verdict {
        if now < self.expires_at {
            Verdict::Alive
        } else {
            Verdict::Expired
        }
    }

    /// When the session ends if it was last active at this time.
    pub fn deadline(&self, last_activity: Timestamp) -> Timestamp {
        last_activity.plus(self.idle).min(self.absolute_expires_at)
    }

    /// What the session takes in memory, about, in bytes: itself, and what a face makes of it.
    pub fn weight(&self) -> u32 {
        // With the allocator's share: 100,000 sessions of 350 bytes took 225 MiB.
        const FIXED: u64 = 1_700;
        let names = self
            .roles
            .iter()
            .chain(&self.permissions)
            .map(|name| name.len() as u64 + 24)
            .sum::<u64>();
        let values = |map: &JsonMap| map.text_bytes() as u64;
        // Data and metadata are there twice: by themselves, and in the text that is sent.
        let weight = FIXED + 2 * (names + values(&self.data) + values(&self.metadata));
        u32::try_from(weight).unwrap_or(u32::MAX)
    }

    /// How long a touch may wait before it must be recorded: a tenth of the idle timeout, a minute at most.
    pub fn touch_interval(&self) -> Duration {
        (self.idle / 10).min(Duration::from_mins(1))
    }
}
