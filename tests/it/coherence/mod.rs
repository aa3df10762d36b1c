//! The promise of `coherence`: no replica answers from memory with what was overwritten or destroyed more than the
//! staleness bound ago, whatever fails.

mod beyond;
mod faults;
mod fleet;
mod memory;
mod oracle;
mod partition;
mod pod;
mod run;
mod start;
mod wiring;

use std::time::Duration;

/// B, as the fleets of these tests are set.
const BOUND: Duration = Duration::from_secs(1);
