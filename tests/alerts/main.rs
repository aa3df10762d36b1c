//! Dashboards, rules and runbooks, by the programs that will read them: real Prometheus and Alertmanager over a real fleet.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on should stop here and say why; clippy spares only the `#[test]` functions themselves"
)]

#[path = "../it/support/mod.rs"]
mod support;

mod dashboards;
mod history;
mod live;
mod load;
mod monitoring;
mod rules;
mod runbooks;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The top of the project.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn text_of(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The files of a directory whose name ends so, in order.
fn files(directory: &str, end: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(root().join(directory)).unwrap_or_else(|error| panic!("{directory}: {error}"));
    let mut paths: Vec<PathBuf> = entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_string_lossy().ends_with(end))
        .collect();
    paths.sort();
    assert!(!paths.is_empty(), "no {end} in {directory}");
    paths
}

/// Runs a program to its end, which must be a good one.
fn succeed(command: &mut Command) -> Output {
    let output = command.current_dir(root()).output().unwrap_or_else(|error| {
        let name = command.get_program().display();
        panic!("{name}: {error}; tests/run installs what the tests need")
    });
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{command:?}\n{out}\n{err}");
    output
}
