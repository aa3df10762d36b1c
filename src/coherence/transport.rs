//! What feeds L1: the transports that carry invalidations and heartbeats.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use super::cover::Cover;
use super::l1::L1;
use super::message::Message;
use super::parts::{Keyed, Value};
use super::start::Store;
use crate::session::{Clock, Monotonic, SessionId};

impl Keyed for SessionId {
    fn bucket(&self) -> u16 {
        Self::bucket(self).number()
    }
}

/// The side of L1 that a transport sees.
pub trait Feed: Send + Sync + 'static {
    /// Stamps and leases.
    fn cover(&self) -> &Cover;
    /// Rule F2: applies a message of a bucket's channel, in the connection's reader.
    fn heard(&self, bucket: u16, message: &Message<'_>, now: Monotonic);
}

impl<V: Value> Feed for L1<SessionId, V> {
    fn cover(&self) -> &Cover {
        Self::cover(self)
    }

    fn heard(&self, bucket: u16, message: &Message<'_>, now: Monotonic) {
        Self::heard(self, bucket, message, now);
    }
}

/// How a transport keeps L1 covered.
#[derive(Clone)]
pub struct Pace {
    /// h, how often a heartbeat is sent on each connection.
    pub heartbeat: Duration,
    /// The clock of rule T.
    pub clock: Arc<dyn Clock>,
    /// Ends the feeding.
    pub stop: CancellationToken,
}

/// Carries invalidations from the store of record.
#[async_trait]
pub trait Transport: Send + Sync + 'static {
    /// Feeds L1 until it is told to stop: subscribes, sends heartbeats, follows the topology, and begins again whenever
    /// a connection ends.
    async fn feed(&self, l1: Arc<dyn Feed>, pace: Pace);

    /// What rule S asks about the store.
    async fn facts(&self) -> Store;
}
