//! The record of a session, a hash: `c` holds what changes seldom, as JSON that a person can read; `m` the session's own
//! id and what every change and touch writes; `p` the former id, until a rotated session's new token is first used; `d:<key>` the data.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

use super::reply::Reply;
use crate::session::{
    ClassName, JsonMap, Memo, Security, SecurityChange, ServerId, Session, SessionId, Timestamp, UserId,
};
use crate::store::{Change, NewSession, Snapshot, StoreError};

/// Metadata: a string as itself, any other JSON as its text, for Lua's JSON does not keep it as written.
#[derive(Debug, Default)]
struct Metadata(JsonMap);

/// A metadata value, to be written.
struct Written<'a>(&'a RawValue);

/// The JSON of a metadata value that was read.
struct Read<'a>(Cow<'a, str>);

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
                let mut all = Vec::new();
                while let Some((name, value)) = values.next_entry::<String, Read<'_>>()? {
                    all.push((name, value));
                }
                let texts = all.iter().map(|(name, Read(json))| (name.into(), &**json)).collect();
                JsonMap::of_texts(texts).map(Metadata).map_err(A::Error::custom)
            }
        }

        deserializer.deserialize_map(Values)
    }
}

impl<'de> Deserialize<'de> for Read<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&RawValue>::deserialize(deserializer)?;
        let text = raw.get();
        let json = if !text.starts_with('"') {
            serde_json::from_str(text).map(|Other { json }| json)
        } else if text.contains('\\') {
            // Lua's JSON escapes what need not be.
            let written = serde_json::from_str::<String>(text).and_then(|text| serde_json::to_string(&text));
            written.map(Cow::Owned)
        } else {
            Ok(Cow::Borrowed(text))
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
    server_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    fingerprint: Option<String>,
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

/// The one format of records that this version reads and writes. A record of another one says so in `m`, after the ten
/// fields that all formats have.
const FORMAT: u64 = 1;

fn corrupt(what: impl std::fmt::Display) -> StoreError {
    StoreError::Corrupt(what.to_string())
}

/// Writes the field `c` of a new session.
pub(super) fn core_of(new: &NewSession) -> Result<String, StoreError> {
    let core = Core {
        user: new.user_id.as_ref().map(ToString::to_string),
        roles: new.roles.clone(),
        permissions: new.permissions.clone(),
        metadata: Metadata(new.metadata.clone()),
        server_id: new.server_id.to_string(),
        fingerprint: new.fingerprint.clone(),
        kin: new.kin.iter().map(ToString::to_string).collect(),
        ..Core::default()
    };
    serde_json::to_string(&core).map_err(corrupt)
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

/// As many data keys as room is made for before they are read.
const MOST_EXPECTED: usize = 64;

/// Reads a session out of an answer, and checks that it is the one that the answer speaks of (S51).
pub(super) fn snapshot(reply: &mut Reply<'_>, id: SessionId, now: Timestamp) -> Result<Snapshot, StoreError> {
    let fields = reply.array()? / 2;
    let (mut core, mut meta, mut unconfirmed) = (None, None, false);
    // An answer that claims more than it holds must not cost the memory that it claims.
    let mut data = Vec::with_capacity(fields.saturating_sub(2).min(MOST_EXPECTED));
    for _ in 0..fields {
        let (name, value) = (reply.text()?, reply.text()?);
        match name {
            "c" => core = Some(value),
            "m" => meta = Some(value),
            "p" => unconfirmed = true,
            _ => {
                if let Some(key) = name.strip_prefix("d:") {
                    data.push((Cow::Borrowed(key), value));
                }
            }
        }
    }
    let (core, meta) = core
        .zip(meta)
        .ok_or_else(|| corrupt(format!("session {id} lacks a field")))?;
    let data = JsonMap::of_texts(data).map_err(|error| corrupt(format!("session {id}: {error}")))?;
    let core: Core = serde_json::from_str(core).map_err(|error| corrupt(format!("session {id}: {error}")))?;
    let (own_id, meta) = meta.split_once(' ').unwrap_or_default();
    if own_id != id.text().as_str() {
        return Err(StoreError::Mismatch);
    }
    if let Some(format) = format_of(meta).filter(|format| *format > FORMAT) {
        let known = format!("its record has format {format}, this version knows {FORMAT}");
        return Err(corrupt(format!("session {id}: {known}: finish the upgrade")));
    }
    let session = session(id, core, meta, data, unconfirmed).ok_or_else(|| corrupt(format!("session {id}: {meta}")))?;
    Ok(Snapshot {
        session: Arc::new(session),
        now,
    })
}

/// The format that a record names in `m` without its id; nothing where it has the first one.
fn format_of(meta: &str) -> Option<u64> {
    meta.split(' ').nth(9)?.strip_prefix('f')?.parse().ok()
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
