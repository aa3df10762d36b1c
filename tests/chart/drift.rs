//! What is made from something else is what would be made from it now.

use std::path::Path;
use std::process::Command;

use crate::{has_helm, helm};

/// Runs a generator with `--check`, which says what differs.
fn is_fresh(generator: &str) {
    let mut command = Command::new(helm::root().join(generator));
    let path = std::env::var("PATH").unwrap();
    let helm = helm::program().unwrap();
    let directory = helm.parent().unwrap_or(Path::new("/"));
    let output = command
        .arg("--check")
        .env("PATH", format!("{}:{path}", directory.display()))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{generator} --check: {said}");
}

#[test]
fn the_manifests_are_those_of_the_chart() {
    if has_helm() {
        is_fresh("k8s/generate");
    }
}

#[test]
fn the_readme_of_the_chart_has_its_values() {
    if has_helm() {
        is_fresh("helm/readme");
    }
}

#[test]
fn the_image_is_built_by_the_rust_of_the_repository() {
    let text = |path: &str| std::fs::read_to_string(helm::root().join(path)).unwrap();
    let toolchain: toml::Table = text("rust-toolchain.toml").parse().unwrap();
    let channel = toolchain["toolchain"]["channel"].as_str().unwrap().to_owned();
    let minor = channel.rsplit_once('.').unwrap().0.to_owned();
    assert!(
        text("Dockerfile").contains(&format!("library/rust:{minor}-")),
        "{channel}"
    );
}
