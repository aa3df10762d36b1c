//! An API server that is away, or frozen, harms nothing that the store can carry.

use serde_json::json;

use crate::api_server::{ApiServer, shared};
use crate::pod::{Pod, Store};
use crate::site::{Site, ready};
use crate::support::single_redis::shared_single_redis;
use crate::support::wait::{SOON, eventually};
use crate::{LEASE, RETRY};

/// An API server that is the test's alone; it lives until the test process ends.
async fn own_server() -> &'static ApiServer {
    Box::leak(Box::new(ApiServer::start().await))
}

async fn leaders(pods: &[&Pod]) -> Vec<String> {
    let mut leaders = Vec::new();
    for pod in pods {
        if pod.leads().await {
            leaders.push(pod.name.clone());
        }
    }
    leaders
}

#[tokio::test]
async fn sessions_the_fleet_and_a_leader_go_on_without_the_api_server() {
    let site = Site::new(own_server().await).await;
    let store = Store::of(shared_single_redis().await);
    site.add_account("web").await;
    let accounts = format!("{}/web: sessions:write", site.namespace);
    let settings = [("kubernetes.service_accounts", accounts.as_str())];
    for name in ["cloakroom-a", "cloakroom-b"] {
        site.add_pod(name).await;
    }
    site.list(&[ready("cloakroom-a"), ready("cloakroom-b")]).await;
    let a = Pod::start(&site, "cloakroom-a", &store, &settings).await;
    let b = Pod::start(&site, "cloakroom-b", &store, &settings).await;
    let both = [&a, &b];
    eventually(SOON, "one leader", async || leaders(&both).await.len() == 1).await;
    eventually(SOON, "both to be seen", async || {
        a.sees().await.len() == 2 && b.sees().await.len() == 2
    })
    .await;
    let web = site.token("web", Some("cloakroom"), None).await;
    let (_, token) = b.create(json!({"user_id": "alice"})).await;
    a.call_as(&web, "GET", "/v1/stats", None).await.expect(200);

    site.server.kill();
    let seen = a.sees().await;
    let refused = eventually(SOON, "what was remembered to be forgotten", async || {
        let answer = a.call_as(&web, "GET", "/v1/stats", None).await;
        (answer.status != 200).then_some(answer)
    })
    .await;
    refused.problem(503, "authentication_unavailable");
    a.uses(&token).await;
    let (path, _) = a.create(json!({})).await;
    assert_eq!(b.get(&path).await["server_id"], "cloakroom-a");
    // Once the lease would have lapsed, one leads by the store.
    a.program
        .logged("the lease of the leader cannot be reached: it is agreed on in the store")
        .await;
    b.program
        .logged("the lease of the leader cannot be reached: it is agreed on in the store")
        .await;
    eventually(SOON, "one leader by the store", async || {
        leaders(&both).await.len() == 1
    })
    .await;
    assert_eq!(a.sees().await, seen, "the fleet stays what is known");
    a.uses(&token).await;

    site.server.restart().await;
    for pod in both {
        pod.program.logged("the lease of the leader can be reached again").await;
    }
    eventually(LEASE + RETRY + SOON, "one leader by the Lease", async || {
        let leaders = leaders(&both).await;
        leaders.len() == 1 && site.holder().await == leaders.first().cloned()
    })
    .await;
    eventually(SOON, "callers to be judged", async || {
        a.call_as(&web, "GET", "/v1/stats", None).await.status == 200
    })
    .await;
    // The watch goes on where it was.
    site.list(&[ready("cloakroom-a")]).await;
    eventually(SOON, "the fleet's change", async || {
        a.state_of("cloakroom-b").await.is_none()
    })
    .await;
}

#[tokio::test]
async fn without_the_lease_and_the_right_to_make_it_the_leader_is_agreed_on_in_the_store() {
    let site = Site::new(shared().await).await;
    let store = Store::of(shared_single_redis().await);
    for name in ["cloakroom-a", "cloakroom-b"] {
        site.add_pod(name).await;
    }
    site.list(&[ready("cloakroom-a"), ready("cloakroom-b")]).await;
    let a = Pod::start(&site, "cloakroom-a", &store, &[]).await;
    let b = Pod::start(&site, "cloakroom-b", &store, &[]).await;
    assert!(site.holder().await.is_some());
    site.remove_lease().await;
    for pod in [&a, &b] {
        pod.program
            .logged("the lease of the leader cannot be reached: it is agreed on in the store")
            .await;
    }
    eventually(SOON, "one leader by the store", async || {
        leaders(&[&a, &b]).await.len() == 1
    })
    .await;
    site.add_lease().await;
    eventually(LEASE + RETRY + SOON, "one leader by the Lease", async || {
        let leaders = leaders(&[&a, &b]).await;
        leaders.len() == 1 && site.holder().await == leaders.first().cloned()
    })
    .await;
}

#[tokio::test]
async fn a_server_starts_and_serves_while_the_api_server_is_frozen() {
    let site = Site::new(own_server().await).await;
    let store = Store::of(shared_single_redis().await);
    site.add_pod("cloakroom-a").await;
    site.list(&[ready("cloakroom-a")]).await;
    let kubeconfig = site.kubeconfig("cloakroom-a").await;
    assert!(kubeconfig.is_file());
    // What needs the API server is there: it may stand still.
    let a = Pod::launch(&site, "cloakroom-a", "cloakroom-a", &store, &[]).await;
    site.server.freeze();
    a.until_ready().await;
    let (path, token) = a.create(json!({})).await;
    a.uses(&token).await;
    assert_eq!(a.get(&path).await["server_id"], "cloakroom-a");
    site.server.thaw();
    eventually(SOON + SOON, "the fleet", async || {
        a.state_of("cloakroom-a").await.is_some()
    })
    .await;
}
