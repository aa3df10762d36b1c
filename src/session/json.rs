use std::fmt;
use std::ops::Index;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

/// A JSON value kept as it was written: `1.0` stays `1.0`, `[]` stays `[]`, and no digit of a number is lost.
pub type Json = Box<RawValue>;

/// JSON values by name, in the order of their names.
///
/// A sorted list: a session has a handful of values, which are read far more often than changed, and is held in memory
/// by the ten thousand, where a tree takes half a kilobyte for its first value.
#[derive(Debug, Clone, Default)]
pub struct JsonMap(Vec<(Box<str>, Json)>);

impl JsonMap {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// Of several values of one name the last one counts.
    fn of(mut values: Vec<(Box<str>, Json)>) -> Self {
        if !values.is_sorted_by(|(one, _), (next, _)| one < next) {
            values.reverse();
            values.sort_by(|(one, _), (other, _)| one.cmp(other));
            values.dedup_by(|(one, _), (kept, _)| one == kept);
        }
        values.shrink_to_fit();
        Self(values)
    }

    /// How many values there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn place(&self, name: &str) -> Result<usize, usize> {
        self.0.binary_search_by(|(other, _)| (**other).cmp(name))
    }

    /// The value of a name.
    pub fn get(&self, name: &str) -> Option<&Json> {
        self.place(name).ok().map(|place| &self.0[place].1)
    }

    /// The value of a name, to be changed.
    pub fn get_mut(&mut self, name: &str) -> Option<&mut Json> {
        self.place(name).ok().map(|place| &mut self.0[place].1)
    }

    /// Whether there is such a value.
    pub fn contains_key(&self, name: &str) -> bool {
        self.place(name).is_ok()
    }

    /// Sets a value; gives the one that it replaces.
    pub fn insert(&mut self, name: impl Into<Box<str>>, value: Json) -> Option<Json> {
        let name = name.into();
        match self.place(&name) {
            Ok(place) => Some(std::mem::replace(&mut self.0[place].1, value)),
            Err(place) => {
                self.0.insert(place, (name, value));
                None
            }
        }
    }

    /// Takes a value away.
    pub fn remove(&mut self, name: &str) -> Option<Json> {
        self.place(name).ok().map(|place| self.0.remove(place).1)
    }

    /// Keeps only the values of such names.
    pub fn retain(&mut self, mut is_kept: impl FnMut(&str) -> bool) {
        self.0.retain(|(name, _)| is_kept(name));
    }

    /// Names and values.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Json)> {
        self.0.iter().map(|(name, value)| (&**name, value))
    }

    /// The names.
    pub fn keys(&self) -> impl ExactSizeIterator<Item = &str> {
        self.0.iter().map(|(name, _)| &**name)
    }

    /// The values.
    pub fn values(&self) -> impl ExactSizeIterator<Item = &Json> {
        self.0.iter().map(|(_, value)| value)
    }
}

impl<N: Into<Box<str>>> FromIterator<(N, Json)> for JsonMap {
    /// Of several values of one name the last one counts.
    fn from_iter<I: IntoIterator<Item = (N, Json)>>(values: I) -> Self {
        Self::of(values.into_iter().map(|(name, value)| (name.into(), value)).collect())
    }
}

impl<const VALUES: usize> From<[(String, Json); VALUES]> for JsonMap {
    fn from(values: [(String, Json); VALUES]) -> Self {
        values.into_iter().collect()
    }
}

impl Index<&str> for JsonMap {
    type Output = Json;

    /// Panics where there is no such value.
    fn index(&self, name: &str) -> &Json {
        match self.get(name) {
            Some(value) => value,
            None => panic!("there is no value `{name}`"),
        }
    }
}

impl Serialize for JsonMap {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
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
                let mut all = Vec::new();
                while let Some(value) = values.next_entry()? {
                    all.push(value);
                }
                Ok(JsonMap::of(all))
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
        assert!(
            map.insert("0", RawValue::from_string("0.0".to_owned()).unwrap())
                .is_none()
        );
        let written = serde_json::to_string(&map).unwrap();
        assert_eq!(written, r#"{"0":0.0,"a":12345678901234567890123,"b":"\u00fc"}"#);
        assert_eq!(data_bytes(&map), 3 + 3 + 23 + 8);
    }

    #[test]
    fn nothing_but_an_object_is_a_map() {
        for other in ["[]", "null", "1", "{\"a\"}"] {
            assert!(serde_json::from_str::<JsonMap>(other).is_err(), "{other}");
        }
    }
}
