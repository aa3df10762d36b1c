use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream;
use parking_lot::Mutex;
use reqwest::StatusCode;
use tokio::sync::oneshot;
use tokio::time::{Instant, interval, sleep};

use super::Webhook;
use super::attempt::{Message, Outcome};
use crate::session::{Bucket, SessionId, Timestamp};
use crate::sessions::{EventFeed, FeedItem, Result, Sessions};
use crate::store::{Event, EventId};

/// How many events of an endpoint are on their way at a time.
const WINDOW: usize = 8;
/// The pause after a failed attempt: at first, and at most.
const PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_mins(1));
/// How often a disabled endpoint is tried.
const PROBE: Duration = Duration::from_mins(5);
/// How often the position is remembered and the lag shown.
const REMEMBER: Duration = Duration::from_secs(1);

/// The delivery to one endpoint.
pub(super) struct Delivery<'a> {
    sessions: &'a Sessions,
    webhook: &'a Webhook,
    /// What is on its way.
    waiting: Mutex<BTreeSet<EventId>>,
    /// The last event of each session that is, with what ends when it is done.
    lines: Mutex<HashMap<SessionId, (EventId, oneshot::Receiver<()>)>>,
    /// How many were delivered: an event that fails while others do not is itself the cause.
    delivered: AtomicU64,
    disabled: AtomicBool,
    /// For pauses that differ from server to server and from event to event.
    jitter: AtomicU64,
}

impl<'a> Delivery<'a> {
    pub(super) fn new(sessions: &'a Sessions, webhook: &'a Webhook) -> Self {
        Self {
            sessions,
            webhook,
            waiting: Mutex::default(),
            lines: Mutex::default(),
            delivered: AtomicU64::new(0),
            disabled: AtomicBool::new(false),
            jitter: AtomicU64::new(sessions.monotonic().as_nanos()),
        }
    }

    /// Never ends.
    pub(super) async fn run(self) {
        tracing::info!(webhook = self.webhook.name(), "events are delivered by this server");
        let mut failing = false;
        loop {
            match self.follow().await {
                Ok(()) => failing = false,
                Err(error) if !std::mem::replace(&mut failing, true) => {
                    tracing::warn!(webhook = self.webhook.name(), %error, "the events cannot be read: tried again");
                }
                Err(_) => {}
            }
            sleep(PAUSE.0).await;
        }
    }

    /// Delivers what follows the position, until the feed ends or has lost something on its way here: then the streams
    /// still have it.
    async fn follow(&self) -> Result<()> {
        self.waiting.lock().clear();
        self.lines.lock().clear();
        let known = self.sessions.bookmark(self.webhook.name(), None).await?;
        let begun = EventId {
            at: self.sessions.now(),
            sequence: 0,
            bucket: Bucket::new(0),
        };
        let feed = self.sessions.events(known).await?;
        if known.is_none() {
            // Lest what happens before the first delivery be passed over by the next leader.
            self.sessions.bookmark(self.webhook.name(), Some(begun)).await?;
        }
        let deliveries = items(feed)
            .enumerate()
            .take_while(|(number, item)| std::future::ready(*number == 0 || !matches!(item, FeedItem::Gap)))
            .map(|(_, item)| self.take(item))
            .buffered(WINDOW);
        let mut deliveries = std::pin::pin!(deliveries);
        let mut ticks = interval(REMEMBER);
        let (mut done, mut remembered) = (None, None);
        loop {
            tokio::select! {
                delivered = deliveries.next() => match delivered {
                    Some(delivered) => done = delivered.or(done),
                    None => break,
                },
                _ = ticks.tick() => {
                    self.show();
                    if done != remembered {
                        self.sessions.bookmark(self.webhook.name(), done).await?;
                        remembered = done;
                    }
                }
            }
        }
        if done != remembered {
            self.sessions.bookmark(self.webhook.name(), done).await?;
        }
        Ok(())
    }

    /// Delivers one item; gives where it stands. Its place is taken at once, in the order of the feed.
    fn take(&self, item: FeedItem) -> impl Future<Output = Option<EventId>> {
        let turn = match &item {
            FeedItem::Event(event) if self.webhook.wants(event.kind) => Some(self.line_up(event)),
            FeedItem::Event(_) | FeedItem::Gap => None,
        };
        async move {
            match (item, turn) {
                (FeedItem::Event(event), Some(turn)) => Some(self.deliver_event(&event, turn).await),
                (FeedItem::Event(event), None) => Some(event.id),
                (FeedItem::Gap, _) => {
                    self.tell_gap().await;
                    None
                }
            }
        }
    }

    async fn tell_gap(&self) {
        self.lost("trimmed");
        tracing::warn!(
            webhook = self.webhook.name(),
            "events were lost: the streams hold them no more"
        );
        self.deliver(&Message::gap(self.sessions.now())).await;
    }

