//! How the service ends.

use super::reader::{Reader, Section};
use super::units::Period;

/// The section `shutdown`.
#[derive(Clone, Debug, PartialEq)]
pub struct ShutdownSettings {
    /// `shutdown.drain`: how long running requests get after SIGTERM; default 20 s.
    pub drain: Period,
}

impl Default for ShutdownSettings {
    fn default() -> Self {
        Self {
            drain: Period::from_secs(20),
        }
    }
}

impl Section for ShutdownSettings {
    fn read(&mut self, reader: &mut Reader) {
        reader.value("shutdown.drain", &mut self.drain);
    }
}
