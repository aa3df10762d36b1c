//! The layers under the settings: a file, the environment, flags; each upper one overrides key by key.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::problem::{Origin, Problem};
use super::setting::Raw;

/// What every environment variable of ours starts with.
pub(super) const ENV_PREFIX: &str = "CLOAKROOM_";

/// Names the settings file.
const ENV_CONFIG: &str = "CLOAKROOM_CONFIG";

/// Variables of ours that are no settings: the file, and the address and the credential of the client commands.
const ENV_OTHER: [&str; 3] = [ENV_CONFIG, "CLOAKROOM_TOKEN", "CLOAKROOM_URL"];

/// A setting given by a flag.
#[derive(Clone, PartialEq, Eq)]
pub struct FlagValue {
    /// The flag with its dashes, for messages.
    pub flag: String,
    /// The key that it sets.
    pub key: String,
    /// Its values: one, or several of a flag that can be repeated.
    pub values: Vec<String>,
}

/// All that the settings are read from; the process's own environment is passed in, never looked up.
#[derive(Clone, Default)]
pub struct Sources {
    /// The settings file of `--config`; without one, `CLOAKROOM_CONFIG` may name it.
    pub config_flag: Option<PathBuf>,
    /// The environment variables of the process.
    pub environment: Vec<(OsString, OsString)>,
    /// The flags; a later one wins over an earlier one of the same key.
    pub flags: Vec<FlagValue>,
}

/// Without the values, which may be secrets.
impl fmt::Debug for FlagValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FlagValue")
            .field("flag", &self.flag)
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

/// Without the environment, which is not all ours to show.
impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Sources");
        shown
            .field("config_flag", &self.config_flag)
            .field("flags", &self.flags)
            .finish_non_exhaustive()
    }
}

/// A value and who gave it.
#[derive(Clone, PartialEq)]
pub(super) struct Leaf {
    pub(super) raw: Raw,
    pub(super) origin: Origin,
}

/// The merged layers: the winning value of each dotted key.
pub(super) type Leaves = BTreeMap<String, Leaf>;

impl Sources {
    /// Merges the layers, each over the one before; what cannot be read at all is reported and left out.
    pub(super) fn merge(&self, problems: &mut Vec<Problem>) -> Leaves {
        let mut leaves = Leaves::new();
        if let Some((path, named_by)) = self.file() {
            merge_file(&path, named_by, &mut leaves, problems);
        }
        for (name, value) in &self.environment {
            merge_variable(name, value, &mut leaves, problems);
        }
        for FlagValue { flag, key, values } in &self.flags {
            let raw = match values.as_slice() {
                [value] if flag == "--set" => Raw::Text(value.clone()),
                _ => Raw::Texts(values.clone()),
            };
            leaves.insert(
                key.clone(),
                Leaf {
                    raw,
                    origin: Origin::Flag(flag.clone()),
                },
            );
        }
        leaves
    }

    fn file(&self) -> Option<(PathBuf, Origin)> {
        if let Some(path) = &self.config_flag {
            return Some((path.clone(), Origin::Flag("--config".to_owned())));
        }
        let (_, path) = self.environment.iter().find(|(name, _)| name == ENV_CONFIG)?;
        Some((path.into(), Origin::Environment(ENV_CONFIG.to_owned())))
    }
}

fn merge_file(path: &Path, named_by: Origin, leaves: &mut Leaves, problems: &mut Vec<Problem>) {
    match std::fs::read_to_string(path) {
        Ok(text) => merge_text(&text, &Origin::File(path.to_owned()), leaves, problems),
        Err(error) => problems.push(Problem {
            origin: named_by,
            key: String::new(),
            what: format!("cannot read {}: {error}", path.display()),
        }),
    }
}

/// Merges what a settings file says.
pub(super) fn merge_text(text: &str, origin: &Origin, leaves: &mut Leaves, problems: &mut Vec<Problem>) {
    match text.parse::<Table>() {
        Ok(table) => flatten("", table, origin, leaves, problems),
        // The message of the error alone: its display quotes the line, and the line may hold a secret.
        Err(error) => {
            let line = error
                .span()
                .map_or(1, |span| text[..span.start.min(text.len())].matches('\n').count() + 1);
            problems.push(Problem {
                origin: origin.clone(),
                key: String::new(),
                what: format!("is not TOML: line {line}: {}", error.message()),
            });
        }
    }
}

