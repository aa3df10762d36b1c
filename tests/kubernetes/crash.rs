//! Servers that end or stop from one moment to the next, measured from outside through the Service.

use std::time::Duration;

use rustix::process::Signal;
use tokio::time::Instant;

use crate::install::BUNDLED;
use crate::life::{STEP, name, settled};
use crate::load::{Load, Report, VISITORS};
use crate::support::cluster::Cluster;
use crate::support::process::Process;
use crate::support::release::Release;
use crate::wait::eventually;

/// How long the leader's lease lasts that nobody renews.
const LEASE: Duration = Duration::from_secs(10);
/// How long the lease lasts, and how often another tries to take it.
const TAKEOVER: Duration = Duration::from_secs(13);
/// What a busy machine may add, be it to a takeover or until the Service knows of a pod that is not ready.
const BUSY: Duration = Duration::from_secs(12);

#[tokio::test]
async fn a_killed_pod_costs_what_was_in_flight_and_a_leader_that_dies_or_freezes_is_followed() {
    if !Cluster::get().is_of_this_machine() {
        eprintln!("the node is not this machine, so no process of it can be killed from here: passed over");
        return;
    }
    let namespace = Cluster::get().namespace("crash").await;
    let values = [BUNDLED, &["--set", "replicaCount=3"]].concat();
    let release = namespace.install("cloakroom", &values).await;
    let load = Load::start(release.caller("sessions:admin").await).await;
    one_is_killed(&release, &load).await;
    the_leader_is_killed(&release, &load).await;
    the_leader_is_frozen(&release, &load).await;
    let (report, _) = load.stop().await;
    only_what_was_in_flight_failed("at last", &report);
}

/// What was under way to one pod when it ended may fail: as many requests as there are visitors, each of them once.
fn only_what_was_in_flight_failed(what: &str, report: &Report) {
    eprintln!("{what}: {report}");
    assert_eq!(report.lost, 0, "{what}: {report}");
    let unanswered = |failure: &String| failure.starts_with("no answer");
    assert!(report.failures.iter().all(unanswered), "{what}: {:?}", report.failures);
    assert!(report.failures.len() <= VISITORS, "{what}: {:?}", report.failures);
}

async fn process(release: &Release<'_>, pod: &str) -> Process {
    let pod = release.pod(pod).await;
    eventually(STEP, "a process", async || Process::of_server(&pod)).await
}

async fn restarts(release: &Release<'_>, pod: &str) -> u64 {
    let pod = release.pod(pod).await;
    pod["status"]["containerStatuses"][0]["restartCount"].as_u64().unwrap()
}

async fn leader(release: &Release<'_>) -> String {
    eventually(STEP, "a leader", async || release.leader().await).await
}

async fn one_is_killed(release: &Release<'_>, load: &Load) {
    let leader = leader(release).await;
    let pods = release.pods().await;
    let victim = pods.iter().map(name).find(|pod| *pod != leader).unwrap();
    let process = process(release, &victim).await;
    load.take();
    assert!(process.signal(Signal::KILL));
    let killed = Instant::now();
    eventually(STEP, "the container to come back", async || {
        restarts(release, &victim).await == 1
    })
    .await;
    settled(release, 3).await;
    eprintln!("{victim} was killed, and was back after {:?}", killed.elapsed());
    let report = load.take();
    only_what_was_in_flight_failed("a pod killed", &report);
    assert!(report.failed_for() < BUSY, "{report}");
}

/// Waits until another pod than `leader` holds the Lease: it, and how long that took.
async fn another_leads(release: &Release<'_>, leader: &str, begun: Instant) -> String {
    let next = eventually(STEP, "another leader", async || {
        release.leader().await.filter(|holder| holder != leader)
    })
    .await;
    let took = begun.elapsed();
    eprintln!("{next} led {took:?} after {leader} stopped");
    assert!(took < TAKEOVER + BUSY, "{took:?}");
    next
}

/// Its container is begun anew at once, and would lead on under its name: so it is killed whenever it comes back.
async fn the_leader_is_killed(release: &Release<'_>, load: &Load) {
    let leader = leader(release).await;
    let pod = release.pod(&leader).await;
    let kill = async || {
        loop {
            if let Some(process) = Process::of_server(&pod) {
                process.signal(Signal::KILL);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let killed = Instant::now();
    tokio::select! {
        () = kill() => {}
        _ = another_leads(release, &leader, killed) => {}
    }
    settled(release, 3).await;
    only_what_was_in_flight_failed("the leader killed", &load.take());
}

/// A pod whose connections stay open and that answers nothing, until it wakes and finds that another leads.
async fn the_leader_is_frozen(release: &Release<'_>, load: &Load) {
    let leader = leader(release).await;
    let process = process(release, &leader).await;
    let restarts_before = restarts(release, &leader).await;
    assert!(process.signal(Signal::STOP));
    let frozen = Instant::now();
    let next = another_leads(release, &leader, frozen).await;
    let taken = release.lease().await;
    process.signal(Signal::CONT);
    let woken = Instant::now();
    eventually(STEP, "it to know that it leads no more", async || {
        release.metric(&leader, "cloakroom_leader").await == Some(0.0)
    })
    .await;
    eprintln!(
        "{leader} knew {:?} after it woke that it leads no more",
        woken.elapsed()
    );
    // Had it the lease back, it would show within a lease.
    while woken.elapsed() < LEASE {
        assert_eq!(release.metric(&leader, "cloakroom_leader").await, Some(0.0));
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    assert_eq!(release.metric(&next, "cloakroom_leader").await, Some(1.0));
    let now = release.lease().await;
    for field in ["holderIdentity", "acquireTime", "leaseTransitions"] {
        assert_eq!(now[field], taken[field], "{field}");
    }
    settled(release, 3).await;
    let restarted = restarts(release, &leader).await - restarts_before;
    eprintln!("the kubelet restarted it {restarted} times");
    only_what_was_in_flight_failed("the leader frozen", &load.take());
}
