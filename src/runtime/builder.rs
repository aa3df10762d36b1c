use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::watch;

use super::{
    Background, Duties, InKubernetes, OpenError, Opened, Readiness, for_cache, for_sessions, for_webhooks, open_store,
};
use crate::cluster::{Conditions, View};
use crate::config::{Config, FlagValue, Sources};
use crate::session::{Clock, Random, SystemClock, SystemRandom};
use crate::sessions::{Parts, Sessions, Settings};
use crate::telemetry::Metrics;
use crate::values::Values;

/// Sessions for an application, in its own process: opened, kept coherent with those of every other replica, and closed.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), cloakroom::runtime::OpenError> {
/// use cloakroom::Cloakroom;
///
/// let cloakroom = Cloakroom::builder()
///     // .redis_url("redis://redis-0:6379") for sessions that all replicas share; without it they are in memory.
///     .set("session.max_per_user", "5")
///     .open()
///     .await?;
/// let sessions = cloakroom.sessions(); // for `SessionLayer::new`, and for all that an application asks of sessions
/// # let _ = sessions;
/// cloakroom.close().await; // when the server has stopped: records the last uses, and leaves the fleet
/// # Ok(())
/// # }
/// ```
pub struct Cloakroom {
    sessions: Sessions,
    config: Config,
    values: Values,
    readiness: Readiness,
    background: Background,
    _kubernetes: Option<InKubernetes>,
}

impl Cloakroom {
    /// Begins with the defaults: sessions in memory.
    pub fn builder() -> Builder {
        Builder {
            sources: Sources::default(),
            redis_urls: Vec::new(),
            clock: Arc::new(SystemClock),
            random: Arc::new(SystemRandom),
        }
    }

    /// Sessions in the memory of this process: for development and tests, and for nothing that has replicas or must
    /// survive a restart. A warning in the log says so.
    pub async fn in_memory() -> Result<Self, OpenError> {
        Self::builder().open().await
    }

    /// The sessions. Cheap to clone.
    pub fn sessions(&self) -> Sessions {
        self.sessions.clone()
    }

    /// Computed values beside the sessions, in the same store.
    pub fn values(&self) -> Values {
        self.values.clone()
    }

    /// The settings in force.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// What it counts; [`Metrics::render`] makes the page for Prometheus.
    pub fn metrics(&self) -> &Metrics {
        self.sessions.metrics()
    }

    /// Whether the store has answered and memory is covered: for a readiness probe.
    pub fn is_ready(&self) -> bool {
        self.readiness.is_ready()
    }

    /// Records the uses that wait, gives the leader's lease back and leaves the fleet. To be called once no request is
    /// served any more; where it is not, the last uses are lost, and the lease lapses by itself.
    pub async fn close(mut self) {
        self.readiness.drain();
        self.background.drain();
        self.background.stop().await;
    }
}

impl std::fmt::Debug for Cloakroom {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cloakroom")
            .field("server_id", self.sessions.server_id())
            .finish_non_exhaustive()
    }
}

/// Opens a [`Cloakroom`]. All settings of the program are settings of the library, by the same names and with the same
/// rules and defaults (`docs/settings.md`); those of listeners and callers have no effect here.
pub struct Builder {
    sources: Sources,
    redis_urls: Vec<String>,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
}

impl Builder {
    /// A node of the Redis server or cluster that holds the sessions, `redis://` or `rediss://`. Can be repeated, so that
    /// any one may be down at the start.
    pub fn redis_url(mut self, url: impl Into<String>) -> Self {
        self.redis_urls.push(url.into());
        self
    }

    /// Sets a setting, lists with commas: `set("redis.prefix", "shop")`.
    pub fn set(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.sources.flags.push(FlagValue {
            flag: "--set".to_owned(),
            key: key.into(),
            values: vec![value.into()],
        });
        self
    }

    /// Reads settings from a TOML file; what is set by [`Builder::set`] or in the environment overrides it.
    pub fn file(mut self, path: impl Into<PathBuf>) -> Self {
        self.sources.config_flag = Some(path.into());
        self
    }

    /// Reads settings from variables such as `CLOAKROOM_REDIS__URLS`: give it `std::env::vars_os()`.
    pub fn environment(mut self, variables: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        self.sources.environment = variables.into_iter().collect();
        self
    }

    /// Another clock than the machine's, for tests.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Another source of randomness than the operating system's, for tests.
    pub fn random(mut self, random: Arc<dyn Random>) -> Self {
        self.random = random;
        self
    }

    /// Opens the store and starts what goes on beside the requests, as tasks of the present runtime. It waits for a Redis
    /// that does not answer for as long as that takes, and says so in the log; whoever wants to serve meanwhile, or to give
    /// up, runs it beside something else.
    pub async fn open(mut self) -> Result<Cloakroom, OpenError> {
        if !self.redis_urls.is_empty() {
            self.sources.flags.push(FlagValue {
                flag: "redis_url".to_owned(),
                key: "redis.urls".to_owned(),
                values: self.redis_urls,
            });
        }
        let config = Config::load(&self.sources)?.config;
        let settings = for_sessions(&config)?;
        let metrics = Metrics::new()?;
        let kubernetes = InKubernetes::open(&config.kubernetes, &settings.server_id, &self.clock).await?;
        let conditions = kubernetes
            .as_ref()
            .map_or_else(Conditions::unheard, InKubernetes::conditions);
        let opened = open_store(&config, &self.clock, &self.random, &metrics, &conditions).await?;
        let opened = match &kubernetes {
            Some(kubernetes) => kubernetes.take_over(opened),
            None => opened,
        };
        let settings = Settings {
            redo_window: opened.redo_window,
            cache: for_cache(&config, &*opened.transport, &conditions).await,
            ..settings
        };
        let (view, seen) = watch::channel(View::default());
        let Opened {
            store,
            membership,
            leadership,
            transport,
            values,
            ..
        } = opened;
        let values = Values::new(values, Arc::clone(&self.random));
        let parts = Parts {
            store,
            clock: self.clock,
            random: self.random,
            view: seen,
            metrics,
            traces: crate::telemetry::Traces::off(),
        };
        let sessions = Sessions::new(settings, parts);
        let readiness = Readiness::default();
        let background = Background::start(Duties {
            sessions: sessions.clone(),
            membership,
            leadership,
            transport,
            readiness: readiness.clone(),
            view,
            conditions,
            webhooks: for_webhooks(&config, sessions.metrics())?,
        });
        Ok(Cloakroom {
            sessions,
            config,
            values,
            readiness,
            background,
            _kubernetes: kubernetes,
        })
    }
}
