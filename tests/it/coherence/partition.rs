//! A partition with a primary and a replica of the program on the smaller side: packets between the sides are dropped,
//! also those of connections that stand.
//!
//! The test runs in a network namespace of its own, so that nothing else on the machine has to do with its rules, and
//! they go with it however it ends.

use std::process::{Command, Stdio};

use tokio::time::sleep;

use super::faults::{NODE_TIMEOUT, heir_of, wait_for_failover};
use super::fleet::Fleet;
use super::run::{Scenario, run};
use crate::support::redis_cluster::ClusterNode;
use crate::support::supervised::Supervised;

/// Set within the namespace.
const INSIDE: &str = "CLOAKROOM_TEST_OWN_NETWORK";
const TEST: &str = "coherence::partition::a_primary_and_a_replica_beside_it_are_cut_off_from_the_rest";
/// The groups of the replica beside the primary, and of the others.
const BESIDE: u32 = 47_111;
const AWAY: u32 = 47_112;

#[test]
fn a_primary_and_a_replica_beside_it_are_cut_off_from_the_rest() {
    if std::env::var_os(INSIDE).is_some() {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        return runtime.block_on(partition());
    }
    let trial = format!(
        "ip link set lo up && setpriv --regid {BESIDE} --clear-groups true && {}",
        marks(BESIDE)
    );
    let can = Command::new("unshare").args(["--net", "sh", "-c", &trial]).output();
    if !can.is_ok_and(|trial| trial.status.success()) {
        eprintln!("the partition is left out: it needs root, network namespaces, ip, iptables and setpriv");
        return;
    }
    let mut inside = Command::new("unshare");
    inside
        .arg("--net")
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", TEST, "--nocapture"])
        .env(INSIDE, "1")
        .stdout(Stdio::null());
    let status = Supervised::spawn(&mut inside, None).child_mut().wait().unwrap();
    assert!(status.success(), "within the namespace: {status}");
}

/// The majority makes another node the primary, and the writer goes on there. The replica beside the old one has its
/// connection, its subscriptions and, until the old one fences itself, good heartbeats.
async fn partition() {
    sh("ip link set lo up");
    for group in [BESIDE, AWAY] {
        sh(&marks(group));
    }
    let fleet = Fleet::apart([AWAY, BESIDE, AWAY]).await;
    let scenario = Scenario {
        excused: NODE_TIMEOUT,
        ..Scenario::new("primary and replica apart")
    };
    run(&fleet, scenario, async |fleet, victim| {
        let heir = heir_of(fleet, victim).await;
        cut(fleet, victim);
        wait_for_failover(heir).await;
        assert_eq!(
            victim.info("role").await.as_deref(),
            Some("master"),
            "it cannot have heard of it"
        );
        sleep(NODE_TIMEOUT).await;
        sh("iptables -F OUTPUT");
        fleet.cluster.wait_until_healthy().await;
    })
    .await;
}

/// Has the connections of a group's processes bear its number.
fn marks(group: u32) -> String {
    format!("iptables -t mangle -A OUTPUT -m owner --gid-owner {group} -j CONNMARK --set-mark {group}")
}

/// Drops every packet between the victim with the replica beside it, and all others.
fn cut(fleet: &Fleet, victim: &ClusterNode) {
    let victim_host = victim.address().ip();
    for other in fleet.cluster.nodes().iter().filter(|node| node.id != victim.id) {
        let host = other.address().ip();
        for (from, to) in [("-s", "-d"), ("-d", "-s")] {
            sh(&format!("iptables -A OUTPUT {from} {victim_host} {to} {host} -j DROP"));
            sh(&format!(
                "iptables -A OUTPUT -m connmark --mark {BESIDE} {to} {host} -j DROP"
            ));
        }
    }
    for end in ["-s", "-d"] {
        sh(&format!(
            "iptables -A OUTPUT -m connmark --mark {AWAY} {end} {victim_host} -j DROP"
        ));
    }
}

fn sh(command: &str) {
    let done = Command::new("sh").args(["-c", command]).output().unwrap();
    assert!(
        done.status.success(),
        "{command}: {}",
        String::from_utf8_lossy(&done.stderr)
    );
}
