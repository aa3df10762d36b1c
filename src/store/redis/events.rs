use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use redis::{PushInfo, PushKind, Value};
use serde::Deserialize;
use tokio::sync::{mpsc, watch};

use super::content::open_user;
use super::keys::Keys;
use super::node::Address;
use super::subscriber::Subscriber;
use super::vault::Vault;
use super::{BucketCall, RedisStore, Result};
use crate::session::{Bucket, ServerId, Timestamp, UserId};
use crate::store::{EndReason, Event, EventId, EventKind, Replay, StoreError};
use crate::telemetry::Actor;

/// How many events may wait for a listener.
const BACKLOG: usize = 4_096;
/// How often the subscriptions are checked.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// How long a bucket's stream is kept after its last event; the scripts know it as `EVENTS_FOR`.
const KEPT_FOR_MILLIS: &[u8] = b"600000";

/// An event as the scripts write it.
#[derive(Deserialize)]
struct Told {
    event: String,
    session_id: String,
    at: u64,
    class: String,
    user_id: Option<String>,
    sealed_user: Option<String>,
    server_id: Option<String>,
    version: Option<u64>,
    reason: Option<String>,
    duration_seconds: Option<f64>,
    previous_id: Option<String>,
    previous_server_id: Option<String>,
    actor: Option<String>,
    request_id: Option<String>,
}

/// What was read where an event should be.
#[expect(clippy::large_enum_variant, reason = "it is taken apart where it is made")]
pub(super) enum Read {
    Event(Event),
    /// An event of a kind that a newer server tells of: not missed, and not for the listeners of this one.
    Foreign,
}

pub(super) fn parse(bucket: Bucket, entry: &str, json: &str, vault: &Vault) -> Option<Read> {
    let (at, sequence) = entry.split_once('-')?;
    let id = EventId {
        at: Timestamp::from_millis(at.parse().ok()?),
        sequence: sequence.parse().ok()?,
        bucket,
    };
    let told: Told = serde_json::from_str(json).ok()?;
    let Some(kind) = EventKind::from_name(&told.event) else {
        return Some(Read::Foreign);
    };
    Some(Read::Event(Event {
        id,
        kind,
        session_id: told.session_id.parse().ok()?,
        user_id: match &told.sealed_user {
            Some(sealed) => open_user(sealed, vault),
            None => told.user_id.and_then(|user| UserId::new(&user).ok()),
        },
        server_id: told.server_id.and_then(|server| ServerId::new(&server).ok()),
        at: Timestamp::from_millis(told.at),
        class: told.class,
        version: told.version,
        reason: told.reason.as_deref().and_then(EndReason::from_name),
        duration_seconds: told.duration_seconds,
        previous_id: told.previous_id.and_then(|id| id.parse().ok()),
        previous_server_id: told.previous_server_id.and_then(|server| ServerId::new(&server).ok()),
        actor: told.actor.as_deref().and_then(Actor::from_word),
        request_id: told.request_id,
    }))
}

/// The event in a pushed message; nothing where it is none of ours.
fn parse_message(push: &PushInfo, vault: &Vault) -> Option<Read> {
    let [Value::BulkString(channel), Value::BulkString(payload)] = push.data.as_slice() else {
        return None;
    };
    let (entry, json) = std::str::from_utf8(payload).ok()?.split_once(' ')?;
    parse(Keys::bucket_of(channel)?, entry, json, vault)
}

impl RedisStore {
    pub(super) async fn replay(&self, bucket: Bucket, since: EventId) -> Result<Replay> {
        let key = self.0.keys.stream(bucket);
        let since = format!("{}-{}", since.at.as_millis(), since.sequence);
        let tag = bucket.to_string();
        let call = BucketCall {
            script: &self.0.scripts.events,
            bucket,
            keys: &[key.as_bytes()],
            arguments: &[tag.as_bytes(), since.as_bytes(), KEPT_FOR_MILLIS],
            durable: false,
        };
        let done = self.run(call).await?;
        let (_, mut reply) = self.told(&done, &tag)?;
        let mut events = Vec::new();
        for _ in 0..reply.array()? {
            reply.array()?;
            let (entry, json) = (reply.text()?, reply.text()?);
            match parse(bucket, entry, json, &self.0.vault) {
                Some(Read::Event(event)) => events.push(event),
                Some(Read::Foreign) => {}
                None => return Err(StoreError::Corrupt(format!("event {entry}: {json}"))),
            }
        }
        Ok(Replay {
            events,
            trimmed: reply.flag()?,
        })
    }

