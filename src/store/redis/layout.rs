use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use futures_util::future::join_all;
use redis::Value;

use super::keys::{Keys, slot_of_key};
use super::node::Node;
use super::reply::Reply;
use super::router::{Call, Router};
use super::scripts::Scripts;
use super::{Inner, Result};
use crate::session::{Bucket, Keyring, OperationId, Random, Timestamp};
use crate::store::StoreError;

/// The deployment's secret.
pub(super) type BucketKey = [u8; Keyring::KEY_BYTES];

/// The layout of keys and records that this version reads and writes.
const LAYOUT: &str = "1";
/// From this listpack value size on, a session's hash stays compact.
const LISTPACK_VALUE: u64 = 1024;

/// Sends the scripts to every primary; a node that lacks them later is sent the source with the call.
pub(super) async fn load_scripts(router: &Router, scripts: &Scripts) {
    for node in &router.topology().primaries {
        for script in scripts.all() {
            let command = redis::cmd("SCRIPT").arg("LOAD").arg(&script.source).to_owned();
            if let Err(error) = router.ask_node(node, &command).await {
                tracing::debug!(node = %node.address, %error, "a script was not loaded: its source goes with the call");
                break;
            }
        }
    }
}

/// Reads the bucket key from the layout record, after writing that in a fresh deployment.
pub(super) async fn open(router: &Router, scripts: &Scripts, keys: &Keys, random: &dyn Random) -> Result<BucketKey> {
    let mut fresh = BucketKey::default();
    random.fill(&mut fresh)?;
    let (found, _) = offer(router, scripts, keys, random, &fresh).await?;
    if found == fresh {
        tracing::info!(key = keys.meta(), "wrote the layout record of a fresh deployment");
    }
    Ok(found)
}

/// Makes sure that the layout record is still the one that this server works by; a store that was flushed gets it back,
/// so that servers that start later find their users' sessions in the same buckets.
pub(super) async fn check(store: &Inner) -> Result<Timestamp> {
    let mine = &store.bucket_key;
    let (found, now) = offer(&store.router, &store.scripts, &store.keys, &*store.random, mine).await?;
    if found == *mine {
        return Ok(now);
    }
    let key = store.keys.meta();
    Err(StoreError::Corrupt(format!(
        "{key}: another bucket key than at the start: restart every server"
    )))
}

/// Writes the layout record where there is none, and gives the bucket key that it holds then, with the store's time.
async fn offer(
    router: &Router,
    scripts: &Scripts,
    keys: &Keys,
    random: &dyn Random,
    offered: &BucketKey,
) -> Result<(BucketKey, Timestamp)> {
    let tag = OperationId::generate(random)?.to_string();
    let (key, buckets) = (keys.meta(), Bucket::COUNT.to_string());
    let offered = STANDARD_NO_PAD.encode(offered);
    let call = Call {
        script: &scripts.layout,
        slot: slot_of_key(&key),
        keys: &[key.as_bytes()],
        arguments: &[
            tag.as_bytes(),
            LAYOUT.as_bytes(),
            buckets.as_bytes(),
            offered.as_bytes(),
        ],
        durable: false,
    };
    let answer = router.call(&call).await?;
    let Value::BulkString(bytes) = &answer.value else {
        return Err(StoreError::Corrupt(format!("{key}: {:?}", answer.value)));
    };
    let (head, mut reply) = Reply::open(bytes, &tag)?;
    let record = reply.texts()?;
    let [layout, count, bucket_key] = record.as_slice() else {
        return Err(StoreError::Corrupt(format!("{key}: a field is missing")));
    };
    for (what, found, mine) in [
        ("layout", *layout, LAYOUT),
        ("number of buckets", *count, buckets.as_str()),
    ] {
        if found != mine {
            let hint = "use the version that wrote it, or another redis.prefix";
            return Err(StoreError::Corrupt(format!(
                "{key}: its {what} is {found}, this version's is {mine}: {hint}"
            )));
        }
    }
    let decoded = STANDARD_NO_PAD
        .decode(bucket_key)
        .ok()
        .and_then(|bytes| BucketKey::try_from(bytes).ok());
    let decoded = decoded.ok_or_else(|| StoreError::Corrupt(format!("{key}: its bucket key is malformed")))?;
    Ok((decoded, head.now))
}

/// One log line for each setting that is wrong for sessions.
pub(super) async fn check_settings(router: &Router) {
    let topology = router.topology();
    let Some(node) = topology.primaries.first() else { return };
    if let Some(value) = setting(router, node, "hash-max-listpack-value").await
        && value.parse::<u64>().is_ok_and(|bytes| bytes < LISTPACK_VALUE)
    {
        tracing::warn!(
            setting = "hash-max-listpack-value",
            value,
            wanted = LISTPACK_VALUE,
            "redis stores sessions loosely: with the setting wanted they take less than half the memory"
        );
    }
    if let Some(value) = setting(router, node, "maxmemory-policy").await
        && value != "noeviction"
    {
        tracing::warn!(
            setting = "maxmemory-policy",
            value,
            wanted = "noeviction",
            "a full redis would throw sessions away, and log their users out, rather than refuse new ones"
        );
    }
}

/// The cluster's node timeout, the shortest of its primaries'; nothing where there is no cluster, or where CONFIG is
/// refused.
pub(super) async fn node_timeout(router: &Router) -> Option<Duration> {
    let values = of_primaries(router, "cluster-node-timeout").await;
    values
        .iter()
        .filter_map(|value| value.parse().ok())
        .min()
        .map(Duration::from_millis)
}

/// Whether a primary that was cut off goes on answering; nothing where CONFIG is refused.
pub(super) async fn reads_when_down(router: &Router) -> Option<bool> {
    let values = of_primaries(router, "cluster-allow-reads-when-down").await;
    (!values.is_empty()).then(|| values.iter().any(|value| value == "yes"))
}

/// A setting of the cluster, as those of its primaries tell it that do.
async fn of_primaries(router: &Router, name: &str) -> Vec<String> {
    let topology = router.topology();
    if !topology.is_cluster {
        return Vec::new();
    }
    let asking = topology.primaries.iter().map(|node| setting(router, node, name));
    join_all(asking).await.into_iter().flatten().collect()
}

/// A setting of a node; nothing where CONFIG is refused, as managed Redis does.
async fn setting(router: &Router, node: &Node, name: &str) -> Option<String> {
    let command = redis::cmd("CONFIG").arg("GET").arg(name).to_owned();
    let value = match router.ask_node(node, &command).await {
        Ok(value) => value,
        Err(error) => {
            tracing::debug!(setting = name, %error, "redis does not tell its settings");
            return None;
        }
    };
    let pairs: Vec<(String, String)> = redis::from_redis_value(value).ok()?;
    pairs.into_iter().next().map(|(_, value)| value)
}
