use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use redis::{PushInfo, PushKind, Value};
use tokio_util::sync::CancellationToken;

use super::super::RedisStore;
use super::super::keys::Keys;
use super::super::node::Node;
use super::super::subscriber::Subscriber;
use crate::coherence::message::Message;
use crate::coherence::{ConnectionId, Feed, Nonce, Pace};
use crate::session::{Bucket, Clock, Monotonic, SessionId};

/// Why a connection ended: the name of the kind in metrics, and what the log says.
struct Ended {
    kind: &'static str,
    reason: String,
}

impl Ended {
    fn new(kind: &'static str, reason: &(impl std::fmt::Display + ?Sized)) -> Self {
        Self {
            kind,
            reason: reason.to_string(),
        }
    }

    fn subscription(error: &redis::RedisError) -> Self {
        let kind = if error.code().is_some() {
            "subscription"
        } else {
            "connection"
        };
        Self::new(kind, &format!("a subscription was refused: {error}"))
    }

    fn heartbeat(error: &redis::RedisError) -> Self {
        let kind = match error {
            error if error.is_timeout() => "lease",
            error if error.code().is_some() => "heartbeat",
            _ => "connection",
        };
        Self::new(kind, error)
    }
}

/// What the connection's reader noticed: it ends the connection.
#[derive(Default)]
struct Broken {
    token: CancellationToken,
    kind: OnceLock<&'static str>,
}

impl Broken {
    fn note(&self, kind: &'static str) {
        self.kind.get_or_init(|| kind);
        self.token.cancel();
    }

    async fn noted(&self) -> Ended {
        self.token.cancelled().await;
        let (kind, reason) = match self.kind.get() {
            Some(&"subscription") => ("subscription", "unsubscribed without having asked for it"),
            Some(&"message") => ("message", "sent what cannot be understood"),
            _ => ("connection", "disconnected"),
        };
        Ended::new(kind, reason)
    }
}

/// One connection from its beginning to its end (L3).
pub(super) struct Line {
    pub(super) store: RedisStore,
    pub(super) l1: Arc<dyn Feed>,
    pub(super) pace: Pace,
    pub(super) node: Arc<Node>,
    /// The buckets that a majority of the primaries places at this node.
    pub(super) buckets: Vec<Bucket>,
}

impl Line {
    /// Subscribes, then sends heartbeats until the connection ends for whatever reason. `asked` is the time before the
    /// majority was asked.
    pub(super) async fn run(self, asked: Monotonic) {
        let Some(connection) = self.l1.cover().connection_begun(asked) else {
            return;
        };
        let end = self.hold(connection, asked).await;
        self.l1.cover().connection_ended(connection);
        self.store.forget_line(connection);
        if !self.pace.stop.is_cancelled() {
            let ended = &self.store.0.metrics.coherence_connections_ended;
            ended.with_label_values(&[end.kind]).inc();
            let reason = end.reason;
            tracing::info!(node = %self.node.address, reason, "a coherence connection ended: its buckets are read from redis");
        }
    }

    async fn hold(&self, connection: ConnectionId, asked: Monotonic) -> Ended {
        let broken = Arc::new(Broken::default());
        let listener = listener(
            Arc::clone(&self.l1),
            Arc::clone(&self.pace.clock),
            connection,
            Arc::clone(&broken),
        );
        let connecting = Subscriber::connect(self.store.0.router.dialer(), &self.node.address, listener);
        let subscriber = match connecting.await {
            Ok(subscriber) => subscriber,
            Err(error) => return Ended::new("connection", &error),
        };
        self.store.remember_line(connection, &self.node);
        tokio::select! {
            () = self.pace.stop.cancelled() => Ended::new("moved", "its buckets moved, or this server stops"),
            ended = broken.noted() => ended,
            ended = self.subscribe_and_beat(&subscriber, connection, asked) => ended,
        }
    }

