use std::convert::Infallible;
use std::future::pending;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::ConnectInfo;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use prometheus::IntGauge;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, Sleep, interval_at, sleep_until, timeout_at};

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

    async fn serve_http<I, S>(self, stream: I, service: S, first_head_by: Instant)
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
            let response = service.call(request);
            async move {
                let response = response.await?;
                Ok::<_, Infallible>(response.map(|body| Answer::new(body, in_flight)))
            }
        });
        let mut connection = pin!(self.http.serve_connection(TokioIo::new(stream), service));
        // A set of one: it is looked at only when something in it has happened, and not with each request.
        let watch = Watch {
            first_head: Some(Box::pin(sleep_until(first_head_by))),
            idle: Idle::new(self.idle_timeout),
            stopping: self.stopping,
            is_closing: false,
            activity,
        };
        let mut watching = FuturesUnordered::from_iter([watch.next()]);
        loop {
            tokio::select! {
                result = connection.as_mut() => {
                    if let Err(error) = result {
                        tracing::debug!(%peer, error, "connection failed");
                    }
                    break;
                }
                Some((call, watch)) = watching.next() => match call {
                    Call::Finish => {
                        connection.as_mut().graceful_shutdown();
                        watching.push(watch.next());
                    }
                    Call::Cut => break,
                },
            }
        }
        drop(self.open);
    }
}

/// What a connection is told from outside.
enum Call {
    /// To answer what it has begun, and then to close.
    Finish,
    /// To end at once.
    Cut,
}

/// Watches over a connection.
struct Watch {
    /// When the first request's head must have come; nothing once that has been seen to.
    first_head: Option<Pin<Box<Sleep>>>,
    idle: Idle,
    stopping: watch::Receiver<bool>,
    is_closing: bool,
    activity: Arc<Activity>,
}

impl Watch {
    /// Waits until the connection is to be told something; gives itself back, to be asked again.
    async fn next(mut self) -> (Call, Self) {
        let call = self.call().await;
        (call, self)
    }

    async fn call(&mut self) -> Call {
        loop {
            let first_head = async {
                match &mut self.first_head {
                    Some(due) => due.await,
                    None => pending().await,
                }
            };
            tokio::select! {
                () = first_head => {
                    self.first_head = None;
                    if !self.activity.has_begun() {
                        return Call::Cut;
                    }
                }
                _ = self.stopping.wait_for(|stopping| *stopping), if !self.is_closing => {
                    self.is_closing = true;
                    return Call::Finish;
                }
                () = self.idle.look(&self.activity) => {
                    if self.is_closing {
                        return Call::Cut;
                    }
                    self.is_closing = true;
                    return Call::Finish;
                }
            }
        }
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
