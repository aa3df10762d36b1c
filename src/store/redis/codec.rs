//! The record of a session, a hash: `c` holds what changes seldom, as JSON that a person can read; `m` the session's own
//! id and what every change and touch writes; `p` the former id, until a rotated session's new token is first used; `d:<key>` the data.
//!
//! A record is plain, or sealed: then each data value is, and what else users put into the session is sealed together in
//! `s`. What scripts must read stays in `c`, and `m` is never sealed.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

use super::reply::Reply;
use super::vault::{Kept, Vault};
use crate::session::{
    Activity, ClassName, Json, JsonMap, Memo, SealingKeys, Security, SecurityChange, ServerId, Session, SessionId,
    Timestamp, UserId,
};
use crate::store::{Change, NewSession, Snapshot, StoreError};

/// Metadata: a string as itself, any other JSON as its text, for Lua's JSON does not keep it as written.
#[derive(Debug, Default)]
struct Metadata(JsonMap);

/// A metadata value, to be written.
struct Written<'a>(&'a RawValue);

/// A metadata value that was read.
struct Read(Json);

/// What stands for JSON that is no string.
#[derive(Serialize, Deserialize)]
struct Other<'a> {
    #[serde(borrow)]
    json: Cow<'a, str>,
}

impl Metadata {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Serialize for Metadata {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, Written(value))))
    }
}

impl Serialize for Written<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let json = self.0.get();
        match serde_json::from_str::<String>(json) {
            Ok(text) => serializer.serialize_str(&text),
            Err(_) => Other { json: json.into() }.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Metadata {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Values;

        impl<'de> Visitor<'de> for Values {
            type Value = Metadata;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut values: A) -> Result<Metadata, A::Error> {
                let next = || values.next_entry::<Box<str>, Read>().transpose();
                let values = std::iter::from_fn(next).map(|entry| entry.map(|(name, Read(json))| (name, json)));
                values.collect::<Result<_, _>>().map(Metadata)
            }
        }

        deserializer.deserialize_map(Values)
    }
}

impl<'de> Deserialize<'de> for Read {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&RawValue>::deserialize(deserializer)?;
        let text = raw.get();
        let json = if !text.starts_with('"') {
            let other: Other<'_> = serde_json::from_str(text).map_err(D::Error::custom)?;
            RawValue::from_string(other.json.into_owned())
        } else if text.contains('\\') {
            // Lua's JSON escapes what need not be.
            serde_json::from_str::<String>(text).and_then(|text| serde_json::value::to_raw_value(&text))
        } else {
            Ok(raw.to_owned())
        };
        json.map(Self).map_err(D::Error::custom)
    }
}

/// The field `c`. Lists and maps that are empty are left out: Lua's JSON cannot tell them apart.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Core {
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    roles: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    permissions: Vec<String>,
    #[serde(skip_serializing_if = "Metadata::is_empty")]
    metadata: Metadata,
    #[serde(skip_serializing_if = "CoreSecurity::is_empty")]
    security: CoreSecurity,
    #[serde(skip_serializing_if = "String::is_empty")]
    server_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    fingerprint: Option<String>,
    /// The id under which the session was made, where that is not its present one or the record is sealed.
    #[serde(skip_serializing_if = "Option::is_none")]
    origin: Option<String>,
    /// The user of a sealed record, for its events.
    #[serde(skip_serializing_if = "Option::is_none")]
    sealed_user: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    kin: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    migrated_at: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    migrations: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    previous_server_id: Option<String>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct CoreSecurity {
    #[serde(skip_serializing_if = "Option::is_none")]
    login_attempts: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    suspicious: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_password_change: Option<u64>,
}

impl CoreSecurity {
    fn is_empty(&self) -> bool {
        self.login_attempts.is_none() && self.suspicious.is_none() && self.last_password_change.is_none()
    }
}

/// The fields of a record besides its data, as they are written.
pub(super) struct CoreFields {
    /// `c`.
    pub(super) readable: String,
    /// `s`, where the record is sealed.
    pub(super) sealed: Option<Vec<u8>>,
}

impl Core {
    /// Moves what users put into the session out of it.
    fn take_content(&mut self) -> Self {
        Self {
            user: self.user.take(),
            roles: std::mem::take(&mut self.roles),
            permissions: std::mem::take(&mut self.permissions),
            metadata: std::mem::take(&mut self.metadata),
            security: std::mem::take(&mut self.security),
            fingerprint: self.fingerprint.take(),
            origin: self.origin.take(),
            ..Self::default()
        }
    }

    /// What users put into the session, taken over from what was sealed.
    fn with_content(self, content: Self) -> Self {
        Self {
            server_id: self.server_id,
            kin: self.kin,
            migrated_at: self.migrated_at,
            migrations: self.migrations,
            previous_server_id: self.previous_server_id,
            ..content
        }
    }

