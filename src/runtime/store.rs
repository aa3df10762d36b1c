//! Which store of record a server works with, and how it learns of its fleet.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::OpenError;
use super::reporter::Reporter;
use super::settings::follow;
use crate::cluster::{Condition, Conditions, Leadership, LocalFleet, Membership};
use crate::coherence::Transport;
use crate::config::{self, Config, EncryptionSettings, Period, RedisSettings, Secret, WATCH_INTERVAL, Watched};
use crate::session::{Clock, Random, RandomError, SealingKeys};
use crate::store::redis::{Credentials, Encryption, PlainRecords, RedisOptions, RedisStore};
use crate::store::{MemoryStore, MemoryValues, SessionStore, StoreError, ValueStore};
use crate::telemetry::Metrics;

/// What a failover may take beyond the cluster's node timeout: votes, replication lag, and a margin.
const REDO_MARGIN: Duration = Duration::from_secs(45);
/// The pause between two tries to open the store.
const OPEN_EVERY: Duration = Duration::from_millis(250);

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
    /// The application's values beside its sessions.
    pub values: Arc<dyn ValueStore>,
    /// How long ends are kept to be repeated after a failover.
    pub redo_window: Duration,
}

/// Opens the store that the settings name: this process's memory, or Redis, for which it waits as long as it takes.
pub async fn open_store(
    config: &Config,
    clock: &Arc<dyn Clock>,
    random: &Arc<dyn Random>,
    metrics: &Metrics,
    conditions: &Conditions,
) -> Result<Opened, OpenError> {
    if config.redis.urls.is_empty() {
        tracing::warn!(
            "sessions are kept in the memory of this process: for one replica, not for production. They end with it, \
             and other replicas do not see them; set redis.urls"
        );
        open_memory(clock, random)
    } else {
        let encryption = for_encryption(&config.encryption)?;
        open_redis(&config.redis, encryption, random, metrics, conditions).await
    }
}

/// How what users put into sessions is kept. Keys in a file are followed by a task of the present runtime.
fn for_encryption(settings: &EncryptionSettings) -> Result<Encryption, RandomError> {
    fn ring(keys: &[Secret]) -> Result<SealingKeys, RandomError> {
        let mut keys = keys.iter().map(|key| key.expose().as_bytes());
        // A ring is never empty: the settings see to it.
        SealingKeys::new(keys.next().ok_or(RandomError)?, keys)
    }
    let Some(source) = &settings.keys else {
        return Ok(Encryption::default());
    };
    let plain = match settings.plain {
        config::PlainRecords::Write => PlainRecords::Write,
        config::PlainRecords::Read => PlainRecords::Read,
        config::PlainRecords::Refuse => PlainRecords::Refuse,
    };
    let encryption = Encryption::new(ring(source.value())?, plain);
    let followed = encryption.clone();
    follow(source, move |keys| {
        match ring(keys) {
            Ok(ring) => followed.replace(ring),
            Err(error) => tracing::error!(%error, "keeping the encryption keys that were there before"),
        }
        !followed.is_last()
    });
    Ok(encryption)
}

async fn open_redis(
    redis: &RedisSettings,
    encryption: Encryption,
    random: &Arc<dyn Random>,
    metrics: &Metrics,
    conditions: &Conditions,
) -> Result<Opened, OpenError> {
    let mut login = RedisLogin::new(redis);
    let options = RedisOptions {
        urls: redis.urls.iter().map(|url| url.expose().to_owned()).collect(),
        prefix: redis.prefix.clone(),
        credentials: Arc::clone(&login.credentials),
        ca_file: redis.ca_file.clone(),
        connect_timeout: redis.connect_timeout.get(),
        response_timeout: redis.response_timeout.get(),
        node_timeout: redis.node_timeout.map(Period::get),
        encryption,
    };
    RedisStore::check(&options, metrics).map_err(OpenError::Setting)?;
    let store = tokio::select! {
        store = connect(&options, random, metrics, conditions) => Arc::new(store?),
        never = login.follow(|| {}) => match never {},
    };
    let node_timeout = match redis.node_timeout {
        Some(given) => Some(given.get()),
        None => store.node_timeout().await,
    };
    let connected = Arc::clone(&store);
    tokio::spawn(async move { login.follow(|| connected.reconnect()).await });
    Ok(Opened {
        transport: Arc::clone(&store) as Arc<dyn Transport>,
        redo_window: node_timeout.unwrap_or_default() + REDO_MARGIN,
        membership: Arc::clone(&store) as Arc<dyn Membership>,
        leadership: Arc::clone(&store) as Arc<dyn Leadership>,
        values: Arc::clone(&store) as Arc<dyn ValueStore>,
        store,
    })
}

