//! The nodes: what they hold, whom they take themselves for, and what they answer.

use super::super::message::{Kind, encode};
use super::super::mutant::Mutant;
use super::world::{Downward, Event, Upward, World};
use super::{BUCKETS, Id, MS, SESSIONS, SHARDS, Time};

/// One Redis node.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) shard: usize,
    pub(super) data: [u64; SESSIONS],
    /// Takes itself for the primary of its shard, rightly or not.
    pub(super) primary: bool,
    /// Cut off, knows it, and answers CLUSTERDOWN.
    pub(super) fenced: bool,
    /// Cut off from the other nodes, but not from the pods.
    pub(super) cut_off: bool,
    pub(super) paused_until: Time,
    last_replicated: Time,
}

impl Node {
    pub(super) fn new(number: usize) -> Self {
        Self {
            shard: number / 2,
            data: [0; SESSIONS],
            primary: number.is_multiple_of(2),
            fenced: false,
            cut_off: false,
            paused_until: 0,
            last_replicated: 0,
        }
    }

    fn serves(&self) -> bool {
        self.primary && !self.fenced
    }
}

/// A command on a data connection.
#[derive(Clone, Copy, Debug)]
pub(super) enum Command {
    Read {
        request: usize,
        session: usize,
    },
    /// From a replica or whoever is asked, role or no role.
    ReadAnyway {
        request: usize,
        session: usize,
    },
    Write {
        session: usize,
    },
    End {
        session: usize,
    },
}

/// Its reply.
#[derive(Clone, Debug)]
pub(super) enum Reply {
    /// 0: no such session. `None`: MOVED or CLUSTERDOWN.
    Read {
        request: usize,
        value: Option<u64>,
        elsewhere: bool,
    },
    Written {
        session: usize,
        value: u64,
        ran: Time,
    },
    Ended {
        session: usize,
        ran: Time,
    },
    /// The command was refused, or the session does not exist.
    Refused {
        session: usize,
        end: bool,
    },
}

