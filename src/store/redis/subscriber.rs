use std::sync::Arc;
use std::time::Duration;

use futures_util::future::try_join_all;
use redis::aio::{ConnectionLike as _, MultiplexedConnection};
use redis::{PushInfo, RedisResult};

use super::node::{Address, Dialer};

/// A supervised connection to one primary that carries shard subscriptions and keyed heartbeats, nothing else.
pub(super) struct Subscriber {
    connection: MultiplexedConnection,
    limit: Duration,
}

impl Subscriber {
    /// Connects; what is pushed goes to the listener, in order, in the connection's reader.
    pub(super) async fn connect(
        dialer: &Arc<Dialer>,
        address: &Address,
        listener: impl Fn(PushInfo) + Send + Sync + 'static,
    ) -> RedisResult<Self> {
        let connection = dialer.dial_subscriber(address, listener).await?;
        Ok(Self {
            connection,
            limit: dialer.options().response_timeout,
        })
    }

    /// Subscribes to channels, each by a command of its own: they are in different slots.
    pub(super) async fn subscribe(&self, channels: &[String]) -> RedisResult<()> {
        try_join_all(channels.iter().map(|channel| async move {
            let mut connection = self.connection.clone();
            let command = redis::cmd("SSUBSCRIBE").arg(channel).to_owned();
            connection
                .req_packed_command(&command)
                .await
                .and_then(redis::Value::extract_error)
                .map(|_| ())
        }))
        .await
        .map(|_| ())
    }

    /// A keyed heartbeat: the answer, which carries the nonce, shows that this primary still serves the key's slot. PING
    /// would not: a primary that was cut off answers it for ever.
    pub(super) async fn heartbeat(&self, key: &str, nonce: u64) -> RedisResult<u64> {
        let mut connection = self.connection.clone();
        let command = redis::cmd("EVAL_RO")
            .arg("return ARGV[1]")
            .arg(1)
            .arg(key)
            .arg(nonce)
            .to_owned();
        let asking = connection.req_packed_command(&command);
        match tokio::time::timeout(self.limit, asking).await {
            Ok(answer) => redis::from_redis_value(answer.and_then(redis::Value::extract_error)?).map_err(Into::into),
            Err(_) => Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into()),
        }
    }
}
