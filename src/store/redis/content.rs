//! What a record holds besides its data and its times: `c`, which scripts read, and in a sealed record `s`, which they do
//! not.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

use super::codec::corrupt;
use super::vault::{Kept, Vault};
use crate::session::{JsonMap, SecurityChange, Session, SessionId, Timestamp, UserId};
use crate::store::{Change, NewSession, StoreError};

/// Metadata: a string as itself, any other JSON as its text, for Lua's JSON does not keep it as written.
#[derive(Debug, Default)]
pub(super) struct Metadata(pub(super) JsonMap);

/// A metadata value, to be written.
struct Written<'a>(&'a RawValue);

/// The name of a metadata value that was read.
#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

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
                while let Some((Name(name), value)) = values.next_entry::<Name<'_>, Read<'_>>()? {
                    all.push((name, value));
                }
                let texts = all.iter().map(|(name, Read(json))| (Cow::Borrowed(&**name), &**json));
                let texts = texts.collect();
                // They were read as JSON just now.
                JsonMap::of_json(texts).map(Metadata).map_err(A::Error::custom)
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
            serde_json::from_str(text).and_then(|Other { json }| {
                serde_json::from_str::<&RawValue>(&json)?;
                Ok(json)
            })
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
pub(super) struct Core {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) user: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) roles: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) permissions: Vec<String>,
    #[serde(skip_serializing_if = "Metadata::is_empty")]
    pub(super) metadata: Metadata,
    #[serde(skip_serializing_if = "CoreSecurity::is_empty")]
    pub(super) security: CoreSecurity,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) server_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) fingerprint: Option<String>,
    /// The id under which the session was made, where that is not its present one or the record is sealed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) origin: Option<String>,
    /// The user of a sealed record, for its events.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) sealed_user: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) kin: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) migrated_at: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) migrations: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) previous_server_id: Option<String>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct CoreSecurity {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) login_attempts: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) suspicious: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) last_password_change: Option<u64>,
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
    pub(super) fn with_content(self, content: Self) -> Self {
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
