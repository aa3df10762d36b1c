//! Rule F1, the fill: a read that may become an entry.

use std::time::Duration;

use super::cover::{ConnectionId, Stamp};
use super::hit::Served;
use super::l1::L1;
#[cfg(test)]
use super::mutant::Mutant;
use super::parts::{Entry, Guard, Keyed, Map, Parts, Value};
use crate::session::Monotonic;

/// What to do after a miss.
pub enum Begun<'a, K: Keyed, V: Value, P: Parts> {
    /// Another request's fill gave this, and it may be served.
    Joined(Served<V>),
    /// Read, now, and give the reply to [`Fill::complete`].
    Read(Fill<'a, K, V, P>),
    /// The id is known to have ended (W3): answer as for one that does not exist.
    Ended,
}

/// A read under way. Dropped without an answer (an error, a cancelled request), it lets those that wait read themselves.
#[must_use = "others may wait for this fill"]
pub struct Fill<'a, K: Keyed, V: Value, P: Parts> {
    id: K,
    /// Before the read was sent.
    sent: Monotonic,
    place: Option<Place<'a, K, V, P>>,
}

/// A place held in the map, with the stamp that an entry in it will have.
struct Place<'a, K: Keyed, V: Value, P: Parts + 'a> {
    guard: <P::Map<K, V> as Map<K, V>>::Guard<'a>,
    stamp: Stamp,
    connection: ConnectionId,
}

/// Where a reply came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The very node of [`Fill::connection`], as a primary, at the first attempt.
    Asked,
    /// Anything else: after MOVED or ASK, from a replica, by a retry.
    Elsewhere,
}

/// A record that was read.
#[derive(Clone, Debug)]
pub struct Record<K, V> {
    /// The record's own id, as stored in it.
    pub id: K,
    /// The record.
    pub value: V,
    /// Its size in bytes, for the limit.
    pub bytes: u32,
    /// Rule T: the idle deadline - Redis's TIME in that reply; zero if past.
    pub idle_left: Duration,
    /// Rule T: the absolute deadline - Redis's TIME in that reply; zero if past.
    pub absolute_left: Duration,
    /// Where it came from.
    pub source: Source,
}

/// What the request that read may answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer<V> {
    /// This.
    Serve(Served<V>),
    /// Rule F3: the reply took longer than B. Read again, and if that fails too, 503.
    TooSlow,
    /// Rule W3: the id is known to have ended.
    Ended,
    /// The record is another session's; never answer with it. Either an alias was followed that should have been
    /// resolved first (A), or a connection is out of step.
    OtherId,
}

/// Why a record that was read was not inserted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// The bucket was not subscribed when the read began.
    NoCover,
    /// Not read from the node whose connection gave the stamp.
    Elsewhere,
    /// The record's own id is another (A).
    OtherId,
    /// An invalidation took the place meanwhile.
    Overtaken,
    /// The id is known to have ended.
    Ended,
}

impl Refusal {
    /// The name of this reason in metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Self::NoCover => "no_cover",
            Self::Elsewhere => "elsewhere",
            Self::OtherId => "other_id",
            Self::Overtaken => "overtaken",
            Self::Ended => "ended",
        }
    }
}

/// How a fill went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Completed<V> {
    /// What to answer.
    pub answer: Answer<V>,
    /// Whether later requests will find it in L1.
    pub inserted: Result<(), Refusal>,
}

impl<'a, K: Keyed, V: Value, P: Parts> Fill<'a, K, V, P> {
    /// A read that will not become an entry.
    pub(super) fn unshared(id: K, sent: Monotonic) -> Self {
        Self { id, sent, place: None }
    }

    pub(super) fn shared(
        id: K,
        sent: Monotonic,
        guard: <P::Map<K, V> as Map<K, V>>::Guard<'a>,
        stamp: Stamp,
        connection: ConnectionId,
    ) -> Self {
        Self {
            id,
            sent,
            place: Some(Place {
                guard,
                stamp,
                connection,
            }),
        }
    }

    /// The connection to whose node the read must go to become an entry; `None`: any primary that has the bucket.
    pub fn connection(&self) -> Option<ConnectionId> {
        self.place.as_ref().map(|place| place.connection)
    }

    /// Rule F1: the reply came. Inserts what may be inserted and says what may be answered.
    pub fn complete(self, l1: &L1<K, V, P>, record: Record<K, V>, clock: impl Fn() -> Monotonic) -> Completed<V> {
        if record.id != self.id {
            return Completed {
                answer: Answer::OtherId,
                inserted: Err(Refusal::OtherId),
            };
        }
        let Self { id, sent, place } = self;
        let ends = sent.after(record.idle_left.min(record.absolute_left));
        let until = ends.min(sent.after(l1.max_age()));
        let value = record.value.clone();
        let inserted = place
            .ok_or(Refusal::NoCover)
            .and_then(|place| place.insert(l1, record, Deadlines { sent, until, ends }, clock()));
        let now = clock();
        let answer = if l1.has_ended(&id, now) {
            Answer::Ended
        } else if now.lapsed(sent, l1.cover().bound()) {
            Answer::TooSlow
        } else {
            let fresh_until = Monotonic::from_nanos(sent.as_nanos().saturating_add(l1.cover().bound()));
            Answer::Serve(Served {
                value,
                until: fresh_until.min(until),
            })
        };
        Completed { answer, inserted }
    }

    /// The reply was that there is no such session. Absence is never held: those that wait ask themselves.
    pub fn absent(self) {
        drop(self);
    }

    /// Rule A: the id led to another one. Nothing is held under an alias: look that one up for itself.
    pub fn alias(self) {
        drop(self);
    }
}

/// When a value was read, and how long it will do.
struct Deadlines {
    sent: Monotonic,
    until: Monotonic,
    ends: Monotonic,
}

impl<K: Keyed, V: Value, P: Parts> Place<'_, K, V, P> {
    fn insert(
        self,
        l1: &L1<K, V, P>,
        record: Record<K, V>,
        Deadlines { sent, until, ends }: Deadlines,
        now: Monotonic,
    ) -> Result<(), Refusal> {
        let elsewhere = record.source == Source::Elsewhere;
        #[cfg(test)]
        let elsewhere = elsewhere && l1.left_out != Some(Mutant::FillFromAnotherNode);
        if elsewhere {
            return Err(Refusal::Elsewhere);
        }
        // An end heard after this check finds the place or the entry, and removes it.
        if l1.has_ended(&record.id, now) {
            return Err(Refusal::Ended);
        }
        let entry = Entry {
            value: record.value,
            stamp: self.stamp,
            sent,
            until,
            ends,
            weight: record.bytes,
        };
        #[cfg(test)]
        let entry = match l1.left_out {
            Some(Mutant::StampNotedAtInsert) => Entry {
                stamp: l1.cover().stamp(record.id.bucket()).unwrap_or(self.stamp),
                ..entry
            },
            Some(Mutant::NoPlaceholderGuard) => {
                drop(self.guard);
                l1.map().put(record.id, entry);
                return Ok(());
            }
            _ => entry,
        };
        if self.guard.fill(entry) {
            Ok(())
        } else {
            Err(Refusal::Overtaken)
        }
    }
}
