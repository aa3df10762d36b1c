use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::ConnectInfo;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use prometheus::IntGauge;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, interval_at, sleep_until, timeout_at};
use tower_service::Service;

use super::activity::{Activity, Answer};
use super::tls::Tls;
use crate::web::OverTls;

/// How many times in an idle timeout a connection is looked at.
const LOOKS: u32 = 4;

/// A connection in the gauge of open ones, for as long as it is held.
pub(super) struct OpenConnection(Option<IntGauge>);

impl OpenConnection {
    pub(super) fn new(gauge: Option<IntGauge>) -> Self {
        if let Some(gauge) = &gauge {
            gauge.inc();
        }
        Self(gauge)
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        if let Some(gauge) = &self.0 {
            gauge.dec();
        }
    }
}

/// An accepted connection and what it may take.
pub(super) struct Connection {
    pub(super) peer: SocketAddr,
    pub(super) http: auto::Builder<TokioExecutor>,
    pub(super) tls: Option<Arc<Tls>>,
    pub(super) header_read_timeout: Duration,
    pub(super) idle_timeout: Duration,
    pub(super) stopping: watch::Receiver<bool>,
    pub(super) open: OpenConnection,
}

impl Connection {
    /// Serves the connection until it closes.
    pub(super) async fn serve<S>(self, stream: TcpStream, service: S)
    where
        S: Service<Request<Incoming>, Response = Response<Body>, Error = Infallible> + Clone + Send + 'static,
        S::Future: Send,
    {
        let first_head_by = Instant::now() + self.header_read_timeout;
        let Some(tls) = &self.tls else {
            return self.serve_http(stream, service, first_head_by).await;
        };
        match timeout_at(first_head_by, tls.acceptor().accept(stream)).await {
            Ok(Ok(stream)) => self.serve_http(stream, service, first_head_by).await,
            Ok(Err(error)) => tracing::debug!(peer = %self.peer, %error, "tls handshake failed"),
            Err(_) => tracing::debug!(peer = %self.peer, "tls handshake took too long"),
        }
    }

    async fn serve_http<I, S>(mut self, stream: I, service: S, first_head_by: Instant)
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        S: Service<Request<Incoming>, Response = Response<Body>, Error = Infallible> + Clone + Send + 'static,
        S::Future: Send,
    {
        let (peer, over_tls) = (self.peer, self.tls.is_some());
        let activity = Arc::new(Activity::default());
        let requests = Arc::clone(&activity);
        let service = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(ConnectInfo(peer));
            if over_tls {
                request.extensions_mut().insert(OverTls);
            }
            let in_flight = requests.begin();
            // Our services are always ready.
            let response = service.clone().call(request);
            async move {
                let response = response.await?;
                Ok::<_, Infallible>(response.map(|body| Answer::new(body, in_flight)))
            }
        });
        let mut connection = pin!(self.http.serve_connection(TokioIo::new(stream), service));
        let mut first_head = pin!(sleep_until(first_head_by));
        let mut idle = Idle::new(self.idle_timeout);
        let (mut awaits_first_head, mut closing) = (true, false);
        loop {
            tokio::select! {
                result = connection.as_mut() => {
                    if let Err(error) = result {
                        tracing::debug!(%peer, error, "connection failed");
                    }
                    break;
                }
                () = first_head.as_mut(), if awaits_first_head => {
                    awaits_first_head = false;
                    if !activity.has_begun() {
                        break;
                    }
                }
                _ = self.stopping.wait_for(|stopping| *stopping), if !closing => {
                    closing = true;
                    connection.as_mut().graceful_shutdown();
                }
                () = idle.look(&activity) => {
                    if closing {
                        break;
                    }
                    closing = true;
                    connection.as_mut().graceful_shutdown();
                }
            }
        }
        drop(self.open);
    }
}

/// Notices when no request has been on a connection for the idle timeout.
struct Idle {
    looks: tokio::time::Interval,
    quiet_looks: u32,
    turns: u64,
}

impl Idle {
    fn new(timeout: Duration) -> Self {
        let period = (timeout / LOOKS).max(Duration::from_millis(1));
        Self {
            looks: interval_at(Instant::now() + period, period),
            quiet_looks: 0,
            turns: 0,
        }
    }

    /// Returns when the connection has been idle for the timeout, and then again at each look while it remains so.
    async fn look(&mut self, activity: &Activity) {
        loop {
            self.looks.tick().await;
            let turns = activity.turns();
            if activity.is_busy() || turns != self.turns {
                self.turns = turns;
                self.quiet_looks = 0;
                continue;
            }
            self.quiet_looks += 1;
            if self.quiet_looks >= LOOKS {
                return;
            }
        }
    }
}
