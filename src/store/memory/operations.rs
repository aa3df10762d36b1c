use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use crate::session::{CartItem, OperationId, SessionId, Timestamp};
use crate::store::Ended;

/// How long an operation is remembered: longer than a client library goes on sending it.
const MEMORY: Duration = Duration::from_secs(30);

/// What a successful operation answered.
#[derive(Clone)]
pub(super) enum Answer {
    /// A session was made, and these ended to make room.
    Created { id: SessionId, ended: Vec<SessionId> },
    /// The session was changed.
    Changed,
    /// The sum.
    Incremented(serde_json::Number),
    /// The whole cart.
    Cart(Vec<CartItem>),
    /// The session got this id.
    Rotated(SessionId),
    /// These sessions ended.
    Ended(Ended),
}

/// The operations of the last while, so that one that is sent again counts once.
#[derive(Default)]
pub(super) struct Operations {
    answers: HashMap<OperationId, Answer>,
    forgotten_at: VecDeque<(Timestamp, OperationId)>,
}

impl Operations {
    /// What the operation answered before.
    pub(super) fn answer(&self, operation: OperationId) -> Option<Answer> {
        self.answers.get(&operation).cloned()
    }

    pub(super) fn remember(&mut self, now: Timestamp, operation: OperationId, answer: Answer) {
        self.answers.insert(operation, answer);
        self.forgotten_at.push_back((now.plus(MEMORY), operation));
    }

    /// Forgets those whose time is over.
    pub(super) fn forget(&mut self, now: Timestamp) {
        while let Some((until, operation)) = self.forgotten_at.front().copied()
            && until <= now
        {
            self.forgotten_at.pop_front();
            self.answers.remove(&operation);
        }
    }
}
