//! What goes wrong.

use super::world::{Event, World};
use super::{BUCKETS, MS, NODE_TIMEOUT, PODS, SECOND, SHARDS, Time};

/// One fault.
#[derive(Clone, Debug)]
pub(super) enum Fault {
    /// The pod stands still; with `suspend`, so does its machine.
    PausePod {
        pod: usize,
        length: Time,
        suspend: bool,
    },
    /// The primary is stopped; if for long, its replica takes over.
    PausePrimary {
        shard: usize,
        length: Time,
    },
    /// The primary is cut off from the other nodes, not from the pods.
    CutOffPrimary {
        shard: usize,
        length: Time,
    },
    /// The replica takes over at once.
    TakeOver {
        shard: usize,
    },
    /// The primary dies and comes back as a replica.
    KillPrimary {
        shard: usize,
        length: Time,
    },
    MoveBucket {
        bucket: usize,
    },
    CutLink {
        link: usize,
    },
    HalfOpen {
        link: usize,
        up: bool,
        down: bool,
    },
    SlowLink {
        link: usize,
        length: Time,
    },
}

impl World<'_> {
    pub(super) fn draw_fault(&mut self) {
        let shard = self.prng.below(SHARDS);
        let open: Vec<usize> = (0..self.links.len()).filter(|link| self.links[*link].open).collect();
        let link = if open.is_empty() {
            0
        } else {
            open[self.prng.below(open.len())]
        };
        let short = self.prng.between(100 * MS, 1900 * MS);
        let long = self.prng.between(2600 * MS, 9 * SECOND);
        let length = if self.prng.permille(500) { short } else { long };
        let any = self.prng.below(11);
        let kind = if self.prng.permille(700) {
            self.weather.favourite.unwrap_or(any)
        } else {
            any
        };
        let fault = match kind {
            0 | 1 => Fault::PausePod {
                pod: self.prng.below(PODS),
                length,
                suspend: self.prng.permille(500),
            },
            2 | 3 => Fault::PausePrimary { shard, length },
            4 => Fault::CutOffPrimary {
                shard,
                length: long + SECOND,
            },
            5 => Fault::TakeOver { shard },
            6 => Fault::KillPrimary { shard, length: long },
            7 => Fault::MoveBucket {
                bucket: self.prng.below(BUCKETS),
            },
            8 => Fault::CutLink { link },
            9 => {
                let up = self.prng.permille(500);
                Fault::HalfOpen {
                    link,
                    up,
                    down: !up || self.prng.permille(300),
                }
            }
            _ => Fault::SlowLink { link, length },
        };
        self.after(0, Event::Trouble(fault));
        let gap = self.about(self.weather.fault_gap);
        self.after(gap, Event::Fault);
    }

    pub(super) fn strike(&mut self, fault: &Fault) {
        match *fault {
            Fault::PausePod { pod, length, suspend } => {
                if self.pods[pod].paused_until <= self.now {
                    self.pods[pod].paused_until = self.now + length;
                    self.pods[pod].suspended += if suspend { length } else { 0 };
                }
            }
            Fault::PausePrimary { shard, length } => self.pause_primary(shard, length),
            Fault::CutOffPrimary { shard, length } => self.cut_off_primary(shard, length),
            Fault::TakeOver { shard } => {
                if self.healthy(shard) {
                    self.promote(shard, self.epoch[shard]);
                }
            }
            Fault::KillPrimary { shard, length } => {
                if self.healthy(shard) {
                    let node = self.primary[shard];
                    self.pause_primary(shard, length);
                    for link in 0..self.links.len() {
                        if self.links[link].node == node {
                            self.cut(link);
                        }
                    }
                }
            }
            Fault::MoveBucket { bucket } => self.move_bucket(bucket),
            Fault::CutLink { link } => self.cut(link),
            Fault::HalfOpen { link, up, down } => {
                if let Some(link) = self.links.get_mut(link) {
                    link.deaf_up |= up;
                    link.deaf_down |= down;
                }
            }
            Fault::SlowLink { link, length } => {
                let until = self.now + length;
                if let Some(state) = self.links.get_mut(link) {
                    state.slow_until = until;
                    let deaf = self.prng.between(0, length);
                    self.after(
                        deaf,
                        Event::Trouble(Fault::HalfOpen {
                            link,
                            up: false,
                            down: true,
                        }),
                    );
                }
            }
        }
    }

    fn healthy(&self, shard: usize) -> bool {
        let node = self.primary[shard];
        let (primary, other) = (&self.nodes[node], &self.nodes[node ^ 1]);
        primary.paused_until <= self.now && !primary.cut_off && !primary.fenced && !other.primary
    }

    fn pause_primary(&mut self, shard: usize, length: Time) {
        if !self.healthy(shard) {
            return;
        }
        let (node, epoch) = (self.primary[shard], self.epoch[shard]);
        self.nodes[node].paused_until = self.now + length;
        let takes_over = NODE_TIMEOUT + self.prng.between(0, 500 * MS);
        if length > takes_over {
            self.after(takes_over, Event::Promote { shard, epoch });
            let told = self.prng.between(MS, 8 * MS);
            self.after(length + told, Event::Learn { node, epoch: epoch + 1 });
        }
    }

    fn cut_off_primary(&mut self, shard: usize, length: Time) {
        if !self.healthy(shard) {
            return;
        }
        let (node, epoch) = (self.primary[shard], self.epoch[shard]);
        self.nodes[node].cut_off = true;
        let takes_over = NODE_TIMEOUT + self.prng.between(0, 500 * MS);
        self.after(takes_over, Event::Promote { shard, epoch });
        let fences = NODE_TIMEOUT + self.prng.between(0, SECOND);
        self.after(fences, Event::Fence { node, epoch });
        self.after(length, Event::Learn { node, epoch: epoch + 1 });
    }

    fn cut(&mut self, link: usize) {
        if let Some(state) = self.links.get_mut(link).filter(|link| link.open) {
            state.deaf_up = true;
            state.deaf_down = true;
            let delay = self.prng.between(0, 5 * MS);
            self.after(delay, Event::Disconnected(link));
        }
    }
}
