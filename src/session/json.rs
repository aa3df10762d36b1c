use std::borrow::Cow;
use std::fmt;
use std::ops::Index;

use serde::de::{MapAccess, Visitor};
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

/// A JSON value kept as it was written: `1.0` stays `1.0`, `[]` stays `[]`, and no digit of a number is lost.
pub type Json = Box<RawValue>;

/// JSON values by name, in the order of their names.
///
/// Kept as the text of one object: a session is held in memory by the ten thousand, and sent as a whole far more often
/// than changed. As a tree, names and values took three times the bytes.
#[derive(Debug, Clone, Default)]
pub struct JsonMap {
    /// JSON; empty where the map is.
    text: Box<str>,
    /// Where in the text each value begins and ends.
    places: Box<[(u32, u32)]>,
}

/// A name, borrowed where it is written without escapes, and its value.
type Entry<'a> = (Cow<'a, str>, &'a RawValue);

impl JsonMap {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// The map of names and texts that each are JSON; fails where the whole is none. Of several values of one name the
    /// last one counts.
    pub fn of_texts(entries: Vec<(Cow<'_, str>, &str)>) -> serde_json::Result<Self> {
        let map = Self::of_json(entries)?;
        if !map.is_empty() {
            serde_json::from_str::<&RawValue>(&map.text)?;
        }
        Ok(map)
    }

    /// As [`JsonMap::of_texts`] of texts that are known to be JSON.
    pub(crate) fn of_json(mut entries: Vec<(Cow<'_, str>, &str)>) -> serde_json::Result<Self> {
        /// Two quotes, a colon and a comma.
        const AROUND: usize = 4;
        if entries.is_empty() {
            return Ok(Self::default());
        }
        if !entries.is_sorted_by(|(one, _), (next, _)| one < next) {
            entries.reverse();
            entries.sort_by(|(one, _), (other, _)| one.cmp(other));
            entries.dedup_by(|(one, _), (kept, _)| one == kept);
        }
        let length = entries.iter().map(|(name, value)| name.len() + value.len() + AROUND);
        let mut text = Vec::with_capacity(length.sum::<usize>() + 1);
        let mut places = Vec::with_capacity(entries.len());
        let here = |text: &Vec<u8>| u32::try_from(text.len()).map_err(serde::de::Error::custom);
        for (name, value) in &entries {
            text.push(if text.is_empty() { b'{' } else { b',' });
            write_text(&mut text, name)?;
            text.push(b':');
            let begins = here(&text)?;
            text.extend_from_slice(value.as_bytes());
            places.push((begins, here(&text)?));
        }
        text.push(b'}');
        Ok(Self {
            text: String::from_utf8(text).map_err(serde::de::Error::custom)?.into(),
            places: places.into(),
        })
    }

    /// As [`JsonMap::of_json`] of values.
    fn of(entries: &[Entry<'_>]) -> Self {
        let texts = entries
            .iter()
            .map(|(name, value)| (Cow::Borrowed(&**name), value.get()));
        Self::of_json(texts.collect()).unwrap_or_default()
    }

    /// The map as JSON.
    pub(crate) fn as_json(&self) -> &str {
        if self.is_empty() { "{}" } else { &self.text }
    }

    /// Names, as they are written between their quotes, and the texts of values.
    fn written(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        let text = &*self.text;
        let mut end = 0;
        self.places.iter().map(move |&(begins, ends)| {
            let (begins, ends) = (begins as usize, ends as usize);
            // Between the value before and this one: a brace or comma, and the name in quotes with its colon.
            let name = &text[end + 2..begins - 2];
            end = ends;
            (name, &text[begins..ends])
        })
    }

    /// How many values there are.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// The bytes that it takes as JSON.
    pub fn text_bytes(&self) -> usize {
        self.text.len()
    }

    /// The text of a name's value.
    pub fn text(&self, name: &str) -> Option<&str> {
        let is_it = |written: &str| {
            if written.contains('\\') {
                unescaped(written) == name
            } else {
                written == name
            }
        };
        self.written()
            .find(|(written, _)| is_it(written))
            .map(|(_, value)| value)
    }

    /// The value of a name.
    pub fn get(&self, name: &str) -> Option<&RawValue> {
        serde_json::from_str(self.text(name)?).ok()
    }

    /// Whether there is such a value.
    pub fn contains_key(&self, name: &str) -> bool {
        self.text(name).is_some()
    }

    /// Sets a value; gives the one that it replaces.
    #[expect(clippy::needless_pass_by_value, reason = "as any map takes what it is given")]
    pub fn insert(&mut self, name: impl AsRef<str>, value: Json) -> Option<Json> {
        let name = name.as_ref();
        let before = self.get(name).map(ToOwned::to_owned);
        let mut entries: Vec<_> = self.iter().collect();
        entries.push((name.into(), &value));
        *self = Self::of(&entries);
        before
    }

    /// Takes a value away.
    pub fn remove(&mut self, name: &str) -> Option<Json> {
        let before = self.get(name)?.to_owned();
        self.retain(|other| other != name);
        Some(before)
    }

    /// Keeps only the values of such names.
    pub fn retain(&mut self, mut is_kept: impl FnMut(&str) -> bool) {
        let kept: Vec<_> = self.iter().filter(|(name, _)| is_kept(name)).collect();
        *self = Self::of(&kept);
    }

    /// Names and values.
    pub fn iter(&self) -> impl Iterator<Item = Entry<'_>> {
        // Every value was read as JSON when the whole was written.
        self.written().filter_map(|(name, value)| {
            let name = if name.contains('\\') {
                unescaped(name).into()
            } else {
                name.into()
            };
            Some((name, serde_json::from_str(value).ok()?))
        })
    }

    /// The names.
    pub fn keys(&self) -> impl Iterator<Item = Cow<'_, str>> {
        self.iter().map(|(name, _)| name)
    }

    /// The values.
    pub fn values(&self) -> impl Iterator<Item = &RawValue> {
        self.iter().map(|(_, value)| value)
    }
}

/// A name that is written with escapes.
fn unescaped(written: &str) -> String {
    serde_json::from_str(&format!("\"{written}\"")).unwrap_or_default()
}

impl<N: AsRef<str>> FromIterator<(N, Json)> for JsonMap {
    /// Of several values of one name the last one counts.
    fn from_iter<I: IntoIterator<Item = (N, Json)>>(values: I) -> Self {
        let values: Vec<(N, Json)> = values.into_iter().collect();
        let entries: Vec<_> = values
            .iter()
            .map(|(name, value)| (name.as_ref().into(), &**value))
            .collect();
        Self::of(&entries)
    }
}

impl<const VALUES: usize> From<[(String, Json); VALUES]> for JsonMap {
    fn from(values: [(String, Json); VALUES]) -> Self {
        values.into_iter().collect()
    }
}

impl Index<&str> for JsonMap {
    type Output = RawValue;

