use std::sync::{Arc, Weak};

use async_trait::async_trait;

use super::MemoryStore;
use crate::coherence::message::{Kind, Message, encode};
use crate::coherence::{BUCKETS, Cover, EndConnection, Feed, Pace, Store, Transport};
use crate::session::SessionId;
use crate::store::{Event, EventKind};
use crate::telemetry::trace::current_traceparent;

/// In one process an invalidation is a call inside the critical section of the change, and a heartbeat answers at once:
/// the same rules run as over Redis, and a process that was stopped loses its cover by them.
#[async_trait]
impl Transport for MemoryStore {
    async fn feed(&self, l1: Arc<dyn Feed>, pace: Pace) {
        let (weak, clock) = (Arc::downgrade(&l1), Arc::clone(&pace.clock));
        self.listeners.hook(Box::new(move |event| {
            let Some(l1) = Weak::upgrade(&weak) else { return false };
            if let Some(payload) = message_of(event)
                && let Ok(message) = Message::parse::<SessionId>(payload.as_bytes())
            {
                l1.heard(event.id.bucket.number(), &message, clock.monotonic());
            }
            true
        }));
        while !pace.stop.is_cancelled() {
            if let Err(reason) = hold(l1.cover(), &pace).await {
                tracing::debug!(%reason, "the cover of the embedded store lapsed: it begins anew");
            }
        }
    }

    async fn facts(&self) -> Store {
        Store::Single
    }
}

/// Covers every bucket until a heartbeat comes too late.
async fn hold(cover: &Cover, pace: &Pace) -> Result<(), EndConnection> {
    let connection = cover
        .connection_begun(pace.clock.monotonic())
        .ok_or(EndConnection::Ended)?;
    for bucket in 0..BUCKETS {
        cover.subscribed(u16::try_from(bucket).unwrap_or_default(), connection);
    }
    let mut tick = tokio::time::interval(pace.heartbeat);
    loop {
        tokio::select! {
            () = pace.stop.cancelled() => {
                cover.connection_ended(connection);
                return Ok(());
            }
            _ = tick.tick() => {
                let nonce = cover.heartbeat_sent(connection, pace.clock.monotonic())?;
                cover.heartbeat_reply(connection, nonce, pace.clock.monotonic())?;
            }
        }
    }
}

/// What the scripts of the Redis store publish for the same change.
fn message_of(event: &Event) -> Option<String> {
    let (kind, id) = match event.kind {
        EventKind::Created | EventKind::Expired => return None,
        EventKind::Changed | EventKind::Migrated => (Kind::Changed, event.session_id),
        EventKind::Rotated => (Kind::Rotated, event.previous_id?),
        EventKind::Destroyed | EventKind::Revoked | EventKind::Theft => (Kind::Ended, event.session_id),
    };
    let mut message = encode(kind, event.version.unwrap_or_default(), &[id]);
    if let Some(traceparent) = current_traceparent() {
        message += " traceparent=";
        message += &traceparent;
    }
    Some(message)
}
