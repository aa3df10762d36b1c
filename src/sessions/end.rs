use std::sync::Arc;

use super::{Error, Result, Sessions, alive};
use crate::session::{Session, SessionId, UserId};
use crate::store::{End, EndReason, Ended, Lineage, StoreError};

impl Sessions {
    /// Ends a session. An unknown one is no error. Where durability was asked for and not reached, the session has
    /// ended all the same, and the answer is [`Error::NotConfirmed`].
    pub async fn end(&self, id: SessionId, durable: bool) -> Result<()> {
        let ended = self
            .end_one(
                id,
                End {
                    reason: EndReason::Logout,
                    if_version: None,
                    durable,
                },
            )
            .await?;
        confirmed(durable, &ended)
    }

    /// Ends all sessions of a user but for one, and tells how many.
    pub async fn end_user(&self, user: &UserId, except: Option<SessionId>, durable: bool) -> Result<u64> {
        let seen = self.0.redo.lineage();
        let operation = self.operation()?;
        let ended = self.0.store.end_user(user, except, durable, operation).await?;
        self.note_ended(&ended, EndReason::User, &seen);
        confirmed(durable, &ended)?;
        Ok(ended.sessions.len() as u64)
    }

    /// The live sessions of a user, newest first.
    pub async fn sessions_of(&self, user: &UserId) -> Result<Vec<Arc<Session>>> {
        let snapshots = self.0.store.sessions_of(user).await?;
        let mut sessions: Vec<_> = snapshots.into_iter().filter_map(alive).collect();
        sessions.retain(|session| !self.0.redo.contains(&session.id));
        sessions.sort_by_key(|session| (std::cmp::Reverse(session.created_at), session.id));
        Ok(sessions)
    }

    /// Ends one session and keeps the end for repetition, answered or not.
    pub(super) async fn end_one(&self, id: SessionId, end: End) -> std::result::Result<Ended, StoreError> {
        let seen = self.0.redo.lineage();
        let outcome = self.0.store.end(id, end).await;
        match &outcome {
            Ok(ended) => self.note_ended(ended, end.reason, &seen),
            // A conditional end must not be repeated without its condition.
            Err(error) if error.leaves_truth_unknown() && end.if_version.is_none() => {
                self.0.redo.record_unanswered(id, end.reason);
                self.forget(&id);
            }
            Err(_) => {}
        }
        outcome
    }

    /// Keeps ends for repetition, and lets memory answer nothing for them (rule W3).
    pub(super) fn remember_ends(&self, ids: impl IntoIterator<Item = SessionId>, reason: EndReason, seen: &Lineage) {
        let ids: Vec<_> = ids.into_iter().collect();
        for id in &ids {
            self.forget(id);
        }
        self.0.redo.record(ids, reason, seen);
    }

    fn forget(&self, id: &SessionId) {
        if let Some(cache) = &self.0.cache {
            cache.end(id, self.0.clock.monotonic());
        }
    }

    pub(super) fn note_ended(&self, ended: &Ended, reason: EndReason, seen: &Lineage) {
        let ids = ended.sessions.iter().chain(&ended.kin).copied();
        self.remember_ends(ids, reason, seen);
        let count = ended.sessions.len() as u64;
        self.0
            .metrics
            .sessions_ended
            .with_label_values(&[reason.as_str()])
            .inc_by(count);
    }
}

fn confirmed(asked: bool, ended: &Ended) -> Result<()> {
    // Nothing ended: nothing to be confirmed.
    if asked && !ended.sessions.is_empty() && ended.durable != Some(true) {
        Err(Error::NotConfirmed)
    } else {
        Ok(())
    }
}
