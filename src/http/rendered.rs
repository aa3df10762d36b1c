use std::sync::OnceLock;

use axum::http::HeaderValue;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};
use serde::Serialize;

use super::forward;
use super::problem::ApiError;
use crate::session::{JsonMap, ServerId, Session, Timestamp, UserId, write_text};

pub(super) const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// What the faces made of a session. It is kept along with the session, so that what memory answers with again and again
/// is written once; [`Session::weight`] accounts for it.
#[derive(Default)]
pub(super) struct Rendered {
    object: OnceLock<Bytes>,
    identity: OnceLock<Identity>,
}

/// What tells a gateway whose request it is: the values of [`forward::IDENTITY`], as parts of one text, so that little
/// memory need be looked at to send them all.
pub(super) struct Identity {
    text: Bytes,
    /// Where each value ends, and the next begins.
    ends: [usize; 6],
}

impl Identity {
    /// Of values that hold no control character.
    pub(super) fn of(values: &[String; 6]) -> Self {
        let mut end = 0;
        Self {
            text: Bytes::from(values.concat()),
            ends: values.each_ref().map(|value| {
                end += value.len();
                end
            }),
        }
    }

    /// The values, which share the text.
    pub(super) fn values(&self) -> [HeaderValue; 6] {
        let mut start = 0;
        self.ends.map(|end| {
            let value = self.text.slice(start..end);
            start = end;
            HeaderValue::from_maybe_shared(value).unwrap_or_else(|_| HeaderValue::from_static(""))
        })
    }
}

impl Rendered {
    fn of(session: &Session) -> Option<&Self> {
        session.memo.rendered(Self::default)
    }

    /// What forward auth answers.
    pub(super) fn identity(session: &Session) -> Option<&Identity> {
        let rendered = Self::of(session)?;
        Some(rendered.identity.get_or_init(|| forward::identity(session)))
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
    written(session).map_err(|error| {
        tracing::error!(session_id = %session.id, %error, "a session cannot be written as JSON");
        ApiError::Internal
    })
}

/// What `Serialize` makes of it. That looks at each byte of each name, which every store read would pay for.
fn written(session: &Session) -> serde_json::Result<Vec<u8>> {
    let mut object = Members::new();
    object.text("id", Some(session.id.text().as_str()))?;
    object.text("user_id", session.user_id.as_ref().map(UserId::as_str))?;
    object.text("class", Some(session.class.as_str()))?;
    object.texts("roles", &session.roles)?;
    object.texts("permissions", &session.permissions)?;
    object.map("data", &session.data);
    object.map("metadata", &session.metadata);
    object.json("security", &session.security)?;
    object.time("created_at", Some(session.created_at))?;
    object.time("last_activity_at", Some(session.last_activity_at))?;
    object.time("expires_at", Some(session.expires_at))?;
    object.time("absolute_expires_at", Some(session.absolute_expires_at))?;
    object.time("authenticated_at", session.authenticated_at)?;
    object.json("version", &session.version)?;
    object.json("data_bytes", &session.data_bytes)?;
    object.text("server_id", Some(session.server_id.as_str()))?;
    object.time("migrated_at", session.migrated_at)?;
    object.json("migrations", &session.migrations)?;
    object.text(
        "previous_server_id",
        session.previous_server_id.as_ref().map(ServerId::as_str),
    )?;
    Ok(object.end())
}

/// A JSON object on its way.
struct Members(Vec<u8>);

impl Members {
    fn new() -> Self {
        /// What most sessions' objects fit in, in bytes.
        const USUAL: usize = 1_024;
        Self(Vec::with_capacity(USUAL))
    }

    /// `name` needs no escape.
    fn name(&mut self, name: &'static str) {
        self.0
            .extend_from_slice(if self.0.is_empty() { b"{\"" } else { b",\"" });
        self.0.extend_from_slice(name.as_bytes());
        self.0.extend_from_slice(b"\":");
    }

    fn json(&mut self, name: &'static str, value: &impl Serialize) -> serde_json::Result<()> {
        self.name(name);
        serde_json::to_writer(&mut self.0, value)
    }

    fn map(&mut self, name: &'static str, values: &JsonMap) {
        self.name(name);
        self.0.extend_from_slice(values.as_json().as_bytes());
    }

    fn text(&mut self, name: &'static str, value: Option<&str>) -> serde_json::Result<()> {
        match value {
            Some(text) => {
                self.name(name);
                write_text(&mut self.0, text)
            }
            None => self.json(name, &()),
        }
    }

    fn texts(&mut self, name: &'static str, values: &[String]) -> serde_json::Result<()> {
        self.name(name);
        self.0.push(b'[');
        for (index, value) in values.iter().enumerate() {
            if index > 0 {
                self.0.push(b',');
            }
            write_text(&mut self.0, value)?;
        }
        self.0.push(b']');
        Ok(())
    }

    fn time(&mut self, name: &'static str, value: Option<Timestamp>) -> serde_json::Result<()> {
        let text = value.map(Timestamp::text);
        self.text(
            name,
            text.as_ref().map(|text| std::str::from_utf8(text).unwrap_or_default()),
        )
    }

    fn end(mut self) -> Vec<u8> {
        self.0.push(b'}');
        self.0
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::value::to_raw_value;

    use super::*;
    use crate::session::{Bucket, ClassName, Memo, Security, SystemRandom, Token};

    fn session(text: &str) -> Session {
        let values: JsonMap = [(text.to_owned(), to_raw_value(text).unwrap())].into_iter().collect();
        let is_empty = text.is_empty();
        let at = |millis: u64| Timestamp::from_millis(1_800_000_000_000 + millis);
        Session {
            id: Token::generate(Bucket::new(9), &SystemRandom).unwrap().id(),
            user_id: UserId::new(text).ok(),
            class: ClassName::new("normal").unwrap(),
            roles: if is_empty {
                vec![]
            } else {
                vec![text.to_owned(), "editor".to_owned()]
            },
            permissions: vec![text.to_owned()],
            data: if is_empty { JsonMap::new() } else { values.clone() },
            metadata: values,
            security: Security {
                login_attempts: 3,
                suspicious: true,
                last_password_change: Some(at(1)),
            },
            created_at: at(2),
            last_activity_at: at(3),
            expires_at: at(4),
            absolute_expires_at: at(5),
            authenticated_at: (!is_empty).then(|| at(6)),
            version: u64::MAX,
            data_bytes: 17,
            server_id: ServerId::new("cloakroom-0").unwrap(),
            migrated_at: (!is_empty).then(|| at(7)),
            migrations: 2,
            previous_server_id: (!is_empty).then(|| ServerId::new("cloakroom-1").unwrap()),
            idle: Duration::from_secs(1),
            fingerprint: None,
            unconfirmed: false,
            memo: Memo::default(),
        }
    }

    #[test]
    fn the_object_is_what_serialize_makes_of_it() {
        for text in [
            "",
            "dana",
            "d\u{e9}j\u{e0} \"vu\"",
            "C:\\dana",
            "a\nb\u{1}",
            "\u{7f}\u{2028}",
        ] {
            let session = session(text);
            let written = String::from_utf8(written(&session).unwrap()).unwrap();
            assert_eq!(written, serde_json::to_string(&session).unwrap(), "{text:?}");
        }
    }
}
