//! Sessions up and running: the store of record opened, the façade over it, and all that goes on beside the requests.
//! Every face that runs in a process of its own stands on this: the servers of the command line, and applications with
//! the tower layer.

mod background;
mod builder;
mod readiness;
pub(crate) mod settings;
mod store;

pub use background::{Background, Duties, MEMBER_TIMEOUT};
pub use builder::{Builder, Cloakroom};
pub use readiness::Readiness;
pub use settings::{for_cache, for_cookie, for_sessions, for_webhooks};
pub use store::{Opened, open_memory, open_store};

pub(crate) use readiness::Check;

use crate::config::ConfigError;
use crate::session::RandomError;
use crate::store::StoreError;

/// Why sessions could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The settings are wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The settings are wrong in a way that only their use shows.
    #[error("{0}")]
    Setting(String),
    /// The store of record refused.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No randomness, no sessions.
    #[error(transparent)]
    Random(#[from] RandomError),
    /// The metrics contradict each other.
    #[error("metrics: {0}")]
    Metrics(#[from] prometheus::Error),
}