impl World<'_> {
    fn owns(&self, node: usize, bucket: usize) -> bool {
        self.nodes[node].serves() && self.owner[bucket] == self.nodes[node].shard
    }

    pub(super) fn node_hears(&mut self, link: usize, message: Upward) {
        if !self.links[link].open {
            return;
        }
        let node = self.links[link].node;
        match message {
            Upward::Subscribe(bucket) => {
                // A replica accepts it too.
                let shard_owns = self.owner[usize::from(bucket)] == self.nodes[node].shard;
                let fails = self.prng.permille(self.weather.subscribe_fails_permille);
                if shard_owns && !fails && !self.nodes[node].fenced {
                    self.links[link].listed[usize::from(bucket)] = true;
                    self.send_down(link, Downward::Subscribed(bucket));
                } else {
                    self.send_down(link, Downward::SubscribeFailed(bucket));
                }
            }
            Upward::Heartbeat(nonce) => {
                let good = self.nodes[node].serves() || self.mutant == Some(Mutant::PingForHeartbeat);
                self.send_down(
                    link,
                    if good {
                        Downward::HeartbeatOk(nonce)
                    } else {
                        Downward::HeartbeatRefused
                    },
                );
            }
        }
    }

    pub(super) fn run_command(&mut self, node: usize, pod: usize, command: Command) {
        let reply = match command {
            Command::Read { request, session } => {
                let value = self
                    .owns(node, session % BUCKETS)
                    .then(|| self.nodes[node].data[session]);
                Reply::Read {
                    request,
                    value,
                    elsewhere: false,
                }
            }
            Command::ReadAnyway { request, session } => {
                let value = Some(self.nodes[node].data[session]);
                Reply::Read {
                    request,
                    value,
                    elsewhere: true,
                }
            }
            Command::Write { session } => {
                if self.owns(node, session % BUCKETS) && self.nodes[node].data[session] != 0 {
                    let value = self.oracle.new_value();
                    self.change(node, session, value);
                    Reply::Written {
                        session,
                        value,
                        ran: self.now,
                    }
                } else {
                    Reply::Refused { session, end: false }
                }
            }
            Command::End { session } => {
                if self.owns(node, session % BUCKETS) {
                    self.change(node, session, 0);
                    Reply::Ended { session, ran: self.now }
                } else {
                    Reply::Refused { session, end: true }
                }
            }
        };
        let delay = self.latency();
        self.after(delay, Event::Replied { pod, node, reply });
    }

    /// W1: publishes, then writes, in one step. 0 is the end of the session.
    fn change(&mut self, node: usize, session: usize, value: u64) {
        let bucket = session % BUCKETS;
        let kind = if value == 0 { Kind::Ended } else { Kind::Changed };
        let whole_bucket = value != 0 && self.prng.permille(30);
        let kind = if whole_bucket { Kind::Bucket } else { kind };
        let text = encode(kind, value, &[Id::of(session)]);
        for link in 0..self.links.len() {
            if self.links[link].open && self.links[link].node == node && self.links[link].listed[bucket] {
                let bucket = u16::try_from(bucket).unwrap();
                self.send_down(link, Downward::Invalidation(bucket, text.clone()));
            }
        }
        let old = std::mem::replace(&mut self.nodes[node].data[session], value);
        self.oracle.became_true_at(node, old, value, self.now);
        let shard = self.nodes[node].shard;
        if self.primary[shard] != node {
            return;
        }
        self.oracle.became_true(old, value, self.now);
        if !self.nodes[node].cut_off {
            let lag = self.prng.between(0, self.weather.lag);
            let time = (self.now + lag).max(self.nodes[node].last_replicated);
            self.nodes[node].last_replicated = time;
            self.at(
                time,
                Event::Replicate {
                    from: node,
                    epoch: self.epoch[shard],
                    session,
                    value,
                },
            );
        }
    }

    pub(super) fn replicate(&mut self, from: usize, epoch: u64, session: usize, value: u64) {
        let shard = self.nodes[from].shard;
        let lost = self.epoch[shard] != epoch
            || self.nodes[from ^ 1].primary
            || self.nodes[from].cut_off
            || self.owner[session % BUCKETS] != shard;
        if !lost {
            self.nodes[from ^ 1].data[session] = value;
        }
    }

    /// The replica takes over; what had not reached it is lost.
    pub(super) fn promote(&mut self, shard: usize, epoch: u64) {
        if self.epoch[shard] != epoch {
            return;
        }
        self.epoch[shard] += 1;
        self.promotions += 1;
        let old = self.primary[shard];
        let new = old ^ 1;
        self.primary[shard] = new;
        self.nodes[new].primary = true;
        self.nodes[new].fenced = false;
        self.oracle.deposed(old, self.now);
        self.oracle.knows_its_role(new);
        for session in self.sessions_of(shard) {
            let (before, after) = (self.nodes[old].data[session], self.nodes[new].data[session]);
            self.oracle.became_true(before, after, self.now);
            self.oracle.became_true_at(new, 0, after, self.now);
        }
        if self.nodes[old].paused_until <= self.now && !self.nodes[old].cut_off {
            let delay = self.prng.between(MS, 50 * MS);
            self.after(
                delay,
                Event::Learn {
                    node: old,
                    epoch: epoch + 1,
                },
            );
        }
        self.redo_for(shard);
    }

    /// A deposed node hears of it: it becomes a replica, throws its subscribers out and takes the new primary's data.
    pub(super) fn learn(&mut self, node: usize, epoch: u64) {
        let shard = self.nodes[node].shard;
        if self.epoch[shard] != epoch || self.primary[shard] == node {
            return;
        }
        self.step_down(node);
        self.nodes[node].cut_off = false;
        self.nodes[node].fenced = false;
        self.nodes[node].primary = false;
        self.oracle.knows_its_role(node);
        self.nodes[node].data = self.nodes[node ^ 1].data;
        self.drop_subscribers(node, None);
    }

    /// A node that is cut off stops answering.
    pub(super) fn fence(&mut self, node: usize, epoch: u64) {
        let shard = self.nodes[node].shard;
        // Fenced before the promotion, or after it.
        if self.nodes[node].cut_off && (self.epoch[shard] == epoch || self.epoch[shard] == epoch + 1) {
            self.step_down(node);
            self.nodes[node].fenced = true;
        }
    }

    /// The node's word counts no more.
    fn step_down(&mut self, node: usize) {
        let shard = self.nodes[node].shard;
        for session in self.sessions_of(shard) {
            self.oracle.ended_at(node, self.nodes[node].data[session], self.now);
        }
    }

    /// Slot migration, at its end: the bucket is at the other shard, and the source tells its subscribers.
    pub(super) fn move_bucket(&mut self, bucket: usize) {
        let source = self.owner[bucket];
        let target = (source + 1) % SHARDS;
        let (from, to) = (self.primary[source], self.primary[target]);
        let healthy = |node: usize| {
            let node = &self.nodes[node];
            node.paused_until <= self.now && !node.cut_off && !node.fenced
        };
        if ![from, to, from ^ 1, to ^ 1].into_iter().all(healthy)
            || self.nodes[from ^ 1].primary
            || self.nodes[to ^ 1].primary
        {
            return;
        }
        self.moves += 1;
        for session in (bucket..SESSIONS).step_by(BUCKETS) {
            let value = std::mem::take(&mut self.nodes[from].data[session]);
            self.nodes[from ^ 1].data[session] = 0;
            self.oracle.ended_at(from, value, self.now);
            self.oracle.became_true_at(to, 0, value, self.now);
            self.nodes[to].data[session] = value;
            self.nodes[to ^ 1].data[session] = value;
        }
        self.owner[bucket] = target;
        self.drop_subscribers(from, Some(bucket));
    }

    fn drop_subscribers(&mut self, node: usize, only: Option<usize>) {
        for link in 0..self.links.len() {
            for bucket in 0..BUCKETS {
                let meant = only.is_none_or(|only| only == bucket);
                if meant && self.links[link].node == node && std::mem::take(&mut self.links[link].listed[bucket]) {
                    self.send_down(link, Downward::Unsubscribed);
                }
            }
        }
    }

    pub(super) fn sessions_of(&self, shard: usize) -> Vec<usize> {
        (0..SESSIONS)
            .filter(|session| self.owner[session % BUCKETS] == shard)
            .collect()
    }

    /// Delivers in order, however slow.
    pub(super) fn send_down(&mut self, link: usize, message: Downward) {
        let delay = self.link_latency(link);
        let state = &mut self.links[link];
        if state.open && !state.deaf_down {
            state.last_down = state.last_down.max(self.now + delay);
            let time = state.last_down;
            self.at(time, Event::ToPod(link, message));
        }
    }

    pub(super) fn send_up(&mut self, link: usize, message: Upward) {
        let delay = self.link_latency(link);
        let state = &mut self.links[link];
        if state.open && !state.deaf_up {
            state.last_up = state.last_up.max(self.now + delay);
            let time = state.last_up;
            self.at(time, Event::ToNode(link, message));
        }
    }

    fn link_latency(&mut self, link: usize) -> Time {
        let slow = self.links[link].slow_until > self.now;
        let longest = if slow {
            600 * MS
        } else {
            self.weather.latency.min(100 * MS)
        };
        self.prng.between(MS / 10, longest)
    }
}
