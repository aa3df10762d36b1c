//! A real Redis Cluster of three primaries and three replicas.

use std::net::Ipv4Addr;
use std::time::Duration;

use futures_util::future::join_all;
use redis::Value;
use tokio::sync::OnceCell;
use tokio::time::Instant;

use super::chaos_proxy::ChaosProxy;
use super::cluster_nodes::{ClusterView, NodeView};
use super::ports::free_address_at;
use super::server::{RedisServer, ServerOptions};
use super::wait::{SOON, eventually};

const PRIMARIES: usize = 3;
const NODES: usize = 6;
const SLOTS: usize = 16_384;

/// How long a fail-over may take beyond the node timeout.
pub(crate) const FAILOVER_LIMIT: Duration = Duration::from_secs(40);

/// How long a replica tries a failover that was asked for (`CLUSTER_MF_TIMEOUT` of Redis), and a little.
const MANUAL_FAILOVER_TIMEOUT: Duration = Duration::from_secs(6);

#[derive(Clone, Debug)]
pub(crate) struct ClusterOptions {
    pub(crate) server: ServerOptions,
    pub(crate) node_timeout: Duration,
    pub(crate) allow_reads_when_down: bool,
    /// Nodes announce the addresses of a [`ChaosProxy`] each, so that clients which follow the topology go through them.
    pub(crate) proxied: bool,
    /// Each node has a loopback address of its own, from which it also connects: a packet tells whose it is.
    pub(crate) apart: bool,
}

impl Default for ClusterOptions {
    fn default() -> Self {
        Self {
            server: ServerOptions::default(),
            node_timeout: Duration::from_secs(2),
            allow_reads_when_down: false,
            proxied: false,
            apart: false,
        }
    }
}

/// One of the six nodes, with all verbs of [`RedisServer`].
pub(crate) struct ClusterNode {
    pub(crate) server: RedisServer,
    /// The node's name in the cluster, kept over restarts.
    pub(crate) id: String,
    proxy: Option<ChaosProxy>,
}

impl ClusterNode {
    /// The proxy before this node; the cluster must have been started with `proxied`.
    pub(crate) fn proxy(&self) -> &ChaosProxy {
        self.proxy.as_ref().expect("a cluster started with `proxied`")
    }
}

impl std::ops::Deref for ClusterNode {
    type Target = RedisServer;

    fn deref(&self) -> &RedisServer {
        &self.server
    }
}

pub(crate) struct RedisCluster {
    nodes: Vec<ClusterNode>,
    pub(crate) options: ClusterOptions,
}

static SHARED: OnceCell<RedisCluster> = OnceCell::const_new();

/// The cluster for tests that neither stop nodes nor move slots, each under a [`super::unique_prefix`].
///
/// Nothing in it lives in a runtime: it outlasts the test that happened to start it.
pub(crate) async fn shared_cluster() -> &'static RedisCluster {
    SHARED
        .get_or_init(|| RedisCluster::start(ClusterOptions::default()))
        .await
}

impl RedisCluster {
    /// Starts six servers, forms a cluster (nodes 0 to 2 are primaries, node 3 replicates node 0, and so on) and waits
    /// until every node serves it.
    pub(crate) async fn start(options: ClusterOptions) -> Self {
        let nodes = join_all((0..NODES).map(|number| start_node(&options, number))).await;
        let cluster = Self { nodes, options };
        cluster.form().await;
        cluster
    }

    pub(crate) fn nodes(&self) -> &[ClusterNode] {
        &self.nodes
    }

    /// The URLs of all nodes, for the program under test.
    pub(crate) fn urls(&self) -> Vec<String> {
        self.nodes.iter().map(|node| node.url()).collect()
    }

    pub(crate) async fn command(&self, node: &ClusterNode, arguments: &[&str]) -> Value {
        node.command(arguments).await
    }

    /// The cluster as the first node that can be asked sees it.
    pub(crate) async fn view(&self) -> ClusterView {
        for node in self.nodes.iter().filter(|node| node.is_running()) {
            if let Ok(view) = ClusterView::of(node).await {
                return view;
            }
        }
        panic!("no node of the cluster can be asked");
    }

    pub(crate) async fn is_primary(&self, node: &ClusterNode) -> bool {
        ClusterView::of(node).await.is_ok_and(|view| view.myself().is_primary)
    }

    /// The node that serves `slot`, as the cluster sees it now.
    pub(crate) async fn primary_of_slot(&self, slot: u16) -> &ClusterNode {
        let view = self.view().await;
        let owner = view
            .owner_of(slot)
            .unwrap_or_else(|| panic!("no node serves slot {slot}"));
        self.node_with_id(&owner.id)
    }