fn flatten(prefix: &str, table: Table, origin: &Origin, leaves: &mut Leaves, problems: &mut Vec<Problem>) {
    for (name, value) in table {
        let key = if prefix.is_empty() {
            name.clone()
        } else {
            format!("{prefix}.{name}")
        };
        if name.contains('.') || name.is_empty() {
            let what = "is not a setting: write the levels of a key without quotes".to_owned();
            problems.push(Problem {
                origin: origin.clone(),
                key,
                what,
            });
            continue;
        }
        match value {
            Value::Table(inner) if !inner.is_empty() => flatten(&key, inner, origin, leaves, problems),
            leaf => {
                leaves.insert(
                    key,
                    Leaf {
                        raw: Raw::Toml(leaf),
                        origin: origin.clone(),
                    },
                );
            }
        }
    }
}

fn merge_variable(name: &OsString, value: &OsString, leaves: &mut Leaves, problems: &mut Vec<Problem>) {
    let name = name.to_string_lossy();
    let Some(rest) = name.strip_prefix(ENV_PREFIX) else {
        return;
    };
    if ENV_OTHER.contains(&name.as_ref()) || is_injected(rest) {
        return;
    }
    let key = rest.to_lowercase().replace("__", ".");
    let origin = Origin::Environment(name.to_string());
    let refusal = match value.to_str() {
        None => "is not UTF-8 text".to_owned(),
        Some(_) if rest != rest.to_uppercase() => format!("is not a setting; did you mean {}?", variable_of(&key)),
        Some(text) => {
            leaves.insert(
                key,
                Leaf {
                    raw: Raw::Text(text.to_owned()),
                    origin,
                },
            );
            return;
        }
    };
    problems.push(Problem {
        origin,
        key,
        what: refusal,
    });
}

/// The environment variable of a dotted key.
pub(super) fn variable_of(key: &str) -> String {
    format!("{ENV_PREFIX}{}", key.to_uppercase().replace('.', "__"))
}

/// Whether Kubernetes made this variable (`rest` is without our prefix) for a Service called `cloakroom` or
/// `cloakroom-<more>`: `<NAME>_SERVICE_HOST`, `_SERVICE_PORT`, `_SERVICE_PORT_<PORT NAME>`, `_PORT` and
/// `_PORT_<NUMBER>_<PROTOCOL>` with `_PROTO`, `_PORT` or `_ADDR` after it.
fn is_injected(rest: &str) -> bool {
    if rest.contains("__") {
        return false;
    }
    if rest == "PORT" || rest.starts_with("PORT_") || rest.starts_with("SERVICE_") {
        return true;
    }
    let of_a_port = |(_, after): (&str, &str)| {
        let mut parts = after.split('_');
        let is_number = parts.next().is_some_and(|part| part.parse::<u16>().is_ok());
        is_number && parts.next().is_some_and(|part| matches!(part, "TCP" | "UDP" | "SCTP"))
    };
    rest.ends_with("_SERVICE_HOST")
        || rest.ends_with("_SERVICE_PORT")
        || rest.contains("_SERVICE_PORT_")
        || rest.ends_with("_PORT")
        || rest.split_once("_PORT_").is_some_and(of_a_port)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kubernetes_names_are_told_from_settings() {
        for name in [
            "PORT",
            "PORT_8080_TCP",
            "PORT_8080_TCP_ADDR",
            "SERVICE_HOST",
            "SERVICE_PORT",
            "SERVICE_PORT_HTTP",
            "REDIS_PORT",
            "REDIS_SERVICE_HOST",
            "ADMIN_PORT_9090_TCP_PROTO",
            "ADMIN_SERVICE_PORT_METRICS",
        ] {
            assert!(is_injected(name), "{name}");
        }
        for name in [
            "LISTEN",
            "SERVER_ID",
            "SESSION__MAX_BYTES",
            "REDIS__PORT",
            "PORTS",
            "PORT_RANGE__X",
            "SUPPORT",
        ] {
            assert!(!is_injected(name), "{name}");
        }
    }

    #[test]
    fn variables_and_keys_are_the_same_name() {
        assert_eq!(
            variable_of("session.classes.remember_me.idle"),
            "CLOAKROOM_SESSION__CLASSES__REMEMBER_ME__IDLE"
        );
    }
}
