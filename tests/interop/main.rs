//! Programs that others wrote, in front of Cloakroom and behind it: gateways, HTTP clients with their cookie jars, and
//! libraries that verify our JWTs.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on should stop here and say why; clippy spares only the `#[test]` functions themselves"
)]

mod clients;
mod gateway;
mod gateways;
mod jwt;
mod service;
#[path = "../it/support/mod.rs"]
mod support;
mod tools;
