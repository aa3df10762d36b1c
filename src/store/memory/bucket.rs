use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::aliases::Aliases;
use super::durations::DayDurations;
use super::operations::Operations;
use super::stream::{Listeners, Stream};
use crate::session::{Activity, Bucket, Session, SessionId, Timestamp, UserId, Verdict};
use crate::store::{EndReason, Ended, Event, EventKind, Result, Snapshot, StoreError};
use crate::telemetry::Cause;

/// How long an expired session can still be found, so that "expired" can be told from "unknown".
pub(super) const GRACE: Duration = Duration::from_mins(5);

/// How many former ids of a session are remembered.
const MAX_KIN: usize = 8;

/// All that the store holds of one bucket. Whoever has it locked has it at one time, [`State::now`].
pub(super) struct State {
    /// The time of the present critical section.
    pub(super) now: Timestamp,
    pub(super) records: BTreeMap<SessionId, Record>,
    pub(super) aliases: Aliases,
    pub(super) operations: Operations,
    pub(super) durations: DayDurations,
    pub(super) stream: Stream,
    /// The sessions of each user that are not cleared up.
    users: HashMap<UserId, BTreeSet<SessionId>>,
    /// How sessions of each user ended, the newest first, and when that is forgotten.
    pub(super) ends: HashMap<UserId, (VecDeque<Activity>, Timestamp)>,
    /// The sessions that are not cleared up, by the time when they expire.
    due: BTreeSet<(Timestamp, SessionId)>,
    /// The sessions that were cleared up and can still be found, by the time when they cannot any more.
    graves: BTreeSet<(Timestamp, SessionId)>,
    listeners: Arc<Listeners>,
}

/// A session and what belongs to it but is not shown with it.
pub(super) struct Record {
    pub(super) session: Arc<Session>,
    /// The absolute timeout of its class.
    pub(super) absolute: Duration,
    /// Its former ids, the newest last.
    pub(super) kin: Vec<SessionId>,
    /// Its activities, the newest first.
    pub(super) activities: VecDeque<Activity>,
    /// When the activities are forgotten.
    pub(super) activities_until: Timestamp,
    /// Whether it expired and was cleared up: it is in no index, and only `get` finds it.
    swept: bool,
}

impl Record {
    pub(super) fn new(session: Session, absolute: Duration) -> Self {
        Self {
            session: Arc::new(session),
            absolute,
            kin: Vec::new(),
            activities: VecDeque::new(),
            activities_until: Timestamp::default(),
            swept: false,
        }
    }

    pub(super) fn is_live(&self, now: Timestamp) -> bool {
        !self.swept && self.session.verdict(now) == Verdict::Alive
    }

    /// Adds former ids, of which the newest are kept.
    pub(super) fn remember_kin(&mut self, ids: &[SessionId]) {
        self.kin.extend_from_slice(ids);
        let surplus = self.kin.len().saturating_sub(MAX_KIN);
        self.kin.drain(..surplus);
    }

    fn found_until(&self) -> Timestamp {
        self.session.expires_at.plus(GRACE)
    }
}

/// Where an id leads.
pub(super) struct Trace {
    /// The id that the session has now.
    pub(super) current: SessionId,
    /// Whether an alias on the way has ended.
    pub(super) replayed: bool,
}

impl State {
    pub(super) fn new(bucket: Bucket, listeners: Arc<Listeners>) -> Self {
        Self {
            now: Timestamp::default(),
            records: BTreeMap::new(),
            aliases: Aliases::default(),
            operations: Operations::default(),
            durations: DayDurations::default(),
            stream: Stream::new(bucket),
            users: HashMap::new(),
            ends: HashMap::new(),
            due: BTreeSet::new(),
            graves: BTreeSet::new(),
            listeners,
        }
    }

    /// Begins a critical section: sets the time and forgets what is over.
    pub(super) fn enter(&mut self, now: Timestamp) {
        self.now = now;
        self.operations.forget(now);
        self.aliases.forget(now);
        self.stream.trim(now);
        while let Some((until, id)) = self.graves.first().copied()
            && until <= now
        {
            self.graves.pop_first();
            self.records.remove(&id);
        }
    }

    /// Follows aliases to the session that an id stands for, alive or expired.
    pub(super) fn trace(&self, id: SessionId) -> Option<Trace> {
        let mut current = id;
        let mut replayed = false;
        // There is no circle, for new ids are fresh.
        loop {
            if let Some(record) = self.records.get(&current) {
                return (self.now < record.found_until()).then_some(Trace { current, replayed });
            }
            let alias = self.aliases.get(current)?;
            replayed |= alias.has_ended(self.now);
            current = alias.target;
        }
    }

    /// The present id of a session that is not cleared up, though it may have expired.
    pub(super) fn unswept(&self, id: SessionId) -> Result<SessionId> {
        self.trace(id)
            .filter(|trace| !trace.replayed && !self.records[&trace.current].swept)
            .map(|trace| trace.current)
            .ok_or(StoreError::NotFound)
    }

    /// The present id of a live session.
    pub(super) fn live(&self, id: SessionId) -> Result<SessionId> {
        self.unswept(id)
            .ok()
            .filter(|id| self.records[id].is_live(self.now))
            .ok_or(StoreError::NotFound)
    }

    /// A session as it is now, by its present id.
    pub(super) fn snapshot(&self, id: SessionId) -> Result<Snapshot> {
        let record = self.records.get(&id).ok_or(StoreError::NotFound)?;
        Ok(self.snapshot_of(record))
    }