    /// Subscribes to every bucket's events. Whatever may have lost one (a lost connection, a moved slot, a listener that
    /// is too slow) closes the receiver: the streams hold what was missed.
    pub(super) async fn subscribe_to_events(&self) -> Result<mpsc::Receiver<Event>> {
        let (sender, receiver) = mpsc::channel(BACKLOG);
        let (broken, broke) = watch::channel(false);
        let broken = Arc::new(broken);
        let topology = self.0.router.topology();
        let mut lines = Vec::new();
        for node in &topology.primaries {
            let serves = |bucket: &Bucket| {
                topology
                    .primary_of(*bucket)
                    .is_some_and(|own| own.address == node.address)
            };
            let buckets: Vec<Bucket> = Bucket::all().filter(serves).collect();
            if buckets.is_empty() {
                continue;
            }
            let (store, to, broken) = (self.clone(), sender.clone(), Arc::clone(&broken));
            let listener = move |push: PushInfo| {
                let missed = match push.kind {
                    PushKind::SMessage => match parse_message(&push, &store.0.vault) {
                        Some(Read::Event(event)) => to.try_send(event).is_err(),
                        Some(Read::Foreign) => false,
                        None => true,
                    },
                    PushKind::Disconnection | PushKind::SUnsubscribe => true,
                    _ => false,
                };
                if missed {
                    broken.send_replace(true);
                }
            };
            let channels: Vec<_> = buckets.iter().map(|bucket| self.0.keys.events(*bucket)).collect();
            let opening = async {
                let subscriber = Subscriber::connect(self.0.router.dialer(), &node.address, listener).await?;
                subscriber.subscribe(&channels).await?;
                Ok::<_, redis::RedisError>(subscriber)
            };
            match opening.await {
                Ok(subscriber) => {
                    let key = self.0.keys.stream(buckets[0]);
                    lines.push(Line {
                        subscriber,
                        key,
                        address: node.address.clone(),
                    });
                }
                Err(error) => {
                    self.0.router.refresh().await;
                    return Err(StoreError::Unavailable(format!(
                        "subscription at {}: {error}",
                        node.address
                    )));
                }
            }
        }
        tokio::spawn(self.clone().watch_over(lines, sender, broke));
        Ok(receiver)
    }

    /// Keeps the subscriptions until one may have missed something or nobody listens.
    async fn watch_over(self, lines: Vec<Line>, sender: mpsc::Sender<Event>, mut broke: watch::Receiver<bool>) {
        let broken = async move {
            let _ = broke.wait_for(|broke| *broke).await;
        };
        tokio::pin!(broken);
        let mut tick = tokio::time::interval(HEARTBEAT);
        loop {
            tokio::select! {
                () = sender.closed() => return,
                () = &mut broken => return,
                _ = tick.tick() => {
                    let answers = join_all(lines.iter().map(|line| line.subscriber.heartbeat(&line.key, 0))).await;
                    if answers.iter().any(redis::RedisResult::is_err) {
                        self.0.router.refresh().await;
                        return;
                    }
                    if !self.still_serve(&lines) {
                        return;
                    }
                }
            }
        }
    }

    fn still_serve(&self, lines: &[Line]) -> bool {
        let topology = self.0.router.topology();
        topology.primaries.len() == lines.len()
            && lines
                .iter()
                .all(|line| topology.primaries.iter().any(|node| node.address == line.address))
    }
}

/// The subscriptions at one primary.
struct Line {
    subscriber: Subscriber,
    /// A key that this primary serves.
    key: String,
    address: Address,
}
