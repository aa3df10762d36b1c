//! Redis out of reach, or without its replicas: what servers answer then, because their callers have chosen it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on should stop here and say why; clippy spares only the `#[test]` functions themselves"
)]

mod durable;
mod stale;
#[path = "../it/support/mod.rs"]
mod support;
