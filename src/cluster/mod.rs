//! Server ids, membership, the leader, migration, the sweeper and the redo log of destroys.

mod local;
mod membership;
mod redo;

pub use local::LocalFleet;
pub use membership::{Leadership, Member, MemberState, Members, Membership, View};
pub use redo::RedoLog;
