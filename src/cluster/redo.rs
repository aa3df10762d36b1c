use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, StreamExt as _};
use parking_lot::Mutex;

use crate::session::{Clock, Monotonic, SessionId};
use crate::store::{End, EndReason, Lineage, SessionStore};

/// How many ends are repeated at a time.
const CONCURRENCY: usize = 64;

/// The ends of the recent past, to be repeated where a failover may have undone them (rule W3).
///
/// An end is kept for the window: as long as a failover may still lose it. It runs again whenever the line of writes of
/// its bucket has changed, and then the window starts anew; one that was never answered runs until it is. Meanwhile
/// this server answers nothing for its id.
pub struct RedoLog {
    clock: Arc<dyn Clock>,
    window: Duration,
    entries: Mutex<HashMap<SessionId, Entry>>,
    lineage: Mutex<Arc<Lineage>>,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    since: Monotonic,
    reason: EndReason,
    /// The line of writes that holds the end; nothing where the end is not known to be held by any.
    lineage: Option<u64>,
}

impl RedoLog {
    /// A log that keeps ends this long: the cluster's node timeout, replication lag and a margin.
    pub fn new(clock: Arc<dyn Clock>, window: Duration) -> Self {
        Self {
            clock,
            window,
            entries: Mutex::default(),
            lineage: Mutex::default(),
        }
    }

    /// The lineage as it was last seen; to be taken *before* an end is sent.
    pub fn lineage(&self) -> Arc<Lineage> {
        self.lineage.lock().clone()
    }

    /// Remembers sessions that have ended under the lineage seen before.
    pub fn record(&self, ids: impl IntoIterator<Item = SessionId>, reason: EndReason, seen: &Lineage) {
        let since = self.clock.monotonic();
        let mut entries = self.entries.lock();
        for id in ids {
            entries.insert(
                id,
                Entry {
                    since,
                    reason,
                    lineage: seen.of(id.bucket()),
                },
            );
        }
    }

    /// Remembers an end that was not answered.
    pub fn record_unanswered(&self, id: SessionId, reason: EndReason) {
        let entry = Entry {
            since: self.clock.monotonic(),
            reason,
            lineage: None,
        };
        self.entries.lock().insert(id, entry);
    }

    /// Whether this server ended the session a short while ago.
    pub fn contains(&self, id: &SessionId) -> bool {
        self.entries.lock().contains_key(id)
    }

    /// How many ends are kept.
    pub fn len(&self) -> usize {
        self.entries.lock().len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.entries.lock().is_empty()
    }

    /// One round: learns the lineage, forgets what no failover can undo any more, repeats what one may have undone.
    /// Gives how many ends it repeated.
    pub async fn run_once(&self, store: &dyn SessionStore) -> usize {
        let Ok(lineage) = store.lineage().await else { return 0 };
        *self.lineage.lock() = Arc::new(lineage.clone());
        // Side by side: those of a shard that is down must not hold up those of one that has just come back.
        stream::iter(self.due(&lineage))
            .map(|(id, entry)| self.repeat(id, entry, &lineage, store))
            .buffer_unordered(CONCURRENCY)
            .filter(|repeated| std::future::ready(*repeated))
            .count()
            .await
    }

    async fn repeat(&self, id: SessionId, entry: Entry, lineage: &Lineage, store: &dyn SessionStore) -> bool {
        let end = End {
            reason: entry.reason,
            if_version: None,
            durable: false,
        };
        let Ok(ended) = store.end(id, end).await else {
            return false;
        };
        if !ended.sessions.is_empty() {
            tracing::warn!(session_id = %id, "a failover had undone the end of a session: ended it again");
        }
        self.confirmed(&id, entry, lineage.of(id.bucket()));
        true
    }

    fn due(&self, lineage: &Lineage) -> Vec<(SessionId, Entry)> {
        let now = self.clock.monotonic();
        let mut entries = self.entries.lock();
        entries.retain(|_, entry| entry.lineage.is_none() || now.since(entry.since) < self.window);
        entries
            .iter()
            .filter(|(id, entry)| {
                let present = lineage.of(id.bucket());
                entry.lineage.is_none() || (present.is_some() && entry.lineage != present)
            })
            .map(|(id, entry)| (*id, *entry))
            .collect()
    }

    fn confirmed(&self, id: &SessionId, seen: Entry, lineage: Option<u64>) {
        let since = self.clock.monotonic();
        // Where the lineage is unknown it cannot change either: the window alone ends the entry.
        let lineage = lineage.or(Some(0));
        if let Some(entry) = self.entries.lock().get_mut(id) {
            *entry = Entry { since, lineage, ..seen };
        }
    }
}
