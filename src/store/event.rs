use std::fmt;
use std::str::FromStr;

use serde::Serialize;
use serde_json::value::to_raw_value;

use crate::session::{Activity, Bucket, ServerId, SessionId, Timestamp, UserId};
use crate::telemetry::Actor;

/// What happened to a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// It was made.
    Created,
    /// Something that readers see has changed.
    Changed,
    /// It got a new token and id.
    Rotated,
    /// It was ended by its id.
    Destroyed,
    /// It was ended with others: by its user's log-out everywhere, by the limit of sessions, or with all.
    Revoked,
    /// Its deadline came.
    Expired,
    /// It moved to another server.
    Migrated,
    /// A token that a rotation had retired was used again: the session was ended.
    Theft,
}

impl EventKind {
    /// All kinds.
    pub const ALL: [Self; 8] = [
        Self::Created,
        Self::Changed,
        Self::Rotated,
        Self::Destroyed,
        Self::Revoked,
        Self::Expired,
        Self::Migrated,
        Self::Theft,
    ];

    /// The name in streams and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Changed => "changed",
            Self::Rotated => "rotated",
            Self::Destroyed => "destroyed",
            Self::Revoked => "revoked",
            Self::Expired => "expired",
            Self::Migrated => "migrated",
            Self::Theft => "theft",
        }
    }

    /// The kind of a name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }
}

/// Why a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EndReason {
    /// By its id: a log-out.
    Logout,
    /// A log-in replaced it by a session of the user.
    Login,
    /// Its user's sessions were ended.
    User,
    /// The limit of sessions a user made room.
    Limit,
    /// All sessions were ended.
    All,
    /// Its deadline came.
    Expired,
    /// A retired token was used again.
    Theft,
}

impl EndReason {
    /// All reasons.
    pub const ALL: [Self; 7] = [
        Self::Logout,
        Self::Login,
        Self::User,
        Self::Limit,
        Self::All,
        Self::Expired,
        Self::Theft,
    ];

    /// The name in records, events and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Logout => "logout",
            Self::Login => "login",
            Self::User => "user",
            Self::Limit => "limit",
            Self::All => "all",
            Self::Expired => "expired",
            Self::Theft => "theft",
        }
    }

    /// The reason of a name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == name)
    }

    /// How it stands among the activities of the session's user.
    pub(super) fn activity(self, id: SessionId, at: Timestamp) -> Activity {
        let action = if self == Self::Logout { "logout" } else { "ended" };
        let reason = (self != Self::Logout).then_some(("reason", self.as_str().to_owned()));
        let notes = reason.into_iter().chain([("session_id", id.to_string())]);
        let written = notes.filter_map(|(key, note)| Some((key.to_owned(), to_raw_value(&note).ok()?)));
        Activity {
            action: action.to_owned(),
            at,
            metadata: written.collect(),
        }
    }

    /// The kind of the event that tells of it.
    pub fn event(self) -> EventKind {
        match self {
            Self::Logout | Self::Login => EventKind::Destroyed,
            Self::User | Self::Limit | Self::All => EventKind::Revoked,
            Self::Expired => EventKind::Expired,
            Self::Theft => EventKind::Theft,
        }
    }
}

/// Where an event stands in its bucket's stream; written `<milliseconds>-<sequence>-<bucket>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct EventId {
    /// The store's time of the event.
    pub at: Timestamp,
    /// Its number within the millisecond.
    pub sequence: u64,
    /// The bucket whose stream it stands in.
    pub bucket: Bucket,
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.at.as_millis(), self.sequence, self.bucket)
    }
}

/// The text is no event id.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("an event id has the form <milliseconds>-<sequence>-<bucket>")]
pub struct InvalidEventId;

impl FromStr for EventId {
    type Err = InvalidEventId;

    fn from_str(text: &str) -> Result<Self, InvalidEventId> {
        let mut parts = text.splitn(3, '-');
        let mut number = || parts.next().and_then(|part| part.parse().ok()).ok_or(InvalidEventId);
        let (at, sequence) = (number()?, number()?);
        let label = parts
            .next()
            .and_then(|part| part.as_bytes().try_into().ok())
            .ok_or(InvalidEventId)?;
        let bucket = Bucket::from_label(label).ok_or(InvalidEventId)?;
        Ok(Self {
            at: Timestamp::from_millis(at),
            sequence,
            bucket,
        })
    }
}

/// Something that happened to a session, told once by the script that did it.
#[derive(Debug, Clone, Serialize)]
pub struct Event {
    /// Where it stands in the streams.
    #[serde(skip)]
    pub id: EventId,
    /// What happened.
    #[serde(skip)]
    pub kind: EventKind,
    /// The session that it happened to.
    pub session_id: SessionId,
    /// Its user.
    pub user_id: Option<UserId>,
    /// The server where it is homed.
    pub server_id: Option<ServerId>,
    /// When, by the store's clock.
    pub at: Timestamp,
    /// Its class.
    pub class: String,
    /// Its version after the change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
    /// Why it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<EndReason>,
    /// How long it lasted, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration_seconds: Option<f64>,
    /// The id it had before a rotation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub previous_id: Option<SessionId>,
    /// Where it was homed before a migration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub previous_server_id: Option<ServerId>,
    /// Who asked for it by the API; nothing where nobody did, or where it is no end, rotation or migration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actor: Option<Actor>,
    /// The request by which it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}
