use serde::Serialize;

use super::Timestamp;

/// What an application notes about a session's safety.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Security {
    /// Failed log-ins counted by the application.
    pub login_attempts: u32,
    /// Whether something about the session looked wrong.
    pub suspicious: bool,
    /// When the user's password was last changed.
    pub last_password_change: Option<Timestamp>,
}

/// A change of [`Security`]: what is `None` stays.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SecurityChange {
    /// The new count.
    pub login_attempts: Option<u32>,
    /// The new mark.
    pub suspicious: Option<bool>,
    /// The new time; `Some(None)` removes it.
    pub last_password_change: Option<Option<Timestamp>>,
}

impl SecurityChange {
    /// Whether it changes nothing.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Applies the change.
    pub fn apply(&self, security: &mut Security) {
        if let Some(attempts) = self.login_attempts {
            security.login_attempts = attempts;
        }
        if let Some(suspicious) = self.suspicious {
            security.suspicious = suspicious;
        }
        if let Some(time) = self.last_password_change {
            security.last_password_change = time;
        }
    }
}
