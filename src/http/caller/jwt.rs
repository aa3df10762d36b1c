use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use jsonwebtoken::{Algorithm, DecodingKey, Header, Validation, decode, decode_header};
use serde::Deserialize;
use tokio::sync::{Notify, watch};

use super::jwks::KeySet;
use super::remembered::Remembered;
use super::scope::Scope;
use crate::session::{Clock, Timestamp};

/// How far the issuer's clock may differ from ours, in seconds.
const LEEWAY: f64 = 30.0;
/// How long a request with an unknown key waits for the keys to be fetched anew.
const REFRESH_PATIENCE: Duration = Duration::from_secs(3);
/// The longest token that is looked at, in bytes.
const MAX_TOKEN_BYTES: usize = 8 * 1024;

/// What a JWT must say.
#[derive(Debug, Clone)]
pub struct JwtSettings {
    /// What the claim `aud` must contain.
    pub audience: String,
    /// What the claim `iss` must be; anything where there is none.
    pub issuer: Option<String>,
}

/// Judges the JWTs of callers by RFC 8725: the key decides on the algorithm, never the token alone (S56).
pub struct JwtVerifier {
    settings: JwtSettings,
    clock: Arc<dyn Clock>,
    secrets: ArcSwap<Vec<DecodingKey>>,
    keys: ArcSwap<KeySet>,
    refresh: Refresh,
    remembered: Remembered,
}

/// How a request with an unknown key id has the keys fetched anew.
pub(super) struct Refresh {
    /// Set while waiting makes sense: keys are being fetched, or can be, because they were not in the last seconds.
    pub(super) possible: AtomicBool,
    pub(super) wanted: Notify,
    /// Counts the fetches.
    pub(super) done: watch::Sender<u64>,
}

/// Why a caller was not accepted. It never holds anything of the token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::http) enum Refusal {
    /// There is no bearer token.
    Missing,
    /// More than one, or none that can be read.
    Malformed,
    /// Neither the secret nor any key is its.
    UnknownKey,
    /// The signature is wrong, or of another algorithm than the key's.
    Signature,
    /// Of another type.
    Type,
    /// For another audience.
    Audience,
    /// From another issuer.
    Issuer,
    /// Over, or without an end.
    Expired,
    /// Not valid yet.
    NotYet,
    /// Of no service account that may call, or not genuine.
    Account,
    /// It could not be judged: no fault of the caller.
    Unjudged,
}

impl Refusal {
    /// The name in metrics.
    pub(in crate::http) fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Malformed => "malformed",
            Self::UnknownKey => "unknown_key",
            Self::Signature => "signature",
            Self::Type => "type",
            Self::Audience => "audience",
            Self::Issuer => "issuer",
            Self::Expired => "expired",
            Self::NotYet => "not_yet",
            Self::Account => "account",
            Self::Unjudged => "unjudged",
        }
    }

    pub(in crate::http) fn detail(self) -> &'static str {
        match self {
            Self::Missing => "the header `Authorization: Bearer <JWT>` is needed",
            Self::Malformed => "the bearer token is no JWT that can be read",
            Self::UnknownKey => "the token is signed with no key that is known here",
            Self::Signature => "the token's signature is wrong",
            Self::Type => "the token's typ is neither JWT nor at+jwt",
            Self::Audience => "the token's aud does not contain this service",
            Self::Issuer => "the token's iss is not the one expected",
            Self::Expired => "the token has expired, or has no exp",
            Self::NotYet => "the token is not valid yet",
            Self::Account => {
                "Kubernetes does not vouch for the token, or its service account is not among those that may call"
            }
            Self::Unjudged => "the API server of Kubernetes, which judges the token, does not answer",
        }
    }

    /// RFC 6750, section 3: a request without a token is told no error.
    pub(in crate::http) fn challenge(self) -> &'static str {
        match self {
            Self::Missing => "Bearer",
            _ => r#"Bearer error="invalid_token""#,
        }
    }
}

#[derive(Deserialize)]
struct Claims {
    #[serde(default)]
    scope: String,
    aud: Option<Audience>,
    iss: Option<String>,
    /// Seconds since the epoch, maybe with a fraction (RFC 7519, section 2).
    exp: Option<f64>,
    nbf: Option<f64>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Many(Vec<String>),
}

impl Audience {
    fn contains(&self, audience: &str) -> bool {
        match self {
            Self::One(one) => one == audience,
            Self::Many(many) => many.iter().any(|one| one == audience),
        }
    }
}

impl JwtVerifier {
    /// Without a key it accepts nobody.
    pub fn new(settings: JwtSettings, clock: Arc<dyn Clock>) -> Self {
        Self {
            settings,
            clock,
            secrets: ArcSwap::default(),
            keys: ArcSwap::default(),
            remembered: Remembered::new(),
            refresh: Refresh {
                possible: AtomicBool::new(false),
                wanted: Notify::new(),
                done: watch::Sender::new(0),
            },
        }
    }

    /// See [`super::CallerAuth::set_secrets`].
    pub fn set_secrets(&self, secrets: &[&[u8]]) {
        let keys = secrets.iter().map(|secret| DecodingKey::from_secret(secret));
        self.secrets.store(Arc::new(keys.collect()));
        self.remembered.forget();
    }

    /// See [`super::CallerAuth::set_jwks`].
    pub fn set_jwks(&self, keys: KeySet) {
        self.keys.store(Arc::new(keys));
        self.remembered.forget();
    }

    pub(super) fn refresh(&self) -> &Refresh {
        &self.refresh
    }

