use super::bucket::State;
use crate::session::{ServerId, Session, SessionId, Timestamp};
use crate::store::{EventKind, Result, Snapshot, StoreError, Touch};

impl State {
    /// Records a use. One that comes late, of a session that has expired since but was alive then, brings it back: it
    /// had not ended, only nobody had told the store.
    pub(super) fn touch(&mut self, touch: Touch) -> Result<Snapshot> {
        let id = self.unswept(touch.id)?;
        let used_at = self.now.minus(touch.age);
        let before = self.snapshot(id)?.session;
        if used_at >= before.expires_at {
            return Err(StoreError::NotFound);
        }
        let touched = if used_at > before.last_activity_at {
            self.update(id, |session| {
                session.last_activity_at = used_at;
                session.expires_at = session.deadline(used_at).max(session.expires_at);
            })?
        } else {
            self.snapshot(id)?
        };
        match touch.migrate {
            Some((from, to)) if touched.session.server_id == from && self.live(id).is_ok() => self.migrate(id, to),
            _ => Ok(touched),
        }
    }

    pub(super) fn migrate(&mut self, id: SessionId, to: ServerId) -> Result<Snapshot> {
        let id = self.live(id)?;
        let present = self.snapshot(id)?;
        if present.session.server_id == to {
            return Ok(present);
        }
        let now = self.now;
        self.update_visibly(id, EventKind::Migrated, |session| move_home(session, to, now))
    }
}

fn move_home(session: &mut Session, to: ServerId, now: Timestamp) {
    session.previous_server_id = Some(std::mem::replace(&mut session.server_id, to));
    session.migrated_at = Some(now);
    session.migrations += 1;
}
