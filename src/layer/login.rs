use crate::session::{DataKey, InvalidName, UserId};

/// A log-in: who, with what rights, for how long, and what of the anonymous session's data stays.
///
/// ```
/// use cloakroom::layer::LogIn;
///
/// let log_in = LogIn::user("dana").roles(["editor"]).class("remember_me").keep(["cart"]);
/// # let _ = log_in;
/// ```
#[derive(Debug, Clone)]
pub struct LogIn {
    user: String,
    pub(super) class: Option<String>,
    pub(super) roles: Vec<String>,
    pub(super) permissions: Vec<String>,
    keep: Vec<String>,
    pub(super) keep_all: bool,
    pub(super) durable: bool,
}

impl LogIn {
    /// This user, without roles; the session keeps nothing of its data.
    pub fn user(id: impl Into<String>) -> Self {
        Self {
            user: id.into(),
            class: None,
            roles: Vec::new(),
            permissions: Vec::new(),
            keep: Vec::new(),
            keep_all: false,
            durable: false,
        }
    }

    /// The user's roles.
    pub fn roles<S: Into<String>>(mut self, roles: impl IntoIterator<Item = S>) -> Self {
        self.roles = roles.into_iter().map(Into::into).collect();
        self
    }

    /// The user's permissions.
    pub fn permissions<S: Into<String>>(mut self, permissions: impl IntoIterator<Item = S>) -> Self {
        self.permissions = permissions.into_iter().map(Into::into).collect();
        self
    }

    /// The class of the session from now on, such as `remember_me`; else it keeps its own.
    pub fn class(mut self, class: impl Into<String>) -> Self {
        self.class = Some(class.into());
        self
    }

    /// The data keys that stay. All others go: what was put into the session before the log-in may be another's.
    pub fn keep<S: Into<String>>(mut self, keys: impl IntoIterator<Item = S>) -> Self {
        self.keep = keys.into_iter().map(Into::into).collect();
        self
    }

    /// All data stay: for a user who logs in once more.
    pub fn keep_all(mut self) -> Self {
        self.keep_all = true;
        self
    }

    /// Waits until a replica of the store has the session.
    pub fn durable(mut self) -> Self {
        self.durable = true;
        self
    }

    pub(super) fn user_id(&self) -> Result<UserId, InvalidName> {
        UserId::new(&self.user)
    }

    /// Whether a data key stays.
    pub(super) fn keeps(&self, key: &str) -> bool {
        self.keep_all || self.keep.iter().any(|kept| kept == key)
    }

    /// The data keys that stay, of those that the session has.
    pub(super) fn kept_of(&self, keys: impl Iterator<Item = String>) -> Result<Vec<DataKey>, InvalidName> {
        keys.filter(|key| self.keeps(key))
            .map(|key| DataKey::new(&key))
            .collect()
    }
}

impl From<&str> for LogIn {
    fn from(user: &str) -> Self {
        Self::user(user)
    }
}

impl From<String> for LogIn {
    fn from(user: String) -> Self {
        Self::user(user)
    }
}