    /// The node that serves `key`.
    pub(crate) async fn primary_of_key(&self, key: &str) -> &ClusterNode {
        self.primary_of_slot(self.slot_of(key).await).await
    }

    pub(crate) async fn slot_of(&self, key: &str) -> u16 {
        self.nodes[0].ask(&["CLUSTER", "KEYSLOT", key]).await
    }

    /// The primary that `node` follows, or `None` for a primary.
    pub(crate) async fn replica_of(&self, node: &ClusterNode) -> Option<&ClusterNode> {
        let view = ClusterView::of(node).await.expect("a node that can be asked");
        view.myself().primary_id.as_ref().map(|id| self.node_with_id(id))
    }

    /// The replicas of `primary`, as the cluster sees it now.
    pub(crate) async fn replicas_of(&self, primary: &ClusterNode) -> Vec<&ClusterNode> {
        let view = self.view().await;
        let follows = |node: &&NodeView| node.primary_id.as_ref() == Some(&primary.id);
        view.nodes
            .iter()
            .filter(follows)
            .map(|node| self.node_with_id(&node.id))
            .collect()
    }

    /// The nodes that are primaries and can be asked.
    pub(crate) async fn primaries(&self) -> Vec<&ClusterNode> {
        let mut primaries = Vec::new();
        for node in self.nodes.iter().filter(|node| node.is_running()) {
            if self.is_primary(node).await {
                primaries.push(node);
            }
        }
        primaries
    }

    /// A primary beside this one.
    pub(crate) async fn another_primary(&self, than: &ClusterNode) -> &ClusterNode {
        let mut primaries = self.primaries().await.into_iter();
        primaries.find(|node| node.id != than.id).expect("several primaries")
    }

    /// How many requests met what the nodes' proxies were told to do.
    pub(crate) fn requests_hit(&self) -> u64 {
        self.nodes.iter().map(|node| node.proxy().counts().requests_hit).sum()
    }

    /// Lets `replica` take over from its primary, which agrees: nothing is lost.
    pub(crate) async fn failover(&self, replica: &ClusterNode) {
        let primary = self.replica_of(replica).await.expect("a replica");
        // A primary ignores the request of a node that it does not yet know as its replica.
        eventually(FAILOVER_LIMIT, "the primary to know its replica", async || {
            let view = ClusterView::of(primary).await.ok()?;
            view.node(&replica.id)
                .is_some_and(|node| node.primary_id.as_ref() == Some(&primary.id))
                .then_some(())
        })
        .await;
        self.wait_until_healthy().await;
        // Redis gives a failover that was asked for up after some time, such as on a loaded machine: it is asked again.
        let mut asked: Option<Instant> = None;
        eventually(FAILOVER_LIMIT, "the replica to take over", async || {
            if self.is_primary(replica).await {
                return true;
            }
            if asked.is_none_or(|at| at.elapsed() > MANUAL_FAILOVER_TIMEOUT) {
                replica.command(&["CLUSTER", "FAILOVER"]).await;
                asked = Some(Instant::now());
            }
            false
        })
        .await;
        self.wait_until_primary(replica).await;
    }

    /// Waits until `node` is a primary and the running nodes know it.
    pub(crate) async fn wait_until_primary(&self, node: &ClusterNode) {
        let running: Vec<_> = self.nodes.iter().filter(|other| other.is_running()).collect();
        eventually(FAILOVER_LIMIT, "the replica to be primary for all", async || {
            for other in &running {
                let Ok(view) = ClusterView::of(other).await else {
                    return false;
                };
                if !view
                    .node(&node.id)
                    .is_some_and(|seen| seen.is_primary && !seen.slots.is_empty())
                {
                    return false;
                }
            }
            true
        })
        .await;
    }

    /// Waits until every running node says that the cluster is up, and every running replica is in step.
    pub(crate) async fn wait_until_healthy(&self) {
        let running: Vec<_> = self.nodes.iter().filter(|node| node.is_running()).collect();
        eventually(
            FAILOVER_LIMIT,
            "the cluster to be up and its replicas linked",
            async || {
                join_all(running.iter().map(|node| is_healthy(node)))
                    .await
                    .into_iter()
                    .all(|healthy| healthy)
            },
        )
        .await;
    }

    /// The number of keys on all primaries.
    pub(crate) async fn dbsize_total(&self) -> u64 {
        let mut total = 0;
        for node in self.primaries().await {
            total += node.ask::<u64>(&["DBSIZE"]).await;
        }
        total
    }

    /// The keys on all primaries that match a glob, sorted.
    pub(crate) async fn keys(&self, pattern: &str) -> Vec<String> {
        let mut keys = Vec::new();
        for node in self.primaries().await {
            keys.extend(node.keys(pattern).await);
        }
        keys.sort();
        keys
    }

