//! The Redis store: Redis Cluster, and a single Redis from 7.0 on through the same code.
//!
//! `keys` names the keys, `scripts/` holds what runs in Redis, `router` sends it to the right node, `reply` and `codec`
//! read the answer, `operations` and `fleet` tie these together for [`SessionStore`].
//!
//! [`SessionStore`]: crate::store::SessionStore

mod activity;
mod calls;
mod codec;
mod content;
mod edits;
mod events;
mod fleet;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod keys;
mod layout;
mod node;
mod operations;
mod options;
mod reply;
mod rotation;
mod router;
mod scripts;
mod subscriber;
mod topology;
mod transport;
mod values;
mod vault;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use arc_swap::ArcSwap;
use redis::Value;

pub use options::{Credentials, RedisOptions};
pub use scripts::SCRIPT_NAMES;
pub use vault::{Encryption, PlainRecords};

use super::StoreError;
use crate::session::{Bucket, Keyring, Random, RandomError, SessionId};
use crate::telemetry::Metrics;
use crate::telemetry::trace::ClientSpan;
use codec::Record;
use keys::{Keys, slot_of_bucket};
use node::{Dialer, Node};
use reply::{Head, Reply};
use router::{Call, Router};
use scripts::{Script, Scripts};
use vault::Vault;

type Result<T> = std::result::Result<T, StoreError>;

/// Sessions in Redis. Cheap to clone.
#[derive(Clone)]
pub struct RedisStore(Arc<Inner>);

struct Inner {
    keys: Keys,
    scripts: Scripts,
    router: Router,
    bucket_key: layout::BucketKey,
    keyring: Keyring,
    vault: Vault,
    random: Arc<dyn Random>,
    metrics: Metrics,
    /// The nodes to which the transport's connections lead.
    lines: ArcSwap<transport::Lines>,
    /// How many of those connections have ended: where INFO is refused, each may have been a failover (W3).
    lines_ended: AtomicU64,
}

impl RedisStore {
    /// Says what is wrong with the options that no patience mends: URLs and certificates that cannot be used.
    pub fn check(options: &RedisOptions, metrics: &Metrics) -> std::result::Result<(), String> {
        Dialer::new(options.clone(), metrics.clone())?.check()
    }

    /// Connects, checks the layout record (and writes it in a fresh deployment) and says what is set amiss in Redis.
    ///
    /// Fails with [`StoreError::Unavailable`] where no node answers, which may pass, and otherwise where the layout is another than this version's.
    pub async fn connect(options: RedisOptions, random: Arc<dyn Random>, metrics: Metrics) -> Result<Self> {
        let keys = Keys::new(&options.prefix);
        let vault = Vault::new(options.encryption.clone(), Arc::clone(&random), &metrics);
        let dialer = Arc::new(Dialer::new(options, metrics.clone()).map_err(StoreError::Unavailable)?);
        let router = Router::connect(dialer, metrics.clone()).await?;
        let scripts = Scripts::new(&metrics);
        layout::load_scripts(&router, &scripts).await;
        let bucket_key = layout::open(&router, &scripts, &keys, &*random).await?;
        layout::check_settings(&router).await;
        let keyring = Keyring::new(&bucket_key);
        Ok(Self(Arc::new(Inner {
            keys,
            scripts,
            router,
            bucket_key,
            keyring,
            vault,
            random,
            metrics,
            lines: ArcSwap::default(),
            lines_ended: AtomicU64::default(),
        })))
    }

    /// The cluster's node timeout, as its nodes tell it; nothing where they refuse to, or where there is no cluster.
    pub async fn node_timeout(&self) -> Option<std::time::Duration> {
        layout::node_timeout(&self.0.router).await
    }

    /// Replaces the connections that are open, so that new credentials take effect.
    pub fn reconnect(&self) {
        for node in &self.0.router.topology().primaries {
            node.distrust();
        }
    }

    /// Runs a script that concerns a bucket.
    async fn run(&self, call: BucketCall<'_>) -> Result<Done> {
        let answer = counted(call.script, self.0.router.call(&call.routed())).await?;
        Ok(Done {
            value: answer.value,
            node: answer.node,
            asked: answer.asked,
            durable: answer.durable,
        })
    }

