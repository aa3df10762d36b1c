//! How the settings say that callers prove who they are.

use std::sync::Arc;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::config::{JwtSettings, Secret, WATCH_INTERVAL, Watched};
use crate::http::caller::{self, CallerAuth, JwksSource, JwtVerifier, refresh_jwks};
use crate::session::Clock;

/// Callers' credentials, and the tasks that keep what judges them fresh; they end when this is dropped.
pub struct Callers {
    /// What the listener asks.
    pub auth: CallerAuth,
    _tasks: JoinSet<()>,
}

impl Callers {
    /// Every caller counts as admin.
    pub fn open() -> Self {
        Self {
            auth: CallerAuth::Open,
            _tasks: JoinSet::new(),
        }
    }

    /// By JWT, where the settings name a secret or keys; else every caller counts as admin.
    pub fn from_settings(jwt: &JwtSettings, clock: Arc<dyn Clock>) -> Self {
        if !jwt.is_configured() {
            return Self::open();
        }
        let expected = caller::JwtSettings {
            audience: jwt.audience.clone(),
            issuer: jwt.issuer.clone(),
        };
        let verifier = Arc::new(JwtVerifier::new(expected, clock));
        let mut tasks = JoinSet::new();
        if let Some(secret) = &jwt.secret {
            verifier.set_secret(Some(secret.value().expose().as_bytes()));
            tasks.spawn(follow_secret(Arc::new(secret.watch()), Arc::clone(&verifier)));
        }
        let url = jwt.jwks_url.clone().map(JwksSource::Url);
        let file = jwt.jwks_file.clone().map(JwksSource::File);
        if let Some(source) = url.or(file) {
            tasks.spawn(refresh_jwks(source, Arc::clone(&verifier)));
        }
        Self {
            auth: CallerAuth::Jwt(verifier),
            _tasks: tasks,
        }
    }
}

async fn follow_secret(watched: Arc<Watched<Secret>>, verifier: Arc<JwtVerifier>) {
    let mut news = watched.subscribe();
    let adopt = async {
        while news.changed().await.is_ok() {
            let secret = Arc::clone(&news.borrow_and_update());
            verifier.set_secret(Some(secret.expose().as_bytes()));
        }
    };
    let follow = Arc::clone(&watched).follow(WATCH_INTERVAL, CancellationToken::new());
    tokio::join!(adopt, follow);
}
