use std::io;

use super::client::ClientError;
use super::config_cmd::CheckError;
use super::selftest::SelftestError;
use super::token::TokenError;
use crate::cluster::FleetError;
use crate::config::{ConfigError, Unauthenticated};
use crate::http::listener::TlsError;
use crate::runtime::OpenError;
use crate::session::RandomError;
use crate::store::StoreError;

/// Why a command failed, as the last line that it leaves on standard error; the exit code is 1.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The settings are wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The settings are wrong in a way that only their use shows.
    #[error("{0}")]
    Setting(String),
    /// The sessions cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// Anybody could call.
    #[error(transparent)]
    Unauthenticated(#[from] Unauthenticated),
    /// `config check` found something.
    #[error(transparent)]
    Check(#[from] CheckError),
    /// No token could be made.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// A running service did not do what it was asked.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// A running service is not sound.
    #[error(transparent)]
    Selftest(#[from] SelftestError),
    /// `tls.cert_file` and `tls.key_file` cannot be used.
    #[error("tls: {0}")]
    Tls(#[from] TlsError),
    /// The metrics contradict each other.
    #[error("metrics: {0}")]
    Metrics(#[from] prometheus::Error),
    /// No randomness, no sessions.
    #[error(transparent)]
    Random(#[from] RandomError),
    /// The store refused.
    #[error(transparent)]
    Sessions(#[from] crate::sessions::Error),
    /// The store of record cannot be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The fleet cannot be told.
    #[error(transparent)]
    Fleet(#[from] FleetError),
    /// A socket, a signal or an output failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// A second signal came before the drain was over.
    #[error("aborted before the drain was over")]
    Aborted,
}
