//! Tests of the chart that need `helm` and no cluster; without `helm` they say so and pass.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on should stop here and say why; clippy spares only the `#[test]` functions themselves"
)]

mod contradictions;
mod drift;
mod helm;
mod objects;
mod settings;
mod values;

/// Whether there is a helm to test with.
fn has_helm() -> bool {
    let found = helm::program().is_some();
    if !found {
        eprintln!("no helm on this machine: the tests of the chart are passed over");
    }
    found
}

const BUNDLED: &[&str] = &["--set", "redis.bundled.enabled=true"];

/// The chart with the bundled Redis and further arguments.
fn bundled(arguments: &[&str]) -> helm::Rendered {
    helm::render(&[BUNDLED, arguments].concat()).unwrap_or_else(|error| panic!("{arguments:?}: {error}"))
}

/// What every values file of the chart renders to, and the defaults with the bundled Redis.
fn renderings() -> Vec<(String, helm::Rendered)> {
    let files = helm::values_files();
    assert!(files.len() >= 8, "{files:?}");
    let rendered = |path: &std::path::PathBuf| {
        let path = path.to_str().unwrap();
        let rendered = helm::render(&["--values", path]).unwrap_or_else(|error| panic!("{path}: {error}"));
        (path.to_owned(), rendered)
    };
    let mut all: Vec<_> = files.iter().map(rendered).collect();
    all.push(("the defaults".to_owned(), bundled(&[])));
    all
}
