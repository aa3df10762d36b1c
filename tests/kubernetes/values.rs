//! Every values file is installed, used, tested and removed.

use std::path::Path;

use serde_json::json;

use crate::helm;
use crate::install::sessions_are_shared;
use crate::life::STEP;
use crate::support::cluster::Cluster;
use crate::support::release::Release;
use crate::tls::redis_with_tls;
use crate::wait::eventually;

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
    serves_and_leaves_nothing(&release).await;
    eprintln!("{stem}: installed, used, tested, removed");
}

async fn serves_and_leaves_nothing(release: &Release<'_>) {
    sessions_are_shared(release).await;
    release.test().await;
    release.uninstall().await;
}

/// What `values-ha.yaml` wants there to be, and on top of it what is one's own: where Redis is, and how little a small node has.
#[tokio::test]
async fn the_values_for_production_install_and_serve() {
    let namespace = Cluster::get().namespace("production").await;
    redis_with_tls(&namespace).await;
    let secrets = [
        ("cloakroom-redis", json!({"password": "a password"})),
        ("cloakroom-jwt", json!({"secret": "0123456789abcdef0123456789abcdef"})),
    ];
    for (name, data) in &secrets {
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": data});
        namespace.apply(&secret.to_string()).await;
    }
    let production = helm::chart().join("values-ha.yaml");
    let own = "redis.urls={rediss://redis:6379},redis.tls.existingSecret=redis-tls,resources.requests.cpu=50m";
    let values = ["--values", production.to_str().unwrap(), "--set", own];
    let release = namespace.install("cloakroom", &values).await;
    // Three by the autoscaler, whose least that is, although nothing tells it about CPU here.
    eventually(STEP, "three pods", async || release.pods().await.len() == 3).await;
    release.rolled_out().await;
    let kinds = "horizontalpodautoscalers,poddisruptionbudgets,networkpolicies,servicemonitors,prometheusrules";
    for kind in kinds.split(',') {
        assert!(!namespace.list(&[kind]).await.is_empty(), "{kind}");
    }
    serves_and_leaves_nothing(&release).await;
}
