//! The pods' subscriber connections: what the product's transport does, rule by rule, in short.

use super::super::message::Message;
use super::super::mutant::Mutant;
use super::super::{BUCKETS as ALL_BUCKETS, Monotonic};
use super::world::{Downward, Event, Link, Upward, World};
use super::{BUCKETS, HEARTBEAT, Id, MS, SECOND, SHARDS, Time};

impl World<'_> {
    /// Asks a majority of the primaries who serves what; the answer is of some moment on the way.
    pub(super) fn ask(&mut self, pod: usize, again: bool) {
        let asked = self.clock(pod);
        let sent = self.now;
        let delay = self.latency().min(SECOND);
        let (primaries, owners) = (self.primary, self.owner);
        self.after(
            delay,
            Event::Answer {
                pod,
                again,
                asked,
                sent,
                primaries,
                owners,
            },
        );
    }

    /// Rule L3: subscribes just the buckets that the answer names, if it was asked after their cover was lost.
    pub(super) fn answered(
        &mut self,
        pod: usize,
        asked: Monotonic,
        sent: Time,
        primaries: [usize; SHARDS],
        owners: [usize; BUCKETS],
    ) {
        for (shard, primary) in primaries.into_iter().enumerate() {
            if let Some(link) = self.pods[pod].links[shard]
                && self.links[link].node != primary
                && self.mutant != Some(Mutant::NoMajorityAndLapse)
            {
                self.end_link(link, false);
            }
            let link = match self.pods[pod].links[shard] {
                Some(link) => link,
                None if self.connectable(primary) => self.connect(pod, primary, asked),
                None => continue,
            };
            for (bucket, owner) in owners.into_iter().enumerate() {
                if owner == shard && !self.links[link].wanted[bucket] && self.pods[pod].lost[bucket] <= sent {
                    self.subscribe(link, bucket);
                }
            }
        }
    }

    fn connectable(&self, node: usize) -> bool {
        // A stopped process still accepts connections: its kernel does.
        self.nodes[node].primary || self.nodes[node].paused_until > self.now
    }

    fn connect(&mut self, pod: usize, node: usize, asked: Monotonic) -> usize {
        let id = self.l1(pod).cover().connection_begun(asked).unwrap();
        let number = self.links.len();
        self.links.push(Link {
            pod,
            node,
            id,
            open: true,
            deaf_up: false,
            deaf_down: false,
            slow_until: 0,
            last_up: self.now,
            last_down: self.now,
            wanted: [false; BUCKETS],
            listed: [false; BUCKETS],
        });
        self.pods[pod].links[self.nodes[node].shard] = Some(number);
        self.after(0, Event::HeartbeatDue(number));
        number
    }

    fn subscribe(&mut self, link: usize, bucket: usize) {
        self.links[link].wanted[bucket] = true;
        let bucket = u16::try_from(bucket).unwrap();
        if self.mutant == Some(Mutant::FailedSubscribeIgnored) {
            let (pod, id) = (self.links[link].pod, self.links[link].id);
            self.l1(pod).cover().subscribed(bucket, id);
        }
        self.send_up(link, Upward::Subscribe(bucket));
    }

    /// Rule L3. `refused`: the node said that it is not the one.
    pub(super) fn end_link(&mut self, link: usize, refused: bool) {
        if !self.links[link].open {
            return;
        }
        self.links[link].open = false;
        let (pod, node, id) = (self.links[link].pod, self.links[link].node, self.links[link].id);
        self.l1(pod).cover().connection_ended(id);
        self.pods[pod].links[self.nodes[node].shard] = None;
        for bucket in 0..BUCKETS {
            if self.links[link].wanted[bucket] {
                self.pods[pod].lost[bucket] = self.now;
            }
        }
        if self.mutant == Some(Mutant::NoMajorityAndLapse) && !refused {
            let asked = self.clock(pod);
            let again = self.connect(pod, node, asked);
            for bucket in 0..BUCKETS {
                if self.links[link].wanted[bucket] {
                    self.subscribe(again, bucket);
                }
            }
            return;
        }
        let delay = self.prng.between(0, 50 * MS);
        self.after(delay, Event::Ask { pod, again: false });
    }

    /// Rule L2, every h.
    pub(super) fn send_heartbeat(&mut self, link: usize) {
        if !self.links[link].open {
            return;
        }
        let (pod, id) = (self.links[link].pod, self.links[link].id);
        let now = self.clock(pod);
        match self.l1(pod).cover().heartbeat_sent(id, now) {
            Ok(nonce) => {
                self.send_up(link, Upward::Heartbeat(nonce));
                self.after(HEARTBEAT, Event::HeartbeatDue(link));
            }
            Err(_) => self.end_link(link, false),
        }
    }

    /// Rule F2: the connection's reader.
    pub(super) fn pod_hears(&mut self, link: usize, message: Downward) {
        if !self.links[link].open {
            return;
        }
        let (pod, id) = (self.links[link].pod, self.links[link].id);
        let now = self.clock(pod);
        match message {
            Downward::Subscribed(bucket) => {
                if self.mutant != Some(Mutant::FailedSubscribeIgnored) {
                    self.l1(pod).cover().subscribed(bucket, id);
                }
            }
            Downward::SubscribeFailed(bucket) => {
                if self.mutant == Some(Mutant::FailedSubscribeIgnored) {
                    return;
                }
                self.l1(pod).cover().unsubscribed(bucket, id);
                self.links[link].wanted[usize::from(bucket)] = false;
                self.pods[pod].lost[usize::from(bucket)] = self.now;
                let delay = self.prng.between(20 * MS, 200 * MS);
                self.after(delay, Event::Ask { pod, again: false });
            }
            Downward::Unsubscribed => {
                if self.mutant != Some(Mutant::SunsubscribeOverlooked) {
                    self.end_link(link, false);
                }
            }
            Downward::Invalidation(bucket, text) => {
                if self.mutant == Some(Mutant::QueuedInvalidation) {
                    let starved = self.prng.permille(50);
                    let delay = self.prng.between(0, if starved { 3 * SECOND } else { 20 * MS });
                    self.after(delay, Event::Detour(link, bucket, text));
                } else {
                    self.apply(pod, bucket, &text);
                }
            }
            Downward::HeartbeatOk(nonce) => {
                if self.l1(pod).cover().heartbeat_reply(id, nonce, now).is_err() {
                    self.end_link(link, false);
                }
            }
            Downward::HeartbeatRefused => self.end_link(link, true),
        }
    }

    pub(super) fn apply(&mut self, pod: usize, bucket: u16, text: &str) {
        debug_assert!(usize::from(bucket) < ALL_BUCKETS);
        let message = Message::parse::<Id>(text.as_bytes()).unwrap();
        let now = self.clock(pod);
        self.l1(pod).heard(bucket, &message, now);
        if message.kind() == super::super::message::Kind::Ended {
            for id in message.ids::<Id>() {
                self.oracle.heard_end(pod, id.session(), self.now);
            }
        }
    }
}
