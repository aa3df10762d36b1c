//! The listeners: bind, accept, TLS, limits on connections, and the drain.

mod activity;
mod connection;
mod tls;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::service::Service;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::Instrument as _;

pub use tls::{Tls, TlsError};

use crate::telemetry::Metrics;
use connection::{Connection, OpenConnection};

/// How many connections the kernel may hold until they are accepted (it caps this at `net.core.somaxconn`).
const BACKLOG: u32 = 4_096;
/// How often the TLS files are looked at.
const TLS_CHECK: Duration = Duration::from_secs(10);
/// The pauses after an accept that failed for lack of a resource, such as file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_ACCEPT_PAUSE: Duration = Duration::from_secs(1);
/// The smallest read buffer that hyper accepts, in bytes.
const SMALLEST_HEADER_BUFFER: usize = 8 * 1024;

/// Which of the two listeners it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The API; its connections are counted in the metrics.
    Traffic,
    /// Metrics and health.
    Admin,
}

impl Role {
    /// The name in logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Traffic => "traffic",
            Self::Admin => "admin",
        }
    }
}

/// What a listener grants its clients.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Open connections at a time; more are accepted and closed at once.
    pub max_connections: usize,
    /// From the accept to the end of the first request's head, TLS handshake included.
    pub header_read_timeout: Duration,
    /// From the end of a request to the end of the next one's head. Longer than what usual load balancers keep unused
    /// connections for (60 s), so that it is they who close, and no request meets a closing connection.
    pub idle_timeout: Duration,
    /// The most that a request's head may take, in bytes; more is a 431.
    pub max_header_bytes: usize,
    /// Requests at a time on one HTTP/2 connection.
    pub http2_streams: u32,
    /// How often a silent HTTP/2 peer is asked whether it is still there, and how long its answer may take.
    pub http2_ping: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_connections: 10_000,
            header_read_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(75),
            max_header_bytes: 128 * 1024,
            http2_streams: 250,
            http2_ping: Duration::from_secs(20),
        }
    }
}

/// When a listener ends, and how.
#[derive(Debug, Clone)]
pub struct Drain {
    /// Becomes true (or closes) when the drain is due.
    pub requested: watch::Receiver<bool>,
    /// How long new connections are still served after that, until load balancers have noticed.
    pub grace: Duration,
    /// How long open connections then have to finish what they are at.
    pub limit: Duration,
}

/// A bound listener.
pub struct Listener {
    role: Role,
    socket: TcpListener,
    address: SocketAddr,
    tls: Option<Arc<Tls>>,
    limits: Limits,
    metrics: Metrics,
}

impl Listener {
    /// Binds an address (port 0: any free port) and says so in the log. Errors name the address.
    pub fn bind(
        role: Role,
        address: SocketAddr,
        tls: Option<Arc<Tls>>,
        limits: Limits,
        metrics: Metrics,
    ) -> io::Result<Self> {
        let socket = listen(address)
            .map_err(|error| io::Error::new(error.kind(), format!("cannot listen on {address}: {error}")))?;
        let address = socket.local_addr()?;
        tracing::info!(listener = role.as_str(), %address, tls = tls.is_some(), "listening");
        Ok(Self {
            role,
            socket,
            address,
            tls,
            limits,
            metrics,
        })
    }

    /// The address it listens on.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Serves until the drain is over; gives how many connections had to be cut. Handlers find the peer's address in the
    /// extension [`axum::extract::ConnectInfo`]. Dropped before, it cuts every connection at once.
    pub async fn serve<S>(self, service: S, drain: Drain) -> usize
    where
        S: Service<Request<Incoming>, Response = Response<Body>, Error = Infallible> + Clone + Send + 'static,
        S::Future: Send,
    {
        let (stop, stopping) = watch::channel(false);
        let mut connections = JoinSet::new();
        tokio::select! {
            () = self.accept_all(&service, &stopping, &mut connections) => {}
            () = keep_fresh(self.tls.as_deref()) => {}
            () = drain_due(drain.requested, drain.grace) => {}
        }
        drop(self.socket);
        while connections.try_join_next().is_some() {}
        tracing::info!(
            listener = self.role.as_str(),
            connections = connections.len(),
            "draining"
        );
        stop.send_replace(true);
        let finish = async { while connections.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(drain.limit, finish).await;
        let aborted = connections.len();
        connections.shutdown().await;
        tracing::info!(listener = self.role.as_str(), aborted, "drained");
        aborted
    }

    async fn accept_all<S>(&self, service: &S, stopping: &watch::Receiver<bool>, connections: &mut JoinSet<()>)
    where
        S: Service<Request<Incoming>, Response = Response<Body>, Error = Infallible> + Clone + Send + 'static,
        S::Future: Send,
    {
        let http = self.http();
        let mut pause = ACCEPT_PAUSE;
        loop {
            let accepted = tokio::select! {
                accepted = self.socket.accept() => accepted,
                Some(_) = connections.join_next() => continue,
            };
            match accepted {
                Ok((stream, peer)) => {
                    pause = ACCEPT_PAUSE;
                    let Some(open) = self.admit(&stream, connections) else {
                        continue;
                    };
                    let connection = Connection {
                        peer,
                        http: http.clone(),
                        tls: self.tls.clone(),
                        header_read_timeout: self.limits.header_read_timeout,
                        idle_timeout: self.limits.idle_timeout,
                        stopping: stopping.clone(),
                        open,
                    };
                    connections.spawn(connection.serve(stream, service.clone()).in_current_span());
                }
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    tracing::warn!(listener = self.role.as_str(), %error, ?pause, "cannot accept connections");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_ACCEPT_PAUSE);
                }
            }
        }
    }

    /// Counts a connection in, or refuses it where there are too many.
    fn admit(&self, stream: &TcpStream, connections: &mut JoinSet<()>) -> Option<OpenConnection> {
        while connections.try_join_next().is_some() {}
        let counted = self.role == Role::Traffic;
        if connections.len() >= self.limits.max_connections {
            if counted {
                self.metrics.http_connections_refused.inc();
            }
            return None;
        }
        // Without it small answers wait for the peer's delayed acknowledgement. A socket that refuses is already dead.
        let _ = stream.set_nodelay(true);
        Some(OpenConnection::new(
            counted.then(|| self.metrics.http_connections.clone()),
        ))
    }

    fn http(&self) -> auto::Builder<TokioExecutor> {
        let limits = &self.limits;
        let mut http = auto::Builder::new(TokioExecutor::new());
        http.http1()
            .timer(TokioTimer::new())
            // hyper's own timeout also runs between requests; `Connection` keeps the two apart.
            .header_read_timeout(None)
            .max_buf_size(limits.max_header_bytes.max(SMALLEST_HEADER_BUFFER));
        http.http2()
            .timer(TokioTimer::new())
            .max_header_list_size(u32::try_from(limits.max_header_bytes).unwrap_or(u32::MAX))
            .max_concurrent_streams(limits.http2_streams)
            .keep_alive_interval(limits.http2_ping)
            .keep_alive_timeout(limits.http2_ping);
        http
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    // Else a restart would have to wait for the old connections' TIME_WAIT.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Whether the error concerns only the connection that was to be accepted.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

/// Never ends.
async fn keep_fresh(tls: Option<&Tls>) {
    match tls {
        Some(tls) => tls.keep_fresh(TLS_CHECK).await,
        None => std::future::pending().await,
    }
}

async fn drain_due(mut requested: watch::Receiver<bool>, grace: Duration) {
    let _ = requested.wait_for(|requested| *requested).await;
    tokio::time::sleep(grace).await;
}
