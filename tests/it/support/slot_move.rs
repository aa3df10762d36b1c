//! Moving a slot from one primary to another in steps, so that a test can act while it is half-moved.

use super::redis_cluster::{ClusterNode, RedisCluster};
use super::server::migrate_credentials;
use super::wait::{SOON, eventually};

const MIGRATE_TIMEOUT_MS: &str = "5000";

/// A slot on its way: the source answers ASK for keys that it no longer has.
///
/// The steps in their order: [`SlotMove::begin`], any number of [`SlotMove::migrate`], [`SlotMove::finish`].
pub(crate) struct SlotMove<'a> {
    cluster: &'a RedisCluster,
    slot: String,
    pub(crate) source: &'a ClusterNode,
    pub(crate) target: &'a ClusterNode,
}

impl<'a> SlotMove<'a> {
    /// Opens the slot on both sides; no key has moved yet.
    pub(crate) async fn begin(cluster: &'a RedisCluster, slot: u16, target: &'a ClusterNode) -> Self {
        let source = cluster.primary_of_slot(slot).await;
        let slot = slot.to_string();
        target
            .command(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &source.id])
            .await;
        source
            .command(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &target.id])
            .await;
        Self {
            cluster,
            slot,
            source,
            target,
        }
    }

    /// The keys of the slot that the source still has.
    pub(crate) async fn keys_left(&self) -> Vec<String> {
        self.source
            .ask(&["CLUSTER", "GETKEYSINSLOT", &self.slot, "10000"])
            .await
    }

    /// Moves these keys; what is not there any more is passed over.
    pub(crate) async fn migrate(&self, keys: &[String]) {
        if keys.is_empty() {
            return;
        }
        let address = self.target.address();
        let (host, port) = (address.ip().to_string(), address.port().to_string());
        let mut command = vec!["MIGRATE", &host, &port, "", "0", MIGRATE_TIMEOUT_MS];
        command.extend(migrate_credentials(&self.cluster.options.server));
        command.push("KEYS");
        command.extend(keys.iter().map(String::as_str));
        self.source.command(&command).await;
    }

    /// Moves the keys that are left, gives the slot to the target, and waits until every running node knows.
    pub(crate) async fn finish(self) {
        loop {
            let keys = self.keys_left().await;
            if keys.is_empty() {
                break;
            }
            self.migrate(&keys).await;
        }
        for node in [self.target, self.source] {
            node.command(&["CLUSTER", "SETSLOT", &self.slot, "NODE", &self.target.id])
                .await;
        }
        let slot: u16 = self.slot.parse().expect("a slot number");
        eventually(SOON, "all nodes to know the slot's new owner", async || {
            for node in self.cluster.nodes().iter().filter(|node| node.is_running()) {
                let Ok(view) = super::cluster_nodes::ClusterView::of(node).await else {
                    return false;
                };
                if view.owner_of(slot).is_none_or(|owner| owner.id != self.target.id) {
                    return false;
                }
            }
            true
        })
        .await;
    }
}

impl RedisCluster {
    /// Moves a slot with all its keys in one go.
    pub(crate) async fn move_slot(&self, slot: u16, target: &ClusterNode) {
        SlotMove::begin(self, slot, target).await.finish().await;
    }
}