    /// A place behind the event of the same session that is still on its way.
    fn line_up(&self, event: &Event) -> Turn {
        self.waiting.lock().insert(event.id);
        let (done, ended) = oneshot::channel();
        let before = self.lines.lock().insert(event.session_id, (event.id, ended));
        Turn {
            before: before.map(|(_, ended)| ended),
            _done: done,
        }
    }

    async fn deliver_event(&self, event: &Arc<Event>, mut turn: Turn) -> EventId {
        if let Some(before) = turn.before.take() {
            // Nothing is ever sent: it ends.
            let _ = before.await;
        }
        self.deliver(&Message::of(event)).await;
        self.waiting.lock().remove(&event.id);
        let mut lines = self.lines.lock();
        if lines.get(&event.session_id).is_some_and(|(last, _)| *last == event.id) {
            lines.remove(&event.session_id);
        }
        event.id
    }

    /// Sends a message until it is taken, or given up.
    async fn deliver(&self, message: &Message) {
        let begun = Instant::now();
        let delivered_before = self.delivered.load(Ordering::Relaxed);
        let mut pause = PAUSE.0;
        loop {
            let outcome = self.attempt(message).await;
            let asked = match &outcome {
                Outcome::Delivered => return self.has_delivered(),
                Outcome::Refused(StatusCode::GONE, _) => {
                    self.disable(&outcome);
                    None
                }
                Outcome::Refused(_, asked) => *asked,
                Outcome::Unreachable(_) => None,
            };
            if !self.disabled.load(Ordering::Relaxed) && begun.elapsed() >= self.webhook.retry_for {
                if self.delivered.load(Ordering::Relaxed) != delivered_before {
                    return self.give_up(message, &outcome);
                }
                self.disable(&outcome);
            }
            if self.disabled.load(Ordering::Relaxed) {
                sleep(PROBE.min(self.webhook.retry_for.max(PAUSE.0))).await;
            } else {
                sleep(self.spread(pause).max(asked.unwrap_or_default())).await;
                pause = (pause * 2).min(PAUSE.1);
            }
        }
    }

    async fn attempt(&self, message: &Message) -> Outcome {
        let metrics = self.sessions.metrics();
        let name = self.webhook.name();
        let timer = metrics.webhook_duration.with_label_values(&[name]).start_timer();
        let outcome = self.webhook.attempt(message, self.sessions.now()).await;
        timer.observe_duration();
        metrics
            .webhook_attempts
            .with_label_values(&[name, outcome.label()])
            .inc();
        if outcome != Outcome::Delivered {
            let reason = outcome.reason();
            tracing::debug!(webhook = name, message_id = message.id, reason, "a delivery failed");
        }
        outcome
    }

    fn has_delivered(&self) {
        self.delivered.fetch_add(1, Ordering::Relaxed);
        if self.disabled.swap(false, Ordering::Relaxed) {
            tracing::info!(webhook = self.webhook.name(), "the endpoint takes events again");
            self.show();
        }
    }

    fn disable(&self, outcome: &Outcome) {
        if !self.disabled.swap(true, Ordering::Relaxed) {
            let reason = outcome.reason();
            tracing::error!(
                webhook = self.webhook.name(),
                reason,
                "the endpoint is disabled: it is tried every few minutes, and its events wait as long as the streams hold them"
            );
            self.show();
        }
    }

    fn give_up(&self, message: &Message, outcome: &Outcome) {
        let reason = outcome.reason();
        let message_id = &message.id;
        tracing::error!(
            webhook = self.webhook.name(),
            message_id,
            reason,
            "an event was given up"
        );
        self.lost("given_up");
    }

    fn lost(&self, reason: &str) {
        let losses = &self.sessions.metrics().webhook_losses;
        losses.with_label_values(&[self.webhook.name(), reason]).inc();
    }

    fn show(&self) {
        let metrics = self.sessions.metrics();
        let now: Timestamp = self.sessions.now();
        let oldest = self.waiting.lock().first().map(|id| now.since(id.at));
        let labels = [self.webhook.name()];
        let lag = metrics.webhook_lag.with_label_values(&labels);
        lag.set(oldest.unwrap_or_default().as_secs_f64());
        let disabled = self.disabled.load(Ordering::Relaxed);
        metrics
            .webhook_disabled
            .with_label_values(&labels)
            .set(i64::from(disabled));
    }

    /// Half of a pause, and up to the other half more.
    fn spread(&self, pause: Duration) -> Duration {
        let state = self.jitter.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        let share = f64::from(u16::try_from((state ^ (state >> 32)) & 0xffff).unwrap_or_default()) / 65_536.0;
        pause.mul_f64(0.5 + share / 2.0)
    }
}

/// An event's place in the line of its session: dropped, the next one's turn has come.
struct Turn {
    before: Option<oneshot::Receiver<()>>,
    _done: oneshot::Sender<()>,
}

fn items(feed: EventFeed) -> impl stream::Stream<Item = FeedItem> {
    stream::unfold(
        feed,
        |mut feed| async move { feed.recv().await.map(|item| (item, feed)) },
    )
}