    /// `used_memory` of all primaries, in bytes.
    pub(crate) async fn used_memory_total(&self) -> u64 {
        let mut total = 0;
        for node in self.primaries().await {
            total += node.used_memory().await;
        }
        total
    }

    pub(crate) fn node_with_id(&self, id: &str) -> &ClusterNode {
        let node = self.nodes.iter().find(|node| node.id == id);
        node.unwrap_or_else(|| panic!("no node {id} in this cluster"))
    }

    /// Gives each primary its slots and each node its own epoch, introduces all to all, and sets the replicas to follow.
    async fn form(&self) {
        for (index, node) in self.nodes.iter().enumerate() {
            node.command(&["CLUSTER", "SET-CONFIG-EPOCH", &(index + 1).to_string()])
                .await;
            if index < PRIMARIES {
                let first = index * SLOTS / PRIMARIES;
                let last = (index + 1) * SLOTS / PRIMARIES - 1;
                node.command(&["CLUSTER", "ADDSLOTSRANGE", &first.to_string(), &last.to_string()])
                    .await;
            }
            for other in &self.nodes[..index] {
                let address = other.address();
                let bus = bus_port(other).await;
                node.command(&[
                    "CLUSTER",
                    "MEET",
                    &address.ip().to_string(),
                    &address.port().to_string(),
                    &bus,
                ])
                .await;
            }
        }
        for (index, replica) in self.nodes.iter().enumerate().skip(PRIMARIES) {
            let primary = &self.nodes[index - PRIMARIES];
            eventually(SOON, "the replica to follow its primary", async || {
                replica
                    .try_command(&["CLUSTER", "REPLICATE", &primary.id])
                    .await
                    .is_ok()
            })
            .await;
        }
        eventually(SOON, "all nodes to agree on slots and replicas", async || {
            for node in &self.nodes {
                let Ok(view) = ClusterView::of(node).await else {
                    return false;
                };
                if view.slots_served() != SLOTS || view.replicas() != NODES - PRIMARIES {
                    return false;
                }
            }
            true
        })
        .await;
        self.wait_until_healthy().await;
    }
}

async fn start_node(options: &ClusterOptions, number: usize) -> ClusterNode {
    let host = if options.apart {
        Ipv4Addr::new(127, 0, 1, u8::try_from(number + 1).expect("a few nodes"))
    } else {
        Ipv4Addr::LOCALHOST
    };
    let address = free_address_at(host);
    let bus = free_address_at(host);
    let mut server_options = ServerOptions {
        settings: Vec::new(),
        ..options.server.clone()
    }
    .with("cluster-enabled", &"yes")
    .with("cluster-port", &bus.port())
    .with("cluster-config-file", &"nodes.conf")
    .with("cluster-node-timeout", &options.node_timeout.as_millis())
    .with("cluster-require-full-coverage", &"no");
    if options.apart {
        // Redis takes no other address than 127.0.0.1 for its own machine's.
        server_options = server_options
            .with("bind-source-addr", &host)
            .with("protected-mode", &"no");
    }
    if options.server.tls.is_some() {
        server_options = server_options.with("tls-cluster", &"yes");
    }
    if options.allow_reads_when_down {
        server_options = server_options.with("cluster-allow-reads-when-down", &"yes");
    }
    let mut proxy = None;
    let mut public_address = address;
    if options.proxied {
        let started = ChaosProxy::start(address);
        public_address = started.address();
        let port = if options.server.tls.is_some() {
            "cluster-announce-tls-port"
        } else {
            "cluster-announce-port"
        };
        server_options = server_options
            .with("cluster-announce-ip", &public_address.ip())
            .with(port, &public_address.port())
            .with("cluster-announce-bus-port", &bus.port());
        proxy = Some(started);
    }
    server_options.settings.extend(options.server.settings.iter().cloned());
    let server = RedisServer::start(server_options, address, public_address).await;
    let id = server.ask(&["CLUSTER", "MYID"]).await;
    ClusterNode { server, id, proxy }
}

async fn bus_port(node: &ClusterNode) -> String {
    let setting: Vec<String> = node.ask(&["CONFIG", "GET", "cluster-port"]).await;
    setting[1].clone()
}

async fn is_healthy(node: &ClusterNode) -> bool {
    let Ok(reply) = node.try_command(&["CLUSTER", "INFO"]).await else {
        return false;
    };
    let text: String = redis::from_redis_value(reply).expect("CLUSTER INFO is text");
    let is_up = text.contains("cluster_state:ok");
    let is_replica = node.info("role").await.is_some_and(|role| role == "slave");
    is_up
        && (!is_replica
            || node
                .info("master_link_status")
                .await
                .is_some_and(|status| status == "up"))
}
