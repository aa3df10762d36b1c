use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use parking_lot::Mutex as SyncMutex;
use redis::{Cmd, ErrorKind, RedisError, ServerErrorKind, Value};
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout_at};

use super::node::{Address, Dialer, Node, is_broken};
use super::scripts::Script;
use super::topology::{SlotMap, Topology};
use crate::store::StoreError;
use crate::telemetry::Metrics;

/// How long a node may take to tell the map of slots.
const MAP_TIMEOUT: Duration = Duration::from_millis(500);
/// The map is not read more often than this.
const MAP_INTERVAL: Duration = Duration::from_millis(100);
/// Pause before a command is sent again: at first, and at most.
const PAUSE: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(100));

/// Sends commands to the primary that serves their slot, over redirects, moved slots, failovers and lost connections,
/// until a deadline.
///
/// One router instead of the client library's cluster connection: deadlines are exact, and data, subscriptions, reads by
/// address and changes that wait for replicas all go by one map of the cluster.
pub(super) struct Router {
    dialer: Arc<Dialer>,
    seeds: Vec<Address>,
    nodes: SyncMutex<HashMap<Address, Arc<Node>>>,
    topology: ArcSwap<Topology>,
    /// When the map was last read; held while it is.
    refreshed: Mutex<Instant>,
    metrics: Metrics,
}

/// A value, and how it was come by.
pub(super) struct Answer {
    pub(super) value: Value,
    /// The node that gave it.
    pub(super) node: Arc<Node>,
    /// Whether the slot is being moved and its target answered.
    pub(super) asked: bool,
    /// Whether a replica has what was written, where that was asked for.
    pub(super) durable: Option<bool>,
}

/// A script call: its keys (the first one tells the slot) and its arguments.
pub(super) struct Call<'a> {
    pub(super) script: &'a Script,
    pub(super) slot: u16,
    pub(super) keys: &'a [&'a [u8]],
    pub(super) arguments: &'a [&'a [u8]],
    pub(super) durable: bool,
}

impl Call<'_> {
    fn command(&self, by_source: bool) -> Cmd {
        /// The command, the script, and how many keys there are.
        const HEAD: usize = 3;
        /// The most digits that the last one has.
        const DIGITS: usize = 20;
        let (name, script) = if by_source {
            ("EVAL", &self.script.source)
        } else {
            ("EVALSHA", &self.script.sha)
        };
        let parts = || self.keys.iter().chain(self.arguments);
        let bytes = parts().map(|part| part.len()).sum::<usize>();
        let room = name.len() + script.len() + DIGITS + bytes;
        let mut command = Cmd::with_capacity(HEAD + parts().count(), room);
        command.arg(name).arg(script).arg(self.keys.len());
        for part in parts() {
            command.arg(*part);
        }
        command
    }
}

