//! Integration tests: the real binary and library over real Redis servers.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on should stop here and say why; clippy spares only the `#[test]` functions themselves"
)]

mod browser;
mod contract;
mod dev;
mod docs;
mod fleet;
mod harness;
mod http;
mod listener;
mod redis_store;
mod serve;
mod support;
