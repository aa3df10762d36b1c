//! An endpoint for webhooks that does what a test wants: takes, refuses, or hangs.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::any;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::support::wait::{SOON, eventually};

/// A delivery as it came.
#[derive(Clone, Debug)]
pub(crate) struct Delivery {
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: String,
    pub(crate) at: Instant,
}

impl Delivery {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    pub(crate) fn is(&self, kind: &str, session: &str) -> bool {
        let body = self.json();
        body["type"] == kind && body["data"]["session_id"] == session
    }
}

/// How an endpoint behaves.
#[derive(Clone, Default)]
pub(crate) struct Manner {
    /// What it answers; 204 if nothing is said.
    pub(crate) status: Option<StatusCode>,
    /// Whether it answers at all before it is told to be different.
    pub(crate) hangs: bool,
    /// The session that it alone has its manner for.
    pub(crate) only: Option<String>,
    /// In seconds, with every refusal.
    pub(crate) retry_after: Option<u32>,
}

struct Inner {
    manner: watch::Sender<Manner>,
    taken: Mutex<Vec<Delivery>>,
    refused: Mutex<Vec<Delivery>>,
    /// How many requests there are now, and how many there were at most.
    open: Mutex<(usize, usize)>,
}

/// An endpoint that takes deliveries, or does not.
pub(crate) struct Receiver {
    pub(crate) url: String,
    inner: Arc<Inner>,
    task: JoinHandle<()>,
}

impl Receiver {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let inner = Arc::new(Inner {
            manner: watch::channel(Manner::default()).0,
            taken: Mutex::default(),
            refused: Mutex::default(),
            open: Mutex::default(),
        });
        let router = Router::new().route("/hook", any(take)).with_state(Arc::clone(&inner));
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, inner, task }
    }

    /// From now on everything is answered so.
    pub(crate) fn answer(&self, status: u16) {
        let status = Some(StatusCode::from_u16(status).unwrap());
        self.behave(Manner {
            status,
            ..Manner::default()
        });
    }

    pub(crate) fn behave(&self, manner: Manner) {
        self.inner.manner.send_replace(manner);
    }

    pub(crate) fn taken(&self) -> Vec<Delivery> {
        self.inner.taken.lock().clone()
    }

    pub(crate) fn taken_count(&self) -> usize {
        self.inner.taken.lock().len()
    }

    pub(crate) fn refusals(&self) -> Vec<Delivery> {
        self.inner.refused.lock().clone()
    }

    /// How many requests were open at a time, at most.
    pub(crate) fn most_open(&self) -> usize {
        self.inner.open.lock().1
    }

    pub(crate) async fn delivery(&self, kind: &str, session: &str) -> Delivery {
        let what = format!("session.{kind} of {session}");
        let kind = format!("session.{kind}");
        eventually(3 * SOON, &what, async || {
            self.taken().into_iter().find(|delivery| delivery.is(&kind, session))
        })
        .await
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A request while it is open: the caller may leave at any time.
struct Open<'a>(&'a Inner);

impl<'a> Open<'a> {
    fn count(inner: &'a Inner) -> Self {
        let mut open = inner.open.lock();
        open.0 += 1;
        open.1 = open.1.max(open.0);
        Self(inner)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.open.lock().0 -= 1;
    }
}

async fn take(State(inner): State<Arc<Inner>>, headers: HeaderMap, body: Bytes) -> Response {
    let _open = Open::count(&inner);
    let headers = headers
        .iter()
        .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()));
    let delivery = Delivery {
        headers: headers.collect(),
        body: String::from_utf8(body.to_vec()).unwrap(),
        at: Instant::now(),
    };
    let is_meant = |manner: &Manner| manner.only.as_ref().is_none_or(|only| delivery.body.contains(only));
    let mut manners = inner.manner.subscribe();
    let manner = manners.wait_for(|manner| !(manner.hangs && is_meant(manner))).await;
    let manner = manner.unwrap().clone();
    let status = manner
        .status
        .filter(|_| is_meant(&manner))
        .unwrap_or(StatusCode::NO_CONTENT);
    let (list, pause) = if status.is_success() {
        (&inner.taken, None)
    } else {
        (&inner.refused, manner.retry_after)
    };
    list.lock().push(delivery);
    match pause {
        Some(seconds) => (status, [("retry-after", seconds.to_string())]).into_response(),
        None => status.into_response(),
    }
}
