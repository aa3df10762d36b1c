//! Which store of record a server works with, and how it learns of its fleet.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;

use super::failure::Failure;
use crate::cluster::{Leadership, LocalFleet, Membership};
use crate::coherence::Transport;
use crate::config::{Config, Period, RedisSettings};
use crate::session::{Clock, Random};
use crate::store::redis::{Credentials, RedisOptions, RedisStore};
use crate::store::{MemoryStore, SessionStore};
use crate::telemetry::Metrics;

/// What a failover may take beyond the cluster's node timeout: votes, replication lag, and a margin.
const REDO_MARGIN: Duration = Duration::from_secs(45);

/// The store of record, and the fleet around it.
#[derive(Clone)]
pub struct Opened {
    /// The store of record.
    pub store: Arc<dyn SessionStore>,
    /// How servers learn of each other.
    pub membership: Arc<dyn Membership>,
    /// How they agree on a leader.
    pub leadership: Arc<dyn Leadership>,
    /// What feeds this server's memory of sessions.
    pub transport: Arc<dyn Transport>,
    /// How long ends are kept to be repeated after a failover.
    pub redo_window: Duration,
}

/// Opens the store that the settings name: Redis, or else this process's memory.
pub async fn open_store(
    config: &Config,
    clock: &Arc<dyn Clock>,
    random: &Arc<dyn Random>,
    metrics: &Metrics,
) -> Result<Opened, Failure> {
    if config.redis.urls.is_empty() {
        open_memory(clock, random)
    } else {
        open_redis(&config.redis, random, metrics).await
    }
}

async fn open_redis(redis: &RedisSettings, random: &Arc<dyn Random>, metrics: &Metrics) -> Result<Opened, Failure> {
    let password = redis
        .password
        .as_ref()
        .map(|password| password.value().expose().to_owned());
    let credentials = Credentials {
        username: redis.username.clone(),
        password,
    };
    let options = RedisOptions {
        urls: redis.urls.iter().map(|url| url.expose().to_owned()).collect(),
        prefix: redis.prefix.clone(),
        credentials: Arc::new(ArcSwap::from_pointee(credentials)),
        ca_file: redis.ca_file.clone(),
        connect_timeout: redis.connect_timeout.get(),
        response_timeout: redis.response_timeout.get(),
        node_timeout: redis.node_timeout.map(Period::get),
    };
    let store = Arc::new(RedisStore::connect(options, Arc::clone(random), metrics.clone()).await?);
    let node_timeout = match redis.node_timeout {
        Some(given) => Some(given.get()),
        None => store.node_timeout().await,
    };
    Ok(Opened {
        transport: Arc::clone(&store) as Arc<dyn Transport>,
        redo_window: node_timeout.unwrap_or_default() + REDO_MARGIN,
        membership: Arc::clone(&store) as Arc<dyn Membership>,
        leadership: Arc::clone(&store) as Arc<dyn Leadership>,
        store,
    })
}

/// A store in this process's memory, and a fleet of the servers in this process.
pub fn open_memory(clock: &Arc<dyn Clock>, random: &Arc<dyn Random>) -> Result<Opened, Failure> {
    let fleet = Arc::new(LocalFleet::new(Arc::clone(clock)));
    let store = Arc::new(MemoryStore::new(Arc::clone(clock), Arc::clone(random))?);
    Ok(Opened {
        transport: Arc::clone(&store) as Arc<dyn Transport>,
        store,
        membership: Arc::clone(&fleet) as Arc<dyn Membership>,
        leadership: fleet,
        redo_window: REDO_MARGIN,
    })
}
