use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;

use super::vault::Encryption;

/// How a server reaches Redis.
#[derive(Debug, Clone)]
pub struct RedisOptions {
    /// Where to look first: `redis://` or `rediss://`. One node is enough to find a cluster; with several, any one of
    /// them may be down at the start.
    pub urls: Vec<String>,
    /// What every key begins with.
    pub prefix: String,
    /// Who this client is; replaceable while it runs. New connections use what is there then.
    pub credentials: Arc<ArcSwap<Credentials>>,
    /// Certificates (PEM) by which the servers' are verified; the system's where there is none.
    pub ca_file: Option<PathBuf>,
    /// How long a connection may take to stand.
    pub connect_timeout: Duration,
    /// How long one command may take.
    pub response_timeout: Duration,
    /// The cluster's node timeout, where CONFIG is refused.
    pub node_timeout: Option<Duration>,
    /// How what users put into sessions is kept.
    pub encryption: Encryption,
}

/// A user's name and password; those of the URL where there are none.
#[derive(Clone, Default)]
pub struct Credentials {
    /// The ACL user.
    pub username: Option<String>,
    /// The password.
    pub password: Option<String>,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials")
            .field("username", &self.username)
            .finish_non_exhaustive()
    }
}

impl RedisOptions {
    /// How long one operation may take, retries and redirects included.
    pub(super) fn deadline(&self) -> Duration {
        self.connect_timeout + self.response_timeout
    }
}
