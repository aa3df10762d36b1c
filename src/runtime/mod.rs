//! Sessions up and running: the store of record opened, the façade over it, and all that goes on beside the requests.
//! Every face that runs in a process of its own stands on this: the servers of the command line, and applications with
//! the tower layer.

mod background;
mod builder;
mod kubernetes;
mod leading;
mod readiness;
mod reporter;
pub(crate) mod settings;
mod store;

pub use background::{Background, Duties, MEMBER_TIMEOUT};
pub use builder::{Builder, Cloakroom};
pub use kubernetes::InKubernetes;
pub use readiness::Readiness;
pub use settings::{for_cache, for_cookie, for_sessions, for_webhooks};
pub use store::{Opened, open_memory, open_store};

pub(crate) use readiness::Check;

use crate::cluster::kubernetes::Unusable;
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
    /// Kubernetes cannot be used as the settings say.
    #[error(transparent)]
    Kubernetes(#[from] Unusable),
    /// No randomness, no sessions.
    #[error(transparent)]
    Random(#[from] RandomError),
    /// The metrics contradict each other.
    #[error("metrics: {0}")]
    Metrics(#[from] prometheus::Error),
}