/// Tries until Redis answers; fails where what it answers will not change by itself, such as another layout.
async fn connect(
    options: &RedisOptions,
    random: &Arc<dyn Random>,
    metrics: &Metrics,
    conditions: &Conditions,
) -> Result<RedisStore, StoreError> {
    let mut reporter = Reporter::new("open the store");
    loop {
        match RedisStore::connect(options.clone(), Arc::clone(random), metrics.clone()).await {
            Err(error @ StoreError::Unavailable(_)) => {
                conditions.tell(Condition::StoreUnreachable(error.to_string()));
                reporter.note::<(), _>(Err(error));
            }
            Err(other) => return Err(other),
            Ok(store) => {
                reporter.note::<_, StoreError>(Ok(()));
                return Ok(store);
            }
        }
        tokio::time::sleep(OPEN_EVERY).await;
    }
}

/// A password and where its changes are told.
type Password = (Arc<Watched<Secret>>, watch::Receiver<Arc<Secret>>);

/// Who this server is to Redis, and the file that may change it.
struct RedisLogin {
    credentials: Arc<ArcSwap<Credentials>>,
    username: Option<String>,
    /// Nothing where no password is set, or where the URL holds it.
    password: Option<Password>,
}

impl RedisLogin {
    fn new(redis: &RedisSettings) -> Self {
        let username = redis.username.clone();
        let credentials = Credentials {
            username: username.clone(),
            password: redis
                .password
                .as_ref()
                .map(|password| password.value().expose().to_owned()),
        };
        let watched = redis.password.as_ref().map(|password| Arc::new(password.watch()));
        Self {
            credentials: Arc::new(ArcSwap::from_pointee(credentials)),
            username,
            password: watched.map(|watched| {
                let news = watched.subscribe();
                (watched, news)
            }),
        }
    }

    /// Takes over each new password, and says so; never ends.
    async fn follow(&mut self, changed: impl Fn()) -> Infallible {
        let Some((watched, news)) = &mut self.password else {
            return std::future::pending().await;
        };
        let adopt = async {
            while news.changed().await.is_ok() {
                let password = news.borrow_and_update().expose().to_owned();
                self.credentials.store(Arc::new(Credentials {
                    username: self.username.clone(),
                    password: Some(password),
                }));
                changed();
            }
        };
        tokio::join!(
            adopt,
            Arc::clone(watched).follow(WATCH_INTERVAL, CancellationToken::new())
        );
        std::future::pending().await
    }
}

/// A store in this process's memory, and a fleet of the servers in this process.
pub fn open_memory(clock: &Arc<dyn Clock>, random: &Arc<dyn Random>) -> Result<Opened, OpenError> {
    let fleet = Arc::new(LocalFleet::new(Arc::clone(clock)));
    let store = Arc::new(MemoryStore::new(Arc::clone(clock), Arc::clone(random))?);
    Ok(Opened {
        transport: Arc::clone(&store) as Arc<dyn Transport>,
        store,
        membership: Arc::clone(&fleet) as Arc<dyn Membership>,
        leadership: fleet,
        values: Arc::new(MemoryValues::new(Arc::clone(clock))),
        redo_window: REDO_MARGIN,
    })
}
