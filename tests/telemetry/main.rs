//! Telemetry: metrics and what is said of them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on should stop here and say why; clippy spares only the `#[test]` functions themselves"
)]

#[path = "../it/support/mod.rs"]
mod support;

mod collector;
mod delays;
mod names;
mod receiver;
mod scrape;
mod tls_front;
mod traces;
mod webhook_outages;
mod webhooks;
