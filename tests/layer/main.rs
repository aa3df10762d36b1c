//! The tower layer, as applications use it: every verb and option over memory, over a real Redis Cluster and with
//! sessions that the client holds; and cookies exchanged with a real Express application.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on should stop here and say why; clippy spares only the `#[test]` functions themselves"
)]

mod client_side;
mod concurrency;
mod cross_site;
mod express;
mod guide;
mod lifecycle;
mod options;
mod outage;
mod site;
#[path = "../it/support/mod.rs"]
mod support;
mod values;
