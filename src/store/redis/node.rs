use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use parking_lot::Mutex as SyncMutex;
use redis::aio::{ConnectionLike as _, MultiplexedConnection};
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ConnectionInfo, IntoConnectionInfo as _, Pipeline,
    ProtocolVersion, PushInfo, RedisError, RedisResult, TlsCertificates, Value,
};
use tokio::sync::Mutex;

use super::options::RedisOptions;
use crate::telemetry::Metrics;

/// How many connections for changes that wait for replicas stay open while none does.
const MAX_IDLE_DURABLE: usize = 16;

/// Where a node listens.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Address {
    pub(super) host: String,
    pub(super) port: u16,
}

impl Address {
    /// Reads where a redirect leads to; without a host, or with an unknown one, to that of the node that was asked.
    pub(super) fn of_endpoint(endpoint: &str, asked: &Self) -> Option<Self> {
        let (host, port) = endpoint.rsplit_once(':')?;
        let host = if host.is_empty() || host == "?" {
            &asked.host
        } else {
            host
        };
        Some(Self {
            host: host.to_owned(),
            port: port.parse().ok()?,
        })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Opens connections: TLS, credentials and timeouts as configured.
pub(super) struct Dialer {
    options: RedisOptions,
    /// Scheme, credentials and database of the first URL; every node of a cluster is reached alike.
    template: ConnectionInfo,
    ca: Option<Vec<u8>>,
    metrics: Metrics,
}

impl Dialer {
    pub(super) fn new(options: RedisOptions, metrics: Metrics) -> Result<Self, String> {
        let first = options.urls.first().ok_or("redis.urls is empty")?;
        let template = first
            .as_str()
            .into_connection_info()
            .map_err(|error| format!("redis.urls: {error}"))?;
        let ca = match &options.ca_file {
            Some(path) => {
                Some(std::fs::read(path).map_err(|error| format!("redis.ca_file {}: {error}", path.display()))?)
            }
            None => None,
        };
        Ok(Self {
            options,
            template,
            ca,
            metrics,
        })
    }

    pub(super) fn options(&self) -> &RedisOptions {
        &self.options
    }

    /// The nodes that the URLs name.
    pub(super) fn seeds(&self) -> Result<Vec<Address>, String> {
        self.options
            .urls
            .iter()
            .map(|url| {
                let info = url
                    .as_str()
                    .into_connection_info()
                    .map_err(|error| format!("redis.urls: {error}"))?;
                match info.addr() {
                    ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } => Ok(Address {
                        host: host.clone(),
                        port: *port,
                    }),
                    other => Err(format!("redis.urls: {other} is no TCP address")),
                }
            })
            .collect()
    }

    /// Says what would keep every connection from being tried.
    pub(super) fn check(&self) -> Result<(), String> {
        for seed in self.seeds()? {
            self.client(&seed, ProtocolVersion::RESP2)
                .map_err(|error| format!("redis.ca_file: {error}"))?;
        }
        Ok(())
    }

    async fn dial(&self, address: &Address) -> RedisResult<MultiplexedConnection> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.options.connect_timeout))
            .set_response_timeout(Some(self.options.response_timeout));
        self.metrics.store_connections.inc();
        self.client(address, ProtocolVersion::RESP2)?
            .get_multiplexed_async_connection_with_config(&config)
            .await
    }

    /// Opens a connection for subscriptions: what is pushed goes to the listener, in the connection's reader and before
    /// any later reply is handed on. Such a connection carries nothing else: the client library takes a `sunsubscribe`
    /// that nobody asked for as the reply to the oldest command, and is one reply behind from then on.
    pub(super) async fn dial_subscriber(
        &self,
        address: &Address,
        listener: impl Fn(PushInfo) + Send + Sync + 'static,
    ) -> RedisResult<MultiplexedConnection> {
        let listen = move |push| {
            listener(push);
            Ok::<(), std::convert::Infallible>(())
        };
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.options.connect_timeout))
            .set_response_timeout(Some(self.options.response_timeout))
            .set_push_sender(listen);
        self.metrics.store_connections.inc();
        self.client(address, ProtocolVersion::RESP3)?
            .get_multiplexed_async_connection_with_config(&config)
            .await
    }

    fn client(&self, address: &Address, protocol: ProtocolVersion) -> RedisResult<Client> {
        let host = address.host.clone();
        let addr = match self.template.addr() {
            ConnectionAddr::TcpTls { .. } => ConnectionAddr::TcpTls {
                host,
                port: address.port,
                insecure: false,
                tls_params: None,
            },
            _ => ConnectionAddr::Tcp(host, address.port),
        };
        let credentials = self.options.credentials.load();
        let mut settings = self.template.redis_settings().clone().set_protocol(protocol);
        if let Some(username) = &credentials.username {
            settings = settings.set_username(username);
        }
        if let Some(password) = &credentials.password {
            settings = settings.set_password(password);
        }
        let info = self.template.clone().set_addr(addr).set_redis_settings(settings);
        match &self.ca {
            Some(ca) => Client::build_with_tls(
                info,
                TlsCertificates {
                    client_tls: None,
                    root_cert: Some(ca.clone()),
                },
            ),
            None => Client::open(info),
        }
    }
}