    /// Runs a script at one node, once: no redirect is followed and nothing is tried again.
    async fn run_at(&self, node: &Arc<Node>, call: BucketCall<'_>) -> Result<Done> {
        Ok(Done {
            value: counted(call.script, self.0.router.call_at(node, &call.routed())).await?,
            node: Arc::clone(node),
            asked: false,
            durable: None,
        })
    }

    /// Opens an answer; one that belongs to another request costs its connection.
    fn open<'a>(&self, done: &'a Done, tag: &str) -> Result<(Head<'a>, Reply<'a>)> {
        let opened = match &done.value {
            Value::BulkString(bytes) => Reply::open(bytes, tag),
            other => Err(StoreError::Corrupt(format!("a script answered {other:?}"))),
        };
        opened.map_err(|error| self.distrust(done, error))
    }

    /// What is told by an answer, or why it tells nothing.
    fn told<'a>(&self, done: &'a Done, tag: &str) -> Result<(Head<'a>, Reply<'a>)> {
        let (head, mut reply) = self.open(done, tag)?;
        match head.status {
            "ok" => Ok((head, reply)),
            "missing" => Err(StoreError::NotFound),
            "conflict" => Err(StoreError::Conflict {
                current: reply.number()?,
            }),
            "too_large" => Err(StoreError::TooLarge {
                bytes: reply.number()?,
                limit: reply.number()?,
            }),
            "limit" => Err(StoreError::TooManySessions {
                limit: u32::try_from(reply.number()?).unwrap_or(u32::MAX),
            }),
            "again" => Err(self.distrust(
                done,
                StoreError::Corrupt("the session is sealed, and encryption.keys is not set".to_owned()),
            )),
            // Only a generator that repeats itself gives an id twice.
            "taken" => Err(RandomError.into()),
            "not_a_number" => Err(StoreError::NotANumber),
            "not_a_cart" => Err(StoreError::NotACart),
            other => Err(StoreError::Corrupt(format!("a script answered `{other}`"))),
        }
    }

    fn distrust(&self, done: &Done, error: StoreError) -> StoreError {
        if matches!(error, StoreError::Mismatch) {
            tracing::error!(node = %done.node.address, "an answer of redis belongs to another request: connection replaced");
            self.0.metrics.store_mismatches.inc();
            done.node.distrust();
        }
        if let StoreError::Corrupt(what) = &error {
            tracing::warn!(node = %done.node.address, what, "a record cannot be read");
            self.0.metrics.store_corrupt.inc();
        }
        error
    }

    /// The record of a session in an answer.
    fn record(&self, done: &Done, reply: &mut Reply<'_>, id: SessionId, head: &Head<'_>) -> Result<Record> {
        codec::record(reply, id, head.now, &self.0.vault).map_err(|error| self.distrust(done, error))
    }

    /// The session in an answer.
    fn snapshot(&self, done: &Done, reply: &mut Reply<'_>, id: SessionId, head: &Head<'_>) -> Result<super::Snapshot> {
        Ok(self.record(done, reply, id, head)?.snapshot)
    }
}

/// Counts a call of a script, and measures it.
async fn counted<T>(script: &Script, call: impl Future<Output = Result<T>>) -> Result<T> {
    let span = ClientSpan::of_script(script.name);
    let timer = script.counters.duration.start_timer();
    let outcome = call.await;
    timer.observe_duration();
    match &outcome {
        Ok(_) => script.counters.ok.inc(),
        Err(_) => script.counters.failed.inc(),
    }
    if let (Some(span), Err(_)) = (span, &outcome) {
        span.fail("unavailable");
    }
    outcome
}

/// A script call that concerns one bucket.
struct BucketCall<'a> {
    script: &'a Script,
    bucket: Bucket,
    keys: &'a [&'a [u8]],
    arguments: &'a [&'a [u8]],
    durable: bool,
}

impl<'a> BucketCall<'a> {
    fn routed(&self) -> Call<'a> {
        Call {
            script: self.script,
            slot: slot_of_bucket(self.bucket),
            keys: self.keys,
            arguments: self.arguments,
            durable: self.durable,
        }
    }
}

/// A script's answer with the node that gave it.
struct Done {
    value: Value,
    node: Arc<Node>,
    asked: bool,
    durable: Option<bool>,
}
