//! What is logged, and how.

use super::problem::Checks;
use super::reader::{Reader, Section};
use super::setting::{Choice, quote};

/// The form of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people, in colour.
    Pretty,
}

impl Choice for LogFormat {
    const CHOICES: &'static [(&'static str, Self)] = &[("json", Self::Json), ("pretty", Self::Pretty)];
}

/// The section `log`.
#[derive(Clone, Debug, PartialEq)]
pub struct LogSettings {
    /// `log.format`: default `pretty` on a terminal, else `json`.
    pub format: Option<LogFormat>,
    /// `log.level`: a level, or directives such as `info,cloakroom::store=debug`; default `info`.
    pub level: String,
}

impl Default for LogSettings {
    fn default() -> Self {
        Self {
            format: None,
            level: "info".to_owned(),
        }
    }
}

impl Section for LogSettings {
    fn read(&mut self, reader: &mut Reader) {
        reader.optional("log.format", &mut self.format);
        reader.value("log.level", &mut self.level);
    }

    fn validate(&self, checks: &mut Checks) {
        if let Some(wrong) = self.level.split(',').find(|directive| !is_directive(directive)) {
            let what =
                "is not a level: use off, error, warn, info, debug or trace, or <module>=<level>, with commas between";
            checks.fail("log.level", format!("{} {what}", quote(wrong)));
        }
    }
}

/// Stricter than the filter itself, which takes a misspelled level for the name of a module.
fn is_directive(text: &str) -> bool {
    let (module, level) = text.trim().rsplit_once('=').unwrap_or(("all", text.trim()));
    let is_module = !module.is_empty()
        && module
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | ':'));
    is_module && matches!(level, "off" | "error" | "warn" | "info" | "debug" | "trace")
}
