//! Rule T: points on one clock that never goes back and counts suspended time (`CLOCK_BOOTTIME`).

use std::time::Duration;

/// A point in time in nanoseconds of `CLOCK_BOOTTIME`; only ever compared with others of the same machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Monotonic(u64);

impl Monotonic {
    /// The point so many nanoseconds after the clock's zero.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the clock's zero.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// How long after `earlier` this is; zero if it is before it.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// This point moved on by `duration`; a deadline too far to be counted is the end of time.
    pub fn after(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(nanos(duration)))
    }

    /// Whether this is more than `bound` nanoseconds after `earlier`.
    pub(super) const fn lapsed(self, earlier: Self, bound: u64) -> bool {
        self.0.saturating_sub(earlier.0) > bound
    }
}

/// A duration in nanoseconds, capped at what 64 bits hold (584 years).
pub(super) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
