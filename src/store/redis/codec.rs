//! The record of a session, a hash: `c` holds what changes seldom, as JSON that a person can read; `m` the session's own
//! id and what every change and touch writes; `p` the former id, until a rotated session's new token is first used; `d:<key>` the data.
//!
//! A record is plain, or sealed: then each data value is, and what else users put into the session is sealed together in
//! `s`. What scripts must read stays in `c`, and `m` is never sealed.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use super::content::{Core, SEALED};
use super::reply::Reply;
use super::vault::{Kept, Vault};
use crate::session::{
    ClassName, JsonMap, Memo, SealingKeys, Security, ServerId, Session, SessionId, Timestamp, UserId,
};
use crate::store::{Snapshot, StoreError};

/// The one format of records that this version reads and writes. A record of another one says so in `m`, after the ten
/// fields that all formats have.
const FORMAT: u64 = 1;

pub(super) fn corrupt(what: impl std::fmt::Display) -> StoreError {
    StoreError::Corrupt(what.to_string())
}

/// A session as it was read, and how it was kept.
pub(super) struct Record {
    pub(super) snapshot: Snapshot,
    pub(super) kept: Kept,
}

/// As many data keys as room is made for before they are read.
const MOST_EXPECTED: usize = 64;

/// Reads a session out of an answer, and checks that it is the one that the answer speaks of (S51).
pub(super) fn record(
    reply: &mut Reply<'_>,
    id: SessionId,
    now: Timestamp,
    vault: &Vault,
) -> Result<Record, StoreError> {
    let fields = reply.array()? / 2;
    let (mut core, mut meta, mut unconfirmed) = (None, None, false);
    // An answer that claims more than it holds must not cost the memory that it claims.
    let mut data = Vec::with_capacity(fields.saturating_sub(2).min(MOST_EXPECTED));
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
                    data.push((Cow::Borrowed(key), text(value)?));
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
    if let Some(format) = format_of(meta).filter(|format| *format > FORMAT) {
        let known = format!("its record has format {format}, this version knows {FORMAT}");
        return Err(corrupt(format!("session {id}: {known}: finish the upgrade")));
    }
    let (mut by_first, mut opened) = (true, Vec::new());
    if content.is_some() || !sealed.is_empty() {
        let content = content.filter(|_| data.is_empty());
        let content = content.ok_or_else(|| corrupt(format!("session {id} is sealed in part")))?;
        let mut open = |name: &str, value: &[u8]| open_field(id, name, value, vault, &mut by_first);
        core = core.with_content(serde_json::from_str(&open(SEALED, content)?).map_err(corrupt)?);
        for (name, value) in sealed {
            opened.push((&name[2..], open(name, value)?));
        }
        data.extend(opened.iter().map(|(key, value)| (Cow::Borrowed(*key), value.as_str())));
    }
    let data = JsonMap::of_texts(data).map_err(|error| corrupt(format!("session {id}: {error}")))?;
    let is_sealed = content.is_some();
    vault.note(is_sealed, by_first).map_err(|error| at_session(id, error))?;
    let kept = Kept {
        sealed: is_sealed,
        by_first,
        origin: core.origin.take(),
    };
    let session = session(id, core, meta, data, unconfirmed).ok_or_else(|| corrupt(format!("session {id}: {meta}")))?;
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

/// The format that a record names in `m` without its id; nothing where it has the first one.
fn format_of(meta: &str) -> Option<u64> {
    meta.split_ascii_whitespace().nth(9)?.strip_prefix('f')?.parse().ok()
}

fn session(id: SessionId, core: Core, meta: &str, data: JsonMap, unconfirmed: bool) -> Option<Session> {
    let mut fields = meta.split_ascii_whitespace();
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
