use std::collections::HashMap;

use parking_lot::Mutex;

use super::{MigrationPolicy, Sessions};
use crate::session::{Monotonic, ServerId, SessionId};
use crate::store::{Snapshot, Touch};

/// How many uses go to the store in one batch.
const BATCH: usize = 512;
/// How many uses may wait; more are dropped while the store is down, which costs their sessions at most that much idle
/// time.
const MAX_PENDING: usize = 200_000;

/// Uses that wait to be recorded: the latest of each session.
#[derive(Default)]
pub(super) struct TouchBuffer {
    pending: Mutex<HashMap<SessionId, Pending>>,
    /// Sessions whose home seems to be gone, with the time of their use.
    homeless: Mutex<HashMap<SessionId, (ServerId, Monotonic)>>,
}

#[derive(Debug, Clone)]
struct Pending {
    at: Monotonic,
    migrate: Option<(ServerId, ServerId)>,
}

impl TouchBuffer {
    /// False where too many wait already.
    fn add(&self, id: SessionId, use_: Pending) -> bool {
        let mut pending = self.pending.lock();
        if pending.len() >= MAX_PENDING && !pending.contains_key(&id) {
            return false;
        }
        let known = pending.entry(id).or_insert_with(|| use_.clone());
        known.at = known.at.max(use_.at);
        known.migrate = known.migrate.take().or(use_.migrate);
        true
    }

    /// The first use counts: what the fleet looks like is asked for after that.
    fn note_homeless(&self, id: SessionId, home: &ServerId, now: Monotonic) {
        let mut homeless = self.homeless.lock();
        if homeless.len() < MAX_PENDING {
            homeless.entry(id).or_insert_with(|| (home.clone(), now));
        }
    }

    fn take(&self) -> Vec<(SessionId, Pending)> {
        std::mem::take(&mut *self.pending.lock()).into_iter().collect()
    }

    fn len(&self) -> usize {
        self.pending.lock().len()
    }
}

impl Sessions {
    /// Notes the use of a session. It is recorded only when enough time has passed since the last recorded one, or when
    /// the session moves here with it.
    pub(super) fn note_use(&self, snapshot: &Snapshot) {
        let session = &snapshot.session;
        let home = &session.server_id;
        let seems_to_move = self.moves_here(home);
        let moves = seems_to_move && self.is_settled(home);
        if seems_to_move && !moves {
            self.0.touches.note_homeless(session.id, home, self.0.clock.monotonic());
        }
        let migrate = moves.then(|| (home.clone(), self.0.settings.server_id.clone()));
        let interval = session.touch_interval();
        let due =
            snapshot.now.since(session.last_activity_at) >= interval && session.memo.note_use(snapshot.now, interval);
        if due || migrate.is_some() {
            let at = self.0.clock.monotonic();
            self.add_touch(session.id, Pending { at, migrate });
        }
    }

    fn add_touch(&self, id: SessionId, use_: Pending) {
        if !self.0.touches.add(id, use_) {
            self.0.metrics.touches.with_label_values(&["dropped"]).inc();
        }
    }

    fn moves_here(&self, home: &ServerId) -> bool {
        let me = &self.0.settings.server_id;
        if home == me {
            return false;
        }
        let view = self.0.view.borrow();
        match self.0.settings.migration {
            MigrationPolicy::Never => false,
            MigrationPolicy::Always => !view.is_gone(me),
            MigrationPolicy::HomeGone => view.is_gone(home) && !view.is_gone(me),
        }
    }

    /// Whether nothing that is still to be heard of the fleet can change that a session leaves its home.
    fn is_settled(&self, home: &ServerId) -> bool {
        self.0.settings.migration == MigrationPolicy::Always || self.0.view.borrow().is_draining(home)
    }

    /// Lets sessions move whose home was still gone when the fleet was asked for after their use: a server that has just
    /// started is heard of some time later than its first sessions.
    fn confirm_moves(&self) {
        let heard_at = self.0.view.borrow().heard_at;
        let homeless: Vec<_> = {
            let mut homeless = self.0.touches.homeless.lock();
            homeless.extract_if(|_, (_, used)| *used < heard_at).collect()
        };
        for (id, (home, at)) in homeless {
            if self.moves_here(&home) {
                let migrate = Some((home, self.0.settings.server_id.clone()));
                self.add_touch(id, Pending { at, migrate });
            }
        }
    }

    /// Records the uses that wait. What the store could not take waits on.
    pub async fn flush_touches(&self) {
        self.confirm_moves();
        let pending = self.0.touches.take();
        for batch in pending.chunks(BATCH) {
            self.flush_batch(batch).await;
        }
        self.0
            .metrics
            .touches_pending
            .set(i64::try_from(self.0.touches.len()).unwrap_or(i64::MAX));
    }

    async fn flush_batch(&self, batch: &[(SessionId, Pending)]) {
        let now = self.0.clock.monotonic();
        let touches = batch
            .iter()
            .map(|(id, use_)| Touch {
                id: *id,
                age: now.since(use_.at),
                migrate: use_.migrate.clone(),
            })
            .collect();
        let outcomes = self.0.store.touch_all(touches).await;
        for ((id, use_), outcome) in batch.iter().zip(outcomes) {
            let label = match outcome {
                Ok(true) => "recorded",
                Ok(false) => "gone",
                Err(_) => {
                    self.add_touch(*id, use_.clone());
                    "failed"
                }
            };
            self.0.metrics.touches.with_label_values(&[label]).inc();
            if use_.migrate.is_some() {
                self.drop_own(id);
            }
            if label == "recorded" && use_.migrate.is_some() {
                self.0.metrics.sessions_migrated.with_label_values(&["touch"]).inc();
            }
        }
    }
}
