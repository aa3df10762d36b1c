use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream;
use tokio::sync::{broadcast, mpsc, watch};
use tracing::Instrument as _;

use super::{Result, Sessions};
use crate::session::{Bucket, Timestamp};
use crate::store::{Event, EventId, SessionStore, StoreError};
use crate::telemetry::Metrics;

/// How far the clocks of two primaries may differ: so much is repeated when a listener resumes.
const CLOCK_SKEW: Duration = Duration::from_secs(2);
/// How many buckets' streams are read at a time.
const REPLAY_CONCURRENCY: usize = 64;
/// How many events a listener may lag behind before it is told that it missed some.
const LISTENER_BACKLOG: usize = 4_096;

/// What a listener to the events is given.
#[derive(Debug, Clone)]
pub enum FeedItem {
    /// Something happened.
    Event(Arc<Event>),
    /// Events were lost: the streams hold them no more, or the listener was too slow.
    Gap,
}

/// The events of the whole fleet, from some time on.
pub type EventFeed = mpsc::Receiver<FeedItem>;

/// One subscription of this server, shared by all its listeners; there is none while nobody listens.
pub(super) struct EventHub {
    store: Arc<dyn SessionStore>,
    metrics: Metrics,
    live: tokio::sync::Mutex<Option<broadcast::WeakSender<FeedItem>>>,
}

impl EventHub {
    pub(super) fn new(store: Arc<dyn SessionStore>, metrics: Metrics) -> Self {
        Self {
            store,
            metrics,
            live: tokio::sync::Mutex::default(),
        }
    }

    /// Joins the subscription, which stands when this returns.
    async fn join(&self) -> std::result::Result<broadcast::Receiver<FeedItem>, StoreError> {
        let mut live = self.live.lock().await;
        if let Some(sender) = live.as_ref().and_then(broadcast::WeakSender::upgrade) {
            return Ok(sender.subscribe());
        }
        let events = self.store.events().await?;
        // Where the streams are to be resumed from, if the subscription is lost before anything was heard.
        let begun = self.store.ping().await?;
        let (sender, receiver) = broadcast::channel(LISTENER_BACKLOG);
        *live = Some(sender.downgrade());
        let pump = Pump {
            store: Arc::clone(&self.store),
            metrics: self.metrics.clone(),
        };
        tokio::spawn(pump.run(events, begun, sender).in_current_span());
        Ok(receiver)
    }
}

/// Passes the store's events on for as long as somebody listens, and makes up for interruptions from the streams.
struct Pump {
    store: Arc<dyn SessionStore>,
    metrics: Metrics,
}

impl Pump {
    async fn run(
        self,
        mut events: mpsc::Receiver<Event>,
        mut heard_until: Timestamp,
        sender: broadcast::Sender<FeedItem>,
    ) {
        loop {
            tokio::select! {
                event = events.recv() => match event {
                    Some(event) => {
                        heard_until = heard_until.max(event.at);
                        if !self.pass_on(&sender, event) { return }
                    }
                    None => match self.resume(heard_until, &sender).await {
                        Some(resumed) => events = resumed,
                        None => return,
                    },
                },
                () = sender.closed() => return,
            }
        }
    }

    fn pass_on(&self, sender: &broadcast::Sender<FeedItem>, event: Event) -> bool {
        self.metrics.events.with_label_values(&[event.kind.as_str()]).inc();
        sender.send(FeedItem::Event(Arc::new(event))).is_ok()
    }

