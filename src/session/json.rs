use std::collections::BTreeMap;

use serde_json::value::RawValue;

/// A JSON value kept as it was written: `1.0` stays `1.0`, `[]` stays `[]`, and no digit of a number is lost.
pub type Json = Box<RawValue>;

/// JSON values by name.
pub type JsonMap = BTreeMap<String, Json>;

/// What a session's data weighs against its limit: the bytes of all keys and of all values.
pub fn data_bytes(data: &JsonMap) -> u64 {
    data.iter()
        .map(|(key, value)| (key.len() + value.get().len()) as u64)
        .sum()
}
