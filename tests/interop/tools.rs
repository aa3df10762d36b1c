//! Where the programs and libraries are that `tests/run` puts below `target/tools`.

use std::path::{Path, PathBuf};

/// A program on PATH, in the system's folders, or below `target/tools`.
pub(crate) fn program(name: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    folders.push("/usr/sbin".into());
    for tool in tools() {
        folders.extend([tool.join("envoy/_bin"), tool.join("bin")]);
    }
    let found = folders.into_iter().map(|folder| folder.join(name));
    let mut found = found.filter(|path| path.is_file());
    found
        .next()
        .unwrap_or_else(|| panic!("{name} is missing on this machine: tests/run installs it"))
}

/// A folder below `target/tools` that begins with `name` and holds `marker`.
pub(crate) fn library(name: &str, marker: &str) -> PathBuf {
    let is_it = |folder: &PathBuf| {
        let begins = folder
            .file_name()
            .is_some_and(|folder| folder.to_string_lossy().starts_with(name));
        begins && folder.join(marker).exists()
    };
    let mut found = tools().into_iter().filter(is_it);
    found
        .next()
        .unwrap_or_else(|| panic!("{name} is missing below target/tools: tests/run installs it"))
}

fn tools() -> Vec<PathBuf> {
    let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools");
    let entries = std::fs::read_dir(tools).into_iter().flatten().flatten();
    let mut folders: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    // The newest version of a tool first.
    folders.sort();
    folders.reverse();
    folders
}
