//! The life of a fleet under load, measured from outside through the Service.

use std::time::Duration;

use serde_json::Value;

use crate::install::BUNDLED;
use crate::load::{Load, Report};
use crate::support::cluster::Cluster;
use crate::support::release::Release;
use crate::wait::eventually;

/// What a busy machine may need for a step.
pub(crate) const STEP: Duration = Duration::from_mins(3);
async fn scale(release: &Release<'_>, replicas: &str) {
    let deployment = format!("deployment/{}", release.fullname());
    let count = format!("--replicas={replicas}");
    release.namespace.kubectl(&["scale", &deployment, &count]).await;
    settled(release, replicas.parse().unwrap()).await;
}

/// Waits until there are just so many pods, all ready.
pub(crate) async fn settled(release: &Release<'_>, replicas: usize) {
    release.rolled_out().await;
    eventually(STEP, "old pods to be gone", async || {
        release.pods().await.len() == replicas
    })
    .await;
}

pub(crate) fn name(pod: &Value) -> String {
    pod["metadata"]["name"].as_str().unwrap().to_owned()
}

fn nothing_was_lost(what: &str, report: &Report) {
    eprintln!("{what}: {report}");
    assert!(report.requests > 50, "{what}: {report}");
    assert_eq!((report.failures.clone(), report.refused), (Vec::new(), 0), "{what}");
    assert_eq!(report.lost, 0, "{what}");
}

#[tokio::test]
async fn scaling_rolling_and_upgrading_lose_no_request_and_no_session() {
    let namespace = Cluster::get().namespace("fleet").await;
    let stays = r#"tolerations=[{"key": "node.kubernetes.io/unschedulable", "operator": "Exists"}]"#;
    // Ten must fit onto a node of two cores, beside what other tests have there.
    let small = "podLabels.drained=yes,replicaCount=1,resources.requests.cpu=20m";
    let values = [BUNDLED, &["--set", small, "--set-json", stays]].concat();
    let release = namespace.install("cloakroom", &values).await;
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
    drain_waits_for_the_budget(&release).await;
    nothing_was_lost("a drain of the node, held up by the budget", &load.take());

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

/// `kubectl drain`, of the node that all are on: they come back to it, because they tolerate what keeps others away.
async fn drain_waits_for_the_budget(release: &Release<'_>) {
    let namespace = release.namespace;
    let pods = release.pods().await;
    let node = pods[0]["spec"]["nodeName"].as_str().unwrap();
    let _alone = Release::nobody_installs().await;
    let drained = ["drain", node, "--pod-selector=drained=yes", "--timeout=180s"];
    let drained = namespace.try_kubectl(&drained).await;
    namespace.kubectl(&["uncordon", node]).await;
    assert!(drained.success, "{}{}", drained.stdout, drained.stderr);
    let held_up = drained
        .stderr
        .matches("would violate the pod's disruption budget")
        .count();
    assert!(held_up > 0, "the budget held nothing up: {}", drained.stderr);
    eprintln!("the budget refused {held_up} evictions");
    settled(release, 3).await;
    let others = release.pods().await;
    assert!(others.iter().all(|pod| !pods.iter().any(|old| name(old) == name(pod))));
}

/// The nodes of Redis in the eyes of each: its pod, and what `CLUSTER NODES` says there.
async fn redis_nodes(release: &Release<'_>) -> Vec<(String, String)> {
    let selector = "app.kubernetes.io/component=redis";
    let look = ". /scripts/common.sh; here cluster nodes";
    let mut all = Vec::new();
    for pod in release.namespace.list(&["pods", "--selector", selector]).await {
        let pod = name(&pod);
        let nodes = release
            .namespace
            .try_kubectl(&["exec", &pod, "--", "sh", "-c", look])
            .await;
        all.push((pod, nodes.stdout));
    }
    all
}

/// The pod of a node of Redis that has slots and answers for them.
async fn primary(release: &Release<'_>) -> String {
    for (pod, nodes) in redis_nodes(release).await {
        let node = nodes
            .lines()
            .find(|node| node.contains("myself"))
            .expect("a node that knows itself");
        // id, address, flags, primary, ping, pong, epoch, link, and then the slots
        let fields: Vec<_> = node.split_whitespace().collect();
        if fields[2].contains("master") && fields.len() > 8 {
            return pod;
        }
    }
    panic!("no node of Redis has slots");
}

#[tokio::test]
async fn a_redis_primary_that_goes_costs_a_while_and_no_session() {
    let namespace = Cluster::get().namespace("primary").await;
    let release = namespace.install("cloakroom", BUNDLED).await;
    let load = Load::start(release.caller("sessions:admin").await).await;
    // Long enough that every replica has what was made until now.
    tokio::time::sleep(Duration::from_secs(5)).await;
    load.take();
    load.make_no_more();
    let nodes_there = redis_nodes(&release).await.len();
    let primary = primary(&release).await;
    namespace.kubectl(&["delete", "pod", &primary]).await;
    eventually(STEP, "all sessions to be found again", async || {
        load.sessions().await.iter().all(Value::is_object)
    })
    .await;
    // Until the node is back, as a replica.
    let back = format!("pod/{primary}");
    namespace
        .kubectl(&["wait", "--for=condition=Ready", &back, "--timeout=180s"])
        .await;
    let (report, all) = load.stop().await;
    eventually(STEP, "nobody to remember whom its pod was before", async || {
        let nodes = redis_nodes(&release).await;
        nodes.iter().all(|(_, nodes)| nodes.lines().count() == nodes_there)
    })
    .await;
    eprintln!("{primary}, a primary of Redis, deleted: {report}");
    assert_eq!((all.lost, all.refused), (0, 0), "{all}");
    assert!(
        all.failures.iter().all(|failure| failure.contains("503")),
        "503, and never 401: {all}"
    );
}
