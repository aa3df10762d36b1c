//! Two versions side by side: what an older program wrote and writes, and what a newer one may write, over one Redis.
//!
//! `recorded/1/` holds what a program of format 1 leaves in Redis, and the very scripts by which it works. They are never
//! changed: a format that changes gets a folder of its own.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on should stop here and say why; clippy spares only the `#[test]` functions themselves"
)]

mod newer;
mod older;
mod peer;
mod records;

#[path = "../it/support/mod.rs"]
mod support;

use std::path::PathBuf;

use cloakroom::session::{Bucket, SystemRandom, Token};

use crate::support::fleet::{Replica, SECRET};
use crate::support::single_redis::SingleRedis;

fn recorded(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/formats/recorded/1")
        .join(name)
}

/// A token of an anonymous session in the bucket of all these tests, and the session's id.
fn fresh() -> (String, String) {
    let token = Token::generate(Bucket::from_label(*b"a7").unwrap(), &SystemRandom).unwrap();
    (token.expose(), token.id().to_string())
}

/// The program that this run has built.
async fn present(redis: &SingleRedis, prefix: &str, id: &str) -> Replica {
    let url = redis.url();
    let settings = [
        ("redis.urls", url.as_str()),
        ("redis.prefix", prefix),
        ("jwt.secret", SECRET),
        ("log.format", "json"),
    ];
    let replica = Replica::start(id, "127.0.0.1", &settings);
    replica.until_ready().await;
    replica
}
