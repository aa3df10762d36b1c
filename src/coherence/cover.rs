//! Cover: which buckets this pod hears the invalidations of (stamps, rule C), and until when that is known to be so
//! (leases, rules L2 and L3).
//!
//! Requests only load atomics. All changes go through one mutex, a few times a second for each connection.

use std::collections::VecDeque;
use std::num::NonZeroU64;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use parking_lot::Mutex;

#[cfg(test)]
use super::mutant::Mutant;
use super::parts::{BUCKETS, Word};
use crate::session::{Monotonic, nanos};

/// How many connections, that is primaries, there may be at a time.
pub const MAX_CONNECTIONS: usize = 1 << SLOT_BITS;
const SLOT_BITS: u32 = 10;

/// One subscriber connection, never mistaken for a later one in the same slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConnectionId {
    slot: u16,
    serial: u64,
}

/// A cover stamp other than 0: a number that no bucket had before, and the slot of the connection that gave it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Stamp(NonZeroU64);

impl Stamp {
    fn new(serial: u64, slot: u16) -> Option<Self> {
        NonZeroU64::new(serial << SLOT_BITS | u64::from(slot)).map(Self)
    }

    fn from_word(word: u64) -> Option<Self> {
        NonZeroU64::new(word).map(Self)
    }

    #[inline]
    fn slot(self) -> usize {
        // Masked to the table's size, so the index is always good.
        usize::try_from(self.0.get()).unwrap_or_default() & (MAX_CONNECTIONS - 1)
    }
}

/// What a heartbeat's reply must return.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Nonce(u64);

impl Nonce {
    /// The number to send.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The number that came back.
    pub const fn from_reply(number: u64) -> Self {
        Self(number)
    }
}

/// Why a connection's cover ended (L3); the transport must close the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EndConnection {
    /// A heartbeat's reply took longer than the staleness bound, or has not come for as long.
    #[error("heartbeat reply is later than the staleness bound")]
    ReplyTooLate,
    /// The lease before is older than the staleness bound.
    #[error("more than the staleness bound has passed since the last lease")]
    LeaseLapsed,
    /// Not the reply that is due next on this connection.
    #[error("heartbeat reply has an unknown nonce")]
    UnknownNonce,
    /// The connection was ended before.
    #[error("connection has ended")]
    Ended,
}

/// Stamps and leases of one pod.
#[derive(Debug)]
pub struct Cover<W = AtomicU64> {
    stamps: Box<[W]>,
    leases: Box<[W]>,
    /// The serial of the connection in each slot.
    serials: Box<[W]>,
    control: Mutex<Control>,
    bound: u64,
    #[cfg(test)]
    pub(super) left_out: Option<Mutant>,
}

#[derive(Debug, Default)]
struct Control {
    /// The one pod-wide counter: stamps, connections and nonces are numbered from it.
    serial: u64,
    links: Vec<Option<Link>>,
    /// The last stamp of each bucket that lost it, and the lease that it had then: how far it can be vouched for.
    retired: Vec<Option<(Stamp, Monotonic)>>,
}

/// One connection as its heartbeats see it.
#[derive(Debug)]
struct Link {
    serial: u64,
    previous_lease: Monotonic,
    /// Heartbeats without a reply, with the times before they were sent, oldest first.
    heartbeats: VecDeque<(Nonce, Monotonic)>,
}

impl Control {
    fn next_serial(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    fn link(&mut self, connection: ConnectionId) -> Option<&mut Link> {
        let link = self.links.get_mut(usize::from(connection.slot))?.as_mut()?;
        (link.serial == connection.serial).then_some(link)
    }
}

impl<W: Word> Cover<W> {
    /// No cover yet; `bound` is B.
    pub fn new(bound: Duration) -> Self {
        Self::sized(bound, BUCKETS, MAX_CONNECTIONS)
    }

    pub(super) fn sized(bound: Duration, buckets: usize, connections: usize) -> Self {
        let words = |count: usize| (0..count).map(|_| W::zero()).collect();
        let control = Control {
            retired: vec![None; buckets],
            ..Control::default()
        };
        Self {
            stamps: words(buckets),
            leases: words(connections),
            serials: words(connections),
            control: Mutex::new(control),
            bound: nanos(bound),
            #[cfg(test)]
            left_out: None,
        }
    }

