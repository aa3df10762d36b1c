//! The rules of what callers send, and the refusals that name the field, the fault and what is allowed.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::problem::ApiError;
use crate::session::{ClassName, DataKey, InvalidName, Json, JsonMap, ServerId, UserId};
use crate::sessions::{Consistency, Freshness};

/// The most that a session's or an activity's metadata may take, in bytes of keys and values.
const MAX_METADATA_BYTES: usize = 4096;
/// The longest user agent that is kept, in characters: longer ones make every session record heavy.
const MAX_USER_AGENT_CHARS: usize = 256;
/// The most roles, and the most permissions, of a session.
const MAX_NAMES: usize = 64;
/// The longest role, permission or action, in bytes.
const MAX_NAME_BYTES: usize = 128;
/// The longest fingerprint, in bytes.
const MAX_FINGERPRINT_BYTES: usize = 4096;

pub(super) fn invalid(field: &str, rule: &str) -> ApiError {
    ApiError::InvalidRequest(format!("{field}: {rule}"))
}

fn named<T>(field: &str, outcome: Result<T, InvalidName>) -> Result<T, ApiError> {
    outcome.map_err(|error| invalid(field, error.0))
}

pub(super) fn user_id(text: &str) -> Result<UserId, ApiError> {
    named("user_id", UserId::new(text))
}

pub(super) fn server_id(text: &str) -> Result<ServerId, ApiError> {
    named("server_id", ServerId::new(text))
}

/// A class of the deployment, by which a listing is filtered.
pub(super) fn class(name: &str, classes: &crate::session::Classes) -> Result<ClassName, ApiError> {
    let found = classes.get(name).map(|(name, _)| name);
    found.ok_or_else(|| {
        let known = classes.names().collect::<Vec<_>>().join(", ");
        invalid("class", &format!("unknown; the classes are {known}"))
    })
}

pub(super) fn data_key(field: &str, text: &str) -> Result<DataKey, ApiError> {
    named(field, DataKey::new(text))
}

/// The data of a new session.
pub(super) fn data(data: JsonMap) -> Result<JsonMap, ApiError> {
    for key in data.keys() {
        data_key("data", &key)?;
    }
    Ok(data)
}

pub(super) fn fingerprint(text: String) -> Result<String, ApiError> {
    if (1..=MAX_FINGERPRINT_BYTES).contains(&text.len()) {
        Ok(text)
    } else {
        Err(invalid("fingerprint", &format!("1 to {MAX_FINGERPRINT_BYTES} bytes")))
    }
}

/// Roles or permissions. They travel in one header, separated by commas, so that they cannot hold any.
pub(super) fn names(field: &str, names: Vec<String>) -> Result<Vec<String>, ApiError> {
    if names.len() > MAX_NAMES {
        return Err(invalid(field, &format!("at most {MAX_NAMES} are allowed")));
    }
    for (index, name) in names.iter().enumerate() {
        if !is_name(name) || name.contains(',') {
            let rule = format!("1 to {MAX_NAME_BYTES} bytes without control characters and commas");
            return Err(invalid(&format!("{field}[{index}]"), &rule));
        }
    }
    Ok(names)
}

pub(super) fn action(action: String) -> Result<String, ApiError> {
    if is_name(&action) {
        Ok(action)
    } else {
        let rule = format!("1 to {MAX_NAME_BYTES} bytes without control characters");
        Err(invalid("action", &rule))
    }
}

fn is_name(text: &str) -> bool {
    (1..=MAX_NAME_BYTES).contains(&text.len()) && !text.chars().any(char::is_control)
}

/// Metadata: bounded, and with a user agent of sane length.
pub(super) fn metadata(mut metadata: JsonMap) -> Result<JsonMap, ApiError> {
    if let Some(agent) = metadata.get("user_agent")
        && let Some(cut) = cut_user_agent(agent)
    {
        metadata.insert("user_agent", cut);
    }
    check_metadata_size(metadata.iter())?;
    Ok(metadata)
}

/// A change of metadata: a bounded one, to be checked with what is there already by [`check_merged_metadata`].
pub(super) fn metadata_change(
    mut change: BTreeMap<String, Option<Json>>,
) -> Result<BTreeMap<String, Option<Json>>, ApiError> {
    if let Some(Some(agent)) = change.get_mut("user_agent")
        && let Some(cut) = cut_user_agent(agent)
    {
        *agent = cut;
    }
    check_metadata_size(
        change
            .iter()
            .filter_map(|(key, value)| Some((key.into(), value.as_deref()?))),
    )?;
    Ok(change)
}

