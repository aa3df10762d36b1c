//! Server ids, membership, the leader, migration, the sweeper and the redo log of destroys.

mod condition;
mod error;
mod fallback;
pub mod kubernetes;
mod local;
mod membership;
mod redo;

pub use condition::{Condition, Conditions};
pub use error::{FleetError, Result};
pub use fallback::FallbackLeadership;
pub use local::LocalFleet;
pub use membership::{Leadership, Member, MemberState, Members, Membership, View};
pub use redo::RedoLog;