/// What to do about a failure.
enum Retry {
    /// Ask this node instead: the slot has moved there.
    Moved(Address),
    /// Ask this node for this once: the slot is being moved there.
    Ask(Address),
    /// Ask again after a pause.
    Again(&'static str),
    /// Ask again after a pause, by a fresh map.
    Refresh(&'static str),
    /// Send the script itself: the node does not know it.
    Source,
    /// Give up.
    No,
}

impl Router {
    pub(super) async fn connect(dialer: Arc<Dialer>, metrics: Metrics) -> Result<Self, StoreError> {
        let seeds = dialer.seeds().map_err(StoreError::Unavailable)?;
        let placeholder = Arc::new(Node::new(seeds[0].clone(), Arc::clone(&dialer)));
        let router = Self {
            dialer,
            seeds,
            nodes: SyncMutex::default(),
            topology: ArcSwap::from_pointee(Topology::single(placeholder)),
            refreshed: Mutex::new(Instant::now()),
            metrics,
        };
        let topology = router.read_map().await?;
        router.topology.store(Arc::new(topology));
        Ok(router)
    }

    pub(super) fn topology(&self) -> Arc<Topology> {
        self.topology.load_full()
    }

    pub(super) fn dialer(&self) -> &Arc<Dialer> {
        &self.dialer
    }

    /// Runs a script.
    pub(super) async fn call(&self, call: &Call<'_>) -> Result<Answer, StoreError> {
        let deadline = Instant::now() + self.dialer.options().deadline();
        let mut command = call.command(false);
        let mut target: Option<(Arc<Node>, bool)> = None;
        let mut pause = PAUSE.0;
        let (mut reconnected, mut is_first) = (false, true);
        loop {
            let (node, asking) = match target.take() {
                Some(target) => target,
                None => (self.node_of(call.slot, deadline).await?, false),
            };
            // On a connection that stands, the first try keeps the deadline by itself: it ends with the response timeout.
            let standing = node.standing().filter(|_| is_first && !call.durable);
            is_first = false;
            let sent = match standing {
                Some(connection) => node.send_on(&connection, &command).await.map(|value| (value, None)),
                None => self.send(&node, &command, asking, call.durable, deadline).await,
            };
            let error = match sent {
                Ok((value, durable)) => {
                    // After a lost connection, WAIT speaks of a connection that may have written nothing.
                    let durable = durable.map(|reached| reached && !reconnected);
                    return Ok(Answer {
                        value,
                        node,
                        asked: asking,
                        durable,
                    });
                }
                Err(error) => error,
            };
            let retry = classify(&error, &node.address);
            match retry {
                Retry::Moved(address) => {
                    self.count("moved");
                    self.refresh_until(deadline).await;
                    target = Some((self.node_at(&address), false));
                }
                Retry::Ask(address) => {
                    self.count("ask");
                    target = Some((self.node_at(&address), true));
                }
                Retry::Source => {
                    command = call.command(true);
                    target = Some((node, asking));
                    continue;
                }
                Retry::Again(cause) => {
                    self.count(cause);
                    self.pause(&mut pause, deadline, &error).await?;
                }
                Retry::Refresh(cause) => {
                    reconnected |= is_broken(&error);
                    self.count(cause);
                    self.pause(&mut pause, deadline, &error).await?;
                    self.refresh_until(deadline).await;
                }
                Retry::No => return Err(failure(&error)),
            }
            if Instant::now() >= deadline {
                return Err(failure(&error));
            }
        }
    }

    /// Runs a script at one node. Only a script that the node does not know is sent again, as its source: nothing was
    /// read before.
    pub(super) async fn call_at(&self, node: &Node, call: &Call<'_>) -> Result<Value, StoreError> {
        let outcome = match node.send(&call.command(false)).await {
            Err(error) if matches!(error.kind(), ErrorKind::Server(ServerErrorKind::NoScript)) => {
                node.send(&call.command(true)).await
            }
            outcome => outcome,
        };
        outcome.map_err(|error| failure(&error))
    }

    async fn send(
        &self,
        node: &Node,
        command: &Cmd,
        asking: bool,
        durable: bool,
        deadline: Instant,
    ) -> Result<(Value, Option<bool>), RedisError> {
        let late = || RedisError::from(std::io::Error::from(std::io::ErrorKind::TimedOut));
        let sending = async {
            if asking {
                node.send_asking(command)
                    .await
                    .map(|value| (value, durable.then_some(false)))
            } else if durable {
                let limit = deadline.saturating_duration_since(Instant::now()).mul_f32(0.9);
                node.send_durable(command, limit)
                    .await
                    .map(|(value, reached)| (value, Some(reached)))
            } else {
                node.send(command).await.map(|value| (value, None))
            }
        };
        timeout_at(deadline, sending).await.unwrap_or_else(|_| Err(late()))
    }

    /// Sends a command to one node, whatever slots it serves.
    pub(super) async fn ask_node(&self, node: &Node, command: &Cmd) -> Result<Value, RedisError> {
        node.send(command).await
    }

    async fn node_of(&self, slot: u16, deadline: Instant) -> Result<Arc<Node>, StoreError> {
        loop {
            if let Some(node) = self.topology.load().primary_of_slot(slot) {
                return Ok(Arc::clone(node));
            }
            if Instant::now() >= deadline {
                return Err(StoreError::Unavailable(format!("no primary serves slot {slot}")));
            }
            tokio::time::sleep(PAUSE.1).await;
            self.refresh_until(deadline).await;
        }
    }

    pub(super) fn node_at(&self, address: &Address) -> Arc<Node> {
        let mut nodes = self.nodes.lock();
        let node = nodes
            .entry(address.clone())
            .or_insert_with(|| Arc::new(Node::new(address.clone(), Arc::clone(&self.dialer))));
        Arc::clone(node)
    }

    fn count(&self, cause: &str) {
        self.metrics.store_retries.with_label_values(&[cause]).inc();
    }

    async fn pause(&self, pause: &mut Duration, deadline: Instant, error: &RedisError) -> Result<(), StoreError> {
        if Instant::now() + *pause >= deadline {
            return Err(failure(error));
        }
        tokio::time::sleep(*pause).await;
        *pause = (*pause * 2).min(PAUSE.1);
        Ok(())
    }

    /// Reads the map of the cluster's slots anew; at most once for all who ask at the same time.
    pub(super) async fn refresh(&self) {
        let asked = Instant::now();
        let mut refreshed = self.refreshed.lock().await;
        if *refreshed > asked || asked.duration_since(*refreshed) < MAP_INTERVAL {
            return;
        }
        match self.read_map().await {
            Ok(topology) => {
                self.forget_all_but(&topology);
                self.topology.store(Arc::new(topology));
            }
            Err(error) => tracing::debug!(%error, "the map of the cluster's slots cannot be read"),
        }
        *refreshed = Instant::now();
    }

    /// Reads the map anew, but not beyond a deadline.
    async fn refresh_until(&self, deadline: Instant) {
        let _ = timeout_at(deadline, self.refresh()).await;
    }

    fn forget_all_but(&self, topology: &Topology) {
        let known = |address: &Address| {
            topology.primaries.iter().any(|node| node.address == *address)
                || topology.replicas.contains(address)
                || self.seeds.contains(address)
        };
        self.nodes.lock().retain(|address, _| known(address));
    }

    /// Asks every known node, and takes the map that most of those name who answer in time.
    async fn read_map(&self) -> Result<Topology, StoreError> {
        self.metrics.store_topology_refreshes.inc();
        let known: Vec<Address> = {
            let nodes = self.nodes.lock();
            nodes
                .keys()
                .cloned()
                .chain(self.topology.load().replicas.iter().cloned())
                .collect()
        };
        let mut addresses = [known, self.seeds.clone()].concat();
        addresses.sort();
        addresses.dedup();
        let asked = addresses.len();
        let mut asking: FuturesUnordered<_> = addresses
            .iter()
            .map(async |address| (address, self.ask_map(address).await))
            .collect();
        let mut votes: Vec<(SlotMap, usize)> = Vec::new();
        let mut single: Vec<&Address> = Vec::new();
        let mut reason = String::from("no node answered");
        while let Some((address, answer)) = asking.next().await {
            match answer {
                Ok(Some(map)) => match votes.iter_mut().find(|(known, _)| *known == map) {
                    Some((_, count)) => *count += 1,
                    None => votes.push((map, 1)),
                },
                Ok(None) => single.push(address),
                Err(error) => reason = error,
            }
            if votes.iter().any(|(_, count)| *count * 2 > asked) {
                break;
            }
        }
        // No cluster: the first of the seeds that answers.
        if let Some(seed) = self.seeds.iter().find(|seed| single.contains(seed)) {
            return Ok(Topology::single(self.node_at(seed)));
        }
        let chosen = votes
            .into_iter()
            .filter(|(map, _)| !map.ranges.is_empty())
            .max_by_key(|(_, count)| *count);
        match chosen {
            Some((map, _)) => Ok(Topology::cluster(&map, |address| self.node_at(address))),
            None => Err(StoreError::Unavailable(reason)),
        }
    }

    /// One node's map; nothing where it is no cluster.
    async fn ask_map(&self, address: &Address) -> Result<Option<SlotMap>, String> {
        let node = self.node_at(address);
        let limit = MAP_TIMEOUT.max(self.dialer.options().connect_timeout.min(Duration::from_secs(1)));
        let answer = tokio::time::timeout(limit, node.send(redis::cmd("CLUSTER").arg("SLOTS"))).await;
        match answer {
            Ok(Ok(value)) => match SlotMap::parse(&value, address) {
                Some(map) => Ok(Some(map)),
                None => Err(format!("{address}: CLUSTER SLOTS: an answer of another form")),
            },
            Ok(Err(error)) if error.to_string().contains("cluster support disabled") => Ok(None),
            Ok(Err(error)) => Err(format!("{address}: {error}")),
            Err(_) => Err(format!("{address}: no answer in {limit:?}")),
        }
    }
}

fn classify(error: &RedisError, asked: &Address) -> Retry {
    if let Some((endpoint, _slot)) = error.redirect_node() {
        let Some(address) = Address::of_endpoint(endpoint, asked) else {
            return Retry::Refresh("moved");
        };
        match error.kind() {
            ErrorKind::Server(ServerErrorKind::Ask) => return Retry::Ask(address),
            _ => return Retry::Moved(address),
        }
    }
    match error.kind() {
        ErrorKind::Server(ServerErrorKind::NoScript) => Retry::Source,
        ErrorKind::Server(ServerErrorKind::TryAgain) => Retry::Again("tryagain"),
        ErrorKind::Server(
            ServerErrorKind::ClusterDown
            | ServerErrorKind::MasterDown
            | ServerErrorKind::ReadOnly
            | ServerErrorKind::BusyLoading,
        ) => Retry::Refresh("clusterdown"),
        // A script that met a key that a half-moved slot holds elsewhere.
        ErrorKind::Server(ServerErrorKind::ResponseError) if is_half_moved(error) => Retry::Again("tryagain"),
        _ if error.is_timeout() => Retry::Refresh("timeout"),
        _ if is_broken(error) => Retry::Refresh("connection"),
        _ => Retry::No,
    }
}

fn is_half_moved(error: &RedisError) -> bool {
    error.detail().is_some_and(|detail| detail.contains("non local key"))
}

fn failure(error: &RedisError) -> StoreError {
    StoreError::Unavailable(error.to_string())
}
