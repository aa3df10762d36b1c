use std::sync::Arc;

use crate::cluster::MemberState;
use crate::session::{DataKey, JsonMap, Monotonic, Session, SessionId, Timestamp, Token, UserId};
use crate::store::{Durations, Filter};

/// Whether a read may come from memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Consistency {
    /// From this server's memory, at most the staleness bound old.
    #[default]
    Bounded,
    /// From the store of record.
    Strong,
}

/// How fresh a read must be.
#[derive(Debug, Clone, Copy, Default)]
pub struct Freshness {
    /// Whether memory will do.
    pub consistency: Consistency,
    /// Memory will do only from this version on: read your own writes on another server.
    pub min_version: Option<u64>,
}

/// A session to be made.
#[derive(Debug, Clone, Default)]
pub struct CreateRequest {
    /// Whose it is; nobody's for an anonymous one.
    pub user_id: Option<UserId>,
    /// The name of its class; `normal` where there is none.
    pub class: Option<String>,
    /// Its data.
    pub data: JsonMap,
    /// The user's roles.
    pub roles: Vec<String>,
    /// The user's permissions.
    pub permissions: Vec<String>,
    /// Where it came from.
    pub metadata: JsonMap,
    /// What identifies the client's device; only a hash of it is stored.
    pub fingerprint: Option<String>,
    /// Whether to wait for a replica.
    pub durable: bool,
}

/// A token to be renewed, and at a log-in the user to whom the session is given.
#[derive(Debug, Clone, Default)]
pub struct RotateRequest {
    /// Who logs in.
    pub user_id: Option<UserId>,
    /// The new class.
    pub class: Option<String>,
    /// The new roles.
    pub roles: Option<Vec<String>>,
    /// The new permissions.
    pub permissions: Option<Vec<String>>,
    /// The data keys that stay; where there is none, all, or at a log-in none.
    pub keep: Option<Vec<DataKey>>,
    /// Whether the user has just proved who they are.
    pub authenticated: bool,
    /// Whether to wait for a replica.
    pub durable: bool,
}

/// A session with the token that opens it.
#[derive(Debug)]
pub struct Issued {
    /// The secret for the client.
    pub token: Token,
    /// What the client sends along with unsafe requests.
    pub csrf_token: String,
    /// The session.
    pub session: Arc<Session>,
    /// The store's time.
    pub now: Timestamp,
    /// Whether a replica has it; nothing where that was not asked.
    pub durable: Option<bool>,
}

/// A token to be judged.
#[derive(Debug, Clone, Copy)]
pub struct Presented<'a> {
    /// What the client sent.
    pub token: &'a str,
    /// The CSRF token that came along, to be judged too.
    pub csrf_token: Option<&'a str>,
    /// Whether this is a use of the session, which slides its expiry.
    pub touch: bool,
    /// How fresh the answer must be.
    pub freshness: Freshness,
}

/// The judgement of a token.
#[derive(Debug, Clone)]
pub enum Validation {
    /// It opens this session.
    Valid(ValidSession),
    /// It opens none.
    Invalid(InvalidReason),
}

/// A session that a token opens.
#[derive(Debug, Clone)]
pub struct ValidSession {
    /// The session.
    pub session: Arc<Session>,
    /// The id of the token that was presented: another than the session's within the grace of a rotation.
    pub presented: SessionId,
    /// The store's time.
    pub now: Timestamp,
    /// Until when the answer keeps the promise of the staleness bound; nothing where this server cannot tell.
    pub vouched_until: Option<Monotonic>,
}

/// Why a token opens no session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InvalidReason {
    /// No such session: never made, ended, or not even a token.
    SessionNotFound,
    /// Its deadline came a short while ago.
    SessionExpired,
    /// The CSRF token is not this session's.
    CsrfMismatch,
}

impl InvalidReason {
    /// The stable name in answers and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SessionNotFound => "session_not_found",
            Self::SessionExpired => "session_expired",
            Self::CsrfMismatch => "csrf_mismatch",
        }
    }
}

/// A page of the listing of all sessions.
#[derive(Debug, Clone, Default)]
pub struct PageRequest {
    /// At most so many.
    pub limit: u32,
    /// Where the page before ended.
    pub after: Option<Cursor>,
    /// Which sessions.
    pub filter: Filter,
}

/// Where a page ended: its last session, or the bucket that is next.
pub type Cursor = SessionId;

/// A page, and where the next one begins.
#[derive(Debug, Clone, Default)]
pub struct Page {
    /// The sessions.
    pub sessions: Vec<Arc<Session>>,
    /// To be given for the next page; nothing at the end.
    pub next: Option<Cursor>,
}

/// Fleet-wide counts.
#[derive(Debug, Clone, Default)]
pub struct Stats {
    /// Live sessions.
    pub sessions: u64,
    /// Users with a live session.
    pub users: u64,
    /// Live sessions by class; every class of the deployment is there.
    pub by_class: std::collections::BTreeMap<String, u64>,
    /// Live sessions by the server where they are homed.
    pub by_server: std::collections::BTreeMap<String, u64>,
    /// How long the sessions lasted that ended since the beginning of yesterday (UTC).
    pub durations: Durations,
    /// When the last of the buckets was counted, by the store's clock.
    pub as_of: Timestamp,
}

/// A server of the fleet with the sessions homed there.
#[derive(Debug, Clone)]
pub struct ServerInfo {
    /// Its id.
    pub server_id: String,
    /// Live or draining; nothing where it has left and sessions are still homed there.
    pub state: Option<MemberState>,
    /// Sessions homed there.
    pub sessions: u64,
    /// Whether it leads.
    pub leader: bool,
}