/// A connection and its number, by which a broken one is told from its successor.
pub(super) struct Live {
    connection: MultiplexedConnection,
    number: u64,
}

/// One Redis server: a connection that all requests share, and some apart for changes that wait for replicas.
pub(super) struct Node {
    pub(super) address: Address,
    dialer: Arc<Dialer>,
    live: ArcSwapOption<Live>,
    connecting: Mutex<()>,
    next: AtomicU64,
    /// Idle connections for changes that wait for replicas.
    durable: SyncMutex<Vec<MultiplexedConnection>>,
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Node({})", self.address)
    }
}

impl Node {
    pub(super) fn new(address: Address, dialer: Arc<Dialer>) -> Self {
        Self {
            address,
            dialer,
            live: ArcSwapOption::empty(),
            connecting: Mutex::default(),
            next: AtomicU64::new(1),
            durable: SyncMutex::default(),
        }
    }

    /// Sends a command; a connection that failed is replaced for whoever comes next.
    pub(super) async fn send(&self, command: &Cmd) -> RedisResult<Value> {
        let live = self.connection().await?;
        self.send_on(&live, command).await
    }

    /// As [`Node::send`], on the connection that stands.
    pub(super) async fn send_on(&self, live: &Live, command: &Cmd) -> RedisResult<Value> {
        let mut connection = live.connection.clone();
        let outcome = connection.req_packed_command(command).await;
        self.judge(live, outcome)
    }

    /// The connection, where one stands.
    pub(super) fn standing(&self) -> Option<Arc<Live>> {
        self.live.load_full()
    }

    /// Sends a command to the target of a slot that is being moved.
    pub(super) async fn send_asking(&self, command: &Cmd) -> RedisResult<Value> {
        let live = self.connection().await?;
        let mut connection = live.connection.clone();
        let mut pipeline = Pipeline::new();
        pipeline.cmd("ASKING").add_command(command.clone());
        let outcome = connection.req_packed_commands(&pipeline, 1, 1).await;
        let value = outcome
            .map(|mut values| values.pop().unwrap_or(Value::Nil))
            .and_then(Value::extract_error);
        self.judge(&live, value)
    }

    /// Sends a command that writes, then waits until a replica has it or the time is over: both on one connection of
    /// their own, for WAIT speaks of what its connection wrote and holds up what shares it.
    pub(super) async fn send_durable(&self, command: &Cmd, limit: Duration) -> RedisResult<(Value, bool)> {
        let idle = self.durable.lock().pop();
        let mut connection = match idle {
            Some(connection) => connection,
            None => self.dialer.dial(&self.address).await?,
        };
        // The connection returns to the others only when everything was answered: a reconnect means unconfirmed.
        let answer = connection.req_packed_command(command).await;
        let value = match answer.and_then(Value::extract_error) {
            Ok(value) => value,
            Err(error) if is_broken(&error) => return Err(error),
            Err(error) => {
                self.keep_durable(connection);
                return Err(error);
            }
        };
        let millis = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
        let wait = redis::cmd("WAIT").arg(1).arg(millis).to_owned();
        match connection.req_packed_command(&wait).await {
            Ok(Value::Int(replicas)) => {
                self.keep_durable(connection);
                Ok((value, replicas >= 1))
            }
            Ok(_) | Err(_) => Ok((value, false)),
        }
    }

    fn keep_durable(&self, connection: MultiplexedConnection) {
        let mut idle = self.durable.lock();
        if idle.len() < MAX_IDLE_DURABLE {
            idle.push(connection);
        }
    }

    /// Drops the connections: their answers cannot be trusted.
    pub(super) fn distrust(&self) {
        self.live.store(None);
        self.durable.lock().clear();
    }

    async fn connection(&self) -> RedisResult<Arc<Live>> {
        if let Some(live) = self.standing() {
            return Ok(live);
        }
        let _connecting = self.connecting.lock().await;
        if let Some(live) = self.standing() {
            return Ok(live);
        }
        let connection = self.dialer.dial(&self.address).await?;
        let live = Arc::new(Live {
            connection,
            number: self.next.fetch_add(1, Ordering::Relaxed),
        });
        self.live.store(Some(Arc::clone(&live)));
        Ok(live)
    }

    fn judge(&self, used: &Live, outcome: RedisResult<Value>) -> RedisResult<Value> {
        let outcome = outcome.and_then(Value::extract_error);
        if outcome.as_ref().is_err_and(is_broken) {
            let current = self.live.load();
            if current.as_ref().is_some_and(|live| live.number == used.number) {
                self.live.compare_and_swap(&current, None);
            }
        }
        outcome
    }
}

/// Whether the connection is of no more use: cut, or silent for too long (it may be half-open).
pub(super) fn is_broken(error: &RedisError) -> bool {
    error.is_timeout() || error.is_connection_dropped() || error.is_io_error() || error.is_unrecoverable_error()
}
