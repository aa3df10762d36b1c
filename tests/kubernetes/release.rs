//! The life of a release: upgrade, rollback, uninstall.

use serde_json::Value;

use crate::install::{BUNDLED, sessions_are_shared};
use crate::support::cluster::Cluster;
use crate::support::namespace::Namespace;

async fn secrets(namespace: &Namespace) -> Vec<(String, Value)> {
    let list = namespace.list(&["secrets", "--field-selector", "type=Opaque"]).await;
    let pair = |secret: Value| {
        let name = secret["metadata"]["name"].as_str().unwrap().to_owned();
        (name, secret["data"].clone())
    };
    list.into_iter().map(pair).collect()
}

#[tokio::test]
async fn sessions_and_secrets_outlive_upgrade_and_rollback_and_nothing_outlives_the_release() {
    let namespace = Cluster::get().namespace("life").await;
    let release = namespace.install("cloakroom", BUNDLED).await;
    let caller = release.caller("sessions:write").await;
    let (token, _) = caller.create("alice").await;
    let made = secrets(&namespace).await;
    assert_eq!(made.len(), 2, "{made:?}");

    // An upgrade puts back what somebody has deleted.
    let lease = ["lease", &release.fullname()];
    namespace.kubectl(&[&["delete"][..], &lease].concat()).await;
    release
        .upgrade(&[
            "--set",
            "image.tag=next",
            "--set",
            "config.session.max_per_user=7",
            "--set",
            "replicaCount=1",
        ])
        .await;
    release.rolled_out().await;
    let pods = release.pods().await;
    let is_new = |pod: &&Value| pod["metadata"]["deletionTimestamp"].is_null();
    let images: Vec<_> = pods
        .iter()
        .filter(is_new)
        .map(|pod| &pod["spec"]["containers"][0]["image"])
        .collect();
    assert_eq!(images.len(), 1);
    assert!(images[0].as_str().unwrap().ends_with(":next"), "{images:?}");
    assert_eq!(secrets(&namespace).await, made, "an upgrade keeps the secrets");
    namespace.get(&lease).await;
    // Whose token was signed with the secret, and whose session was made before.
    let caller = release.caller("sessions:write").await;
    assert_eq!(caller.validate(&token).await["valid"], true);

    release.rollback(1).await;
    release.rolled_out().await;
    assert_eq!(secrets(&namespace).await, made, "a rollback keeps the secrets");
    let caller = release.caller("sessions:write").await;
    assert_eq!(caller.validate(&token).await["session"]["user_id"], "alice");
    sessions_are_shared(&release).await;

    release.uninstall().await;
}
