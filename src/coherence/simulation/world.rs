//! The world of one run: its state, its events in order, and the clock.

use std::cell::Cell;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::super::mutant::Mutant;
use super::super::{ConnectionId, Monotonic, Nonce};
use super::faults::Fault;
use super::oracle::Oracle;
use super::pod::Request;
use super::prng::Prng;
use super::redis::{Command, Node, Reply};
use super::weather::Weather;
use super::{BUCKETS, Caches, END, Id, L1, MS, NODES, PODS, SECOND, SESSIONS, SHARDS, Time};

/// What travels on a subscriber connection to a node.
#[derive(Clone, Copy, Debug)]
pub(super) enum Upward {
    Subscribe(u16),
    Heartbeat(Nonce),
}

/// What travels on a subscriber connection to a pod.
#[derive(Clone, Debug)]
pub(super) enum Downward {
    Subscribed(u16),
    SubscribeFailed(u16),
    Unsubscribed,
    Invalidation(u16, String),
    HeartbeatOk(Nonce),
    HeartbeatRefused,
}

/// Something that happens.
#[derive(Debug)]
pub(super) enum Event {
    ToNode(usize, Upward),
    ToPod(usize, Downward),
    /// An invalidation that took a detour: only with F2 left out.
    Detour(usize, u16, String),
    Disconnected(usize),
    HeartbeatDue(usize),
    /// Ask a majority; once, or again and again.
    Ask {
        pod: usize,
        again: bool,
    },
    Answer {
        pod: usize,
        again: bool,
        asked: Monotonic,
        sent: Time,
        primaries: [usize; SHARDS],
        owners: [usize; BUCKETS],
    },
    /// The node runs a command.
    Run {
        node: usize,
        pod: usize,
        command: Command,
    },
    /// The pod gets the reply.
    Replied {
        pod: usize,
        node: usize,
        reply: Reply,
    },
    Arrival(usize),
    Write(usize),
    Step(usize),
    Replicate {
        from: usize,
        epoch: u64,
        session: usize,
        value: u64,
    },
    Promote {
        shard: usize,
        epoch: u64,
    },
    Learn {
        node: usize,
        epoch: u64,
    },
    Fence {
        node: usize,
        epoch: u64,
    },
    Redo {
        pod: usize,
        session: usize,
    },
    Fault,
    Trouble(Fault),
}

/// An event in its place: by time, then in the order in which events were made.
#[derive(Debug)]
struct Due(Time, u64, Event);

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        (self.0, self.1) == (other.0, other.1)
    }
}
impl Eq for Due {}
impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Due {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.0, self.1).cmp(&(other.0, other.1))
    }
}

/// A subscriber connection.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) pod: usize,
    pub(super) node: usize,
    pub(super) id: ConnectionId,
    pub(super) open: bool,
    /// Nothing gets through any more, and neither side knows.
    pub(super) deaf_up: bool,
    pub(super) deaf_down: bool,
    pub(super) slow_until: Time,
    pub(super) last_up: Time,
    pub(super) last_down: Time,
    /// Buckets asked for or acknowledged.
    pub(super) wanted: [bool; BUCKETS],
    /// Buckets that the node has on its list.
    pub(super) listed: [bool; BUCKETS],
}

/// One pod beside its cache.
#[derive(Debug, Default)]
pub(super) struct Pod {
    pub(super) paused_until: Time,
    pub(super) suspended: Time,
    pub(super) clock_offset: Time,
    /// The open connection to each shard.
    pub(super) links: [Option<usize>; SHARDS],
    /// When cover of a bucket was last lost: a majority must be asked after that.
    pub(super) lost: [Time; BUCKETS],
    /// Until when each end is redone.
    pub(super) redo: [Time; SESSIONS],
    /// Requests that wait for another's fill.
    pub(super) joining: Vec<usize>,
}

pub(super) struct World<'a> {
    pub(super) now: Time,
    pub(super) prng: Prng,
    pub(super) weather: Weather,
    pub(super) mutant: Option<Mutant>,
    pub(super) oracle: Oracle,
    queue: BinaryHeap<Reverse<Due>>,
    serial: u64,
    pub(super) nodes: Vec<Node>,
    pub(super) primary: [usize; SHARDS],
    pub(super) owner: [usize; BUCKETS],
    pub(super) epoch: [u64; SHARDS],
    pub(super) pods: Vec<Pod>,
    caches: &'a Caches,
    pub(super) clocks: &'a [Cell<u64>; PODS],
    pub(super) links: Vec<Link>,
    pub(super) requests: Vec<Option<Request<'a>>>,
    pub(super) free: Vec<usize>,
    pub(super) promotions: u64,
    pub(super) moves: u64,
    pub(super) trace: bool,
}

impl<'a> World<'a> {
    pub(super) fn new(seed: u64, mutant: Option<Mutant>, caches: &'a Caches, clocks: &'a [Cell<u64>; PODS]) -> Self {
        let mut prng = Prng::new(seed);
        let weather = Weather::draw(&mut prng);
        let mut world = Self {
            now: 0,
            weather,
            mutant,
            oracle: Oracle::new(),
            queue: BinaryHeap::new(),
            serial: 0,
            nodes: (0..NODES).map(Node::new).collect(),
            primary: std::array::from_fn(|shard| 2 * shard),
            owner: std::array::from_fn(|bucket| bucket % SHARDS),
            epoch: [0; SHARDS],
            pods: (0..PODS).map(|_| Pod::default()).collect(),
            caches,
            clocks,
            links: Vec::new(),
            requests: Vec::new(),
            free: Vec::new(),
            promotions: 0,
            moves: 0,
            trace: std::env::var_os("CLOAKROOM_SIM_TRACE").is_some(),
            prng,
        };
        world.set_up();
        world
    }

