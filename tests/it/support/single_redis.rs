//! One standalone Redis server.

use std::ops::Deref;

use super::ports::free_address;
use super::server::{RedisServer, ServerOptions};

/// A standalone server on a free port, with all verbs of [`RedisServer`].
pub(crate) struct SingleRedis(RedisServer);

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
