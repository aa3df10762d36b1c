//! Every fault that the promise covers, one scenario each.

use std::time::Duration;

use tokio::time::sleep;

use super::fleet::Fleet;
use super::run::{Figures, Scenario, run};
use crate::support::chaos_proxy::ChaosProxy;
use crate::support::redis_cluster::ClusterNode;
use crate::support::wait::{SOON, eventually};

const FAULT: Duration = Duration::from_secs(3);
/// What a primary that was deposed may need to learn it, beyond the bound (the one exception).
pub(super) const NODE_TIMEOUT: Duration = Duration::from_secs(2);

/// A lease that was just renewed lets memory answer for most of the bound, whatever becomes of its connection.
const LEASE_LEFT: Duration = Duration::from_millis(300);

/// A fault that makes nothing stale has not struck.
fn assert_struck(figures: &Figures) {
    assert!(
        figures.longest > LEASE_LEFT,
        "the fault struck nothing: {:?}",
        figures.longest
    );
}

fn all_proxies(fleet: &Fleet, act: impl Fn(&ChaosProxy)) {
    fleet.cluster.nodes().iter().for_each(|node| act(node.proxy()));
}

#[tokio::test]
async fn nothing_is_wrong() {
    let fleet = Fleet::steady().await;
    let scenario = Scenario {
        pauses: [40, 4, 200].map(Duration::from_millis),
        written: 2,
        doomed: 8,
        ..Scenario::new("nothing is wrong")
    };
    let figures = run(&fleet, scenario, async |_, _| sleep(FAULT).await).await;
    assert!(figures.p99 < Duration::from_millis(50), "{:?} at p99", figures.p99);
    assert!(figures.p50 < Duration::from_millis(10), "{:?} at p50", figures.p50);
}

#[tokio::test]
async fn all_connections_are_cut_again_and_again() {
    let fleet = Fleet::steady().await;
    run(&fleet, Scenario::new("connections cut"), async |fleet, _| {
        for _ in 0..12 {
            all_proxies(fleet, ChaosProxy::cut_all);
            sleep(FAULT / 12).await;
        }
    })
    .await;
}

#[tokio::test]
async fn all_connections_are_held() {
    let fleet = Fleet::steady().await;
    let figures = run(&fleet, Scenario::new("connections held"), async |fleet, _| {
        all_proxies(fleet, |proxy| proxy.hold(true));
        sleep(FAULT).await;
        all_proxies(fleet, |proxy| proxy.hold(false));
    })
    .await;
    assert_struck(&figures);
}

#[tokio::test]
async fn answers_vanish() {
    let fleet = Fleet::steady().await;
    let figures = run(&fleet, Scenario::new("answers vanish"), async |fleet, _| {
        all_proxies(fleet, |proxy| proxy.swallow_replies(true));
        sleep(FAULT).await;
        all_proxies(fleet, |proxy| proxy.swallow_replies(false));
    })
    .await;
    assert_struck(&figures);
}

#[tokio::test]
async fn a_replica_is_frozen_and_wakes() {
    let fleet = Fleet::steady().await;
    run(&fleet, Scenario::new("replica frozen"), async |fleet, _| {
        fleet.replicas[1].program.freeze();
        sleep(FAULT).await;
        fleet.replicas[1].program.thaw();
    })
    .await;
}

#[tokio::test]
async fn a_primary_is_frozen_for_less_than_a_failover_takes() {
    let fleet = Fleet::shifting().await;
    run(&fleet, Scenario::new("primary frozen shortly"), async |_, victim| {
        victim.freeze();
        sleep(Duration::from_millis(1300)).await;
        victim.thaw();
    })
    .await;
}

#[tokio::test]
async fn a_primary_is_frozen_replaced_and_wakes() {
    let fleet = Fleet::shifting().await;
    run(
        &fleet,
        Scenario::new("primary frozen for long"),
        async |fleet, victim| {
            let heir = heir_of(fleet, victim).await;
            victim.freeze();
            wait_for_failover(heir).await;
            sleep(FAULT).await;
            victim.thaw();
        },
    )
    .await;
}

#[tokio::test]
async fn a_primary_is_killed() {
    let fleet = Fleet::shifting().await;
    run(&fleet, Scenario::new("primary killed"), async |fleet, victim| {
        let heir = heir_of(fleet, victim).await;
        victim.kill();
        wait_for_failover(heir).await;
    })
    .await;
}

#[tokio::test]
async fn a_replica_takes_over_by_hand() {
    let fleet = Fleet::shifting().await;
    run(&fleet, Scenario::new("manual failover"), async |fleet, victim| {
        let heir = heir_of(fleet, victim).await;
        sleep(Duration::from_millis(500)).await;
        fleet.cluster.failover(heir).await;
    })
    .await;
}

#[tokio::test]
async fn slots_move_under_load() {
    let fleet = Fleet::shifting().await;
    run(&fleet, Scenario::new("slots move"), async |fleet, victim| {
        let primaries = fleet.cluster.primaries().await;
        let target = primaries.into_iter().find(|node| node.id != victim.id).unwrap();
        let keys: Vec<String> = victim.keys("*:s:*").await;
        for key in keys.iter().take(12) {
            let slot = fleet.cluster.slot_of(key).await;
            if fleet.cluster.primary_of_slot(slot).await.id == victim.id {
                fleet.cluster.move_slot(slot, target).await;
            }
        }
    })
    .await;
}

/// Cut off from the others, a primary goes on answering for a while; so does the pod beside it.
#[tokio::test]
async fn a_primary_is_cut_off_together_with_the_replicas() {
    let fleet = Fleet::shifting().await;
    run(&fleet, Scenario::new("primary cut off"), async |fleet, victim| {
        let others = || fleet.cluster.nodes().iter().filter(|node| node.id != victim.id);
        others().for_each(|node| node.freeze());
        sleep(NODE_TIMEOUT * 2).await;
        others().for_each(|node| node.thaw());
        fleet.cluster.wait_until_healthy().await;
    })
    .await;
}

/// A replica takes over without asking, and the primary does not hear of it: it goes on serving all who ask.
#[tokio::test]
async fn a_primary_is_deposed_while_it_serves() {
    let fleet = Fleet::shifting().await;
    let scenario = Scenario {
        excused: NODE_TIMEOUT,
        ..Scenario::new("primary deposed")
    };
    run(&fleet, scenario, async |fleet, victim| {
        let heir = heir_of(fleet, victim).await;
        let ignore = async |kind: &str| victim.command(&["DEBUG", "DROP-CLUSTER-PACKET-FILTER", kind]).await;
        ignore(PONG).await;
        heir.command(&["CLUSTER", "FAILOVER", "TAKEOVER"]).await;
        sleep(NODE_TIMEOUT / 2).await;
        ignore(NOTHING).await;
        wait_for_failover(heir).await;
    })
    .await;
}

/// Kinds of packets on the cluster bus, as DEBUG numbers them.
const PONG: &str = "1";
const NOTHING: &str = "-1";

pub(super) async fn heir_of<'a>(fleet: &'a Fleet, victim: &ClusterNode) -> &'a ClusterNode {
    fleet.cluster.replicas_of(victim).await[0]
}

pub(super) async fn wait_for_failover(heir: &ClusterNode) {
    eventually(SOON, "the replica to take over", async || {
        heir.info("role").await.is_some_and(|role| role == "master")
    })
    .await;
}
