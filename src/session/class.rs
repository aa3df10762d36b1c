use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::InvalidName;

/// The class of sessions that last the longest.
pub const REMEMBER_ME_CLASS: &str = "remember_me";

/// The name of a class: a small letter, then up to 31 small letters, digits and underscores.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct ClassName(Arc<str>);

impl ClassName {
    /// The class that a session has where none is named.
    pub const DEFAULT: &'static str = "normal";

    /// Checks a name.
    pub fn new(name: &str) -> Result<Self, InvalidName> {
        let mut bytes = name.bytes();
        let starts_well = bytes.next().is_some_and(|byte| byte.is_ascii_lowercase());
        let goes_on_well = bytes.all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
        if starts_well && goes_on_well && name.len() <= 32 {
            Ok(Self(name.into()))
        } else {
            Err(InvalidName(
                "a class is a small letter, then at most 31 small letters, digits and underscores",
            ))
        }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for ClassName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ClassName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ClassName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClassName({self})")
    }
}

/// How long sessions of one class last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Class {
    /// A session ends after so much time without activity.
    pub idle: Duration,
    /// It ends so long after it was made, whatever its activity.
    pub absolute: Duration,
}

/// The classes of a deployment, by name.
#[derive(Debug, Clone)]
pub struct Classes(BTreeMap<ClassName, Class>);

impl Classes {
    /// The classes given.
    pub fn new(classes: BTreeMap<ClassName, Class>) -> Self {
        Self(classes)
    }

    /// A class with its name as records hold it, or nothing where the deployment has no such class.
    pub fn get(&self, name: &str) -> Option<(ClassName, Class)> {
        self.0.get_key_value(name).map(|(name, class)| (name.clone(), *class))
    }

    /// The names, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(ClassName::as_str)
    }
}

impl Default for Classes {
    /// Remember-me 30 days (90 at most), normal 24 hours (7 days), sensitive 15 minutes (12 hours), temporary 5
    /// minutes (1 hour).
    fn default() -> Self {
        const MINUTE: Duration = Duration::from_mins(1);
        const HOUR: Duration = Duration::from_hours(1);
        const DAY: Duration = Duration::from_hours(24);
        let classes = [
            (REMEMBER_ME_CLASS, 30 * DAY, 90 * DAY),
            (ClassName::DEFAULT, 24 * HOUR, 7 * DAY),
            ("sensitive", 15 * MINUTE, 12 * HOUR),
            ("temporary", 5 * MINUTE, HOUR),
        ];
        Self(
            classes
                .into_iter()
                .map(|(name, idle, absolute)| (ClassName(name.into()), Class { idle, absolute }))
                .collect(),
        )
    }
}