    fn sealed(&self, id: &SessionId, vault: &Vault) -> Result<Vec<u8>, StoreError> {
        let content = serde_json::to_vec(self).map_err(corrupt)?;
        vault.seal(&[id.text().as_str(), SEALED], &content)
    }

    /// As it is written for a session of this id, sealed or not, as the vault has it.
    fn into_fields(mut self, id: &SessionId, vault: &Vault) -> Result<CoreFields, StoreError> {
        self.sealed_user = None;
        let mut sealed = None;
        if vault.seals() {
            self.sealed_user = self.user.as_deref().map(|user| seal_user(user, vault)).transpose()?;
            sealed = Some(self.take_content().sealed(id, vault)?);
        }
        let readable = serde_json::to_string(&self).map_err(corrupt)?;
        Ok(CoreFields { readable, sealed })
    }
}

/// The field of all that is sealed together.
pub(super) const SEALED: &str = "s";
/// Where the users of events belong.
const USER_OF_EVENT: &[&str] = &["event", "user"];

fn seal_user(user: &str, vault: &Vault) -> Result<String, StoreError> {
    Ok(STANDARD_NO_PAD.encode(vault.seal(USER_OF_EVENT, user.as_bytes())?))
}

/// The user of an event; nothing where it cannot be told.
pub(super) fn open_user(sealed: &str, vault: &Vault) -> Option<UserId> {
    let sealed = STANDARD_NO_PAD.decode(sealed).ok()?;
    let opened = vault.open(USER_OF_EVENT, &sealed).ok()?;
    UserId::new(std::str::from_utf8(&opened.value).ok()?).ok()
}

fn corrupt(what: impl std::fmt::Display) -> StoreError {
    StoreError::Corrupt(what.to_string())
}

/// Writes the core of a new session.
pub(super) fn core_of(new: &NewSession, vault: &Vault) -> Result<CoreFields, StoreError> {
    let core = Core {
        user: new.user_id.as_ref().map(ToString::to_string),
        roles: new.roles.clone(),
        permissions: new.permissions.clone(),
        metadata: Metadata(new.metadata.clone()),
        server_id: new.server_id.to_string(),
        fingerprint: new.fingerprint.clone(),
        kin: new.kin.iter().map(ToString::to_string).collect(),
        origin: vault.seals().then(|| new.id.to_string()),
        ..Core::default()
    };
    core.into_fields(&new.id, vault)
}

/// Writes the core of a session that has such a record anew, as the vault has it: its readable part as it was, the
/// content as the session has it.
pub(super) fn core_of_session(
    readable: &str,
    session: &Session,
    kept: &Kept,
    id: &SessionId,
    vault: &Vault,
) -> Result<CoreFields, StoreError> {
    let readable: Core = serde_json::from_str(readable).map_err(corrupt)?;
    readable.with_content(content_of(session, kept)).into_fields(id, vault)
}

/// Writes what is sealed together of a session that has a record, for this id.
pub(super) fn sealed_content(
    session: &Session,
    kept: &Kept,
    id: &SessionId,
    vault: &Vault,
) -> Result<Vec<u8>, StoreError> {
    content_of(session, kept).sealed(id, vault)
}

fn content_of(session: &Session, kept: &Kept) -> Core {
    let security = &session.security;
    Core {
        user: session.user_id.as_ref().map(ToString::to_string),
        roles: session.roles.clone(),
        permissions: session.permissions.clone(),
        metadata: Metadata(session.metadata.clone()),
        security: CoreSecurity {
            login_attempts: Some(security.login_attempts).filter(|attempts| *attempts != 0),
            suspicious: Some(security.suspicious).filter(|suspicious| *suspicious),
            last_password_change: security.last_password_change.map(Timestamp::as_millis),
        },
        fingerprint: session.fingerprint.clone(),
        origin: Some(kept.origin_of(session)),
        ..Core::default()
    }
}

/// Writes the patch of the field `c` that a change asks for; empty where it asks for none.
pub(super) fn patch_of(change: &Change) -> Result<String, StoreError> {
    #[derive(Serialize)]
    struct Patch<'a> {
        #[serde(skip_serializing_if = "Option::is_none")]
        roles: Option<&'a [String]>,
        #[serde(skip_serializing_if = "Option::is_none")]
        permissions: Option<&'a [String]>,
        #[serde(skip_serializing_if = "BTreeMap::is_empty")]
        metadata: BTreeMap<&'a str, Written<'a>>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        remove: Vec<&'a str>,
        #[serde(skip_serializing_if = "BTreeMap::is_empty")]
        security: BTreeMap<&'static str, serde_json::Value>,
    }
    let metadata_is_empty = change.metadata.is_empty();
    if change.roles.is_none() && change.permissions.is_none() && metadata_is_empty && change.security.is_empty() {
        return Ok(String::new());
    }
    let patch = Patch {
        roles: change.roles.as_deref(),
        permissions: change.permissions.as_deref(),
        metadata: change
            .metadata
            .iter()
            .filter_map(|(name, value)| Some((name.as_str(), Written(value.as_deref()?))))
            .collect(),
        remove: change
            .metadata
            .iter()
            .filter(|(_, value)| value.is_none())
            .map(|(name, _)| name.as_str())
            .collect(),
        security: security_patch(&change.security),
    };
    serde_json::to_string(&patch).map_err(corrupt)
}

