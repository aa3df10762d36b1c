use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use cloakroom::layer;
use maud::html;

use super::page;

/// Why a page is not what was asked for.
pub(crate) enum Failure {
    /// The session did not do what it was asked.
    Session(layer::Error),
    /// The form did not come from one of this session's pages.
    Forged,
    /// The form is not one of ours.
    Malformed,
    /// The visitor must go to another page first, such as the log-in.
    Elsewhere(String),
}

impl From<layer::Error> for Failure {
    fn from(error: layer::Error) -> Self {
        Self::Session(error)
    }
}

impl From<cloakroom::store::StoreError> for Failure {
    fn from(error: cloakroom::store::StoreError) -> Self {
        cloakroom::sessions::Error::from(error).into()
    }
}

impl From<cloakroom::sessions::Error> for Failure {
    fn from(error: cloakroom::sessions::Error) -> Self {
        Self::Session(error.into())
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let (status, what) = match self {
            Self::Elsewhere(url) => return Redirect::to(&url).into_response(),
            Self::Session(error) => (error.status(), explanation(error.status())),
            Self::Forged => (
                StatusCode::FORBIDDEN,
                "This form has grown old, or came from another site. Please go back, reload the page and try again.",
            ),
            Self::Malformed => (StatusCode::BAD_REQUEST, "This is not one of our forms."),
        };
        let body = html! { h1 { "That did not work" } p { (what) } };
        (status, page::bare("That did not work", &body)).into_response()
    }
}

fn explanation(status: StatusCode) -> &'static str {
    match status {
        StatusCode::SERVICE_UNAVAILABLE => {
            "Our cloakroom does not answer just now. You are still logged in: please try again in a moment."
        }
        StatusCode::UNAUTHORIZED => "You have been logged out meanwhile. Please log in again.",
        StatusCode::FORBIDDEN => "This request came from another site.",
        _ => "Something is wrong on our side.",
    }
}
