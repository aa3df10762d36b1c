//! The transport of invalidations: one connection to each primary, supervised, with shard subscriptions and keyed
//! heartbeats (rules C, L2 and L3).

mod line;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::join_all;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use super::node::{Address, Node};
use super::topology::SlotMap;
use super::{RedisStore, layout};
use crate::coherence::{ConnectionId, Feed, Pace, Store, Transport};
use crate::session::{Bucket, Monotonic};
use line::Line;

/// How often the majority is asked whether the slots are still where they were.
const SURVEY: Duration = Duration::from_secs(1);
/// How long a primary may take to answer it.
const SURVEY_TIMEOUT: Duration = Duration::from_millis(500);
/// Pause before a connection is opened again.
const REOPEN: Duration = Duration::from_millis(50);

/// The nodes to which the standing connections lead, for reads that may fill L1 (rule F1).
pub(super) type Lines = HashMap<ConnectionId, Arc<Node>>;

/// Where a majority of the primaries says that each bucket is.
#[derive(Debug)]
struct Survey {
    /// The time before they were asked.
    asked: Monotonic,
    buckets: BTreeMap<Address, Vec<Bucket>>,
}

/// A connection under supervision.
struct Held {
    buckets: Vec<Bucket>,
    task: JoinHandle<()>,
    stop: CancellationToken,
}

#[async_trait]
impl Transport for RedisStore {
    async fn feed(&self, l1: Arc<dyn Feed>, pace: Pace) {
        let (ended, mut ends) = mpsc::unbounded_channel();
        let mut supervisor = Supervisor {
            store: self.clone(),
            l1,
            pace: pace.clone(),
            ended,
            lines: HashMap::new(),
        };
        let mut survey = tokio::time::interval(SURVEY);
        survey.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = pace.stop.cancelled() => break,
                Some(address) = ends.recv() => {
                    supervisor.lines.remove(&address);
                    while let Ok(address) = ends.try_recv() {
                        supervisor.lines.remove(&address);
                    }
                    tokio::time::sleep(REOPEN).await;
                    supervisor.survey().await;
                }
                _ = survey.tick() => supervisor.survey().await,
            }
        }
        for held in supervisor.lines.into_values() {
            held.stop.cancel();
            let _ = held.task.await;
        }
    }

    async fn facts(&self) -> Store {
        let router = &self.0.router;
        if !router.topology().is_cluster {
            return Store::Single;
        }
        let vouched = router.dialer().options().node_timeout;
        Store::Cluster {
            node_timeout: layout::node_timeout(router).await.or(vouched),
            reads_when_down: layout::reads_when_down(router).await,
        }
    }
}

struct Supervisor {
    store: RedisStore,
    l1: Arc<dyn Feed>,
    pace: Pace,
    ended: mpsc::UnboundedSender<Address>,
    lines: HashMap<Address, Held>,
}

impl Supervisor {
    /// Asks the primaries where the buckets are, and makes the connections follow.
    async fn survey(&mut self) {
        let Some(survey) = self.ask().await else { return };
        // A connection that was told to end speaks for no bucket any more: another one may cover its buckets by now.
        for (address, held) in self.lines.iter().filter(|(_, held)| !held.stop.is_cancelled()) {
            let here = survey.buckets.get(address);
            let moved = held
                .buckets
                .iter()
                .filter(|bucket| here.is_none_or(|here| !here.contains(bucket)));
            for bucket in moved {
                self.l1.cover().bucket_moved(bucket.number());
            }
            // A connection subscribes once, at its beginning: one that serves other buckets by now begins anew.
            if here.is_none_or(|here| *here != held.buckets) {
                held.stop.cancel();
            }
        }
        for (address, buckets) in survey.buckets {
            if !self.lines.contains_key(&address) {
                self.open(address, buckets, survey.asked);
            }
        }
    }

    fn open(&mut self, address: Address, buckets: Vec<Bucket>, asked: Monotonic) {
        let stop = self.pace.stop.child_token();
        let line = Line {
            store: self.store.clone(),
            l1: Arc::clone(&self.l1),
            pace: Pace {
                stop: stop.clone(),
                ..self.pace.clone()
            },
            node: self.store.0.router.node_at(&address),
            buckets: buckets.clone(),
        };
        let (ended, told) = (self.ended.clone(), address.clone());
        let running = async move {
            line.run(asked).await;
            let _ = ended.send(told);
        };
        let task = tokio::spawn(running.in_current_span());
        self.lines.insert(address, Held { buckets, task, stop });
    }

    /// The majority question: each bucket is where more than half of the known primaries say that it is.
    async fn ask(&self) -> Option<Survey> {
        let asked = self.pace.clock.monotonic();
        let router = &self.store.0.router;
        let topology = router.topology();
        if !topology.is_cluster {
            let address = topology.primaries.first()?.address.clone();
            return Some(Survey {
                asked,
                buckets: BTreeMap::from([(address, Bucket::all().collect())]),
            });
        }
        let maps = join_all(topology.primaries.iter().map(|node| ask_map(node))).await;
        let agreed = majority(topology.primaries.len(), &maps);
        let differs = |bucket: &Bucket| {
            let known = topology.primary_of(*bucket).map(|node| &node.address);
            known != agreed.get(bucket)
        };
        if Bucket::all().any(|bucket| differs(&bucket)) {
            router.refresh().await;
        }
        let mut buckets: BTreeMap<Address, Vec<Bucket>> = BTreeMap::new();
        for (bucket, address) in agreed {
            buckets.entry(address).or_default().push(bucket);
        }
        Some(Survey { asked, buckets })
    }
}

async fn ask_map(node: &Node) -> Option<SlotMap> {
    let command = redis::cmd("CLUSTER").arg("SLOTS").to_owned();
    let answer = tokio::time::timeout(SURVEY_TIMEOUT, node.send(&command)).await;
    SlotMap::parse(&answer.ok()?.ok()?, &node.address)
}

/// The buckets that more than half of so many primaries place alike.
fn majority(primaries: usize, maps: &[Option<SlotMap>]) -> BTreeMap<Bucket, Address> {
    let mut agreed = BTreeMap::new();
    for bucket in Bucket::all() {
        let mut votes: Vec<(&Address, usize)> = Vec::new();
        for address in maps.iter().flatten().filter_map(|map| map.primary_of(bucket)) {
            match votes.iter_mut().find(|(known, _)| *known == address) {
                Some((_, count)) => *count += 1,
                None => votes.push((address, 1)),
            }
        }
        if let Some((address, _)) = votes.into_iter().find(|(_, count)| count * 2 > primaries) {
            agreed.insert(bucket, address.clone());
        }
    }
    agreed
}
