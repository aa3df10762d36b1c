//! The service behind the gateways, and an application that trusts what a gateway tells it.

use std::net::SocketAddr;

use axum::Router;
use axum::extract::State;
use axum::http::header::SET_COOKIE;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use serde_json::{Value, json};

use crate::support::process::Program;
use crate::support::wait::{SOON, eventually};

/// A running service that trusts the gateway's words.
pub(crate) struct Service {
    pub(crate) program: Program,
    pub(crate) address: SocketAddr,
    client: reqwest::Client,
}

impl Service {
    pub(crate) async fn start(settings: &[(&str, &str)]) -> Self {
        let arguments = ["serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"];
        let trusting = [("CLOAKROOM_HTTP__TRUSTED_PROXIES", "127.0.0.1/32")];
        let program = Program::cloakroom(&arguments, &[&trusting, settings].concat());
        let (address, admin) = (program.listener("traffic").await, program.listener("admin").await);
        eventually(SOON, "readiness", async || {
            let answer = reqwest::get(format!("http://{admin}/readyz")).await;
            answer.is_ok_and(|answer| answer.status().is_success())
        })
        .await;
        Self {
            program,
            address,
            client: reqwest::Client::new(),
        }
    }

    /// Sends JSON to the API, as an application does.
    pub(crate) async fn post(&self, path: &str, body: Value) -> Value {
        post_json(&self.client, self.address, path, body).await
    }

    /// What `POST /v1/sessions` answers for a user with the role `user`.
    pub(crate) async fn log_in(&self, user: &str) -> Value {
        self.post("/v1/sessions", json!({"user_id": user, "roles": ["user"]}))
            .await
    }
}

async fn post_json(client: &reqwest::Client, service: SocketAddr, path: &str, body: Value) -> Value {
    let sent = client.post(format!("http://{service}{path}")).json(&body).send();
    sent.await.unwrap().json().await.unwrap()
}

/// An application behind a gateway: it says what it was told, and logs in whoever asks.
pub(crate) async fn application(service: SocketAddr) -> SocketAddr {
    let client = reqwest::Client::new();
    let routes = Router::new()
        .route("/login", post(log_in))
        .fallback(async |headers: HeaderMap| axum::Json(told(&headers)))
        .with_state((client, service));
    let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(socket, routes).await });
    address
}

async fn log_in(State((client, service)): State<(reqwest::Client, SocketAddr)>, user: String) -> Response {
    let made = post_json(&client, service, "/v1/sessions", json!({"user_id": user})).await;
    let cookie = HeaderValue::from_str(made["set_cookie"].as_str().unwrap()).unwrap();
    ([(SET_COOKIE, cookie)], "welcome").into_response()
}

/// Every header by which the gateway tells who asks, in any spelling.
fn told(headers: &HeaderMap) -> Value {
    let tells = |name: &HeaderName| name.as_str().replace('_', "-").starts_with("x-auth-");
    let lines = headers.iter().filter(|(name, value)| tells(name) && !value.is_empty());
    lines
        .map(|(name, value)| json!([name.as_str(), value.to_str().unwrap()]))
        .collect()
}
