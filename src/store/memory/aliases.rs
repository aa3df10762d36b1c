use std::collections::{BTreeSet, HashMap};

use crate::session::{SessionId, Timestamp};

/// The ids that rotations retired.
#[derive(Default)]
pub(super) struct Aliases {
    by_id: HashMap<SessionId, Alias>,
    /// When each is forgotten.
    forgotten_at: BTreeSet<(Timestamp, SessionId)>,
}

/// What a retired id stands for.
#[derive(Clone, Copy)]
pub(super) struct Alias {
    /// The id that replaced it, which may be retired in turn.
    pub(super) target: SessionId,
    /// When its token stops to work: some time after the first use of the token that replaced it.
    ends: Option<Timestamp>,
}

impl Alias {
    /// Whether presenting its token is theft.
    pub(super) fn has_ended(&self, now: Timestamp) -> bool {
        self.ends.is_some_and(|ends| ends <= now)
    }
}

impl Aliases {
    pub(super) fn get(&self, id: SessionId) -> Option<Alias> {
        self.by_id.get(&id).copied()
    }

    /// Makes `id` stand for `target` until it is forgotten.
    pub(super) fn insert(&mut self, id: SessionId, target: SessionId, forgotten_at: Timestamp) {
        self.by_id.insert(id, Alias { target, ends: None });
        self.forgotten_at.insert((forgotten_at, id));
    }

    /// Sets when an alias ends.
    pub(super) fn end_at(&mut self, id: SessionId, ends: Timestamp) {
        if let Some(alias) = self.by_id.get_mut(&id) {
            alias.ends = Some(ends);
        }
    }

    /// Forgets those whose time has come.
    pub(super) fn forget(&mut self, now: Timestamp) {
        while let Some((until, id)) = self.forgotten_at.first().copied()
            && until <= now
        {
            self.forgotten_at.pop_first();
            self.by_id.remove(&id);
        }
    }
}
