//! The security requirements S01 to S56, each by its number, and what befell other projects (r01 to r12): over real
//! servers where a requirement speaks of pods and of the store.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on should stop here and say why; clippy spares only the `#[test]` functions themselves"
)]

mod browsers;
mod cookies;
mod ending;
mod operations;
#[path = "../it/coherence/pod.rs"]
#[allow(dead_code, reason = "a fixture offers more verbs than these tests use")]
mod pod;
mod proxies;
mod regressions;
mod requirements;
mod resurrection;
mod rotation;
mod secrets;
mod smuggling;
mod store;
#[path = "../it/support/mod.rs"]
mod support;
mod time;
mod tokens;

use std::time::Duration;

/// The staleness bound of every server here: the default.
const BOUND: Duration = Duration::from_secs(1);

/// The cookie that carries a token.
fn cookie(token: &str) -> String {
    format!("__Host-cloakroom={token}")
}

/// A well-formed token that nobody issued.
fn unknown_token() -> String {
    use cloakroom::session::{Keyring, SystemRandom, Token};

    let bucket = Keyring::random_bucket(&SystemRandom).unwrap();
    Token::generate(bucket, &SystemRandom).unwrap().expose()
}
