//! The manifests for kustomize, applied with an overlay as the documentation shows it.

use std::path::Path;

use tempfile::TempDir;

use crate::helm;
use crate::install::sessions_are_shared;
use crate::support::cluster::Cluster;
use crate::support::command::succeed;
use crate::support::release::Release;

/// The overlay of `docs/helm.md`: its block of YAML below the heading on kustomize.
fn documented_overlay() -> String {
    let page = std::fs::read_to_string(helm::root().join("docs/helm.md")).unwrap();
    let (_, section) = page.split_once("\n## Kustomize\n").expect("a section on kustomize");
    let (_, block) = section.split_once("```yaml\n").expect("an overlay");
    block.split("```").next().unwrap().to_owned()
}

#[tokio::test]
async fn the_manifests_apply_with_the_overlay_of_the_documentation() {
    let namespace = Cluster::get().namespace("kustomize").await;
    // A Redis of one's own, from the chart, and a secret for callers' tokens.
    let redis = [
        "--set",
        "redis.bundled.enabled=true,replicaCount=0,podDisruptionBudget.enabled=false,tests.enabled=false",
    ];
    let store = namespace.install("store", &redis).await;
    let fullname = store.fullname();
    let secret = "--from-literal=secret=0123456789abcdef0123456789abcdef";
    namespace
        .kubectl(&["create", "secret", "generic", "cloakroom-jwt", secret])
        .await;

    let directory = TempDir::new().unwrap();
    let base = pathdiff(&helm::root().join("k8s"), directory.path());
    let overlay = documented_overlay()
        .replace("../k8s", &base)
        .replace("namespace: sessions", &format!("namespace: {}", namespace.name))
        .replace(
            "redis://redis-0.redis:6379",
            &format!("redis://{fullname}-redis-0.{fullname}-redis:6379"),
        )
        .replace("name: redis-password", &format!("name: {fullname}-redis"));
    std::fs::write(directory.path().join("kustomization.yaml"), overlay).unwrap();
    namespace
        .kubectl(&["apply", "--kustomize", directory.path().to_str().unwrap()])
        .await;

    let release = Release::of_others(&namespace, "cloakroom");
    release.rolled_out().await;
    sessions_are_shared(&release).await;
    let deleting = namespace.cluster.kubectl_command(&[
        "delete",
        "--wait=false",
        "--kustomize",
        directory.path().to_str().unwrap(),
    ]);
    succeed(deleting, "").await;
}

/// The relative path from a directory to another: kustomize takes no absolute one.
fn pathdiff(to: &Path, from: &Path) -> String {
    let up = from.canonicalize().unwrap().components().count() - 1;
    format!("{}{}", "../".repeat(up), to.to_str().unwrap().trim_start_matches('/'))
}