    async fn subscribe_and_beat(&self, subscriber: &Subscriber, connection: ConnectionId, asked: Monotonic) -> Ended {
        let mut subscribing: FuturesUnordered<_> = self
            .buckets
            .iter()
            .map(|bucket| async move {
                let channel = self.store.0.keys.invalidations(*bucket);
                (*bucket, subscriber.subscribe(&[channel]).await)
            })
            .collect();
        let mut refused = None;
        while let Some((bucket, outcome)) = subscribing.next().await {
            match outcome {
                Ok(()) => {
                    self.l1.cover().subscribed(bucket.number(), connection);
                }
                // The bucket stays without cover; the next survey finds out where it is.
                Err(error) if error.code().is_some() => {
                    self.l1.cover().unsubscribed(bucket.number(), connection);
                    refused = Some(Ended::subscription(&error));
                }
                Err(error) => return Ended::subscription(&error),
            }
        }
        drop(subscribing);
        match refused {
            Some(refused) => refused,
            None => self.beat(subscriber, connection, asked).await,
        }
    }

    /// Sends a heartbeat every h, whether or not the one before was answered: on a key of this primary, for a node that
    /// was cut off goes on answering PING.
    async fn beat(&self, subscriber: &Subscriber, connection: ConnectionId, asked: Monotonic) -> Ended {
        // Another bucket's key for each connection: in a half-moved slot a key that is not there is redirected, and with
        // the same key again the whole node would be without cover until the move ends.
        let buckets = u64::try_from(self.buckets.len()).unwrap_or(u64::MAX);
        let nth = asked
            .as_nanos()
            .checked_rem(buckets)
            .and_then(|nth| usize::try_from(nth).ok());
        let Some(bucket) = nth.and_then(|nth| self.buckets.get(nth)) else {
            return Ended::new("moved", "nothing to cover");
        };
        let key = self.store.0.keys.counts(*bucket);
        let cover = self.l1.cover();
        let mut tick = tokio::time::interval(self.pace.heartbeat);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut replies = FuturesUnordered::new();
        loop {
            tokio::select! {
                _ = tick.tick() => {
                    let nonce = match cover.heartbeat_sent(connection, self.pace.clock.monotonic()) {
                        Ok(nonce) => nonce,
                        Err(end) => return Ended::new("lease", &end),
                    };
                    replies.push(subscriber.heartbeat(&key, nonce.get()));
                }
                Some(reply) = replies.next() => {
                    let nonce = match reply {
                        Ok(nonce) => nonce,
                        Err(error) => return Ended::heartbeat(&error),
                    };
                    let now = self.pace.clock.monotonic();
                    if let Err(end) = cover.heartbeat_reply(connection, Nonce::from_reply(nonce), now) {
                        return Ended::new("lease", &end);
                    }
                }
            }
        }
    }
}

/// Applies what is pushed, in the connection's reader (F2). What cannot be understood, a disconnect, and a `sunsubscribe`
/// that nobody asked for (the client library loses count of replies by it) end the connection right there.
fn listener(
    l1: Arc<dyn Feed>,
    clock: Arc<dyn Clock>,
    connection: ConnectionId,
    broken: Arc<Broken>,
) -> impl Fn(PushInfo) + Send + Sync + 'static {
    move |push| {
        let wrong = match push.kind {
            PushKind::SMessage => hear(&*l1, &*clock, &push).is_none().then_some("message"),
            PushKind::Disconnection => Some("connection"),
            PushKind::SUnsubscribe => Some("subscription"),
            _ => None,
        };
        if let Some(wrong) = wrong {
            l1.cover().connection_ended(connection);
            broken.note(wrong);
        }
    }
}

fn hear(l1: &dyn Feed, clock: &dyn Clock, push: &PushInfo) -> Option<()> {
    let [Value::BulkString(channel), Value::BulkString(payload)] = push.data.as_slice() else {
        return None;
    };
    let bucket = Keys::bucket_of(channel)?;
    match Message::parse::<SessionId>(payload) {
        Ok(message) => {
            l1.heard(bucket.number(), &message, clock.monotonic());
            Some(())
        }
        Err(error) => {
            tracing::warn!(%bucket, %error, "an invalidation that cannot be understood");
            None
        }
    }
}

impl RedisStore {
    fn remember_line(&self, connection: ConnectionId, node: &Arc<Node>) {
        self.0.lines.rcu(|lines| {
            let mut lines: HashMap<_, _> = (**lines).clone();
            lines.insert(connection, Arc::clone(node));
            lines
        });
    }

    fn forget_line(&self, connection: ConnectionId) {
        let before = self.0.lines.rcu(|lines| {
            let mut lines: HashMap<_, _> = (**lines).clone();
            lines.remove(&connection);
            lines
        });
        if before.contains_key(&connection) {
            self.0.lines_ended.fetch_add(1, Ordering::Relaxed);
        }
    }
}
