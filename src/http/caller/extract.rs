use axum::extract::FromRequestParts;
use axum::http::HeaderValue;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;

use super::{CallerAuth, Refusal, Scope};
use crate::http::middleware::X_REQUEST_ID;
use crate::http::problem::ApiError;
use crate::http::state::ApiState;
use crate::telemetry::{Actor, Cause};

/// A caller that may read.
pub(in crate::http) struct Reader;

/// A caller that may change sessions.
pub(in crate::http) struct Writer(Caller);

/// A caller that may list and end the fleet's sessions.
pub(in crate::http) struct Admin(Caller);

/// Who called, as far as events and the audit log tell it.
struct Caller {
    authorization: Option<HeaderValue>,
    request_id: Option<HeaderValue>,
}

impl Writer {
    /// Who causes what is done next.
    pub(in crate::http) fn cause(&self) -> Cause {
        self.0.cause()
    }
}

impl Admin {
    /// As [`Writer::cause`].
    pub(in crate::http) fn cause(&self) -> Cause {
        self.0.cause()
    }
}

impl Caller {
    fn of(parts: &Parts, state: &ApiState) -> Self {
        // A name that nobody has verified is not told as one.
        let judged = !matches!(state.callers(), CallerAuth::Open);
        let authorization = parts.headers.get(AUTHORIZATION).filter(|_| judged);
        Self {
            authorization: authorization.cloned(),
            request_id: parts.headers.get(X_REQUEST_ID).cloned(),
        }
    }

    fn cause(&self) -> Cause {
        let subject = self.authorization.as_ref().and_then(subject_of);
        Cause {
            actor: Actor::application(subject.as_deref()),
            request_id: self
                .request_id
                .as_ref()
                .and_then(|id| id.to_str().ok())
                .map(str::to_owned),
        }
    }
}

/// The claim `sub` of a token that was judged before; nothing where callers are not judged.
fn subject_of(authorization: &HeaderValue) -> Option<String> {
    #[derive(Deserialize)]
    struct Named {
        sub: Option<String>,
    }
    let token = authorization.to_str().ok()?.split_once(' ')?.1.trim();
    let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    serde_json::from_slice::<Named>(&claims).ok()?.sub
}

impl FromRequestParts<ApiState> for Reader {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, ApiError> {
        authorise(parts, state, Scope::Read).await.map(|()| Self)
    }
}

impl FromRequestParts<ApiState> for Writer {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, ApiError> {
        authorise(parts, state, Scope::Write).await?;
        Ok(Self(Caller::of(parts, state)))
    }
}

impl FromRequestParts<ApiState> for Admin {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, ApiError> {
        authorise(parts, state, Scope::Admin).await?;
        Ok(Self(Caller::of(parts, state)))
    }
}

async fn authorise(parts: &Parts, state: &ApiState, needed: Scope) -> Result<(), ApiError> {
    let CallerAuth::Bearer(judges) = state.callers() else {
        return Ok(());
    };
    if judges.recall(&parts.headers) >= Some(needed) {
        state.counters().accepted.inc();
        return Ok(());
    }
    let (outcome, answer) = match judges.authenticate(&parts.headers).await {
        Ok(granted) if granted >= Some(needed) => ("accepted", Ok(())),
        Ok(_) => ("forbidden", Err(ApiError::MissingScope(needed))),
        Err(Refusal::Unjudged) => (Refusal::Unjudged.as_str(), Err(ApiError::Unjudged)),
        Err(refusal) => (refusal.as_str(), Err(ApiError::Caller(refusal))),
    };
    state.sessions().metrics().callers.with_label_values(&[outcome]).inc();
    answer
}
