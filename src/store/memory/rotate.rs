use std::sync::Arc;
use std::time::Duration;

use super::bucket::{GRACE, Record, State};
use super::operations::Answer;
use crate::session::{JsonMap, OperationId, Session, SessionId, data_bytes};
use crate::store::{EventKind, Result, Rotated, Rotation, Snapshot, StoreError};

impl State {
    pub(super) fn rotate(&mut self, id: SessionId, rotation: Rotation, operation: OperationId) -> Result<Rotated> {
        let durable = rotation.durable;
        if let Some(Answer::Rotated(new_id)) = self.operations.answer(operation) {
            return self.rotated(self.live(new_id)?, durable);
        }
        debug_assert_eq!(
            id.bucket(),
            rotation.new_id.bucket(),
            "an alias is found only in its session's bucket"
        );
        let old_id = self.live(id)?;
        self.must_be_free(rotation.new_id)?;
        let mut record = self.remove(old_id).ok_or(StoreError::NotFound)?;
        let new_id = rotation.new_id;
        if !rotation.login {
            let forgotten_at = record.session.absolute_expires_at.plus(GRACE);
            self.aliases.insert(old_id, new_id, forgotten_at);
        }
        self.apply_rotation(&mut record, rotation);
        record.remember_kin(&[old_id]);
        let mut event = self.event(EventKind::Rotated, &record.session);
        event.version = Some(record.session.version);
        event.previous_id = Some(old_id);
        self.insert(record);
        self.emit(event);
        self.operations.remember(self.now, operation, Answer::Rotated(new_id));
        self.rotated(new_id, durable)
    }

    pub(super) fn confirm(&mut self, id: SessionId, grace: Duration) -> Result<Snapshot> {
        let current = self.live(id)?;
        let present = self.snapshot(current)?;
        // A former id tells of no use of the new token.
        if !present.session.unconfirmed || current != id {
            return Ok(present);
        }
        if let Some(former) = self.records[&id].kin.last() {
            self.aliases.end_at(*former, self.now.plus(grace));
        }
        self.update_visibly(id, EventKind::Changed, |session| session.unconfirmed = false)
    }

    fn rotated(&self, id: SessionId, durable: bool) -> Result<Rotated> {
        Ok(Rotated {
            snapshot: self.snapshot(id)?,
            durable: durable.then_some(true),
        })
    }

    fn apply_rotation(&self, record: &mut Record, rotation: Rotation) {
        let now = self.now;
        let session = Arc::make_mut(&mut record.session);
        session.id = rotation.new_id;
        session.version += 1;
        session.unconfirmed = !rotation.login;
        if rotation.authenticated && session.user_id.is_some() {
            session.authenticated_at = Some(now);
        }
        if let Some(roles) = rotation.roles {
            session.roles = roles;
        }
        if let Some(permissions) = rotation.permissions {
            session.permissions = permissions;
        }
        match rotation.keep {
            Some(keep) => session.data.retain(|key| keep.iter().any(|kept| kept.as_str() == key)),
            None if rotation.login => session.data = JsonMap::new(),
            None => {}
        }
        session.data_bytes = data_bytes(&session.data);
        let new_deadlines = rotation.login || rotation.class.is_some();
        if let Some((name, class)) = rotation.class {
            session.class = name;
            session.idle = class.idle;
            record.absolute = class.absolute;
        }
        if rotation.login {
            session.created_at = now;
        }
        if new_deadlines {
            restart(session, now.plus(record.absolute), now);
        }
    }
}

fn restart(session: &mut Session, absolute_expires_at: crate::session::Timestamp, now: crate::session::Timestamp) {
    session.absolute_expires_at = absolute_expires_at;
    session.last_activity_at = now;
    session.expires_at = session.deadline(now);
}
