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
            adopt(&verifier, secret.value());
            tasks.spawn(follow_secrets(Arc::new(secret.watch()), Arc::clone(&verifier)));
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

async fn follow_secrets(watched: Arc<Watched<Vec<Secret>>>, verifier: Arc<JwtVerifier>) {
    let mut news = watched.subscribe();
    let adopting = async {
        while news.changed().await.is_ok() {
            adopt(&verifier, &news.borrow_and_update());
        }
    };
    let follow = Arc::clone(&watched).follow(WATCH_INTERVAL, CancellationToken::new());
    tokio::join!(adopting, follow);
}

fn adopt(verifier: &JwtVerifier, ring: &[Secret]) {
    let secrets: Vec<_> = ring.iter().map(|secret| secret.expose().as_bytes()).collect();
    verifier.set_secrets(&secrets);
}
