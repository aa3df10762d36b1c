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
}

#[derive(Debug, Clone)]
struct Pending {
    at: Monotonic,
    migrate: Option<(ServerId, ServerId)>,
}

impl TouchBuffer {
    fn add(&self, id: SessionId, use_: Pending) {
        let mut pending = self.pending.lock();
        if pending.len() >= MAX_PENDING && !pending.contains_key(&id) {
            return;
        }
        match pending.entry(id) {
            std::collections::hash_map::Entry::Occupied(mut entry) if entry.get().at < use_.at => {
                entry.insert(use_);
            }
            std::collections::hash_map::Entry::Occupied(_) => {}
            std::collections::hash_map::Entry::Vacant(entry) => {
                entry.insert(use_);
            }
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
        let migrate = self
            .moves_here(&session.server_id)
            .then(|| (session.server_id.clone(), self.0.settings.server_id.clone()));
        let interval = session.touch_interval();
        let due =
            snapshot.now.since(session.last_activity_at) >= interval && session.memo.note_use(snapshot.now, interval);
        if due || migrate.is_some() {
            self.0.touches.add(
                session.id,
                Pending {
                    at: self.0.clock.monotonic(),
                    migrate,
                },
            );
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

    /// Records the uses that wait. What the store could not take waits on.
    pub async fn flush_touches(&self) {
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
                    self.0.touches.add(*id, use_.clone());
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