    /// B, the staleness bound, in nanoseconds.
    pub(super) const fn bound(&self) -> u64 {
        self.bound
    }

    /// A new connection, without cover until its subscriptions are acknowledged and a heartbeat is answered.
    ///
    /// `asked` is the time before a majority was asked which buckets this node serves: that answer, too, is only good
    /// for B (L2). `None` when [`MAX_CONNECTIONS`] stand.
    pub fn connection_begun(&self, asked: Monotonic) -> Option<ConnectionId> {
        let mut control = self.control.lock();
        let free = control
            .links
            .iter()
            .position(Option::is_none)
            .unwrap_or(control.links.len());
        let slot = u16::try_from(free)
            .ok()
            .filter(|slot| usize::from(*slot) < self.leases.len())?;
        if free == control.links.len() {
            control.links.push(None);
        }
        let serial = control.next_serial();
        self.serials[free].release(serial);
        control.links[free] = Some(Link {
            serial,
            previous_lease: asked,
            heartbeats: VecDeque::new(),
        });
        Some(ConnectionId { slot, serial })
    }

    /// Rule C: the SSUBSCRIBE of `bucket` was acknowledged on `connection`. False if that has ended.
    pub fn subscribed(&self, bucket: u16, connection: ConnectionId) -> bool {
        let mut control = self.control.lock();
        if control.link(connection).is_none() {
            return false;
        }
        self.stamp_anew(&mut control, bucket, connection.slot);
        true
    }

    /// Rule C: SSUBSCRIBE of `bucket` failed on `connection`, or the bucket left its node.
    pub fn unsubscribed(&self, bucket: u16, connection: ConnectionId) {
        let mut control = self.control.lock();
        let given_by = self.stamp(bucket).map(Stamp::slot);
        if control.link(connection).is_some() && given_by == Some(usize::from(connection.slot)) {
            self.retire(&mut control, bucket);
        }
    }

    /// Rule C: `bucket` is known to have moved, whichever connection covers it.
    pub fn bucket_moved(&self, bucket: u16) {
        self.retire(&mut self.control.lock(), bucket);
    }

    /// A message of kind *bucket* (W1): every entry of `bucket` is void, the subscription stands.
    pub(super) fn renew(&self, bucket: u16) {
        let mut control = self.control.lock();
        if let Some(stamp) = self.stamp(bucket) {
            let slot = u16::try_from(stamp.slot()).unwrap_or_default();
            self.stamp_anew(&mut control, bucket, slot);
        }
    }

    /// Rule L3: `connection` has ended. Its buckets lose their stamps and it its lease, in this order, so that a
    /// request that sees the slot's next lease sees the stamps gone.
    pub fn connection_ended(&self, connection: ConnectionId) {
        let mut control = self.control.lock();
        if control.link(connection).is_some() {
            self.end(&mut control, connection);
        }
    }

    /// Rule L2: a heartbeat is about to be sent; `now` is the time before that.
    pub fn heartbeat_sent(&self, connection: ConnectionId, now: Monotonic) -> Result<Nonce, EndConnection> {
        let mut control = self.control.lock();
        let nonce = Nonce(control.next_serial());
        let link = control.link(connection).ok_or(EndConnection::Ended)?;
        let overdue = link
            .heartbeats
            .front()
            .is_some_and(|(_, sent)| now.lapsed(*sent, self.bound));
        #[cfg(test)]
        let overdue = overdue && self.left_out != Some(Mutant::NoMajorityAndLapse);
        if overdue {
            self.end(&mut control, connection);
            return Err(EndConnection::ReplyTooLate);
        }
        link.heartbeats.push_back((nonce, now));
        Ok(nonce)
    }

