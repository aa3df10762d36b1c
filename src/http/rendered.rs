use std::sync::OnceLock;

use axum::http::HeaderValue;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};

use super::forward;
use super::problem::ApiError;
use crate::session::Session;

pub(super) const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// What the faces made of a session. It is kept along with the session, so that what memory answers with again and again
/// is written once; [`Session::weight`] accounts for it.
#[derive(Default)]
pub(super) struct Rendered {
    object: OnceLock<Bytes>,
    /// Apart: most sessions are never asked for by a gateway, or by nobody else.
    identity: OnceLock<Box<Identity>>,
}

/// What tells a gateway whose request it is: the values of [`forward::IDENTITY`].
pub(super) type Identity = [HeaderValue; 6];

impl Rendered {
    fn of(session: &Session) -> Option<&Self> {
        session.memo.rendered(Self::default)
    }

    /// What forward auth answers.
    pub(super) fn identity(session: &Session) -> Option<&Identity> {
        let rendered = Self::of(session)?;
        Some(rendered.identity.get_or_init(|| Box::new(forward::identity(session))))
    }
}

/// The session object, as JSON.
pub(super) struct Object(pub(super) Bytes);

impl Object {
    pub(super) fn of(session: &Session) -> Result<Self, ApiError> {
        let Some(rendered) = Rendered::of(session) else {
            return Self::once(session);
        };
        if let Some(object) = rendered.object.get() {
            return Ok(Self(object.clone()));
        }
        // Without what is left over: it may stay in memory for long.
        let object = Bytes::from(write(session)?.into_boxed_slice());
        Ok(Self(rendered.object.get_or_init(|| object).clone()))
    }

    /// As [`Object::of`], for a session that nobody keeps.
    pub(super) fn once(session: &Session) -> Result<Self, ApiError> {
        write(session).map(|text| Self(Bytes::from(text)))
    }

    /// The object as the last member of another one: `before` opens that, and this closes it.
    pub(super) fn within(&self, before: &str) -> Self {
        let mut text = BytesMut::with_capacity(before.len() + self.0.len() + 1);
        text.extend_from_slice(before.as_bytes());
        text.extend_from_slice(&self.0);
        text.extend_from_slice(b"}");
        Self(text.freeze())
    }
}

impl IntoResponse for Object {
    fn into_response(self) -> Response {
        ([(CONTENT_TYPE, JSON)], self.0).into_response()
    }
}

fn write(session: &Session) -> Result<Vec<u8>, ApiError> {
    /// What most sessions' objects fit in, in bytes.
    const USUAL: usize = 1_024;
    let mut text = Vec::with_capacity(USUAL);
    serde_json::to_writer(&mut text, session).map_err(|error| {
        tracing::error!(session_id = %session.id, %error, "a session cannot be written as JSON");
        ApiError::Internal
    })?;
    Ok(text)
}
