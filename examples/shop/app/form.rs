use axum::Form;
use axum::extract::{FromRequest, Request};
use cloakroom::layer::Session;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::error::Failure;

/// A form that came from one of this session's own pages: it brought the session's CSRF token.
pub(crate) struct OwnForm<T>(pub(crate) T);

/// A form with no other field than the CSRF token.
#[derive(Deserialize)]
pub(crate) struct Nothing {}

#[derive(Deserialize)]
struct WithToken<T> {
    csrf: String,
    #[serde(flatten)]
    fields: T,
}

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequest<S> for OwnForm<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &S) -> Result<Self, Failure> {
        let session = request.extensions().get::<Session>().cloned();
        let session = session.ok_or(cloakroom::layer::Error::NoLayer)?;
        let form = Form::<WithToken<T>>::from_request(request, state).await;
        let Form(WithToken { csrf, fields }) = form.map_err(|_| Failure::Malformed)?;
        if session.verify_csrf(&csrf).await? {
            Ok(Self(fields))
        } else {
            Err(Failure::Forged)
        }
    }
}
