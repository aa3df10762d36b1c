//! Targets of `crate::fuzzing`: settings.

use std::ffi::OsString;
use std::path::PathBuf;

use super::layers::{Leaves, Sources, merge_text};
use super::problem::Origin;
use super::reader::Reader;
use super::units::{ByteSize, Period};
use super::{Config, ConfigError, Loaded};

/// Settings files, in TOML: every refusal says which key and what is wrong, and what is shown holds no secret.
pub(crate) fn settings(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    units(text);
    // A file that names further files would read those of whoever runs this.
    if text.contains("_file") {
        return;
    }
    let (mut leaves, mut problems) = (Leaves::new(), Vec::new());
    let origin = Origin::File(PathBuf::from("cloakroom.toml"));
    merge_text(text, &origin, &mut leaves, &mut problems);
    judge(Config::read(Reader::new(leaves, problems)), text);
}

/// Environment variables, `NAME=value` a line.
pub(crate) fn variables(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if text.to_ascii_lowercase().contains("_file") || text.contains("CLOAKROOM_CONFIG") {
        return;
    }
    let pairs = text.lines().filter_map(|line| line.split_once('='));
    let environment: Vec<(OsString, OsString)> = pairs.map(|(name, value)| (name.into(), value.into())).collect();
    let ours = environment
        .iter()
        .any(|(name, _)| name.to_string_lossy().starts_with("CLOAKROOM_"));
    let sources = Sources {
        environment,
        ..Sources::default()
    };
    let loaded = Config::load(&sources);
    assert!(ours || loaded.is_ok(), "variables of others are read");
    judge(loaded, text);
}

fn judge(outcome: Result<Loaded, ConfigError>, text: &str) {
    match outcome {
        Err(error) => {
            assert!(!error.problems.is_empty());
            for problem in &error.problems {
                assert!(!problem.what.is_empty(), "a refusal that says nothing");
            }
        }
        Ok(loaded) => {
            for row in &loaded.rows {
                let shown = row.value.as_ref().map(ToString::to_string).unwrap_or_default();
                let is_secret = ["secret", "password", "keys"]
                    .iter()
                    .any(|name| row.key.ends_with(name));
                if is_secret && !matches!(row.origin, Origin::Default) && row.value.is_some() {
                    assert!(row.masked, "{} is shown: {shown} of {text}", row.key);
                }
            }
        }
    }
}

/// Durations and sizes are read as they are written.
fn units(text: &str) {
    if let Ok(period) = text.parse::<Period>() {
        assert_eq!(period.to_string().parse().ok(), Some(period));
        assert!(period <= Period::MAX);
    }
    if let Ok(size) = text.parse::<ByteSize>() {
        assert_eq!(size.to_string().parse().ok(), Some(size));
    }
}