    /// Panics where there is no such value.
    fn index(&self, name: &str) -> &RawValue {
        match self.get(name) {
            Some(value) => value,
            None => panic!("there is no value `{name}`"),
        }
    }
}

/// Whether a text stands otherwise in JSON than between quotes as it is (RFC 8259, section 7).
pub(crate) fn needs_escape(text: &str) -> bool {
    text.bytes().any(|byte| byte < b' ' || byte == b'"' || byte == b'\\')
}

/// Writes a text as a JSON string: at once, where nothing in it needs an escape.
pub(crate) fn write_text(json: &mut Vec<u8>, text: &str) -> serde_json::Result<()> {
    if needs_escape(text) {
        return serde_json::to_writer(json, text);
    }
    json.push(b'"');
    json.extend_from_slice(text.as_bytes());
    json.push(b'"');
    Ok(())
}

impl Serialize for JsonMap {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let json: &RawValue = serde_json::from_str(self.as_json()).map_err(S::Error::custom)?;
        json.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for JsonMap {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Values;

        impl<'de> Visitor<'de> for Values {
            type Value = JsonMap;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut values: A) -> Result<JsonMap, A::Error> {
                let next = || values.next_entry::<String, Json>().transpose();
                std::iter::from_fn(next).collect()
            }
        }

        deserializer.deserialize_map(Values)
    }
}

/// What a session's data weighs against its limit: the bytes of all keys and of all values.
pub fn data_bytes(data: &JsonMap) -> u64 {
    data.iter()
        .map(|(key, value)| (key.len() + value.get().len()) as u64)
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> Json {
        RawValue::from_string(text.to_owned()).unwrap()
    }

    #[test]
    fn values_stand_in_the_order_of_their_names_and_as_they_were_written() {
        let text = r#"{"b":[ 1.0 ],"a":12345678901234567890123,"b":"\u00fc","ab":null}"#;
        let mut map: JsonMap = serde_json::from_str(text).unwrap();
        assert_eq!(map.keys().collect::<Vec<_>>(), ["a", "ab", "b"]);
        assert_eq!(
            (map["a"].get(), map["b"].get()),
            ("12345678901234567890123", "\"\\u00fc\"")
        );
        assert!(map.get("c").is_none() && map.contains_key("ab"));
        assert_eq!(map.remove("ab").unwrap().get(), "null");
        assert!(map.remove("ab").is_none());
        assert!(map.insert("0", json("0.0")).is_none());
        assert_eq!(map.insert("0", json("0.5")).unwrap().get(), "0.0");
        let written = serde_json::to_string(&map).unwrap();
        assert_eq!(written, r#"{"0":0.5,"a":12345678901234567890123,"b":"\u00fc"}"#);
        assert_eq!((map.len(), data_bytes(&map)), (3, 4 + 24 + 9));
        map.retain(|_| false);
        assert!(map.is_empty());
        assert_eq!(serde_json::to_string(&map).unwrap(), "{}");
    }

    #[test]
    fn any_text_may_be_a_name() {
        let names = ["\"", "\\", "a b", "ü", "\u{2028}", ""];
        let map: JsonMap = names.iter().map(|name| (*name, json("[]"))).collect();
        let read: JsonMap = serde_json::from_str(&serde_json::to_string(&map).unwrap()).unwrap();
        for name in names {
            assert_eq!(read[name].get(), "[]", "{name:?}");
        }
        assert_eq!(read.len(), names.len());
    }

    #[test]
    fn nothing_but_an_object_is_a_map_and_nothing_but_json_a_value() {
        for other in ["[]", "null", "1", "{\"a\"}"] {
            assert!(serde_json::from_str::<JsonMap>(other).is_err(), "{other}");
        }
        for bad in ["", "x", "\"", "1 2"] {
            assert!(JsonMap::of_texts(vec![("a".into(), bad)]).is_err(), "{bad}");
        }
    }
}
