//! What memory holds, what it asks for, and how to go round it.

use std::sync::Arc;
use std::time::Duration;

use cloakroom::sessions::{CacheSettings, Consistency, Freshness};
use futures_util::StreamExt as _;
use futures_util::future::join_all;
use futures_util::stream;
use tokio::time::{Instant, sleep};

use super::pod::{Deaf, FROM_MEMORY, Pod, STRONG, memory, memory_store, number, number_of};
use crate::support::server::ServerOptions;
use crate::support::single_redis::SingleRedis;
use crate::support::unique_prefix;

#[tokio::test]
async fn a_thousand_concurrent_misses_are_one_read() {
    let redis = SingleRedis::start(ServerOptions::default()).await;
    let pod = Pod::over_redis(redis.url(), &unique_prefix(), memory()).await;
    let id = pod.create(None).await;
    let monitor = redis.monitor().await;
    let reads = join_all((0..1000).map(|_| pod.sessions.get(id, FROM_MEMORY))).await;
    assert!(reads.into_iter().all(|read| read.unwrap().is_some()));
    let commands = monitor.commands(&redis).await;
    let id = id.to_string();
    let is_read = |name: &str| matches!(name, "EVALSHA" | "EVAL");
    let read = commands
        .iter()
        .filter(|command| is_read(&command.name) && command.arguments.contains(&id))
        .count();
    assert_eq!(read, 1);
}

#[tokio::test]
async fn strong_and_min_version_go_round_memory() {
    let store = memory_store();
    let writer = Pod::start(Arc::clone(&store) as _, Arc::clone(&store) as _, memory()).await;
    let reader = Pod::start(store, Arc::new(Deaf), memory()).await;
    let id = writer.create(None).await;
    reader.warm(id).await;
    let version = writer.sessions.change(id, number(1)).await.unwrap().version;
    let read = async |freshness| number_of(&reader.sessions.get(id, freshness).await.unwrap().unwrap());
    let since = |version| Freshness {
        consistency: Consistency::Bounded,
        min_version: Some(version),
        accept_stale: false,
    };
    assert_eq!(read(FROM_MEMORY).await, 0, "this memory hears of nothing");
    assert_eq!(read(STRONG).await, 1);
    assert_eq!(read(since(version)).await, 1);
    assert_eq!(read(since(version - 1)).await, 0, "memory has this version");
    writer.warm(id).await;
    writer.sessions.change(id, number(2)).await.unwrap();
    let own = writer.sessions.get(id, FROM_MEMORY).await.unwrap().unwrap();
    assert_eq!(number_of(&own), 2, "its own write");
}

/// A scan of far more sessions than memory may hold leaves no more behind than it may: of as many as can be made in 15 s,
/// or of `CLOAKROOM_SCAN_SESSIONS`, however long that takes.
#[tokio::test]
async fn s53_a_scan_leaves_memory_flat() {
    const MOST: usize = 1000;
    /// Two hundred thousand sessions would take more than this several times over.
    const GROWTH: u64 = 40 << 20;
    let wanted: Option<usize> = std::env::var("CLOAKROOM_SCAN_SESSIONS")
        .ok()
        .map(|number| number.parse().expect("a number of sessions"));
    let patience = wanted.map_or(Duration::from_secs(15), |_| Duration::from_hours(1));
    let small = CacheSettings {
        max_entries: MOST,
        max_bytes: 4 << 20,
        ..memory()
    };
    let pod = Pod::start(memory_store(), Arc::new(Deaf), small).await;
    let begun = Instant::now();
    let ids: Vec<_> = stream::iter(0..wanted.unwrap_or(200_000))
        .then(|_| pod.create(None))
        .take_until(sleep(patience))
        .collect()
        .await;
    let made = begun.elapsed();
    let before = resident();
    for chunk in ids.chunks(1000) {
        for id in chunk {
            assert!(pod.sessions.get(*id, FROM_MEMORY).await.unwrap().is_some());
        }
        pod.sessions.show_cache();
        let entries = pod.metrics.l1_entries.get();
        assert!(entries <= 1100, "{entries} entries");
        tokio::task::yield_now().await;
    }
    let growth = resident().saturating_sub(before);
    eprintln!(
        "scan of {} sessions (made in {made:?}): {} entries, {growth} bytes more",
        ids.len(),
        pod.metrics.l1_entries.get()
    );
    assert!(pod.metrics.l1_entries.get() > 500, "memory was not used");
    assert!(growth < GROWTH, "{growth} bytes");
}

/// The resident memory of this process, in bytes.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}
