//! The classes of sessions, and their limits.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use super::problem::Checks;
use super::reader::{Reader, Section};
use super::setting::Choice;
use super::units::{ByteSize, Period};

/// Longest name of a class in bytes: it is part of keys and metric labels.
const LONGEST_CLASS_NAME: usize = 32;

/// The timeouts of one class of sessions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClassSettings {
    /// `session.classes.<class>.idle`: ends a session that nobody uses for so long; slides with use.
    pub idle: Period,
    /// `session.classes.<class>.absolute`: ends a session so long after its log-in, whatever its use.
    pub absolute: Period,
    /// `session.classes.<class>.serve_stale`: how long the cache may answer beyond the bound while the store is down.
    pub serve_stale: Option<Period>,
}

/// What happens to a log-in beyond `session.max_per_user`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MaxPerUserPolicy {
    /// The log-in is refused.
    #[default]
    Refuse,
    /// The session created first is ended.
    EndOldest,
    /// The session unused for longest is ended.
    EndLeastRecentlyUsed,
}

impl Choice for MaxPerUserPolicy {
    const CHOICES: &'static [(&'static str, Self)] = &[
        ("refuse", Self::Refuse),
        ("end_oldest", Self::EndOldest),
        ("end_least_recently_used", Self::EndLeastRecentlyUsed),
    ];
}

/// The section `session`.
#[derive(Clone, Debug, PartialEq)]
pub struct SessionSettings {
    /// `session.classes`: by name; given classes are added to the four of the default, or change them key by key.
    pub classes: BTreeMap<String, ClassSettings>,
    /// `session.max_bytes`: data of one session; default 10,240.
    pub max_bytes: ByteSize,
    /// `session.rotation_grace`: how long the old token goes on after the first use of the new one; default 10 s.
    pub rotation_grace: Period,
    /// `session.max_per_user`: live sessions of one user; default no limit.
    pub max_per_user: Option<NonZeroU32>,
    /// `session.max_per_user_policy`: default `refuse`.
    pub max_per_user_policy: MaxPerUserPolicy,
    /// `session.recent_authentication`: how old a log-in may be to end other sessions of the user; default 10 min.
    pub recent_authentication: Period,
}

impl Default for SessionSettings {
    fn default() -> Self {
        let class = |name: &str, idle, absolute| {
            (
                name.to_owned(),
                ClassSettings {
                    idle,
                    absolute,
                    serve_stale: None,
                },
            )
        };
        let classes = [
            class("remember_me", Period::from_days(30), Period::from_days(90)),
            class("normal", Period::from_hours(24), Period::from_days(7)),
            class("sensitive", Period::from_mins(15), Period::from_hours(12)),
            class("temporary", Period::from_mins(5), Period::from_hours(1)),
        ];
        Self {
            classes: BTreeMap::from(classes),
            max_bytes: ByteSize::from_bytes(10_240),
            rotation_grace: Period::from_secs(10),
            max_per_user: None,
            max_per_user_policy: MaxPerUserPolicy::Refuse,
            recent_authentication: Period::from_mins(10),
        }
    }
}

impl Section for SessionSettings {
    fn read(&mut self, reader: &mut Reader) {
        for name in reader.names_below("session.classes") {
            if is_class_name(&name) {
                self.classes.entry(name).or_default();
            } else {
                let what = format!(
                    "{name:?} is not a class name: use 1 to {LONGEST_CLASS_NAME} of a-z, 0-9 and _, a letter first"
                );
                reader.refuse_below(&format!("session.classes.{name}"), &what);
            }
        }
        for (name, class) in &mut self.classes {
            let prefix = format!("session.classes.{name}");
            reader.value(&format!("{prefix}.idle"), &mut class.idle);
            reader.value(&format!("{prefix}.absolute"), &mut class.absolute);
            reader.optional(&format!("{prefix}.serve_stale"), &mut class.serve_stale);
        }
        reader.value("session.max_bytes", &mut self.max_bytes);
        reader.value("session.rotation_grace", &mut self.rotation_grace);
        reader.optional("session.max_per_user", &mut self.max_per_user);
        reader.value("session.max_per_user_policy", &mut self.max_per_user_policy);
        reader.value("session.recent_authentication", &mut self.recent_authentication);
    }

    fn validate(&self, checks: &mut Checks) {
        for (name, class) in &self.classes {
            validate_class(name, *class, checks);
        }
        if self.max_bytes.bytes() == 0 {
            checks.fail("session.max_bytes", "must be more than 0");
        }
        if self.rotation_grace.is_zero() {
            checks.fail(
                "session.rotation_grace",
                "must be more than 0: parallel requests still carry the old token",
            );
        }
    }
}

/// The class whose sessions are never served stale.
const SENSITIVE: &str = "sensitive";

/// A timeout of zero also stands for one that a class of one's own was not given.
fn validate_class(name: &str, class: ClassSettings, checks: &mut Checks) {
    let idle_key = format!("session.classes.{name}.idle");
    let absolute_key = format!("session.classes.{name}.absolute");
    for (key, timeout) in [(&idle_key, class.idle), (&absolute_key, class.absolute)] {
        if timeout.is_zero() {
            checks.fail(key, "must be given, and more than 0");
        }
    }
    if class.serve_stale.is_some_and(|longer| !longer.is_zero()) && name == SENSITIVE {
        let what = "is not to be had for sensitive sessions: what they allow must not outlive a log-out";
        checks.fail(&format!("session.classes.{name}.serve_stale"), what);
    }
    if !class.absolute.is_zero() && class.idle > class.absolute {
        let what = format!(
            "the idle timeout {} of {name} is longer than its absolute one {}",
            class.idle, class.absolute
        );
        checks.fail_among(&[&idle_key, &absolute_key], what);
    }
}

fn is_class_name(name: &str) -> bool {
    let is_allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.len() <= LONGEST_CLASS_NAME
        && name.chars().all(is_allowed)
}