    pub(super) fn snapshot_of(&self, record: &Record) -> Snapshot {
        Snapshot {
            session: Arc::clone(&record.session),
            now: self.now,
        }
    }

    /// The ids of a user's sessions that are not cleared up, in order.
    pub(super) fn of_user(&self, user: &UserId) -> Vec<SessionId> {
        self.users
            .get(user)
            .map(|ids| ids.iter().copied().collect())
            .unwrap_or_default()
    }

    /// How many users have a session that is not cleared up.
    pub(super) fn users(&self) -> u64 {
        self.users.len() as u64
    }

    /// The session that expired first and is not cleared up, with the time when it expired.
    pub(super) fn first_due(&self) -> Option<(Timestamp, SessionId)> {
        self.due
            .first()
            .copied()
            .filter(|(expires_at, _)| *expires_at <= self.now)
    }

    /// Puts a record in its place and into the indexes.
    pub(super) fn insert(&mut self, record: Record) {
        let id = record.session.id;
        self.due.insert((record.session.expires_at, id));
        if let Some(user) = &record.session.user_id {
            self.users.entry(user.clone()).or_default().insert(id);
        }
        self.records.insert(id, record);
    }

    /// Takes a record out of its place and out of the indexes.
    pub(super) fn remove(&mut self, id: SessionId) -> Option<Record> {
        let record = self.records.remove(&id)?;
        self.unindex(&record.session);
        Some(record)
    }

    /// Changes a session in place, on a copy of its own; its id and user stay.
    pub(super) fn update(&mut self, id: SessionId, change: impl FnOnce(&mut Session)) -> Result<Snapshot> {
        let record = self.records.get_mut(&id).ok_or(StoreError::NotFound)?;
        let expired_at = record.session.expires_at;
        let session = Arc::make_mut(&mut record.session);
        change(session);
        if session.expires_at != expired_at {
            self.due.remove(&(expired_at, id));
            self.due.insert((session.expires_at, id));
        }
        self.snapshot(id)
    }

    /// Changes what readers must see: the version rises, and listeners are told by an event of this kind.
    pub(super) fn update_visibly(
        &mut self,
        id: SessionId,
        kind: EventKind,
        change: impl FnOnce(&mut Session),
    ) -> Result<Snapshot> {
        let snapshot = self.update(id, |session| {
            change(session);
            session.version += 1;
        })?;
        let mut event = self.event(kind, &snapshot.session);
        event.version = Some(snapshot.session.version);
        if kind == EventKind::Migrated {
            event
                .previous_server_id
                .clone_from(&snapshot.session.previous_server_id);
        }
        self.emit(event);
        Ok(snapshot)
    }

    /// Ends a live session, or clears up after one that had expired, which counts as no end.
    pub(super) fn end_one(&mut self, id: SessionId, reason: EndReason, ended: &mut Ended) {
        if !self.records.get(&id).is_some_and(|record| record.is_live(self.now)) {
            self.expire_one(id);
        } else if let Some(record) = self.remove(id) {
            self.tell_end(&record.session, reason, self.now);
            if let Some(user) = &record.session.user_id {
                self.note_end(user, reason.activity(id, self.now));
            }
            ended.sessions.push(id);
            ended.kin.extend(record.kin);
        }
    }

    /// Clears up after an expired session: out of the indexes, but `get` finds it until its grace is over. Gives its
    /// former ids.
    pub(super) fn expire_one(&mut self, id: SessionId) -> Vec<SessionId> {
        let Some(mut record) = self.remove(id) else {
            return Vec::new();
        };
        self.tell_end(&record.session, EndReason::Expired, record.session.expires_at);
        record.swept = true;
        let kin = record.kin.clone();
        if self.now < record.found_until() {
            self.graves.insert((record.found_until(), id));
            self.records.insert(id, record);
        }
        kin
    }

    /// An event about a session, at the present time, in which only what all events have is filled in.
    pub(super) fn event(&self, kind: EventKind, session: &Session) -> Event {
        let cause = Cause::current();
        Event {
            id: self.stream.next_id(self.now),
            kind,
            session_id: session.id,
            user_id: session.user_id.clone(),
            server_id: Some(session.server_id.clone()),
            at: self.now,
            class: session.class.to_string(),
            version: None,
            reason: None,
            duration_seconds: None,
            previous_id: None,
            previous_server_id: None,
            actor: cause.as_ref().map(|cause| cause.actor.clone()),
            request_id: cause.and_then(|cause| cause.request_id),
        }
    }

    /// Appends an event to the stream and hands it to the listeners.
    pub(super) fn emit(&mut self, event: Event) {
        self.listeners.send(&event);
        self.stream.append(event);
    }

    fn tell_end(&mut self, session: &Session, reason: EndReason, ended_at: Timestamp) {
        let lasted = ended_at.since(session.created_at);
        self.durations.record(self.now, lasted);
        let mut event = self.event(reason.event(), session);
        event.reason = Some(reason);
        event.duration_seconds = Some(lasted.as_secs_f64());
        self.emit(event);
    }

    fn unindex(&mut self, session: &Session) {
        self.due.remove(&(session.expires_at, session.id));
        if let Some(user) = &session.user_id
            && let Some(ids) = self.users.get_mut(user)
        {
            ids.remove(&session.id);
            if ids.is_empty() {
                self.users.remove(user);
            }
        }
    }
}
