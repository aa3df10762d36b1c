//! The life of a fleet under load, measured from outside through the Service.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::install::BUNDLED;
use crate::load::{Load, Report};
use crate::support::cluster::Cluster;
use crate::support::release::Release;
use crate::wait::eventually;

/// What a busy machine may need for a step.
const STEP: Duration = Duration::from_mins(3);
/// How long a lease lasts, and how often another tries to take it.
const TAKEOVER: Duration = Duration::from_secs(13);
const BUSY: Duration = Duration::from_secs(12);

async fn installed<'a>(namespace: &'a crate::support::namespace::Namespace, replicas: &str) -> Release<'a> {
    let count = format!("replicaCount={replicas}");
    let values = [BUNDLED, &["--set", &count]].concat();
    namespace.install("cloakroom", &values).await
}

async fn scale(release: &Release<'_>, replicas: &str) {
    let deployment = format!("deployment/{}", release.fullname());
    let count = format!("--replicas={replicas}");
    release.namespace.kubectl(&["scale", &deployment, &count]).await;
    settled(release, replicas.parse().unwrap()).await;
}

/// Waits until there are just so many pods, all ready.
async fn settled(release: &Release<'_>, replicas: usize) {
    release.rolled_out().await;
    eventually(STEP, "old pods to be gone", async || {
        release.pods().await.len() == replicas
    })
    .await;
}

fn name(pod: &Value) -> String {
    pod["metadata"]["name"].as_str().unwrap().to_owned()
}

async fn holder(release: &Release<'_>) -> Option<String> {
    let lease = release.namespace.get(&["lease", &release.fullname()]).await;
    lease["spec"]["holderIdentity"].as_str().map(str::to_owned)
}

fn nothing_was_lost(what: &str, report: &Report) {
    eprintln!("{what}: {report}");
    assert!(report.requests > 50, "{what}: {report}");
    assert_eq!(report.failures, Vec::<String>::new(), "{what}");
    assert_eq!(report.lost, 0, "{what}");
}

#[tokio::test]
async fn scaling_rolling_and_upgrading_lose_no_request_and_no_session() {
    let namespace = Cluster::get().namespace("fleet").await;
    let release = installed(&namespace, "1").await;
    let load = Load::start(release.caller("sessions:admin").await).await;
    scale(&release, "10").await;
    nothing_was_lost("scaled from 1 to 10", &load.take());
    scale(&release, "3").await;
    nothing_was_lost("scaled from 10 to 3", &load.take());
    let deployment = format!("deployment/{}", release.fullname());
    namespace.kubectl(&["rollout", "restart", &deployment]).await;
    settled(&release, 3).await;
    nothing_was_lost("restarted one by one", &load.take());
    release.upgrade(&["--set", "image.tag=next,replicaCount=3"]).await;
    settled(&release, 3).await;
    nothing_was_lost("upgraded to another image", &load.take());
    let pods = release.pods().await;
    namespace.kubectl(&["delete", "pod", &name(&pods[0])]).await;
    settled(&release, 3).await;
    nothing_was_lost("a pod deleted", &load.take());

    load.make_no_more();
    homes_are_those_that_are_there(&release, &load).await;
    let (report, _) = load.stop().await;
    nothing_was_lost("used once more", &report);
}

/// Each session that was used moved to a pod that is there, says so, and is counted there.
async fn homes_are_those_that_are_there(release: &Release<'_>, load: &Load) {
    let pods: Vec<String> = release.pods().await.iter().map(name).collect();
    let homes = eventually(STEP, "every session to have moved", async || {
        let sessions = load.sessions().await;
        let at_home = |session: &Value| pods.iter().any(|pod| session["server_id"] == pod.as_str());
        sessions.iter().all(at_home).then_some(sessions)
    })
    .await;
    let moved: Vec<_> = homes.iter().filter(|session| session["migrations"] != 0).collect();
    assert!(!moved.is_empty());
    for session in moved {
        assert!(
            session["migrated_at"].is_string() && session["previous_server_id"].is_string(),
            "{session}"
        );
        assert_ne!(session["previous_server_id"], session["server_id"]);
    }
    eventually(STEP, "the counts by server to be exact", async || {
        let stats = load.stats().await;
        let sessions = load.sessions().await;
        let counted = |pod: &String| sessions.iter().filter(|one| one["server_id"] == pod.as_str()).count();
        pods.iter()
            .all(|pod| stats["by_server"][pod].as_u64().unwrap_or_default() == counted(pod) as u64)
            && stats["sessions"] == sessions.len()
    })
    .await;
}