    /// What a token's bearer may do; nothing where it names no scope of ours.
    pub(super) async fn authenticate(&self, token: &str) -> Result<Option<Scope>, Refusal> {
        if let Some(scope) = self.remembered.get(token, self.clock.now()) {
            return Ok(Some(scope));
        }
        let header = decode_header(token).map_err(|_| Refusal::Malformed)?;
        if self.lacks_key_of(&header) {
            self.fetch_keys().await;
        }
        self.verify(token, &header)
    }

    /// What a token's bearer may do, where it was verified before.
    pub(super) fn recall(&self, token: &str) -> Option<Scope> {
        self.remembered.get(token, self.clock.now())
    }

    pub(super) fn verify(&self, token: &str, header: &Header) -> Result<Option<Scope>, Refusal> {
        // What must be understood (RFC 7515, section 4.1.11) is not; where keys are to be had (jku, x5u, jwk) is not
        // for the token to say.
        if header.crit.is_some() {
            return Err(Refusal::Malformed);
        }
        check_type(header.typ.as_deref())?;
        let keys_before = self.remembered.keys();
        let claims = if header.alg == Algorithm::HS256 {
            let secrets = self.secrets.load();
            let judge = |key| claims(token, key, Algorithm::HS256);
            let mut verdicts = secrets.iter().map(judge);
            let other_secret = |verdict: &_| matches!(verdict, Err(Refusal::Signature));
            let verdict = verdicts.find(|verdict| !other_secret(verdict));
            let nothing = if secrets.is_empty() {
                Refusal::UnknownKey
            } else {
                Refusal::Signature
            };
            verdict.unwrap_or(Err(nothing))
        } else {
            let keys = self.keys.load();
            let found = keys.find(header.kid.as_deref(), header.alg);
            let public = found.ok_or(Refusal::UnknownKey)?;
            claims(token, &public.key, public.algorithm)
        }?;
        self.check(&claims)?;
        let scope = Scope::highest(&claims.scope);
        if let (Some(scope), Some(exp)) = (scope, claims.exp) {
            self.remembered.insert(token, scope, expiry(exp), keys_before);
        }
        Ok(scope)
    }

    fn check(&self, claims: &Claims) -> Result<(), Refusal> {
        let JwtSettings { audience, issuer } = &self.settings;
        if !claims.aud.as_ref().is_some_and(|aud| aud.contains(audience)) {
            return Err(Refusal::Audience);
        }
        if issuer.is_some() && claims.iss != *issuer {
            return Err(Refusal::Issuer);
        }
        #[expect(clippy::cast_precision_loss, reason = "milliseconds since the epoch fit a double")]
        let now = self.clock.now().as_millis() as f64 / 1000.0;
        if !claims.exp.is_some_and(|exp| now < exp + LEEWAY) {
            return Err(Refusal::Expired);
        }
        if claims.nbf.is_some_and(|nbf| now < nbf - LEEWAY) {
            return Err(Refusal::NotYet);
        }
        Ok(())
    }

    /// Whether the keys have one with this id.
    pub(super) fn knows(&self, id: &str) -> bool {
        self.keys.load().has(id)
    }

    fn lacks_key_of(&self, header: &Header) -> bool {
        let id = header.kid.as_deref().filter(|_| header.alg != Algorithm::HS256);
        id.is_some_and(|id| !self.knows(id)) && self.refresh.possible.load(Ordering::Acquire)
    }

    /// Has the keys fetched anew and waits for it, but not long.
    async fn fetch_keys(&self) {
        let mut done = self.refresh.done.subscribe();
        self.refresh.wanted.notify_one();
        let _ = tokio::time::timeout(REFRESH_PATIENCE, done.changed()).await;
    }
}

/// When a token that expires then is not taken any more.
fn expiry(exp: f64) -> Timestamp {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a cast to an integer ends at its limits, and a token that has expired before 1970 was refused"
    )]
    Timestamp::from_millis(((exp + LEEWAY) * 1000.0) as u64)
}

/// The token of `Authorization: Bearer`.
pub(super) fn bearer(headers: &HeaderMap) -> Result<&str, Refusal> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = values.next().ok_or(Refusal::Missing)?;
    if values.next().is_some() {
        return Err(Refusal::Malformed);
    }
    let text = value.to_str().map_err(|_| Refusal::Malformed)?;
    let (scheme, token) = text.split_once(' ').ok_or(Refusal::Missing)?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(Refusal::Missing);
    }
    let token = token.trim();
    if token.len() > MAX_TOKEN_BYTES {
        return Err(Refusal::Malformed);
    }
    Ok(token)
}

fn check_type(typ: Option<&str>) -> Result<(), Refusal> {
    let Some(typ) = typ else { return Ok(()) };
    // RFC 7515, section 4.1.9: media types ignore case, and `application/` may be left out.
    let typ = typ.to_ascii_lowercase();
    match typ.strip_prefix("application/").unwrap_or(&typ) {
        "jwt" | "at+jwt" => Ok(()),
        _ => Err(Refusal::Type),
    }
}

/// The claims of a token that this key has signed. They are checked by [`JwtVerifier::check`], against our clock.
fn claims(token: &str, key: &DecodingKey, algorithm: Algorithm) -> Result<Claims, Refusal> {
    use jsonwebtoken::errors::ErrorKind;

    let mut validation = Validation::new(algorithm);
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    validation.validate_aud = false;
    match decode::<Claims>(token, key, &validation) {
        Ok(data) => Ok(data.claims),
        Err(error) => Err(match error.kind() {
            ErrorKind::InvalidSignature | ErrorKind::InvalidAlgorithm | ErrorKind::InvalidKeyFormat => {
                Refusal::Signature
            }
            _ => Refusal::Malformed,
        }),
    }
}

impl std::fmt::Debug for JwtVerifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("JwtVerifier")
    }
}

#[cfg(test)]
#[path = "jwt_tests.rs"]
pub(super) mod tests;
