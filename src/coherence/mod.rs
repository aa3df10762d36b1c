//! Answering from memory, never stale: the L1 cache and its lease rules.
//!
//! No pod answers from its L1 with a state that was overwritten or destroyed at the shard's primary more than B ago,
//! whatever messages are lost and whichever connection half-dies. The rules that make it so have letters (W2, C, L2,
//! H1, …), and every one is a method that says so. Nothing here does I/O or has a clock: transports feed [`Cover`] and
//! [`L1`] with what they see, and callers pass a clock in.
//!
//! The life of a request: [`L1::lookup`]; on a miss [`L1::begin_fill`]; if that says *read*, a read from the node of
//! [`Fill::connection`] and [`Fill::complete`].

mod cover;
mod fill;
mod hit;
#[cfg(test)]
mod interleavings;
mod l1;
pub mod message;
#[cfg(test)]
mod mutant;
mod parts;
#[cfg(test)]
mod rule_tests;
#[cfg(test)]
mod simulation;
mod start;
mod tombstones;
mod transport;

pub use crate::session::Monotonic;
pub use cover::{ConnectionId, Cover, EndConnection, MAX_CONNECTIONS, Nonce, Stamp};
pub use fill::{Answer, Begun, Completed, Fill, Record, Refusal, Source};
pub use hit::{Miss, Served, Stale};
pub use l1::{Bounds, L1};
pub use parts::{AtLeast, BUCKETS, Entry, Guard, Keyed, Limits, Map, Parts, Product, QuickMap, Value, Word};
pub use start::{NoL1, Store, may_hold};
pub use transport::{Feed, Pace, Transport};
