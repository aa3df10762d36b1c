//! Reads the sections from the merged layers: each key is declared once, by the section that owns it, and that one
//! declaration parses it, makes it known and shows it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use toml::Value;

use super::layers::{Leaf, Leaves, variable_of};
use super::problem::{Checks, Origin, Problem};
use super::secret::{MASK, SecretRule, SecretText, Sourced};
use super::setting::{Raw, Setting, kind};

/// A group of settings with a common prefix.
pub(super) trait Section {
    /// Takes over what was given, and declares every key.
    fn read(&mut self, reader: &mut Reader);

    /// Reports values that parsed and yet cannot be used.
    fn validate(&self, _checks: &mut Checks) {}
}

/// A setting as `cloakroom config print` shows it.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// The dotted key.
    pub key: String,
    /// The value as a settings file would have it, secrets masked; none where it is not set.
    pub value: Option<Value>,
    /// Whether the value is or holds a secret and was masked.
    pub masked: bool,
    /// Who set it.
    pub origin: Origin,
}

/// The merged layers while the sections take their values from them.
pub(super) struct Reader {
    leaves: Leaves,
    rows: Vec<Row>,
    problems: Vec<Problem>,
    origins: BTreeMap<String, Origin>,
    unreadable: BTreeSet<String>,
}

impl Reader {
    /// Starts over `leaves`.
    pub(super) fn new(leaves: Leaves, problems: Vec<Problem>) -> Self {
        Self {
            leaves,
            rows: Vec::new(),
            problems,
            origins: BTreeMap::new(),
            unreadable: BTreeSet::new(),
        }
    }

    /// Declares a setting that always has a value.
    pub(super) fn value<T: Setting>(&mut self, key: &str, field: &mut T) {
        if let Some(given) = self.take(key, T::from_raw) {
            *field = given;
        }
        self.show(key, Some(field.show()), field.is_masked());
    }

    /// Declares a setting that may be unset.
    pub(super) fn optional<T: Setting>(&mut self, key: &str, field: &mut Option<T>) {
        if let Some(given) = self.take(key, T::from_raw) {
            *field = Some(given);
        }
        self.show(
            key,
            field.as_ref().map(T::show),
            field.as_ref().is_some_and(T::is_masked),
        );
    }

    /// Declares a secret: as a value under `key`, or in the file that `<key>_file` names.
    pub(super) fn secret<T: SecretText>(&mut self, key: &str, field: &mut Option<Sourced<T>>, rule: SecretRule<T>) {
        let file_key = format!("{key}_file");
        let both = self.leaves.contains_key(key) && self.leaves.contains_key(&file_key);
        if both {
            let other = self
                .leaves
                .remove(key)
                .map(|leaf| leaf.origin.to_string())
                .unwrap_or_default();
            self.fail(
                &file_key,
                format!("is given beside {key} (by {other}): give one of the two"),
            );
            self.leaves.remove(&file_key);
        }
        let inline = self.take(key, |raw| Sourced::inline(&secret_text(raw)?, rule));
        let path = self.take(&file_key, PathBuf::from_raw);
        let from_file = path.clone().and_then(|path| match Sourced::from_file(path, rule) {
            Ok(source) => Some(source),
            Err(what) => {
                self.fail(&file_key, what);
                None
            }
        });
        *field = inline.or(from_file);
        self.show(key, field.as_ref().map(|_| MASK.into()), true);
        self.show(&file_key, path.map(|path| path.show()), false);
    }

    /// The names that were given one level below `prefix`, such as the classes of sessions.
    pub(super) fn names_below(&self, prefix: &str) -> BTreeSet<String> {
        let below = |(key, leaf): (&String, &Leaf)| {
            let rest = key.strip_prefix(prefix)?.strip_prefix('.')?;
            let (name, is_group) = rest
                .split_once('.')
                .map_or((rest, is_empty_table(leaf)), |(name, _)| (name, true));
            is_group.then(|| name.to_owned())
        };
        self.leaves.iter().filter_map(below).collect()
    }