    /// Rule L2: a heartbeat's reply came, and every message before it was applied (F2). The lease becomes the time
    /// before sending. An error has ended the connection already (L3).
    pub fn heartbeat_reply(&self, connection: ConnectionId, nonce: Nonce, now: Monotonic) -> Result<(), EndConnection> {
        let mut control = self.control.lock();
        let link = control.link(connection).ok_or(EndConnection::Ended)?;
        let lapsed = |earlier| now.lapsed(earlier, self.bound);
        #[cfg(test)]
        let lapsed = |earlier| lapsed(earlier) && self.left_out != Some(Mutant::NoMajorityAndLapse);
        let judged = match link.heartbeats.pop_front() {
            Some((due, sent)) if due == nonce && lapsed(sent) => Err(EndConnection::ReplyTooLate),
            Some((due, _)) if due == nonce && lapsed(link.previous_lease) => Err(EndConnection::LeaseLapsed),
            Some((due, sent)) if due == nonce => Ok(link.previous_lease.max(sent)),
            _ => Err(EndConnection::UnknownNonce),
        };
        #[cfg(test)]
        let judged = judged.map(|lease| {
            if self.left_out == Some(Mutant::LeaseStampedAtReply) {
                now
            } else {
                lease
            }
        });
        match judged {
            Ok(lease) => {
                link.previous_lease = lease;
                self.leases[usize::from(connection.slot)].release(lease.as_nanos());
                Ok(())
            }
            Err(reason) => {
                self.end(&mut control, connection);
                Err(reason)
            }
        }
    }

    /// The stamp of `bucket` now.
    #[inline]
    pub(super) fn stamp(&self, bucket: u16) -> Option<Stamp> {
        self.stamps
            .get(usize::from(bucket))
            .and_then(|word| Stamp::from_word(word.acquire()))
    }

    /// The lease now of the connection that gave `stamp`, or of the next one in its slot.
    #[inline]
    pub(super) fn lease(&self, stamp: Stamp) -> Option<Monotonic> {
        let word = self.leases.get(stamp.slot())?.acquire();
        (word != 0).then(|| Monotonic::from_nanos(word))
    }

    /// Rule F1, the stamp to note before a read, and the connection that gave it.
    pub(super) fn noted(&self, bucket: u16) -> Option<(Stamp, ConnectionId)> {
        let stamp = self.stamp(bucket)?;
        let slot = u16::try_from(stamp.slot()).ok()?;
        let serial = self.serials.get(stamp.slot())?.acquire();
        // A stamp never comes back, so between two equal loads the slot was this connection's.
        (self.stamp(bucket) == Some(stamp)).then_some((stamp, ConnectionId { slot, serial }))
    }

    /// The last time at which an entry of `bucket` with `stamp` was known to be true, cover lost or not.
    pub(super) fn vouched(&self, bucket: u16, stamp: Stamp) -> Option<Monotonic> {
        let control = self.control.lock();
        if self.stamp(bucket) == Some(stamp) {
            return self.lease(stamp);
        }
        let (retired, lease) = (*control.retired.get(usize::from(bucket))?)?;
        (retired == stamp).then_some(lease)
    }

    /// How many buckets are covered, for readiness and metrics.
    pub fn covered(&self) -> usize {
        self.stamps.iter().filter(|word| word.acquire() != 0).count()
    }

    /// The connections that stand, and the oldest of their leases; before the first heartbeat is answered, the time
    /// before a majority was asked.
    pub fn leases(&self) -> (usize, Option<Monotonic>) {
        let control = self.control.lock();
        let links = control.links.iter().flatten();
        (links.clone().count(), links.map(|link| link.previous_lease).min())
    }

    fn stamp_anew(&self, control: &mut Control, bucket: u16, slot: u16) {
        let stamp = Stamp::new(control.next_serial(), slot);
        if let (Some(word), Some(stamp)) = (self.stamps.get(usize::from(bucket)), stamp) {
            word.release(stamp.0.get());
        }
    }

    fn retire(&self, control: &mut Control, bucket: u16) {
        let Some(stamp) = self.stamp(bucket) else { return };
        control.retired[usize::from(bucket)] = self.lease(stamp).map(|lease| (stamp, lease));
        self.stamps[usize::from(bucket)].release(0);
    }

    fn end(&self, control: &mut Control, connection: ConnectionId) {
        let slot = usize::from(connection.slot);
        for bucket in 0..u16::try_from(self.stamps.len()).unwrap_or(u16::MAX) {
            if self.stamp(bucket).is_some_and(|stamp| stamp.slot() == slot) {
                self.retire(control, bucket);
            }
        }
        self.leases[slot].release(0);
        control.links[slot] = None;
    }
}