    /// Subscribes again, then tells what happened meanwhile; nothing where nobody listens any more.
    async fn resume(
        &self,
        heard_until: Timestamp,
        sender: &broadcast::Sender<FeedItem>,
    ) -> Option<mpsc::Receiver<Event>> {
        let mut pause = Duration::from_millis(50);
        loop {
            if sender.receiver_count() == 0 {
                return None;
            }
            if let Ok(events) = self.store.events().await {
                let since = EventId {
                    at: heard_until.minus(CLOCK_SKEW),
                    sequence: 0,
                    bucket: Bucket::new(0),
                };
                let missed = replay(&self.store, since).await;
                if let Ok((missed, trimmed)) = missed {
                    if trimmed && sender.send(FeedItem::Gap).is_err() {
                        return None;
                    }
                    for event in missed {
                        self.pass_on(sender, event);
                    }
                    return Some(events);
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(2));
        }
    }
}

impl Sessions {
    /// The events of the fleet from now on, or since one that the listener has seen: at least once, and a gap where
    /// some are held no more. When this returns, none that follows is missed.
    pub async fn events(&self, since: Option<EventId>) -> Result<EventFeed> {
        let mut live = self.0.events.join().await?;
        let (missed, trimmed) = match since {
            Some(seen) => {
                let from = EventId {
                    at: seen.at.minus(CLOCK_SKEW),
                    ..seen
                };
                let (events, trimmed) = replay(&self.0.store, from).await?;
                (events.into_iter().filter(|event| event.id != seen).collect(), trimmed)
            }
            None => (Vec::new(), false),
        };
        let (sender, feed) = mpsc::channel(64);
        let listeners = self.0.metrics.event_listeners.clone();
        tokio::spawn(async move {
            listeners.inc();
            let _ = feed_listener(sender, missed, trimmed, &mut live).await;
            listeners.dec();
        });
        Ok(feed)
    }

    /// How far a reader of the events has come, by its name: sets it where it is given, and gives it.
    pub async fn bookmark(&self, reader: &str, at: Option<EventId>) -> Result<Option<EventId>> {
        Ok(self.0.store.bookmark(reader, at).await?)
    }

    /// Tells `stop` to all that wait for it: a drain ends the listeners' streams.
    pub fn events_until(
        &self,
        feed: EventFeed,
        mut stop: watch::Receiver<bool>,
    ) -> impl stream::Stream<Item = FeedItem> + use<> {
        let stopped = async move {
            let _ = stop.wait_for(|stop| *stop).await;
        };
        stream::unfold(
            feed,
            |mut feed| async move { feed.recv().await.map(|item| (item, feed)) },
        )
        .take_until(stopped)
    }
}

/// The listener went away.
struct Left;

async fn feed_listener(
    sender: mpsc::Sender<FeedItem>,
    missed: Vec<Event>,
    trimmed: bool,
    live: &mut broadcast::Receiver<FeedItem>,
) -> std::result::Result<(), Left> {
    if trimmed {
        sender.send(FeedItem::Gap).await.map_err(|_| Left)?;
    }
    for event in missed {
        sender.send(FeedItem::Event(Arc::new(event))).await.map_err(|_| Left)?;
    }
    loop {
        let item = tokio::select! {
            item = live.recv() => item,
            () = sender.closed() => return Err(Left),
        };
        let item = match item {
            Ok(item) => item,
            Err(broadcast::error::RecvError::Lagged(_)) => FeedItem::Gap,
            Err(broadcast::error::RecvError::Closed) => return Ok(()),
        };
        sender.send(item).await.map_err(|_| Left)?;
    }
}

/// What the streams of all buckets hold since an event, in the order of time.
async fn replay(store: &Arc<dyn SessionStore>, since: EventId) -> std::result::Result<(Vec<Event>, bool), StoreError> {
    let mut reads = stream::iter(Bucket::all())
        .map(|bucket| store.events_since(bucket, EventId { bucket, ..since }))
        .buffer_unordered(REPLAY_CONCURRENCY);
    let (mut events, mut trimmed) = (Vec::new(), false);
    while let Some(replay) = reads.next().await {
        let replay = replay?;
        trimmed |= replay.trimmed;
        events.extend(replay.events);
    }
    events.sort_by_key(|event| event.id);
    Ok((events, trimmed))
}
