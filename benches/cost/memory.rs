//! What a session takes in Redis, and what sessions in L1 take in the program.

use redis::cluster::ClusterClient;

use crate::fleet::{Fleet, Server};
use crate::options::Options;
use crate::requests::express_content;

/// Bytes of Redis a session.
#[derive(Debug)]
pub(crate) struct RedisBytes {
    pub(crate) sessions: usize,
    pub(crate) ours: f64,
    /// Of ours: the streams by which listeners of events resume, bounded for each bucket and gone after a while.
    pub(crate) streams: f64,
    pub(crate) express: f64,
}

/// Measured by the growth of `used_memory` of the primaries: with all indexes, of as many users as sessions.
pub(crate) async fn redis_bytes(fleet: &Fleet, options: &Options) -> Option<RedisBytes> {
    if !options.wants("Redis bytes") {
        return None;
    }
    let count = options.stored;
    let before = settled(fleet).await;
    fleet.make(0, count, options).await;
    let with_ours = settled(fleet).await;
    let streams = stream_bytes(fleet).await;
    let before_express = settled(fleet).await;
    let client = ClusterClient::new(fleet.cluster.urls()).expect("the cluster's URLs");
    let mut connection = client.get_async_connection().await.expect("connect to the cluster");
    for user in 0..count {
        // As uid-safe makes them: 24 random bytes.
        let key = format!("sess:{user:032}");
        let () = redis::cmd("SET")
            .arg(key)
            .arg(express_content(user))
            .arg("EX")
            .arg(86_400)
            .query_async(&mut connection)
            .await
            .expect("SET");
    }
    drop(connection);
    let with_express = settled(fleet).await;
    let each = |bytes: u64| {
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
        let each = bytes as f64 / count as f64;
        each
    };
    Some(RedisBytes {
        sessions: count,
        ours: each(with_ours.saturating_sub(before)),
        streams: each(streams),
        express: each(with_express.saturating_sub(before_express)),
    })
}

/// The memory of the primaries without what is remembered of operations: that goes by itself after half a minute, and
/// sooner here, to save the time.
async fn settled(fleet: &Fleet) -> u64 {
    let mut bytes = 0;
    for node in fleet.primaries() {
        let mut connection = node.connect().await.expect("a connection");
        for keys in node.keys("cloakroom:*:o:*").await.chunks(1_000) {
            // Of many slots: no single command takes them all.
            let mut pipeline = redis::pipe();
            for key in keys {
                pipeline.del(key).ignore();
            }
            let () = pipeline.query_async(&mut connection).await.expect("DEL");
        }
        bytes += node.used_memory().await;
        // The backlog for replicas fills up to its fixed size, whatever is written.
        for buffers in ["mem_total_replication_buffers", "mem_clients_normal"] {
            let held = node.info(buffers).await.and_then(|bytes| bytes.parse::<u64>().ok());
            bytes -= held.unwrap_or_default();
        }
    }
    bytes
}

async fn stream_bytes(fleet: &Fleet) -> u64 {
    let mut bytes = 0;
    for node in fleet.primaries() {
        let mut connection = node.connect().await.expect("a connection");
        for key in node.keys("cloakroom:*:e").await {
            let usage: u64 = redis::cmd("MEMORY")
                .arg(&["USAGE", &key, "SAMPLES", "0"])
                .query_async(&mut connection)
                .await
                .expect("MEMORY USAGE");
            bytes += usage;
        }
    }
    bytes
}

/// Resident memory with so many sessions in L1, in bytes.
pub(crate) async fn resident(fleet: &Fleet, options: &Options) -> Vec<(usize, u64)> {
    if !options.wants("resident memory") {
        return Vec::new();
    }
    let server = Server::cloakroom(&fleet.cluster, "cloakroom-memory", &[]).await;
    let mut resident = Vec::new();
    let mut held = 0;
    for target in options.held {
        if target > held {
            let made = fleet.make(4_000_000 + held, target - held, options).await;
            let reads = made.iter().map(|made| fleet.requests.read(&made.id)).collect();
            server.send(reads, 200, options).await;
            held = target;
        }
        resident.push((held, server.program.rss_bytes()));
    }
    resident
}
