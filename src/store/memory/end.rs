use super::bucket::State;
use super::operations::Answer;
use crate::session::{OperationId, SessionId, Timestamp, UserId};
use crate::store::{End, EndReason, Ended, Result, Step, StoreError};

impl State {
    pub(super) fn end(&mut self, id: SessionId, end: End) -> Result<Ended> {
        let mut ended = Ended {
            durable: end.durable.then_some(true),
            ..Ended::default()
        };
        let Ok(id) = self.unswept(id) else {
            return Ok(ended);
        };
        let current = self.snapshot(id)?.session.version;
        if self.live(id).is_ok() && end.if_version.is_some_and(|version| version != current) {
            return Err(StoreError::Conflict { current });
        }
        self.end_one(id, end.reason, &mut ended);
        Ok(ended)
    }

    pub(super) fn end_user(
        &mut self,
        user: &UserId,
        except: Option<SessionId>,
        durable: bool,
        operation: OperationId,
    ) -> Ended {
        if let Some(Answer::Ended(ended)) = self.operations.answer(operation) {
            return ended;
        }
        let kept = except.and_then(|id| self.unswept(id).ok());
        let mut ended = Ended {
            durable: durable.then_some(true),
            ..Ended::default()
        };
        for id in self.of_user(user) {
            if Some(id) != kept {
                self.end_one(id, EndReason::User, &mut ended);
            }
        }
        self.operations
            .remember(self.now, operation, Answer::Ended(ended.clone()));
        ended
    }

    pub(super) fn end_bucket(&mut self, before: Option<Timestamp>, limit: u32) -> Step {
        let before = before.unwrap_or(self.now);
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let mut ids: Vec<SessionId> = self
            .records
            .values()
            .filter(|record| record.is_live(self.now) && record.session.created_at <= before)
            .map(|record| record.session.id)
            .take(limit.saturating_add(1))
            .collect();
        let more = ids.len() > limit;
        ids.truncate(limit);
        let mut step = Step {
            more,
            now: self.now,
            ..Step::default()
        };
        for id in ids {
            self.end_one(id, EndReason::All, &mut step.ended);
        }
        step
    }

    pub(super) fn sweep(&mut self, limit: u32) -> Step {
        let now = self.now;
        self.ends.retain(|_, (_, until)| now < *until);
        let oldest = self.first_due().map_or(self.now, |(expires_at, _)| expires_at);
        let mut step = Step {
            now: self.now,
            behind: self.now.since(oldest),
            ..Step::default()
        };
        for _ in 0..limit {
            let Some((_, id)) = self.first_due() else {
                return step;
            };
            let kin = self.expire_one(id);
            step.ended.sessions.push(id);
            step.ended.kin.extend(kin);
        }
        step.more = self.first_due().is_some();
        step
    }
}
