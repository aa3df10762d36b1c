//! What happens when a session is used from another client than before.

use super::reader::{Reader, Section};
use super::setting::Choice;

/// What a difference from the client that logged in does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BindingPolicy {
    /// Nothing.
    Ignore,
    /// It is recorded in the session.
    #[default]
    Record,
    /// The user must authenticate again.
    StepUp,
    /// The request is refused.
    Refuse,
}

impl Choice for BindingPolicy {
    const CHOICES: &'static [(&'static str, Self)] = &[
        ("ignore", Self::Ignore),
        ("record", Self::Record),
        ("step_up", Self::StepUp),
        ("refuse", Self::Refuse),
    ];
}

/// The section `binding`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BindingSettings {
    /// `binding.ip`: another address; default `record`.
    pub ip: BindingPolicy,
    /// `binding.user_agent`: another browser; default `record`.
    pub user_agent: BindingPolicy,
    /// `binding.fingerprint`: another fingerprint as the application took it; default `record`.
    pub fingerprint: BindingPolicy,
}

impl Section for BindingSettings {
    fn read(&mut self, reader: &mut Reader) {
        reader.value("binding.ip", &mut self.ip);
        reader.value("binding.user_agent", &mut self.user_agent);
        reader.value("binding.fingerprint", &mut self.fingerprint);
    }
}
