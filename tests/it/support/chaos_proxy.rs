//! A TCP proxy before one Redis server whose network can be made to fail in every way that a real one does.
//!
//! Faults are said in terms of requests and replies, so the proxy reads the protocol; an encrypted connection is passed on
//! as it is, and only the faults of whole connections apply to it. The replication link of a node that reaches its
//! primary through the proxy is spared by all faults.

mod pump;
mod rules;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};

use rules::{Action, RequestRule, SwapSides};

/// What holds for every connection at the moment.
#[derive(Clone, Debug, Default)]
struct Weather {
    /// Raised by one to cut what is open at that moment.
    cuts: u64,
    refuse_new: bool,
    requests: Flow,
    replies: Flow,
    swallow_replies: bool,
    reply_delay: Duration,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Flow {
    #[default]
    Moving,
    Held,
}

impl Flow {
    fn held(hold: bool) -> Self {
        if hold { Self::Held } else { Self::Moving }
    }
}

/// What all connections of one proxy share.
struct Shared {
    weather: watch::Sender<Weather>,
    requests: Mutex<Vec<RequestRule>>,
    dropped_replies: Mutex<Vec<Vec<u8>>>,
    spared: Mutex<Vec<Vec<u8>>>,
    counts: Mutex<Counts>,
}

/// What has passed through a proxy since it was started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Connections that clients opened and the proxy passed on.
    pub(crate) accepted: u64,
    /// Connections open now, replication links included.
    pub(crate) open: u64,
    /// Requests that a rule applied to.
    pub(crate) requests_hit: u64,
    /// Frames from the server that were dropped by [`ChaosProxy::drop_replies_containing`].
    pub(crate) replies_dropped: u64,
}

/// A proxy with one listening address and one target; it works on a thread of its own until it is dropped.
pub(crate) struct ChaosProxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl ChaosProxy {
    /// Listens on a free loopback port and passes on to `target`, which need not be up yet.
    pub(crate) fn start(target: SocketAddr) -> Self {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        listener.set_nonblocking(true).expect("a listener for tokio");
        let address = listener.local_addr().expect("a bound listener has an address");
        let shared = Arc::new(Shared {
            weather: watch::Sender::new(Weather::default()),
            requests: Mutex::default(),
            dropped_replies: Mutex::default(),
            spared: Mutex::default(),
            counts: Mutex::default(),
        });
        let (stop, stopped) = oneshot::channel();
        let of_thread = Arc::clone(&shared);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            runtime.block_on(async {
                let listener = TcpListener::from_std(listener).expect("a listener for tokio");
                tokio::select! {
                    () = serve(listener, target, of_thread) => {}
                    _ = stopped => {}
                }
            });
        });
        Self {
            address,
            shared,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn counts(&self) -> Counts {
        *self.shared.counts.lock()
    }

    /// Closes all connections; new ones are taken.
    pub(crate) fn cut_all(&self) {
        self.shared.weather.send_modify(|weather| weather.cuts += 1);
    }

    /// Closes new connections at once, or takes them again.
    pub(crate) fn refuse_new(&self, refuse: bool) {
        self.shared.weather.send_modify(|weather| weather.refuse_new = refuse);
    }

    /// Keeps requests back (they are sent on when this ends), as a network that has stalled towards the server.
    pub(crate) fn hold_requests(&self, hold: bool) {
        self.shared
            .weather
            .send_modify(|weather| weather.requests = Flow::held(hold));
    }

    /// Keeps replies and pushes back, as a network that has stalled towards the client.
    pub(crate) fn hold_replies(&self, hold: bool) {
        self.shared
            .weather
            .send_modify(|weather| weather.replies = Flow::held(hold));
    }

    /// Keeps back what goes either way.
    pub(crate) fn hold(&self, hold: bool) {
        self.hold_requests(hold);
        self.hold_replies(hold);
    }

    /// Loses what the server sends from now on, as a half-open connection does. A connection that lost something stays
    /// without answers until it is cut: what follows would answer the wrong request.
    pub(crate) fn swallow_replies(&self, swallow: bool) {
        self.shared
            .weather
            .send_modify(|weather| weather.swallow_replies = swallow);
    }

    /// Lets everything that the server sends take this much longer; the order is kept.
    pub(crate) fn delay_replies(&self, delay: Duration) {
        self.shared.weather.send_modify(|weather| weather.reply_delay = delay);
    }

    /// Cuts the connection of the `nth` request (1 is the next) that contains `bytes`: the server has executed it and
    /// answered, the client never learns. Happens once.
    pub(crate) fn cut_before_reply(&self, bytes: impl AsRef<[u8]>, nth: u64) {
        self.add_rule(bytes.as_ref(), nth, Action::CutBeforeReply);
    }

    /// Cuts the connection of the `nth` request that contains `bytes` instead of passing it on: the server never sees it.
    /// Happens once.
    pub(crate) fn cut_before_request(&self, bytes: impl AsRef<[u8]>, nth: u64) {
        self.add_rule(bytes.as_ref(), nth, Action::CutBeforeRequest);
    }

    /// Gives the reply of the next request that contains `first` to the next one on another connection that contains
    /// `second`, and the other way round. Both replies wait for each other.
    pub(crate) fn swap_replies(&self, first: impl AsRef<[u8]>, second: impl AsRef<[u8]>) {
        let (left, right) = SwapSides::pair();
        self.add_rule(first.as_ref(), 1, Action::Swap(left));
        self.add_rule(second.as_ref(), 1, Action::Swap(right));
    }

    /// Drops every push, and every reply, from the server that contains `bytes`, until [`ChaosProxy::clear`].
    ///
    /// Meant for pushes: a request whose reply was dropped waits, and the next reply goes to it.
    pub(crate) fn drop_replies_containing(&self, bytes: impl AsRef<[u8]>) {
        self.shared.dropped_replies.lock().push(bytes.as_ref().to_vec());
    }

    /// Spares connections from all faults once they have sent a request that contains `bytes`, such as a user's name,
    /// as if they went another way. [`ChaosProxy::clear`] leaves it so.
    pub(crate) fn spare(&self, bytes: impl AsRef<[u8]>) {
        self.shared.spared.lock().push(bytes.as_ref().to_vec());
    }

    /// Ends all faults; what was held goes on its way.
    pub(crate) fn clear(&self) {
        self.shared.requests.lock().clear();
        self.shared.dropped_replies.lock().clear();
        self.shared.weather.send_modify(|weather| {
            *weather = Weather {
                cuts: weather.cuts,
                ..Weather::default()
            }
        });
    }

    fn add_rule(&self, contains: &[u8], nth: u64, action: Action) {
        self.shared.requests.lock().push(RequestRule {
            contains: contains.to_vec(),
            remaining: nth.max(1),
            action,
        });
    }
}

impl Drop for ChaosProxy {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has said so on its own.
            let _ = thread.join();
        }
    }
}

async fn serve(listener: TcpListener, target: SocketAddr, shared: Arc<Shared>) {
    loop {
        let Ok((client, _)) = listener.accept().await else {
            continue;
        };
        if shared.weather.borrow().refuse_new {
            continue;
        }
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            let Ok(server) = TcpStream::connect(target).await else {
                return;
            };
            shared.counts.lock().accepted += 1;
            shared.counts.lock().open += 1;
            pump::run(client, server, &shared).await;
            shared.counts.lock().open -= 1;
        });
    }
}
