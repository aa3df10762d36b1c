//! Faults that strike a single request.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::oneshot;

/// A fault for the request that contains some bytes.
pub(super) struct RequestRule {
    pub(super) contains: Vec<u8>,
    /// How many more requests must match; the last of them is struck.
    pub(super) remaining: u64,
    pub(super) action: Action,
}

pub(super) enum Action {
    CutBeforeRequest,
    CutBeforeReply,
    Swap(SwapSides),
}

/// One end of an exchange of two replies: what this side sends, and what it is given for it.
pub(super) struct SwapSides {
    /// The connection that the exchange already has on one side: the other side must be another one.
    pub(super) taken_by: Arc<Mutex<Option<u64>>>,
    pub(super) give: oneshot::Sender<Vec<u8>>,
    pub(super) take: oneshot::Receiver<Vec<u8>>,
}

impl SwapSides {
    pub(super) fn pair() -> (Self, Self) {
        let taken_by = Arc::new(Mutex::new(None));
        let (give_left, take_right) = oneshot::channel();
        let (give_right, take_left) = oneshot::channel();
        let left = Self {
            taken_by: Arc::clone(&taken_by),
            give: give_left,
            take: take_left,
        };
        (
            left,
            Self {
                taken_by,
                give: give_right,
                take: take_right,
            },
        )
    }

    fn accepts(&self, connection: u64) -> bool {
        *self.taken_by.lock() != Some(connection)
    }
}

/// The action that strikes `request` on `connection`, if any; the rule is used up by it.
pub(super) fn strike(rules: &Mutex<Vec<RequestRule>>, request: &[u8], connection: u64) -> Option<Action> {
    let mut rules = rules.lock();
    let mut struck = None;
    for (index, rule) in rules.iter_mut().enumerate() {
        let is_barred = matches!(&rule.action, Action::Swap(sides) if !sides.accepts(connection));
        if is_barred || !super::super::resp::contains(request, &rule.contains) {
            continue;
        }
        rule.remaining -= 1;
        if rule.remaining == 0 {
            struck = Some(index);
            break;
        }
    }
    let action = rules.remove(struck?).action;
    if let Action::Swap(sides) = &action {
        *sides.taken_by.lock() = Some(connection);
    }
    Some(action)
}
