//! Who calls the API for applications, and what they may do.

mod extract;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod jwks;
mod jwt;
mod remembered;
mod scope;
mod service_accounts;
mod source;

pub use jwks::{InvalidKeySet, KeySet};
pub use jwt::{JwtSettings, JwtVerifier};
pub use scope::Scope;
pub use service_accounts::ServiceAccounts;
pub use source::{JwksSource, refresh_jwks};

pub(super) use extract::{Admin, Reader, Writer};
pub(super) use jwt::Refusal;

use jwt::bearer;

use std::sync::Arc;

use axum::http::HeaderMap;

/// How callers prove who they are. Cheap to clone.
#[derive(Clone)]
pub enum CallerAuth {
    /// Not at all: every caller counts as admin. For development and loopback.
    Open,
    /// By a token in `Authorization: Bearer`.
    Bearer(Arc<Judges>),
}

/// Who judges callers' tokens: each kind of token has one judge.
#[derive(Default)]
pub struct Judges {
    /// Of the JWTs that name their scopes themselves.
    pub jwt: Option<Arc<JwtVerifier>>,
    /// Of the tokens of Kubernetes's service accounts.
    pub service_accounts: Option<ServiceAccounts>,
}

impl Judges {
    /// What the caller of a request may do; nothing where its token names no scope of ours.
    async fn authenticate(&self, headers: &HeaderMap) -> Result<Option<Scope>, Refusal> {
        let token = bearer(headers)?;
        match (&self.jwt, &self.service_accounts) {
            (_, Some(accounts)) if ServiceAccounts::is_theirs(token) => accounts.authenticate(token).await.map(Some),
            (Some(verifier), _) => verifier.authenticate(token).await,
            (None, Some(_)) => Err(Refusal::Account),
            (None, None) => Err(Refusal::UnknownKey),
        }
    }

    fn recall(&self, headers: &HeaderMap) -> Option<Scope> {
        let token = bearer(headers).ok()?;
        let by_jwt = self.jwt.as_ref().and_then(|verifier| verifier.recall(token));
        by_jwt.or_else(|| self.service_accounts.as_ref()?.recall(token))
    }
}

impl CallerAuth {
    /// By JWTs alone.
    pub fn jwt(verifier: Arc<JwtVerifier>) -> Self {
        Self::Bearer(Arc::new(Judges {
            jwt: Some(verifier),
            service_accounts: None,
        }))
    }

    fn verifier(&self) -> Option<&JwtVerifier> {
        match self {
            Self::Open => None,
            Self::Bearer(judges) => judges.jwt.as_deref(),
        }
    }

    /// Replaces the secrets of HS256 (none: no HS256), each of which verifies. Takes effect with the next request; without
    /// JWTs it does nothing.
    pub fn set_secrets(&self, secrets: &[&[u8]]) {
        if let Some(verifier) = self.verifier() {
            verifier.set_secrets(secrets);
        }
    }

    /// What the caller of a request may do, where that is known without judging its token once more.
    pub(super) fn recall(&self, headers: &HeaderMap) -> Option<Scope> {
        match self {
            Self::Open => Some(Scope::Admin),
            Self::Bearer(judges) => judges.recall(headers),
        }
    }

    /// Replaces the public keys. Takes effect with the next request; without JWTs it does nothing.
    pub fn set_jwks(&self, keys: KeySet) {
        if let Some(verifier) = self.verifier() {
            verifier.set_jwks(keys);
        }
    }
}

impl std::fmt::Debug for CallerAuth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Open => "Open",
            Self::Bearer(_) => "Bearer",
        })
    }
}