/// `false` and 0 stand for the defaults, which the script does not write.
fn security_patch(change: &SecurityChange) -> BTreeMap<&'static str, serde_json::Value> {
    let time = change
        .last_password_change
        .map(|time| time.map_or(false.into(), |time| time.as_millis().into()));
    [
        ("login_attempts", change.login_attempts.map(Into::into)),
        ("suspicious", change.suspicious.map(Into::into)),
        ("last_password_change", time),
    ]
    .into_iter()
    .filter_map(|(name, value)| value.map(|value| (name, value)))
    .collect()
}

/// A session as it was read, and how it was kept.
pub(super) struct Record {
    pub(super) snapshot: Snapshot,
    pub(super) kept: Kept,
}

/// Reads a session out of an answer, and checks that it is the one that the answer speaks of (S51).
pub(super) fn record(
    reply: &mut Reply<'_>,
    id: SessionId,
    now: Timestamp,
    vault: &Vault,
) -> Result<Record, StoreError> {
    let fields = reply.array()? / 2;
    let (mut core, mut meta, mut unconfirmed) = (None, None, false);
    let mut data = Vec::with_capacity(fields.saturating_sub(2));
    let (mut content, mut sealed) = (None, Vec::new());
    for _ in 0..fields {
        let (name, value) = (reply.text()?, reply.bytes()?);
        match name {
            "c" => core = Some(text(value)?),
            "m" => meta = Some(text(value)?),
            "p" => unconfirmed = true,
            SEALED => content = Some(value),
            _ => {
                let Some(key) = name.strip_prefix("d:") else { continue };
                if value.first() == Some(&SealingKeys::FORM) {
                    sealed.push((name, value));
                } else {
                    data.push((key, RawValue::from_string(text(value)?.to_owned()).map_err(corrupt)?));
                }
            }
        }
    }
    let (core, meta) = core
        .zip(meta)
        .ok_or_else(|| corrupt(format!("session {id} lacks a field")))?;
    let mut core: Core = serde_json::from_str(core).map_err(|error| corrupt(format!("session {id}: {error}")))?;
    let (own_id, meta) = meta.split_once(' ').unwrap_or_default();
    if own_id != id.text().as_str() {
        return Err(StoreError::Mismatch);
    }
    let mut by_first = true;
    if content.is_some() || !sealed.is_empty() {
        let content = content.filter(|_| data.is_empty());
        let content = content.ok_or_else(|| corrupt(format!("session {id} is sealed in part")))?;
        let mut open = |name: &str, value: &[u8]| open_field(id, name, value, vault, &mut by_first);
        core = core.with_content(serde_json::from_str(&open(SEALED, content)?).map_err(corrupt)?);
        for (name, value) in &sealed {
            let value = RawValue::from_string(open(name, value)?).map_err(corrupt)?;
            data.push((&name[2..], value));
        }
    }
    let is_sealed = content.is_some();
    vault.note(is_sealed, by_first).map_err(|error| at_session(id, error))?;
    let kept = Kept {
        sealed: is_sealed,
        by_first,
        origin: core.origin.take(),
    };
    let session = session(id, core, meta, data.into_iter().collect(), unconfirmed)
        .ok_or_else(|| corrupt(format!("session {id}: {meta}")))?;
    let session = Arc::new(session);
    Ok(Record {
        snapshot: Snapshot { session, now },
        kept,
    })
}

/// What a sealed field holds.
fn open_field(
    id: SessionId,
    name: &str,
    value: &[u8],
    vault: &Vault,
    by_first: &mut bool,
) -> Result<String, StoreError> {
    let opened = vault.open(&[id.text().as_str(), name], value);
    let opened = opened.map_err(|error| at_session(id, error))?;
    *by_first &= opened.by_first;
    String::from_utf8(opened.value).map_err(corrupt)
}

fn text(bytes: &[u8]) -> Result<&str, StoreError> {
    std::str::from_utf8(bytes).map_err(corrupt)
}

/// The same of a session, where a record is at fault.
pub(super) fn at_session(id: SessionId, error: StoreError) -> StoreError {
    match error {
        StoreError::Corrupt(what) => corrupt(format!("session {id}: {what}")),
        other => other,
    }
}

