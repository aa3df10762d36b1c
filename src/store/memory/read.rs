use std::ops::Bound;
use std::time::Duration;

use super::bucket::{Record, State};
use super::operations::Answer;
use crate::session::{Activity, JsonMap, MAX_ACTIVITIES, OperationId, SessionId, UserId};
use crate::store::{BucketCounts, Filter, Lookup, Result, Snapshot};

/// How long activities are kept after the last one.
const ACTIVITIES_KEPT: Duration = Duration::from_hours(24);

impl State {
    pub(super) fn get(&self, id: SessionId) -> Result<Lookup> {
        match self.trace(id) {
            None => Ok(Lookup::Missing),
            Some(trace) if trace.replayed => Ok(Lookup::Replayed { current: trace.current }),
            Some(trace) => Ok(Lookup::Found(self.snapshot(trace.current)?)),
        }
    }

    pub(super) fn sessions_of(&self, user: &UserId) -> Vec<Snapshot> {
        self.of_user(user)
            .iter()
            .filter_map(|id| self.records.get(id))
            .filter(|record| record.is_live(self.now))
            .map(|record| self.snapshot_of(record))
            .collect()
    }

    pub(super) fn page(&self, after: Option<SessionId>, limit: u32, filter: &Filter) -> Vec<Snapshot> {
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let wanted = |record: &&Record| {
            let session = &record.session;
            record.is_live(self.now)
                && filter.class.as_ref().is_none_or(|class| *class == session.class)
                && filter
                    .server_id
                    .as_ref()
                    .is_none_or(|server| *server == session.server_id)
        };
        self.records
            .range((start, Bound::Unbounded))
            .map(|(_, record)| record)
            .filter(wanted)
            .take(usize::try_from(limit).unwrap_or(usize::MAX))
            .map(|record| self.snapshot_of(record))
            .collect()
    }

    pub(super) fn count(&mut self) -> BucketCounts {
        let cleared = self.sweep(u32::MAX).ended.sessions.len() as u64;
        let mut counts = BucketCounts {
            cleared,
            users: self.users(),
            durations: self.durations.sum(self.now),
            now: self.now,
            ..BucketCounts::default()
        };
        for record in self.records.values().filter(|record| record.is_live(self.now)) {
            let session = &record.session;
            *counts.by_class.entry(session.class.to_string()).or_default() += 1;
            *counts.by_server.entry(session.server_id.to_string()).or_default() += 1;
        }
        counts
    }

    pub(super) fn record_activity(
        &mut self,
        id: SessionId,
        action: String,
        metadata: JsonMap,
        operation: OperationId,
    ) -> Result<Vec<Activity>> {
        let id = self.live(id)?;
        if self.operations.answer(operation).is_some() {
            return self.activities(id);
        }
        let now = self.now;
        if let Some(record) = self.records.get_mut(&id) {
            if record.activities_until <= now {
                record.activities.clear();
            }
            record.activities.push_front(Activity {
                action,
                at: now,
                metadata,
            });
            record.activities.truncate(MAX_ACTIVITIES);
            record.activities_until = now.plus(ACTIVITIES_KEPT);
        }
        self.operations.remember(now, operation, Answer::Changed);
        self.activities(id)
    }

    /// Notes among a user's activities that a session ended.
    pub(super) fn note_end(&mut self, user: &UserId, end: Activity) {
        let now = self.now;
        let (ends, until) = self.ends.entry(user.clone()).or_default();
        if *until <= now {
            ends.clear();
        }
        ends.push_front(end);
        ends.truncate(MAX_ACTIVITIES);
        *until = now.plus(ACTIVITIES_KEPT);
    }

    pub(super) fn user_activities(&self, user: &UserId) -> Vec<Activity> {
        let kept = self.ends.get(user).filter(|(_, until)| self.now < *until);
        kept.into_iter().flat_map(|(ends, _)| ends.iter().cloned()).collect()
    }

    pub(super) fn activities(&self, id: SessionId) -> Result<Vec<Activity>> {
        let record = &self.records[&self.live(id)?];
        if record.activities_until <= self.now {
            return Ok(Vec::new());
        }
        Ok(record.activities.iter().cloned().collect())
    }
}