    /// Refuses all that was given below `prefix`.
    pub(super) fn refuse_below(&mut self, prefix: &str, what: &str) {
        let is_below = |key: &str| {
            key.strip_prefix(prefix)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        let refused: Vec<String> = self.leaves.keys().filter(|key| is_below(key)).cloned().collect();
        for key in refused {
            self.fail(&key, what.to_owned());
            self.leaves.remove(&key);
        }
    }

    /// Reports what is left over as unknown, and hands out the rows and the checks for the values.
    pub(super) fn finish(mut self) -> (Vec<Row>, Vec<Problem>, Checks) {
        let known: Vec<&str> = self.rows.iter().map(|row| row.key.as_str()).collect();
        for (key, leaf) in &self.leaves {
            let is_empty_section = is_empty_table(leaf) && known.iter().any(|known| is_section_of(key, known));
            if !is_empty_section {
                let what = unknown(key, &leaf.origin, &known);
                self.problems.push(Problem {
                    origin: leaf.origin.clone(),
                    key: key.clone(),
                    what,
                });
            }
        }
        (self.rows, self.problems, Checks::new(self.origins, self.unreadable))
    }

    fn take<T>(&mut self, key: &str, parse: impl FnOnce(&Raw) -> Result<T, String>) -> Option<T> {
        let leaf = self.leaves.remove(key)?;
        self.origins.insert(key.to_owned(), leaf.origin);
        match parse(&leaf.raw) {
            Ok(value) => Some(value),
            Err(what) => {
                self.fail(key, what);
                None
            }
        }
    }

    fn fail(&mut self, key: &str, what: String) {
        let given_by = self
            .leaves
            .get(key)
            .map(|leaf| &leaf.origin)
            .or_else(|| self.origins.get(key));
        let origin = given_by.cloned().unwrap_or(Origin::Default);
        self.problems.push(Problem {
            origin,
            key: key.to_owned(),
            what,
        });
        self.unreadable.insert(key.to_owned());
    }

    fn show(&mut self, key: &str, value: Option<Value>, masked: bool) {
        let origin = self.origins.get(key).cloned().unwrap_or(Origin::Default);
        let masked = masked && value.is_some();
        self.rows.push(Row {
            key: key.to_owned(),
            value,
            masked,
            origin,
        });
    }
}

/// The text of a secret, whatever the source; a list becomes lines.
fn secret_text(raw: &Raw) -> Result<String, String> {
    let one = |value: &Value| match value {
        Value::String(text) => Ok(text.clone()),
        other => Err(format!("is {}: write it as a string", kind(other))),
    };
    match raw {
        Raw::Text(text) => Ok(text.clone()),
        Raw::Texts(texts) => Ok(texts.join("\n")),
        Raw::Toml(Value::Array(items)) => items
            .iter()
            .map(one)
            .collect::<Result<Vec<_>, _>>()
            .map(|lines| lines.join("\n")),
        Raw::Toml(value) => one(value),
    }
}

fn is_empty_table(leaf: &Leaf) -> bool {
    matches!(&leaf.raw, Raw::Toml(Value::Table(table)) if table.is_empty())
}

fn is_section_of(section: &str, key: &str) -> bool {
    key.strip_prefix(section).is_some_and(|rest| rest.starts_with('.'))
}

/// Says that `key` is no setting, and what may have been meant, in the spelling of its source.
fn unknown(key: &str, origin: &Origin, known: &[&str]) -> String {
    let spell = |key: &str| match origin {
        Origin::Environment(_) => variable_of(key),
        _ => key.to_owned(),
    };
    if let Some(setting) = known.iter().find(|known| is_section_of(known, key)) {
        return format!("is not a setting: {} has no levels below it", spell(setting));
    }
    if known.iter().any(|known| is_section_of(key, known)) {
        return "is a section, not a value".to_owned();
    }
    if let Some(close) = closest(key, known) {
        return format!("is not a setting; did you mean {}?", spell(close));
    }
    let section = key.split_once('.').map_or("", |(section, _)| section);
    let siblings: Vec<String> = known
        .iter()
        .filter(|known| is_section_of(section, known))
        .map(|key| spell(key))
        .collect();
    if !section.is_empty() && !siblings.is_empty() {
        return format!("is not a setting; known are {}", siblings.join(", "));
    }
    let tops: BTreeSet<String> = known
        .iter()
        .map(|key| spell(key.split('.').next().unwrap_or(key)))
        .collect();
    format!(
        "is not a setting; known are, or begin with, {}",
        tops.into_iter().collect::<Vec<_>>().join(", ")
    )
}

/// The known key that is spelled almost alike; levels and words may be separated wrongly.
fn closest<'a>(key: &str, known: &[&'a str]) -> Option<&'a str> {
    /// Jaro-Winkler similarity from which two names count as a slip of the same word.
    const ALIKE: f64 = 0.92;
    let plain = |key: &str| key.replace(['.', '_', '-'], "");
    let wanted = plain(key);
    let scored = known
        .iter()
        .map(|known| (strsim::jaro_winkler(&wanted, &plain(known)), *known));
    scored
        .filter(|(score, _)| *score >= ALIKE)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, known)| known)
}
