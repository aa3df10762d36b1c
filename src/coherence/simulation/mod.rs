//! A seeded simulation that drives the product's own state machine: every pod is a real [`L1`], everything round it -
//! nodes, replication, failovers, slot moves, connections, clocks, scheduling - is made up, from one seed.
//!
//! One run again: `CLOAKROOM_SIM_SEED=7 cargo test --lib simulation -- --nocapture`; with a rule left out
//! `CLOAKROOM_SIM_MUTANT=ClockBeforeLookUp`. How many runs: `CLOAKROOM_SIM_RUNS`.

mod faults;
mod oracle;
mod pod;
mod prng;
mod redis;
mod supervisor;
mod tests;
mod weather;
mod world;

use super::parts::{Keyed, Limits};
use super::{Bounds, L1};
use std::str::FromStr;
use std::time::Duration;

/// World time in nanoseconds.
type Time = u64;

const MS: Time = 1_000_000;
const SECOND: Time = 1000 * MS;
/// The staleness bound.
const B: Time = SECOND;
/// Between two heartbeats.
const HEARTBEAT: Time = 250 * MS;
const NODE_TIMEOUT: Time = 2 * SECOND;
/// How long ends are remembered and redone.
const KEEP_ENDS: Time = NODE_TIMEOUT + 3 * SECOND;
/// How long a run lasts.
const END: Time = 16 * SECOND;
const PODS: usize = 3;
const SHARDS: usize = 2;
/// A primary and a replica for each shard.
const NODES: usize = 2 * SHARDS;
const BUCKETS: usize = 4;
const SESSIONS: usize = 8;

/// A session's id: its number; its bucket is the number modulo [`BUCKETS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Id(u16);

impl Id {
    fn of(session: usize) -> Self {
        Self(u16::try_from(session).unwrap())
    }

    fn session(self) -> usize {
        usize::from(self.0)
    }
}

impl Keyed for Id {
    fn bucket(&self) -> u16 {
        u16::try_from(self.session() % BUCKETS).unwrap()
    }
}

impl FromStr for Id {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

impl std::fmt::Display for Id {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// The id of each session, to be borrowed by requests under way.
static IDS: [Id; SESSIONS] = [Id(0), Id(1), Id(2), Id(3), Id(4), Id(5), Id(6), Id(7)];

fn bounds() -> Bounds {
    Bounds {
        staleness: Duration::from_nanos(B),
        max_age: Duration::from_mins(1),
        keep_ends: Duration::from_nanos(KEEP_ENDS),
        max_ends: 64,
        limits: Limits {
            entries: 64,
            bytes: 1 << 20,
        },
    }
}

/// The caches of a run's pods, apart from the world so that requests under way can borrow from them.
struct Caches([L1<Id, u64>; PODS]);