#[tokio::test]
async fn a_leader_that_dies_is_followed_within_the_lease_and_costs_what_was_in_flight() {
    let namespace = Cluster::get().namespace("leader").await;
    let release = installed(&namespace, "3").await;
    let load = Load::start(release.caller("sessions:admin").await).await;
    let leader = eventually(STEP, "a leader", async || holder(&release).await).await;
    load.take();
    let begun = Instant::now();
    namespace
        .kubectl(&["delete", "pod", &leader, "--grace-period=0", "--force"])
        .await;
    let next = eventually(STEP, "another leader", async || {
        holder(&release).await.filter(|holder| *holder != leader)
    })
    .await;
    let took = begun.elapsed();
    eprintln!("{next} led {took:?} after {leader} was killed");
    assert!(took < TAKEOVER + BUSY, "{took:?}");
    settled(&release, 3).await;
    let report = load.take();
    eprintln!("the leader killed: {report}");
    assert_eq!(report.lost, 0);
    // What was in flight, and what was still sent to it until the Service knew.
    assert!(
        report.failures.iter().all(|failure| failure.starts_with("no answer")),
        "{report}"
    );
    assert!(report.failed_for() < BUSY, "{report}");

    eviction_waits_for_the_budget(&release).await;
    nothing_was_lost("a drain held up by the budget", &load.take());
    load.stop().await;
}

/// What a drain of the node does with its pods: evicts each, as far as the budget allows.
async fn eviction_waits_for_the_budget(release: &Release<'_>) {
    let namespace = release.namespace;
    let mut refused = 0;
    for pod in release.pods().await.iter().map(name) {
        let body = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod, "namespace": namespace.name}});
        let path = format!("/api/v1/namespaces/{}/pods/{pod}/eviction", namespace.name);
        let line = format!("echo '{body}' | kubectl create --raw {path} --filename -");
        let evicted = eventually(STEP, "the budget to allow an eviction", async || {
            let outcome = release.try_paste(&line).await;
            refused += usize::from(!outcome.success);
            outcome.success || outcome.stderr.contains("not found")
        });
        evicted.await;
    }
    assert!(refused > 0, "the budget held nothing up");
    settled(release, 3).await;
}

#[tokio::test]
async fn a_redis_primary_that_goes_costs_a_while_and_no_session() {
    let namespace = Cluster::get().namespace("primary").await;
    let release = installed(&namespace, "2").await;
    let load = Load::start(release.caller("sessions:admin").await).await;
    // Long enough that every replica has what was made until now.
    tokio::time::sleep(Duration::from_secs(5)).await;
    load.take();
    load.make_no_more();
    let primary = namespace
        .list(&["pods", "--selector", "app.kubernetes.io/component=redis"])
        .await;
    namespace
        .kubectl(&["delete", "pod", &name(&primary[0]), "--wait=false"])
        .await;
    eventually(STEP, "all sessions to be found again", async || {
        load.take();
        load.sessions().await.iter().all(Value::is_object)
    })
    .await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let (report, all) = load.stop().await;
    eprintln!("a primary of Redis deleted: {all}");
    assert_eq!((report.lost, all.lost), (0, 0), "{all}");
    assert!(
        all.failures.iter().all(|failure| failure.contains("503")),
        "503, and never 401: {all}"
    );
}
