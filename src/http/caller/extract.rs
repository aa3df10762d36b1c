use axum::extract::FromRequestParts;
use axum::http::request::Parts;

use super::{CallerAuth, Scope};
use crate::http::problem::ApiError;
use crate::http::state::ApiState;

/// A caller that may read.
pub(in crate::http) struct Reader;

/// A caller that may change sessions.
pub(in crate::http) struct Writer;

/// A caller that may list and end the fleet's sessions.
pub(in crate::http) struct Admin;

macro_rules! authorising {
    ($($caller:ident needs $scope:expr;)*) => {$(
        impl FromRequestParts<ApiState> for $caller {
            type Rejection = ApiError;

            async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, ApiError> {
                authorise(parts, state, $scope).await.map(|()| Self)
            }
        }
    )*};
}

authorising! {
    Reader needs Scope::Read;
    Writer needs Scope::Write;
    Admin needs Scope::Admin;
}

async fn authorise(parts: &Parts, state: &ApiState, needed: Scope) -> Result<(), ApiError> {
    let CallerAuth::Jwt(verifier) = state.callers() else {
        return Ok(());
    };
    if verifier.recall(&parts.headers) >= Some(needed) {
        state.counters().accepted.inc();
        return Ok(());
    }
    let (outcome, answer) = match verifier.authenticate(&parts.headers).await {
        Ok(granted) if granted >= Some(needed) => ("accepted", Ok(())),
        Ok(_) => ("forbidden", Err(ApiError::MissingScope(needed))),
        Err(refusal) => (refusal.as_str(), Err(ApiError::Caller(refusal))),
    };
    state.sessions().metrics().callers.with_label_values(&[outcome]).inc();
    answer
}
