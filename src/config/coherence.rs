//! The local cache and its bound.

use std::num::NonZeroU32;

use super::problem::Checks;
use super::reader::{Reader, Section};
use super::units::{ByteSize, Period};

/// The section `coherence`.
#[derive(Clone, Debug, PartialEq)]
pub struct CoherenceSettings {
    /// `coherence.staleness_bound`: the longest that a pod may answer from memory without news; default 1 s.
    pub staleness_bound: Period,
    /// `coherence.heartbeat`: how often the leases are renewed; default 250 ms.
    pub heartbeat: Period,
    /// `coherence.max_entries`: sessions in the cache; default 100,000.
    pub max_entries: NonZeroU32,
    /// `coherence.max_bytes`: size of the cache; default 64 MiB.
    pub max_bytes: ByteSize,
    /// `coherence.max_age`: after which an entry is read again; default 60 s.
    pub max_age: Period,
}

impl Default for CoherenceSettings {
    fn default() -> Self {
        Self {
            staleness_bound: Period::from_secs(1),
            heartbeat: Period::from_millis(250),
            max_entries: NonZeroU32::MIN.saturating_add(99_999),
            max_bytes: ByteSize::from_bytes(64 << 20),
            max_age: Period::from_secs(60),
        }
    }
}

impl Section for CoherenceSettings {
    fn read(&mut self, reader: &mut Reader) {
        reader.value("coherence.staleness_bound", &mut self.staleness_bound);
        reader.value("coherence.heartbeat", &mut self.heartbeat);
        reader.value("coherence.max_entries", &mut self.max_entries);
        reader.value("coherence.max_bytes", &mut self.max_bytes);
        reader.value("coherence.max_age", &mut self.max_age);
    }

    fn validate(&self, checks: &mut Checks) {
        if self.heartbeat.is_zero() || self.heartbeat >= self.staleness_bound {
            let what = "the heartbeat must be more than 0 and shorter than the staleness bound";
            checks.fail_among(&["coherence.heartbeat", "coherence.staleness_bound"], what);
        }
    }
}
