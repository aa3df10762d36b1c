//! Who calls the API for applications, and what they may do.

mod extract;
mod jwks;
mod jwt;
mod remembered;
mod scope;
mod source;

pub use jwks::{InvalidKeySet, KeySet};
pub use jwt::{JwtSettings, JwtVerifier};
pub use scope::Scope;
pub use source::{JwksSource, refresh_jwks};

pub(super) use extract::{Admin, Reader, Writer};
pub(super) use jwt::Refusal;

use std::sync::Arc;

use axum::http::HeaderMap;

/// How callers prove who they are. Cheap to clone.
#[derive(Clone)]
pub enum CallerAuth {
    /// Not at all: every caller counts as admin. For development and loopback.
    Open,
    /// By a JWT in `Authorization: Bearer`.
    Jwt(Arc<JwtVerifier>),
}

impl CallerAuth {
    /// Replaces the secrets of HS256 (none: no HS256), each of which verifies. Takes effect with the next request; without
    /// JWTs it does nothing.
    pub fn set_secrets(&self, secrets: &[&[u8]]) {
        if let Self::Jwt(verifier) = self {
            verifier.set_secrets(secrets);
        }
    }

    /// What the caller of a request may do, where that is known without judging its token once more.
    pub(super) fn recall(&self, headers: &HeaderMap) -> Option<Scope> {
        match self {
            Self::Open => Some(Scope::Admin),
            Self::Jwt(verifier) => verifier.recall(headers),
        }
    }

    /// Replaces the public keys. Takes effect with the next request; without JWTs it does nothing.
    pub fn set_jwks(&self, keys: KeySet) {
        if let Self::Jwt(verifier) = self {
            verifier.set_jwks(keys);
        }
    }
}

impl std::fmt::Debug for CallerAuth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Open => "Open",
            Self::Jwt(_) => "Jwt",
        })
    }
}
