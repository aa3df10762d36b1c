//! The rules, each left out once: the tests must catch every one of these. Not in the product.

/// A build of L1 (or of what drives it) that leaves one rule out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mutant {
    /// F2: an invalidation takes a detour through a queue, and later replies overtake it.
    QueuedInvalidation,
    /// H1: the lease is loaded after the look-up.
    LeaseAfterLookUp,
    /// C: a bucket counts as subscribed when the SSUBSCRIBE is sent, acknowledged or not.
    FailedSubscribeIgnored,
    /// T: the clock stands still while the machine is suspended.
    ClockStopsInSuspend,
    /// H1: the clock is read before the look-up.
    ClockBeforeLookUp,
    /// W2: the writer inserts what it wrote.
    WriteThrough,
    /// W2: the writer keeps its own copy.
    OwnCopyKept,
    /// F1: inserted although an invalidation took the placeholder.
    NoPlaceholderGuard,
    /// L2: the lease is the time of the reply.
    LeaseStampedAtReply,
    /// H1: the entry's stamp is not compared.
    StampNotChecked,
    /// F1: the fill is read from a replica or a node other than the stamp's.
    FillFromAnotherNode,
    /// F1: the stamp is taken when the value is inserted.
    StampNotedAtInsert,
    /// L2: a PING in place of a keyed command.
    PingForHeartbeat,
    /// L3, L2: subscribe again without asking a majority, and a lapse between leases is no end.
    NoMajorityAndLapse,
    /// H1: the stamp is loaded before the lease.
    StampBeforeLease,
    /// F3: what a joined fill gives is served as it is.
    JoinedUnchecked,
    /// L3: an unsolicited `sunsubscribe` is overlooked.
    SunsubscribeOverlooked,
    /// W3: an end that was heard of is not remembered.
    EndForgotten,
}

impl Mutant {
    pub(crate) const ALL: [Self; 18] = [
        Self::QueuedInvalidation,
        Self::LeaseAfterLookUp,
        Self::FailedSubscribeIgnored,
        Self::ClockStopsInSuspend,
        Self::ClockBeforeLookUp,
        Self::WriteThrough,
        Self::OwnCopyKept,
        Self::NoPlaceholderGuard,
        Self::LeaseStampedAtReply,
        Self::StampNotChecked,
        Self::FillFromAnotherNode,
        Self::StampNotedAtInsert,
        Self::PingForHeartbeat,
        Self::NoMajorityAndLapse,
        Self::StampBeforeLease,
        Self::JoinedUnchecked,
        Self::SunsubscribeOverlooked,
        Self::EndForgotten,
    ];
}