    fn set_up(&mut self) {
        for session in 0..SESSIONS {
            let value = self.oracle.new_value();
            let shard = self.owner[session % BUCKETS];
            self.oracle.became_true(0, value, 0);
            self.oracle.became_true_at(self.primary[shard], 0, value, 0);
            self.nodes[2 * shard].data[session] = value;
            self.nodes[2 * shard + 1].data[session] = value;
        }
        for pod in 0..PODS {
            self.pods[pod].clock_offset = self.prng.between(SECOND, 1000 * SECOND);
            self.after(0, Event::Ask { pod, again: true });
            self.after(100 * MS, Event::Arrival(pod));
            self.after(100 * MS, Event::Write(pod));
        }
        let first_fault = self.about(self.weather.fault_gap);
        self.after(500 * MS + first_fault, Event::Fault);
    }

    /// Runs to the end, or to the first thing that is wrong.
    pub(super) fn run(&mut self) {
        while let Some(Reverse(Due(time, serial, event))) = self.queue.pop() {
            if time >= END || !self.oracle.violations.is_empty() {
                break;
            }
            self.now = time;
            if let Some(wakes) = self.sleeps(&event) {
                self.queue.push(Reverse(Due(wakes, serial, event)));
                continue;
            }
            if self.trace {
                println!("{:>12} us {event:?}", time / 1000);
            }
            self.happen(event);
        }
    }

    /// Until when whoever the event is for is paused.
    fn sleeps(&mut self, event: &Event) -> Option<Time> {
        let wakes = match event {
            Event::ToNode(link, _) => self.nodes[self.links[*link].node].paused_until,
            Event::Run { node, .. } => self.nodes[*node].paused_until,
            Event::ToPod(link, _) | Event::Detour(link, ..) | Event::Disconnected(link) | Event::HeartbeatDue(link) => {
                self.pods[self.links[*link].pod].paused_until
            }
            Event::Ask { pod, .. } | Event::Answer { pod, .. } | Event::Arrival(pod) | Event::Write(pod) => {
                self.pods[*pod].paused_until
            }
            Event::Redo { pod, .. } | Event::Replied { pod, .. } => self.pods[*pod].paused_until,
            Event::Step(request) => {
                let pod = self.requests[*request].as_ref().map_or(0, |request| request.pod);
                let wakes = self.pods[pod].paused_until;
                // Threads come back in any order.
                if wakes > self.now {
                    wakes + self.prng.below(4) as u64 * MS
                } else {
                    wakes
                }
            }
            _ => 0,
        };
        (wakes > self.now).then_some(wakes)
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::ToNode(link, message) => self.node_hears(link, message),
            Event::ToPod(link, message) => self.pod_hears(link, message),
            Event::Detour(link, bucket, text) => self.apply(self.links[link].pod, bucket, &text),
            Event::Disconnected(link) => self.end_link(link, false),
            Event::HeartbeatDue(link) => self.send_heartbeat(link),
            Event::Ask { pod, again } => self.ask(pod, again),
            Event::Answer {
                pod,
                again,
                asked,
                sent,
                primaries,
                owners,
            } => {
                self.answered(pod, asked, sent, primaries, owners);
                if again {
                    let gap = self.about(self.weather.ask_gap);
                    let missing = self.pods[pod].links.iter().any(Option::is_none);
                    self.after(if missing { 100 * MS } else { gap }, Event::Ask { pod, again });
                }
            }
            Event::Run { node, pod, command } => self.run_command(node, pod, command),
            Event::Replied { pod, node, reply } => self.replied(pod, node, &reply),
            Event::Arrival(pod) => self.arrival(pod),
            Event::Write(pod) => self.write(pod),
            Event::Step(request) => self.step(request),
            Event::Replicate {
                from,
                epoch,
                session,
                value,
            } => self.replicate(from, epoch, session, value),
            Event::Promote { shard, epoch } => self.promote(shard, epoch),
            Event::Learn { node, epoch } => self.learn(node, epoch),
            Event::Fence { node, epoch } => self.fence(node, epoch),
            Event::Redo { pod, session } => self.redo(pod, session),
            Event::Fault => self.draw_fault(),
            Event::Trouble(fault) => self.strike(&fault),
        }
    }

    pub(super) fn after(&mut self, delay: Time, event: Event) {
        self.at(self.now + delay, event);
    }

    pub(super) fn at(&mut self, time: Time, event: Event) {
        self.serial += 1;
        self.queue.push(Reverse(Due(time, self.serial, event)));
    }

    /// Somewhere round `mean`.
    pub(super) fn about(&mut self, mean: Time) -> Time {
        self.prng.between(mean / 4, mean * 7 / 4 + 1)
    }

    /// The delay of a message outside the subscriber connections.
    pub(super) fn latency(&mut self) -> Time {
        let slow = self.prng.permille(self.weather.slow_permille);
        let usual = self.prng.between(MS / 10, self.weather.latency);
        if slow {
            usual + self.prng.between(0, self.weather.slow)
        } else {
            usual
        }
    }

    pub(super) fn l1(&self, pod: usize) -> &'a L1<Id, u64> {
        &self.caches.0[pod]
    }

    /// Rule T, the pod's clock; it also sets what requests under way read.
    pub(super) fn clock(&self, pod: usize) -> Monotonic {
        let state = &self.pods[pod];
        let stood_still = if self.mutant == Some(Mutant::ClockStopsInSuspend) {
            state.suspended
        } else {
            0
        };
        let time = self.now + state.clock_offset - stood_still;
        self.clocks[pod].set(time);
        Monotonic::from_nanos(time)
    }
}
