//! The demo application in a real browser, on the replicas of `cloakroom dev`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on should stop here and say why; clippy spares only the `#[test]` functions themselves"
)]

mod driver;
mod guesses;
mod pages;
#[path = "../it/support/mod.rs"]
mod support;
mod visits;