/// Whether metadata stays bounded when it is changed.
pub(super) fn check_merged_metadata(
    present: &JsonMap,
    change: &BTreeMap<String, Option<Json>>,
) -> Result<(), ApiError> {
    let kept = present.iter().filter(|(key, _)| !change.contains_key(&**key));
    let set = change
        .iter()
        .filter_map(|(key, value)| Some((key.into(), value.as_deref()?)));
    check_metadata_size(kept.chain(set))
}

fn check_metadata_size<'a>(metadata: impl Iterator<Item = (Cow<'a, str>, &'a RawValue)>) -> Result<(), ApiError> {
    let bytes: usize = metadata.map(|(key, value)| key.len() + value.get().len()).sum();
    if bytes > MAX_METADATA_BYTES {
        Err(invalid(
            "metadata",
            &format!("{bytes} bytes of keys and values; at most {MAX_METADATA_BYTES} are allowed"),
        ))
    } else {
        Ok(())
    }
}

/// A user agent of sane length in place of one that is too long.
fn cut_user_agent(agent: &RawValue) -> Option<Json> {
    let text: String = serde_json::from_str(agent.get()).ok()?;
    let (end, _) = text.char_indices().nth(MAX_USER_AGENT_CHARS)?;
    serde_json::value::to_raw_value(&text[..end]).ok()
}

/// How fresh a read must be, as requests name it.
#[derive(Debug, Clone, Copy, Default, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum ConsistencyName {
    /// From memory, at most the staleness bound old.
    #[default]
    Bounded,
    /// From the store of record.
    Strong,
}

/// Joins the two parameters of a read.
pub(super) fn freshness(consistency: Option<ConsistencyName>, min_version: Option<u64>) -> Freshness {
    let consistency = match consistency.unwrap_or_default() {
        ConsistencyName::Bounded => Consistency::Bounded,
        ConsistencyName::Strong => Consistency::Strong,
    };
    Freshness {
        consistency,
        min_version,
        accept_stale: false,
    }
}

/// Tells a field that is null from one that is not there.
#[expect(clippy::option_option, reason = "null and absent mean different things in a merge")]
pub(super) fn nullable<'de, T, D>(deserializer: D) -> Result<Option<Option<T>>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    Option::deserialize(deserializer).map(Some)
}

/// Reads a struct within a body from an object only; serde would also take an array for it, field by field.
pub(super) fn object<'de, T, D>(deserializer: D) -> Result<Option<T>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    struct Object<T>(PhantomData<T>);

    impl<'de, T: Deserialize<'de>> Visitor<'de> for Object<T> {
        type Value = Option<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
            T::deserialize(MapAccessDeserializer::new(map)).map(Some)
        }
    }

    deserializer.deserialize_any(Object(PhantomData))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(json: &str) -> JsonMap {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn a_long_user_agent_is_cut_at_a_character() {
        let long = "ü".repeat(300);
        let cut = metadata(map(&format!("{{\"user_agent\": \"{long}\"}}"))).unwrap();
        let cut: String = serde_json::from_str(cut["user_agent"].get()).unwrap();
        assert_eq!(cut.chars().count(), MAX_USER_AGENT_CHARS);
        assert_eq!(metadata(map(r#"{"user_agent": 7}"#)).unwrap()["user_agent"].get(), "7");
    }

    #[test]
    fn metadata_is_bounded_also_when_it_grows_by_changes() {
        let big = |bytes| format!("{{\"a\": \"{}\"}}", "x".repeat(bytes));
        assert!(metadata(map(&big(4093))).is_ok());
        assert!(metadata(map(&big(4094))).is_err());
        let present = map(&big(4000));
        let change = |json: &str| serde_json::from_str(json).unwrap();
        assert!(check_merged_metadata(&present, &change(&format!("{{\"b\": \"{}\"}}", "x".repeat(200)))).is_err());
        assert!(check_merged_metadata(&present, &change(r#"{"a": null, "b": 1}"#)).is_ok());
    }

    #[test]
    fn roles_and_permissions_are_short_and_hold_no_commas() {
        assert!(names("roles", vec!["user".to_owned(), "ü x".to_owned()]).is_ok());
        for bad in ["", "a,b", "a\nb", &"x".repeat(129)] {
            assert!(names("roles", vec![bad.to_owned()]).is_err(), "{bad:?}");
        }
        assert!(names("roles", vec!["a".to_owned(); 65]).is_err());
    }
}
