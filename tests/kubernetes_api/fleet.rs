//! The fleet as the endpoints tell of it, and where its sessions are at home.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::api_server;
use crate::pod::{Pod, Store};
use crate::site::{Listed, Site, ready, terminating};
use crate::support::single_redis::shared_single_redis;
use crate::support::wait::{SOON, eventually};

/// "At once", on a busy machine: less than a heartbeat would have taken.
const AT_ONCE: Duration = Duration::from_secs(2);

async fn site_with(pods: &[&str]) -> (Site, Store) {
    let site = Site::new(api_server::shared().await).await;
    for pod in pods {
        site.add_pod(pod).await;
    }
    let store = Store::of(shared_single_redis().await);
    (site, store)
}

/// The sessions by the server where they are homed, as a server counts them.
async fn counts(pod: &Pod) -> Value {
    pod.get("/v1/stats").await["by_server"].clone()
}

#[tokio::test]
async fn a_pod_that_drains_is_seen_at_once_and_its_sessions_move_with_their_next_use() {
    let (site, store) = site_with(&["cloakroom-a", "cloakroom-b"]).await;
    site.list(&[ready("cloakroom-a"), ready("cloakroom-b")]).await;
    let a = Pod::start(&site, "cloakroom-a", &store, &[]).await;
    let b = Pod::start(&site, "cloakroom-b", &store, &[]).await;
    for pod in [&a, &b] {
        eventually(SOON, "both to be seen", async || {
            pod.state_of("cloakroom-a").await.as_deref() == Some("live")
                && pod.state_of("cloakroom-b").await.as_deref() == Some("live")
        })
        .await;
    }
    let mut sessions = Vec::new();
    for _ in 0..10 {
        sessions.push(b.create(json!({})).await);
    }
    for (_, token) in &sessions {
        a.uses(token).await;
    }

    let told = Instant::now();
    site.list(&[ready("cloakroom-a"), terminating("cloakroom-b")]).await;
    eventually(AT_ONCE, "it drains", async || {
        a.state_of("cloakroom-b").await.as_deref() == Some("draining")
    })
    .await;
    println!("a draining pod was seen after {:?}", told.elapsed());
    for (path, token) in &sessions {
        let session = a.get(path).await;
        assert_eq!(
            (&session["server_id"], &session["migrations"]),
            (&json!("cloakroom-b"), &json!(0))
        );
        a.uses(token).await;
    }
    for (path, _) in &sessions {
        let session = eventually(SOON, "the session to move", async || {
            let session = a.get(path).await;
            (session["server_id"] == "cloakroom-a").then_some(session)
        })
        .await;
        assert_eq!(session["previous_server_id"], "cloakroom-b");
        assert_eq!(session["migrations"], 1);
        assert!(
            session["migrated_at"].as_str().unwrap() >= session["created_at"].as_str().unwrap(),
            "{session}"
        );
    }
    eventually(SOON, "the counts", async || {
        counts(&a).await == json!({"cloakroom-a": 10})
    })
    .await;
}

#[tokio::test]
async fn sessions_of_a_pod_that_vanishes_move_and_those_of_one_that_is_new_do_not() {
    let (site, store) = site_with(&["cloakroom-a", "cloakroom-b", "cloakroom-c"]).await;
    site.list(&[ready("cloakroom-a"), ready("cloakroom-b")]).await;
    let a = Pod::start(&site, "cloakroom-a", &store, &[]).await;
    let b = Pod::start(&site, "cloakroom-b", &store, &[]).await;
    eventually(SOON, "both to be seen", async || {
        a.state_of("cloakroom-b").await.as_deref() == Some("live")
    })
    .await;
    let (of_b, token_of_b) = b.create(json!({})).await;

    // The new pod serves before the endpoints tell of it.
    let c = Pod::start(&site, "cloakroom-c", &store, &[]).await;
    let (of_c, token_of_c) = c.create(json!({})).await;
    a.uses(&token_of_c).await;
    site.list(&[ready("cloakroom-a"), ready("cloakroom-c")]).await;
    b.program.kill();
    eventually(AT_ONCE, "the new one to be seen", async || {
        a.state_of("cloakroom-c").await.as_deref() == Some("live")
    })
    .await;
    assert_eq!(a.state_of("cloakroom-b").await, None);

    a.uses(&token_of_b).await;
    a.uses(&token_of_c).await;
    let moved = eventually(SOON, "the session of the one that is gone to move", async || {
        let session = a.get(&of_b).await;
        (session["server_id"] == "cloakroom-a").then_some(session)
    })
    .await;
    assert_eq!(
        (&moved["previous_server_id"], &moved["migrations"]),
        (&json!("cloakroom-b"), &json!(1))
    );
    let kept = a.get(&of_c).await;
    assert_eq!(
        (&kept["server_id"], &kept["migrations"]),
        (&json!("cloakroom-c"), &json!(0))
    );
    eventually(SOON, "the counts", async || {
        counts(&a).await == json!({"cloakroom-a": 1, "cloakroom-c": 1})
    })
    .await;
}

#[tokio::test]
async fn a_pod_that_stops_serving_drains_and_comes_back() {
    let (site, store) = site_with(&["cloakroom-a", "cloakroom-b"]).await;
    let unready = Listed {
        pod: "cloakroom-b",
        serving: false,
        terminating: false,
    };
    site.list(&[ready("cloakroom-a"), unready]).await;
    let a = Pod::start(&site, "cloakroom-a", &store, &[]).await;
    for (listed, seen) in [
        (unready, "draining"),
        (ready("cloakroom-b"), "live"),
        (unready, "draining"),
    ] {
        site.list(&[ready("cloakroom-a"), listed]).await;
        eventually(SOON, "its state", async || {
            a.state_of("cloakroom-b").await.as_deref() == Some(seen)
        })
        .await;
    }
}

#[tokio::test]
async fn a_server_under_another_name_than_its_pods_does_not_start() {
    let (site, store) = site_with(&["cloakroom-a"]).await;
    let other = Pod::launch(&site, "cloakroom-a", "another", &store, &[]).await;
    assert_eq!(other.program.wait_exit(SOON).await.code(), Some(1));
    let said = other.program.output().join("\n");
    assert!(
        said.contains("server_id is \"another\", and this pod's name is \"cloakroom-a\""),
        "{said}"
    );
}