/// The fields of a record as they are kept.
pub(super) fn fields<'a>(reply: &mut Reply<'a>) -> Result<Vec<(&'a str, &'a [u8])>, StoreError> {
    (0..reply.array()? / 2)
        .map(|_| Ok((reply.text()?, reply.bytes()?)))
        .collect()
}

/// The id for which the activities of a session are sealed, told by its fields `c` and `s`.
pub(super) fn origin_of(id: SessionId, core: &str, sealed: &[u8], vault: &Vault) -> Result<String, StoreError> {
    let core: Core = match sealed {
        [] => serde_json::from_str(core),
        sealed => serde_json::from_str(&open_field(id, SEALED, sealed, vault, &mut true)?),
    }
    .map_err(corrupt)?;
    Ok(core.origin.unwrap_or_else(|| id.to_string()))
}

fn session(id: SessionId, core: Core, meta: &str, data: JsonMap, unconfirmed: bool) -> Option<Session> {
    let mut fields = meta.split(' ');
    let mut number = || fields.next()?.parse::<u64>().ok();
    let (version, created) = (number()?, number()?);
    // Times are told by how much later than the making they are.
    let (last, idle) = (created.saturating_add(number()?), number()?);
    let (absolute, data_bytes) = (created.saturating_add(number()?), number()?);
    let class = ClassName::new(fields.next()?).ok()?;
    let _user_hash = fields.next()?;
    let authenticated = match fields.next()? {
        "-" => None,
        later => Some(created.saturating_add(later.parse().ok()?)),
    };
    let time = Timestamp::from_millis;
    let server = |name: String| ServerId::new(&name).ok();
    Some(Session {
        id,
        user_id: core.user.map(|user| UserId::new(&user)).transpose().ok()?,
        class,
        roles: core.roles,
        permissions: core.permissions,
        data,
        metadata: core.metadata.0,
        security: Security {
            login_attempts: core.security.login_attempts.unwrap_or_default(),
            suspicious: core.security.suspicious.unwrap_or_default(),
            last_password_change: core.security.last_password_change.map(time),
        },
        created_at: time(created),
        last_activity_at: time(last),
        expires_at: time(last.saturating_add(idle).min(absolute)),
        absolute_expires_at: time(absolute),
        authenticated_at: authenticated.map(time),
        version,
        data_bytes,
        server_id: server(core.server_id)?,
        migrated_at: core.migrated_at.map(time),
        migrations: core.migrations.unwrap_or_default(),
        previous_server_id: core.previous_server_id.and_then(server),
        idle: Duration::from_millis(idle),
        fingerprint: core.fingerprint,
        unconfirmed,
        memo: Memo::default(),
    })
}

/// An activity as it is kept: its members (of a JSON object) but for the time, which the script adds.
#[derive(Serialize, Deserialize)]
struct Entry<'a> {
    action: Cow<'a, str>,
    metadata: Cow<'a, JsonMap>,
}

/// Where the activities of a session belong.
const ACTIVITY: &str = "a";

/// Writes the members of an activity, of a session that was made under this id.
pub(super) fn activity_members(
    action: &str,
    metadata: &JsonMap,
    origin: &str,
    vault: &Vault,
) -> Result<String, StoreError> {
    let entry = Entry {
        action: action.into(),
        metadata: Cow::Borrowed(metadata),
    };
    let json = serde_json::to_string(&entry).map_err(corrupt)?;
    if !vault.seals() {
        return Ok(json[1..json.len() - 1].to_owned());
    }
    let sealed = vault.seal(&[origin, ACTIVITY], json.as_bytes())?;
    Ok(format!("\"sealed\":\"{}\"", STANDARD_NO_PAD.encode(sealed)))
}

/// Reads an activity.
pub(super) fn activity(text: &str, origin: &str, vault: &Vault) -> Result<Activity, StoreError> {
    #[derive(Deserialize)]
    struct Stored<'a> {
        at: u64,
        #[serde(borrow)]
        sealed: Option<&'a str>,
    }
    let stored: Stored<'_> = serde_json::from_str(text).map_err(corrupt)?;
    let mut opened = None;
    if let Some(sealed) = stored.sealed {
        let sealed = STANDARD_NO_PAD.decode(sealed).map_err(corrupt)?;
        opened = Some(vault.open(&[origin, ACTIVITY], &sealed)?.value);
    }
    let entry: Entry<'_> = match &opened {
        Some(opened) => serde_json::from_slice(opened),
        None => serde_json::from_str(text),
    }
    .map_err(corrupt)?;
    Ok(Activity {
        action: entry.action.into_owned(),
        at: Timestamp::from_millis(stored.at),
        metadata: entry.metadata.into_owned(),
    })
}
