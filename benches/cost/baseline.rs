//! What the program is held against: the least that an axum service can do.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::Response;
use axum::routing::{any, get, post};
use axum::serve::ListenerExt as _;
use redis::cluster::ClusterClient;
use redis::cluster_async::ClusterConnection;
use serde::{Deserialize, Serialize};

use crate::cpus::start_server;
use crate::support::process::Program;

/// The argument by which this program becomes a baseline server.
pub(crate) const ROLE: &str = "role-baseline";

/// An answer of the program, to be given again.
#[derive(Serialize, Deserialize, Clone, Debug)]
pub(crate) struct Canned {
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Canned {
    /// Takes an answer over; what the server itself writes is left out.
    pub(crate) fn of(head: &str, body: &[u8]) -> Self {
        let lines = head.lines().skip(1).filter_map(|line| line.split_once(": "));
        let headers = lines.filter(|(name, _)| !["date", "content-length"].contains(name));
        Self {
            headers: headers
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
            body: String::from_utf8(body.to_vec()).expect("a body is text"),
        }
    }

    fn served(&self) -> Served {
        let headers = self.headers.iter().map(|(name, value)| {
            let name: HeaderName = name.parse().expect("a header name");
            (name, HeaderValue::from_str(value).expect("a header value"))
        });
        Served {
            headers: headers.collect(),
            body: Bytes::from(self.body.clone()),
        }
    }
}

/// What a baseline server is told, as JSON in its only argument.
#[derive(Serialize, Deserialize, Clone, Debug)]
pub(crate) struct Baseline {
    pub(crate) auth: Canned,
    pub(crate) session: Canned,
    pub(crate) validate: Canned,
    /// Where given, a session is read from there, by a GET of its id.
    pub(crate) redis: Option<Vec<String>>,
}

impl Baseline {
    /// Has a process of its own serve it.
    pub(crate) fn start(&self) -> Program {
        let program = std::env::current_exe().expect("the path of this program");
        let told = serde_json::to_string(self).expect("a baseline is JSON");
        start_server(&program, &[ROLE, &told], &[])
    }
}

#[derive(Clone)]
struct Served {
    headers: HeaderMap,
    body: Bytes,
}

impl Served {
    fn answer(&self, body: Bytes) -> Response {
        let mut response = Response::new(Body::from(body));
        response.headers_mut().clone_from(&self.headers);
        response
    }
}

struct Shared {
    auth: Served,
    session: Served,
    validate: Served,
}

/// The process of a baseline server.
#[tokio::main]
pub(crate) async fn run(arguments: &[String]) {
    let told: Baseline = serde_json::from_str(&arguments[0]).expect("a baseline");
    let shared = Arc::new(Shared {
        auth: told.auth.served(),
        session: told.session.served(),
        validate: told.validate.served(),
    });
    let router: Router = match told.redis {
        None => Router::new()
            .route("/auth", any(auth))
            .route("/v1/sessions/{id}", get(session))
            .route("/v1/sessions/validate", post(validate))
            .with_state(shared),
        Some(urls) => {
            let client = ClusterClient::new(urls).expect("the cluster's URLs");
            let connection = client.get_async_connection().await.expect("connect to the cluster");
            Router::new()
                .route("/v1/sessions/{id}", get(raw_get))
                .with_state((shared, connection))
        }
    };
    let listener = tokio::net::TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0)))
        .await
        .expect("bind a port");
    let address = listener.local_addr().expect("a bound address").to_string();
    let line = serde_json::json!({ "message": "listening", "listener": "traffic", "address": address });
    println!("{line}");
    let listener = listener.tap_io(|stream| {
        let _ = stream.set_nodelay(true);
    });
    axum::serve(listener, router).await.expect("serve");
}

async fn auth(State(shared): State<Arc<Shared>>) -> Response {
    shared.auth.answer(shared.auth.body.clone())
}

async fn session(State(shared): State<Arc<Shared>>) -> Response {
    shared.session.answer(shared.session.body.clone())
}

async fn validate(State(shared): State<Arc<Shared>>, _body: Bytes) -> Response {
    shared.validate.answer(shared.validate.body.clone())
}

async fn raw_get(
    State((shared, mut connection)): State<(Arc<Shared>, ClusterConnection)>,
    Path(id): Path<String>,
) -> Response {
    let body: Vec<u8> = redis::cmd("GET")
        .arg(id)
        .query_async(&mut connection)
        .await
        .expect("GET");
    shared.session.answer(body.into())
}
