//! What is true, kept apart from every pod and node: when each value was last the one at its shard's primary.

use super::{B, KEEP_ENDS, NODE_TIMEOUT, NODES, PODS, SESSIONS, Time};

/// Still so now.
const NOW: Time = Time::MAX;
/// How long after a promotion a node that does not know of it excuses the pods subscribed to it: the exception of the
/// promise, "about the node timeout".
const UNAWARE: Time = NODE_TIMEOUT;

/// A way in which a run was bad.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Violation {
    pub(super) at: Time,
    pub(super) what: String,
}

/// Histories by value; values are numbered in the order in which they were written, 0 is "no such session".
#[derive(Debug)]
pub(super) struct Oracle {
    /// When each value was last true at the shard's primary.
    truth: Vec<Time>,
    /// When each value was last held by a node that took itself for the primary.
    at_node: Vec<[Time; NODES]>,
    /// The same, but counted only as long as the exception of the promise excuses a node.
    excused: Vec<[Time; NODES]>,
    deposed_at: [Option<Time>; NODES],
    heard_end: [[Option<Time>; SESSIONS]; PODS],
    /// The last write of each pod to each session: when it ran, and when the pod had answered it.
    own_write: [[Option<(Time, Time)>; SESSIONS]; PODS],
    pub(super) violations: Vec<Violation>,
    pub(super) hits: u64,
}

/// An answer that a pod gave.
#[derive(Clone, Copy, Debug)]
pub(super) struct Given {
    pub(super) pod: usize,
    pub(super) session: usize,
    pub(super) value: u64,
    /// The node whose connection covered the bucket.
    pub(super) node: Option<usize>,
    /// When the request began.
    pub(super) started: Time,
}

impl Oracle {
    pub(super) fn new() -> Self {
        Self {
            truth: vec![0],
            at_node: vec![[0; NODES]],
            excused: vec![[0; NODES]],
            deposed_at: [None; NODES],
            heard_end: [[None; SESSIONS]; PODS],
            own_write: [[None; SESSIONS]; PODS],
            violations: Vec::new(),
            hits: 0,
        }
    }

    /// A number for a value about to be written.
    pub(super) fn new_value(&mut self) -> u64 {
        self.truth.push(0);
        self.at_node.push([0; NODES]);
        self.excused.push([0; NODES]);
        self.truth.len() as u64 - 1
    }

    /// At the shard's primary, `new` took the place of `old`.
    pub(super) fn became_true(&mut self, old: u64, new: u64, now: Time) {
        self.truth[index(old)] = now;
        self.truth[index(new)] = NOW;
    }

    /// At a node that takes itself for the primary, `new` took the place of `old`.
    pub(super) fn became_true_at(&mut self, node: usize, old: u64, new: u64, now: Time) {
        self.ended_at(node, old, now);
        self.at_node[index(new)][node] = NOW;
        self.excused[index(new)][node] = NOW;
    }

    /// A node ceased to hold `value` as primary.
    pub(super) fn ended_at(&mut self, node: usize, value: u64, now: Time) {
        let value = index(value);
        if self.at_node[value][node] == NOW {
            self.at_node[value][node] = now;
            self.excused[value][node] = self.deposed_at[node].map_or(now, |deposed| now.min(deposed + UNAWARE));
        }
    }

    pub(super) fn deposed(&mut self, node: usize, now: Time) {
        self.deposed_at[node] = Some(now);
    }

    pub(super) fn knows_its_role(&mut self, node: usize) {
        self.deposed_at[node] = None;
    }

    pub(super) fn heard_end(&mut self, pod: usize, session: usize, now: Time) {
        self.heard_end[pod][session] = Some(now);
    }

    pub(super) fn answered_write(&mut self, pod: usize, session: usize, ran: Time, now: Time) {
        self.own_write[pod][session] = Some((ran, now));
    }

    /// An answer from L1 (a hit, or a joined fill).
    pub(super) fn answered_from_l1(&mut self, given: Given, now: Time) {
        self.hits += 1;
        let last_true = self.last_true(given, now, true);
        if last_true != NOW && now > last_true + B {
            self.violation(
                now,
                format!("{given:?} was true last {} ms ago", (now - last_true) / super::MS),
            );
        }
        self.answered(given, now);
    }

    /// An answer by the request that read itself.
    pub(super) fn answered_from_read(&mut self, given: Given, now: Time) {
        let last_true = self.last_true(given, now, false);
        if last_true != NOW && now > last_true + B {
            self.violation(
                now,
                format!("read {given:?} was true last {} ms ago", (now - last_true) / super::MS),
            );
        }
        self.answered(given, now);
    }

    fn answered(&mut self, given: Given, now: Time) {
        let ended = self.heard_end[given.pod][given.session];
        if ended.is_some_and(|heard| given.started > heard && now < heard + KEEP_ENDS) {
            self.violation(now, format!("{given:?} is alive though the pod heard its end"));
        }
        let Some((ran, answered)) = self.own_write[given.pod][given.session] else {
            return;
        };
        if given.started > answered && self.last_true(given, now, false) <= ran {
            self.violation(now, format!("{given:?} is older than the pod's own write"));
        }
    }

    fn last_true(&self, given: Given, now: Time, limited: bool) -> Time {
        let truth = self.truth[index(given.value)];
        let Some(node) = given.node else { return truth };
        if !limited {
            return truth.max(self.at_node[index(given.value)][node]);
        }
        let excused = match (self.excused[index(given.value)][node], self.deposed_at[node]) {
            (NOW, Some(deposed)) => now.min(deposed + UNAWARE),
            (end, _) => end,
        };
        truth.max(excused)
    }

    fn violation(&mut self, at: Time, what: String) {
        self.violations.push(Violation { at, what });
    }
}

fn index(value: u64) -> usize {
    usize::try_from(value).unwrap()
}
