//! What the integration tests stand on: servers that die with the test, a network that can be cut, and patience with a
//! limit.
#![allow(dead_code, reason = "a fixture offers more verbs than today's tests use")]

pub(crate) mod api;
pub(crate) mod audit;
pub(crate) mod broken_store;
pub(crate) mod captured_log;
pub(crate) mod chaos_proxy;
pub(crate) mod cluster_nodes;
pub(crate) mod fleet;
pub(crate) mod listener;
pub(crate) mod monitor;
pub(crate) mod ports;
pub(crate) mod process;
pub(crate) mod redis_cluster;
pub(crate) mod resp;
pub(crate) mod server;
pub(crate) mod single_redis;
pub(crate) mod slot_move;
pub(crate) mod store;
pub(crate) mod supervised;
pub(crate) mod tls;
pub(crate) mod wait;

use std::sync::atomic::{AtomicU64, Ordering};

static PREFIXES: AtomicU64 = AtomicU64::new(0);

/// A key prefix that no other test, in this process or another, uses.
pub(crate) fn unique_prefix() -> String {
    let number = PREFIXES.fetch_add(1, Ordering::Relaxed);
    format!("test-{}-{number}", std::process::id())
}
