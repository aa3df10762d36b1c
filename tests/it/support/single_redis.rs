//! One standalone Redis server.

use std::ops::Deref;

use tokio::sync::OnceCell;

use super::ports::free_address;
use super::server::{RedisServer, ServerOptions};

/// A standalone server on a free port, with all verbs of [`RedisServer`].
pub(crate) struct SingleRedis(RedisServer);

static SHARED: OnceCell<SingleRedis> = OnceCell::const_new();

/// The server for tests that do not stop it, each under a [`super::unique_prefix`].
pub(crate) async fn shared_single_redis() -> &'static SingleRedis {
    SHARED
        .get_or_init(|| SingleRedis::start(ServerOptions::default()))
        .await
}

impl SingleRedis {
    pub(crate) async fn start(options: ServerOptions) -> Self {
        let address = free_address();
        Self(RedisServer::start(options, address, address).await)
    }
}

impl Deref for SingleRedis {
    type Target = RedisServer;

    fn deref(&self) -> &RedisServer {
        &self.0
    }
}
