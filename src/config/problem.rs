//! What is wrong with the settings, and where it was said.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;

/// Where the value of a setting came from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// Nobody set it.
    Default,
    /// The settings file at this path.
    File(PathBuf),
    /// The environment variable of this name.
    Environment(String),
    /// The flag of this name, dashes included.
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Environment(name) | Self::Flag(name) => f.write_str(name),
        }
    }
}

/// One thing that is wrong with the settings.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// Who said it.
    pub origin: Origin,
    /// The key in dotted form; empty where the source as a whole is wrong.
    pub key: String,
    /// What is wrong and what is allowed, without any secret.
    pub what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.key.is_empty() {
            write!(f, "{}: {}", self.origin, self.what)
        } else {
            write!(f, "{}: {}: {}", self.origin, self.key, self.what)
        }
    }
}

/// All that is wrong with the settings of one run; its text has a line for each problem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// At least one problem.
    pub problems: Vec<Problem>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the settings are not valid:")?;
        self.problems.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
    }
}

impl std::error::Error for ConfigError {}

/// Collects what the sections find wrong with values that parsed.
#[derive(Debug, Default)]
pub(super) struct Checks {
    origins: BTreeMap<String, Origin>,
    unreadable: BTreeSet<String>,
    problems: Vec<Problem>,
}

impl Checks {
    /// `unreadable` keys hold their default in place of a bad value that was reported before: no rule about them is checked.
    pub(super) fn new(origins: BTreeMap<String, Origin>, unreadable: BTreeSet<String>) -> Self {
        Self {
            origins,
            unreadable,
            problems: Vec::new(),
        }
    }

    /// Reports that the value of `key` breaks a rule.
    pub(super) fn fail(&mut self, key: &str, what: impl Into<String>) {
        self.fail_among(&[key], what);
    }

    /// Reports that the values of `keys` do not go together, under the first one that somebody set.
    pub(super) fn fail_among(&mut self, keys: &[&str], what: impl Into<String>) {
        if keys.iter().any(|key| self.unreadable.contains(*key)) {
            return;
        }
        let blamed = keys.iter().find_map(|key| Some((*key, self.origins.get(*key)?)));
        let (key, origin) = blamed.unwrap_or((keys.first().copied().unwrap_or_default(), &Origin::Default));
        self.problems.push(Problem {
            origin: origin.clone(),
            key: key.to_owned(),
            what: what.into(),
        });
    }

    /// Gives back what was found, in the order in which it was found.
    pub(super) fn into_problems(self) -> Vec<Problem> {
        self.problems
    }
}
