use super::bucket::{Record, State};
use super::operations::Answer;
use crate::session::{Memo, OperationId, RandomError, Session, SessionId, data_bytes};
use crate::store::{Created, EndReason, Ended, EventKind, LimitPolicy, NewSession, Result, StoreError, UserLimit};

impl State {
    pub(super) fn create(&mut self, new: NewSession, operation: OperationId) -> Result<Created> {
        if let Some(Answer::Created { id, ended }) = self.operations.answer(operation) {
            return self.created(self.live(id)?, ended, new.durable);
        }
        self.must_be_free(new.id)?;
        let ended = self.make_room(&new)?;
        let (id, durable) = (new.id, new.durable);
        let absolute = new.timeouts.absolute;
        let kin = new.kin.clone();
        let session = self.new_session(new);
        let mut event = self.event(EventKind::Created, &session);
        event.version = Some(session.version);
        let mut record = Record::new(session, absolute);
        record.remember_kin(&kin);
        self.insert(record);
        self.emit(event);
        let answer = Answer::Created {
            id,
            ended: ended.clone(),
        };
        self.operations.remember(self.now, operation, answer);
        self.created(id, ended, durable)
    }

    /// That an id stands for no session, and did not before a rotation: only a generator that repeats itself gives an id
    /// twice (S10, S13).
    pub(super) fn must_be_free(&self, id: SessionId) -> Result<()> {
        if self.records.contains_key(&id) || self.aliases.get(id).is_some() {
            Err(RandomError.into())
        } else {
            Ok(())
        }
    }

    fn created(&self, id: SessionId, ended: Vec<SessionId>, durable: bool) -> Result<Created> {
        Ok(Created {
            snapshot: self.snapshot(id)?,
            ended,
            durable: durable.then_some(true),
        })
    }

    /// Ends what the user's limit asks for, or refuses. Gives the ids that ended, former ones too.
    fn make_room(&mut self, new: &NewSession) -> Result<Vec<SessionId>> {
        let (Some(limit), Some(user)) = (new.limit, &new.user_id) else {
            return Ok(Vec::new());
        };
        let mut ids = self.of_user(user);
        ids.retain(|id| {
            let live = self.records.get(id).is_some_and(|record| record.is_live(self.now));
            if !live {
                // A touch that comes late must not bring it back above the limit.
                self.expire_one(*id);
            }
            live
        });
        let max = usize::try_from(limit.max).unwrap_or(usize::MAX);
        let surplus = (ids.len() + 1).saturating_sub(max);
        if surplus == 0 {
            return Ok(Vec::new());
        }
        if limit.policy == LimitPolicy::Refuse || surplus > ids.len() {
            return Err(StoreError::TooManySessions { limit: limit.max });
        }
        let mut ended = Ended::default();
        self.sort_by_policy(&mut ids, limit);
        for id in &ids[..surplus] {
            self.end_one(*id, EndReason::Limit, &mut ended);
        }
        ended.sessions.extend(ended.kin);
        Ok(ended.sessions)
    }

    fn sort_by_policy(&self, ids: &mut [SessionId], limit: UserLimit) {
        ids.sort_by_key(|id| {
            let session = &self.records[id].session;
            let time = match limit.policy {
                LimitPolicy::Refuse | LimitPolicy::EndOldest => session.created_at,
                LimitPolicy::EndLeastRecentlyUsed => session.last_activity_at,
            };
            (time, *id)
        });
    }

    fn new_session(&self, new: NewSession) -> Session {
        let now = self.now;
        let absolute_expires_at = now.plus(new.timeouts.absolute);
        Session {
            id: new.id,
            authenticated_at: (new.authenticated && new.user_id.is_some()).then_some(now),
            user_id: new.user_id,
            class: new.class,
            roles: new.roles,
            permissions: new.permissions,
            data_bytes: data_bytes(&new.data),
            data: new.data,
            metadata: new.metadata,
            security: crate::session::Security::default(),
            created_at: now,
            last_activity_at: now,
            expires_at: now.plus(new.timeouts.idle).min(absolute_expires_at),
            absolute_expires_at,
            version: 1,
            server_id: new.server_id,
            migrated_at: None,
            migrations: 0,
            previous_server_id: None,
            idle: new.timeouts.idle,
            fingerprint: new.fingerprint,
            unconfirmed: false,
            memo: Memo::default(),
        }
    }
}
