//! The layers, the sections and their rules together.

use std::ffi::OsString;
use std::fs;

use super::*;

mod defaults;
mod layering;
mod rules;

const SECRET: &str = "0123456789abcdef0123456789abcdef";

fn environment(variables: &[(&str, &str)]) -> Sources {
    let environment = variables
        .iter()
        .map(|(name, value)| (OsString::from(name), OsString::from(value)))
        .collect();
    Sources {
        environment,
        ..Sources::default()
    }
}

fn set(key: &str, value: &str) -> FlagValue {
    FlagValue {
        flag: "--set".to_owned(),
        key: key.to_owned(),
        values: vec![value.to_owned()],
    }
}

fn with_flags(pairs: &[(&str, &str)]) -> Sources {
    Sources {
        flags: pairs.iter().map(|(key, value)| set(key, value)).collect(),
        ..Sources::default()
    }
}

/// A settings file that lives as long as the directory.
fn file(content: &str) -> (tempfile::TempDir, Sources) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("cloakroom.toml");
    fs::write(&path, content).unwrap();
    (
        directory,
        Sources {
            config_flag: Some(path),
            ..Sources::default()
        },
    )
}

fn problems(sources: &Sources) -> Vec<String> {
    let error = Config::load(sources).expect_err("problems");
    error.problems.iter().map(ToString::to_string).collect()
}

/// The one problem of settings given by `--set`.
fn problem_of(pairs: &[(&str, &str)]) -> String {
    let mut all = problems(&with_flags(pairs));
    assert_eq!(all.len(), 1, "{all:?}");
    all.remove(0)
}

fn row<'a>(loaded: &'a Loaded, key: &str) -> &'a Row {
    loaded
        .rows
        .iter()
        .find(|row| row.key == key)
        .unwrap_or_else(|| panic!("no row {key}"))
}
