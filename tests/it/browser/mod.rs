//! What browsers and gateways touch: cookies, the endpoints for browsers, forward auth.

mod answers;
mod binding;
mod endpoints;
mod exchange;
mod forward_auth;
mod guessing;
mod signed_cookies;

use std::net::SocketAddr;

use crate::support::process::Program;
use crate::support::wait::{SOON, eventually};

/// Where a server listens, as soon as it is ready.
async fn serving(server: &Program) -> SocketAddr {
    let (traffic, admin) = (server.listener("traffic").await, server.listener("admin").await);
    eventually(SOON, "readiness", async || {
        let answer = reqwest::get(format!("http://{admin}/readyz")).await;
        answer.is_ok_and(|answer| answer.status().is_success())
    })
    .await;
    traffic
}
