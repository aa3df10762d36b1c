//! A session's activities as they are kept.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use serde::{Deserialize, Serialize};

use super::calls::parse_id;
use super::codec::corrupt;
use super::vault::Vault;
use crate::session::{Activity, JsonMap, Timestamp};
use crate::store::{EndReason, StoreError};

/// An activity as it is kept: its members (of a JSON object) but for the time, which the script adds.
#[derive(Serialize, Deserialize)]
struct Entry<'a> {
    action: Cow<'a, str>,
    metadata: Cow<'a, JsonMap>,
}

/// Where the activities of a session belong.
const ACTIVITY: &str = "a";

/// Writes the members of an activity, of a session that was made under this id.
pub(super) fn members(action: &str, metadata: &JsonMap, origin: &str, vault: &Vault) -> Result<String, StoreError> {
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
pub(super) fn read(text: &str, origin: &str, vault: &Vault) -> Result<Activity, StoreError> {
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

/// Reads how a session of a user ended.
pub(super) fn read_end(text: &str) -> Result<Activity, StoreError> {
    #[derive(Deserialize)]
    struct Stored<'a> {
        at: u64,
        reason: &'a str,
        session_id: &'a str,
    }
    let stored: Stored<'_> = serde_json::from_str(text).map_err(corrupt)?;
    let reason = EndReason::from_name(stored.reason).ok_or_else(|| corrupt("an unknown reason"))?;
    Ok(reason.activity(parse_id(stored.session_id)?, Timestamp::from_millis(stored.at)))
}
