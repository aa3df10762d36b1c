use std::collections::VecDeque;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::mpsc;

use crate::session::{Bucket, Timestamp};
use crate::store::{Event, EventId, Replay};

/// How many events a bucket's stream keeps, the newest.
const MAX_EVENTS: usize = 64;
/// How long it keeps them.
const MAX_AGE: Duration = Duration::from_mins(10);
/// How far a listener may fall behind, in events.
const LISTENER_CAPACITY: usize = 1024;

/// The newest events of one bucket, for listeners that come back.
pub(super) struct Stream {
    events: VecDeque<Event>,
    /// The last one ever, held or not: ids rise even where the clock goes back.
    last: EventId,
    /// The newest that is not held any more.
    trimmed: Option<EventId>,
}

impl Stream {
    pub(super) fn new(bucket: Bucket) -> Self {
        let last = EventId {
            at: Timestamp::default(),
            sequence: 0,
            bucket,
        };
        Self {
            events: VecDeque::new(),
            last,
            trimmed: None,
        }
    }

    /// The id of an event that happens now.
    pub(super) fn next_id(&self, now: Timestamp) -> EventId {
        if now > self.last.at {
            EventId {
                at: now,
                sequence: 0,
                ..self.last
            }
        } else {
            EventId {
                sequence: self.last.sequence + 1,
                ..self.last
            }
        }
    }

    pub(super) fn append(&mut self, event: Event) {
        self.last = event.id;
        self.events.push_back(event);
        if self.events.len() > MAX_EVENTS {
            self.drop_oldest();
        }
    }

    /// Forgets what is too old.
    pub(super) fn trim(&mut self, now: Timestamp) {
        while self
            .events
            .front()
            .is_some_and(|event| event.id.at.plus(MAX_AGE) <= now)
        {
            self.drop_oldest();
        }
    }

    /// What happened after `since`. Sequences of different buckets do not compare: after an event of another bucket,
    /// all of its millisecond count.
    pub(super) fn since(&self, since: EventId) -> Replay {
        let is_newer = |id: EventId| {
            if since.bucket == id.bucket {
                id > since
            } else {
                id.at >= since.at
            }
        };
        Replay {
            events: self.events.iter().filter(|event| is_newer(event.id)).cloned().collect(),
            trimmed: self.trimmed.is_some_and(is_newer),
        }
    }

    fn drop_oldest(&mut self) {
        if let Some(event) = self.events.pop_front() {
            self.trimmed = Some(event.id);
        }
    }
}

/// Those who want all events.
#[derive(Default)]
pub(super) struct Listeners(Mutex<Vec<mpsc::Sender<Event>>>);

impl Listeners {
    pub(super) fn add(&self) -> mpsc::Receiver<Event> {
        let (sender, receiver) = mpsc::channel(LISTENER_CAPACITY);
        self.0.lock().push(sender);
        receiver
    }

    /// Hands the event to each. Who has no room for it loses the stream, and so knows that something is missing.
    pub(super) fn send(&self, event: &Event) {
        self.0
            .lock()
            .retain(|listener| listener.try_send(event.clone()).is_ok());
    }
}
