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
        sessions.retain(|session| !self.has_ended(&session.id));
        sessions.sort_by_key(|session| (std::cmp::Reverse(session.created_at), session.id));
        Ok(sessions)
    }

    /// Ends one session and keeps the end for repetition, answered or not.
    pub(super) async fn end_one(&self, id: SessionId, end: End) -> std::result::Result<Ended, StoreError> {
        let seen = self.0.redo.lineage();
        let ended = self.end_at_store(id, end).await?;
        self.note_ended(&ended, end.reason, &seen);
        Ok(ended)
    }

    /// Ends a session that was made for nothing. Its former ids go on: they are those of the session that it was made
    /// from.
    pub(super) async fn undo(&self, id: SessionId) -> std::result::Result<(), StoreError> {
        let seen = self.0.redo.lineage();
        let end = End {
            reason: EndReason::Login,
            if_version: None,
            durable: false,
        };
        let ended = self.end_at_store(id, end).await?;
        let without_kin = Ended {
            kin: Vec::new(),
            ..ended
        };
        self.note_ended(&without_kin, end.reason, &seen);
        Ok(())
    }

    async fn end_at_store(&self, id: SessionId, end: End) -> std::result::Result<Ended, StoreError> {
        // Until it is answered: the caller may stop waiting at any point.
        let mut unanswered = Unanswered {
            sessions: self,
            id,
            end: Some(end),
        };
        let outcome = self.0.store.end(id, end).await;
        if !matches!(&outcome, Err(error) if error.leaves_truth_unknown()) {
            unanswered.end = None;
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

/// An end on its way; dropped unanswered, it is kept for repetition (rule W3).
struct Unanswered<'a> {
    sessions: &'a Sessions,
    id: SessionId,
    /// Nothing once it was answered.
    end: Option<End>,
}

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        match self.end {
            Some(end) if end.if_version.is_none() => {
                self.sessions.0.redo.record_unanswered(self.id, end.reason);
                self.sessions.forget(&self.id);
            }
            // A conditional end must not be repeated without its condition.
            Some(_) => self.sessions.drop_own(&self.id),
            None => {}
        }
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
