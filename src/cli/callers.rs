//! How the settings say that callers prove who they are.

use std::sync::Arc;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::cluster::kubernetes::{AccountReviewer, Kubernetes};
use crate::config::{CallerScope, Config, JwtSettings, KubernetesSettings, Secret, WATCH_INTERVAL, Watched};
use crate::http::caller::{self, CallerAuth, Judges, JwksSource, JwtVerifier, Scope, ServiceAccounts, refresh_jwks};
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

    /// By JWT and as service accounts, where the settings name what is needed for it; else every caller counts as admin.
    pub fn from_settings(config: &Config, kubernetes: Option<&Kubernetes>, clock: &Arc<dyn Clock>) -> Self {
        if !config.authenticates_callers() {
            return Self::open();
        }
        let mut tasks = JoinSet::new();
        let judges = Judges {
            jwt: config
                .jwt
                .is_configured()
                .then(|| jwt_verifier(&config.jwt, clock, &mut tasks)),
            service_accounts: kubernetes
                .filter(|_| !config.kubernetes.service_accounts.is_empty())
                .map(|kubernetes| service_accounts(&config.kubernetes, kubernetes, clock)),
        };
        Self {
            auth: CallerAuth::Bearer(Arc::new(judges)),
            _tasks: tasks,
        }
    }
}

fn jwt_verifier(jwt: &JwtSettings, clock: &Arc<dyn Clock>, tasks: &mut JoinSet<()>) -> Arc<JwtVerifier> {
    let expected = caller::JwtSettings {
        audience: jwt.audience.clone(),
        issuer: jwt.issuer.clone(),
    };
    let verifier = Arc::new(JwtVerifier::new(expected, Arc::clone(clock)));
    if let Some(secret) = &jwt.secret {
        adopt(&verifier, secret.value());
        tasks.spawn(follow_secrets(Arc::new(secret.watch()), Arc::clone(&verifier)));
    }
    let url = jwt.jwks_url.clone().map(JwksSource::Url);
    let file = jwt.jwks_file.clone().map(JwksSource::File);
    if let Some(source) = url.or(file) {
        tasks.spawn(refresh_jwks(source, Arc::clone(&verifier)));
    }
    verifier
}

fn service_accounts(settings: &KubernetesSettings, kubernetes: &Kubernetes, clock: &Arc<dyn Clock>) -> ServiceAccounts {
    let accounts = settings.service_accounts.iter().filter_map(|account| {
        let scope = account.scopes.iter().map(|scope| scope_of(*scope)).max()?;
        Some((account.namespace.clone(), account.name.clone(), scope))
    });
    let reviewer = AccountReviewer::new(kubernetes, &settings.audience);
    ServiceAccounts::new(accounts, Arc::new(reviewer), Arc::clone(clock))
}

fn scope_of(scope: CallerScope) -> Scope {
    match scope {
        CallerScope::Read => Scope::Read,
        CallerScope::Write => Scope::Write,
        CallerScope::Admin => Scope::Admin,
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
