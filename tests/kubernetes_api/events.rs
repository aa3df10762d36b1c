//! What is abnormal, as Events about the pod.

use std::time::Duration;

use serde_json::json;

use crate::api_server;
use crate::pod::{Pod, Store};
use crate::site::{Site, ready};
use crate::support::redis_cluster::shared_cluster;
use crate::support::server::ServerOptions;
use crate::support::single_redis::SingleRedis;
use crate::support::unique_prefix;
use crate::support::wait::{SOON, eventually};

/// A condition that lasts is told again after ten seconds.
const AGAIN: Duration = Duration::from_secs(45);

#[tokio::test]
async fn an_unreachable_store_is_one_event_that_counts() {
    let site = Site::new(api_server::shared().await).await;
    let redis = SingleRedis::start(ServerOptions::default()).await;
    let store = Store::of(&redis);
    let uid = site.add_pod("cloakroom-a").await;
    site.list(&[ready("cloakroom-a")]).await;
    let pod = Pod::start(&site, "cloakroom-a", &store, &[]).await;
    redis.kill();
    let counted = eventually(AGAIN, "an Event that was counted up", async || {
        let events = site.events("StoreUnreachable").await;
        assert!(events.len() <= 1, "{events:?}");
        let event = events.into_iter().next()?;
        let count = event.series.as_ref()?.count;
        (count >= 2).then_some(event)
    })
    .await;
    assert_eq!(counted.type_.as_deref(), Some("Warning"));
    assert_eq!(counted.reporting_controller.as_deref(), Some("cloakroom"));
    assert_eq!(counted.reporting_instance.as_deref(), Some("cloakroom-a"));
    let regarding = counted.regarding.unwrap();
    assert_eq!(json!(regarding)["kind"], "Pod");
    assert_eq!(
        (regarding.name.as_deref(), regarding.uid),
        (Some("cloakroom-a"), Some(uid))
    );
    let note = counted.note.unwrap();
    assert!(note.contains("does not answer"), "{note}");
    assert!(!note.contains("redis://"), "no URL, which may hold a password: {note}");
    pod.program.kill();
}

#[tokio::test]
async fn memory_that_must_not_be_used_is_told() {
    let site = Site::new(api_server::shared().await).await;
    let store = Store {
        urls: shared_cluster().await.urls().join(","),
        prefix: unique_prefix(),
    };
    site.add_pod("cloakroom-a").await;
    site.list(&[ready("cloakroom-a")]).await;
    // The cluster's node timeout is 2 s.
    let bound = [("coherence.staleness_bound", "5s")];
    let pod = Pod::start(&site, "cloakroom-a", &store, &bound).await;
    let events = eventually(SOON, "an Event", async || {
        let events = site.events("MemoryOff").await;
        (!events.is_empty()).then_some(events)
    })
    .await;
    assert_eq!(events.len(), 1);
    assert!(
        events[0]
            .note
            .as_ref()
            .unwrap()
            .starts_with("every read goes to the store")
    );
    drop(pod);
}
