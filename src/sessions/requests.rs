use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

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
    /// Whether an answer will do that is older than the staleness bound, for the classes that chose `serve_stale` and
    /// while the store is out of reach. It is marked.
    pub accept_stale: bool,
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
    /// What is known of the client, to be judged by the binding policies.
    pub client: ClientTraits<'a>,
    /// Whether this is a use of the session, which slides its expiry.
    pub touch: bool,
    /// How fresh the answer must be.
    pub freshness: Freshness,
}

/// What is known of a client.
#[derive(Debug, Clone, Copy, Default)]
pub struct ClientTraits<'a> {
    /// What identifies its device.
    pub fingerprint: Option<&'a str>,
    /// Its address.
    pub ip: Option<ClientIp<'a>>,
    /// Its user agent.
    pub user_agent: Option<&'a str>,
}

/// A client's address.
#[derive(Debug, Clone, Copy)]
pub enum ClientIp<'a> {
    /// As the server saw it.
    Address(IpAddr),
    /// As an application wrote it.
    Text(&'a str),
}

impl fmt::Display for ClientIp<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Text(text) => text.fmt(f),
        }
    }
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
    /// How long ago the session was known to be so, where the store is out of reach and that was accepted.
    pub stale: Option<Duration>,
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
    /// The client is another than the one that logged in, and a binding policy refuses it.
    FingerprintMismatch,
    /// The client is another than the one that logged in, and a binding policy wants the user to authenticate again.
    ReauthenticationRequired,
}

impl InvalidReason {
    /// The stable name in answers and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SessionNotFound => "session_not_found",
            Self::SessionExpired => "session_expired",
            Self::CsrfMismatch => "csrf_mismatch",
            Self::FingerprintMismatch => "fingerprint_mismatch",
            Self::ReauthenticationRequired => "reauthentication_required",
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
