//! When a session gets a new home.

use super::reader::{Reader, Section};
use super::setting::Choice;

/// When a session that another server serves is migrated to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MigrationPolicy {
    /// When its home has left or is draining.
    #[default]
    HomeGone,
    /// Whenever another server serves it.
    Always,
    /// Only when the API says so.
    Never,
}

impl Choice for MigrationPolicy {
    const CHOICES: &'static [(&'static str, Self)] = &[
        ("home_gone", Self::HomeGone),
        ("always", Self::Always),
        ("never", Self::Never),
    ];
}

/// The section `migration`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MigrationSettings {
    /// `migration.policy`: default `home_gone`.
    pub policy: MigrationPolicy,
}

impl Section for MigrationSettings {
    fn read(&mut self, reader: &mut Reader) {
        reader.value("migration.policy", &mut self.policy);
    }
}
