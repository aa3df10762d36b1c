//! Settings: defaults, then a TOML file, then the environment, then flags.
//!
//! Each section lies in a file of its own and declares its keys once (`Section::read`): that declaration parses a key,
//! makes it known and shows it. Nothing here reads the environment of the process: it is passed in by [`Sources`].

mod auth;
mod binding;
mod coherence;
mod cookie;
mod encryption;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod http;
mod jwt;
mod kubernetes;
mod layers;
mod log;
mod migration;
mod otlp;
mod problem;
mod reader;
mod redis;
mod secret;
mod server;
mod session;
mod setting;
mod shutdown;
mod tls;
mod token;
mod units;
mod watch;
mod webhooks;

#[cfg(test)]
mod tests;

use std::net::SocketAddr;

pub use auth::AuthSettings;
pub use binding::{BindingPolicy, BindingSettings};
pub use coherence::CoherenceSettings;
pub use cookie::{CookiePreset, CookiePriority, CookieSettings, SameSite};
pub use encryption::{EncryptionSettings, PlainRecords};
pub use http::HttpSettings;
pub use jwt::{JwtSettings, SHORTEST_JWT_SECRET};
pub use kubernetes::{CallerScope, KubernetesSettings, ServiceAccount};
pub use layers::{FlagValue, Sources};
pub use log::{LogFormat, LogSettings};
pub use migration::{MigrationPolicy, MigrationSettings};
pub use otlp::{OtlpProtocol, OtlpSettings};
pub use problem::{ConfigError, Origin, Problem};
pub use reader::Row;
pub use redis::{RedisSettings, RedisUrl};
pub use secret::{Secret, SecretRing, SecretRule, SecretSource, SecretText, Sourced};
pub use server::ServerSettings;
pub use session::{ClassSettings, MaxPerUserPolicy, SessionSettings};
pub use shutdown::ShutdownSettings;
pub use tls::TlsSettings;
pub use token::TokenSettings;
pub use units::{ByteSize, ByteSizeError, Period, PeriodError};
pub use watch::{Look, WATCH_INTERVAL, Watched};
pub use webhooks::{WebhookSettings, WebhooksSettings, signing_key};

use reader::{Reader, Section};

/// All settings of a process.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// `listen`, `admin_listen`, `server_id`.
    pub server: ServerSettings,
    /// `tls.*`.
    pub tls: TlsSettings,
    /// `redis.*`.
    pub redis: RedisSettings,
    /// `jwt.*`.
    pub jwt: JwtSettings,
    /// `kubernetes.*`.
    pub kubernetes: KubernetesSettings,
    /// `token.*`.
    pub token: TokenSettings,
    /// `coherence.*`.
    pub coherence: CoherenceSettings,
    /// `session.*`.
    pub session: SessionSettings,
    /// `encryption.*`.
    pub encryption: EncryptionSettings,
    /// `binding.*`.
    pub binding: BindingSettings,
    /// `migration.*`.
    pub migration: MigrationSettings,
    /// `cookie.*`.
    pub cookie: CookieSettings,
    /// `http.*`.
    pub http: HttpSettings,
    /// `auth.*`.
    pub auth: AuthSettings,
    /// `shutdown.*`.
    pub shutdown: ShutdownSettings,
    /// `log.*`.
    pub log: LogSettings,
    /// `otlp.*`.
    pub otlp: OtlpSettings,
    /// `webhooks.*`.
    pub webhooks: WebhooksSettings,
}

/// Settings with the origin of each.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The settings.
    pub config: Config,
    /// Every key, section by section.
    pub rows: Vec<Row>,
}

/// `serve` has no way to tell callers apart, and others than this machine's could call.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "callers cannot be authenticated, and {listen} is not a loopback address: \
     set jwt.secret, jwt.jwks_url, jwt.jwks_file or kubernetes.service_accounts, or listen on 127.0.0.1"
)]
pub struct Unauthenticated {
    /// The address of the traffic listener.
    pub listen: SocketAddr,
}

impl Config {
    /// Reads the layers, secret files included, and validates the outcome; reports all problems together.
    pub fn load(sources: &Sources) -> Result<Loaded, ConfigError> {
        let mut problems = Vec::new();
        let leaves = sources.merge(&mut problems);
        Self::read(Reader::new(leaves, problems))
    }

    fn read(mut reader: Reader) -> Result<Loaded, ConfigError> {
        let mut config = Self::default();
        config
            .sections_mut()
            .into_iter()
            .for_each(|section| section.read(&mut reader));
        let (rows, mut problems, mut checks) = reader.finish();
        config
            .sections_mut()
            .into_iter()
            .for_each(|section| section.validate(&mut checks));
        problems.extend(checks.into_problems());
        if problems.is_empty() {
            Ok(Loaded { config, rows })
        } else {
            Err(ConfigError { problems })
        }
    }

    /// Every section, in the order in which it is shown.
    fn sections_mut(&mut self) -> [&mut dyn Section; 18] {
        [
            &mut self.server,
            &mut self.tls,
            &mut self.redis,
            &mut self.jwt,
            &mut self.kubernetes,
            &mut self.token,
            &mut self.coherence,
            &mut self.session,
            &mut self.encryption,
            &mut self.binding,
            &mut self.migration,
            &mut self.cookie,
            &mut self.http,
            &mut self.auth,
            &mut self.shutdown,
            &mut self.log,
            &mut self.otlp,
            &mut self.webhooks,
        ]
    }

    /// Whether callers can prove who they are: by JWT or as a service account of Kubernetes.
    pub fn authenticates_callers(&self) -> bool {
        self.jwt.is_configured() || !self.kubernetes.service_accounts.is_empty()
    }

    /// What `serve` demands beyond valid settings: authenticated callers, or loopback, where every caller is an admin.
    pub fn validate_for_serve(&self) -> Result<(), Unauthenticated> {
        let listen = self.server.listen;
        if self.authenticates_callers() || listen.ip().is_loopback() {
            Ok(())
        } else {
            Err(Unauthenticated { listen })
        }
    }
}
