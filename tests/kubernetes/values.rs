//! Every values file for tests is installed, used, tested and removed.

use std::path::Path;

use crate::helm;
use crate::install::sessions_are_shared;
use crate::support::cluster::Cluster;

/// A few at a time: each brings up to a dozen pods.
const AT_ONCE: usize = 2;

#[tokio::test]
async fn every_values_file_for_tests_installs_and_serves() {
    let files: Vec<_> = helm::values_files()
        .into_iter()
        .filter(|file| file.parent().is_some_and(|directory| directory.ends_with("ci")))
        .collect();
    assert!(files.len() >= 6, "{files:?}");
    for some in files.chunks(AT_ONCE) {
        let installing = some.iter().map(|file| installs_and_serves(file));
        futures_util::future::join_all(installing).await;
    }
}

async fn installs_and_serves(file: &Path) {
    let stem = file.file_stem().unwrap().to_str().unwrap();
    let namespace = Cluster::get().namespace(stem).await;
    let release = namespace
        .install("tickets", &["--values", file.to_str().unwrap()])
        .await;
    sessions_are_shared(&release).await;
    release.test().await;
    release.uninstall().await;
    eprintln!("{stem}: installed, used, tested, removed");
}
