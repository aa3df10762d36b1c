use std::future::Future;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequest, FromRequestParts, Path, Query};
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE, EXPECT};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Request};
use bytes::Bytes;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde::de::DeserializeOwned;

use super::problem::ApiError;
use super::state::ApiState;
use crate::session::{DataKey, Json as JsonValue, SessionId, UserId};

/// How deep arrays and objects may nest: less than the 128 levels at which common parsers give up, so that no client
/// is locked out of a session by what another stored.
pub(super) const MAX_DEPTH: usize = 100;
/// How much of a body that is too large is read all the same, in bytes, and for how long.
const MOST_DISCARDED: usize = 8 * 1024 * 1024;
const DISCARD_TIME: Duration = Duration::from_secs(2);

/// A JSON object.
pub(super) struct JsonBody<T>(pub(super) T);

/// A JSON object that may be left out.
pub(super) struct OptionalJsonBody<T>(pub(super) Option<T>);

/// Any JSON value, as it was written.
pub(super) struct JsonValueBody(pub(super) JsonValue);

impl<T: DeserializeOwned> FromRequest<ApiState> for JsonBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request<Body>, state: &ApiState) -> Result<Self, ApiError> {
        let OptionalJsonBody(value) = OptionalJsonBody::from_request(request, state).await?;
        value.map(Self).ok_or_else(missing)
    }
}

impl<T: DeserializeOwned> FromRequest<ApiState> for OptionalJsonBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request<Body>, state: &ApiState) -> Result<Self, ApiError> {
        let Some(body) = json_bytes(request, state).await? else {
            return Ok(Self(None));
        };
        parse_object(&body).map(|value| Self(Some(value)))
    }
}

impl FromRequest<ApiState> for JsonValueBody {
    type Rejection = ApiError;

    async fn from_request(request: Request<Body>, state: &ApiState) -> Result<Self, ApiError> {
        let body = json_bytes(request, state).await?.ok_or_else(missing)?;
        parse_json(&body).map(Self)
    }
}

fn missing() -> ApiError {
    ApiError::InvalidRequest("body: missing; JSON is needed".to_owned())
}

/// The body, where there is one and it says that it is JSON.
async fn json_bytes(request: Request<Body>, state: &ApiState) -> Result<Option<Bytes>, ApiError> {
    let is_json = has_json_type(request.headers());
    let body = read_body(request, state.settings().max_body).await?;
    if body.is_empty() {
        Ok(None)
    } else if is_json {
        Ok(Some(body))
    } else {
        let detail = "content-type: application/json is needed".to_owned();
        Err(ApiError::InvalidRequest(detail))
    }
}

/// A body without a type is taken for JSON.
pub(super) fn has_json_type(headers: &HeaderMap) -> bool {
    let Some(value) = headers.get(CONTENT_TYPE) else {
        return true;
    };
    let essence = value.to_str().unwrap_or_default().split(';').next().unwrap_or_default();
    let essence = essence.trim().to_ascii_lowercase();
    essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json"))
}

async fn read_body(request: Request<Body>, limit: usize) -> Result<Bytes, ApiError> {
    let headers = request.headers();
    let announced = headers.get(CONTENT_LENGTH);
    let announced = announced.and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    let waits_for_leave = headers.contains_key(EXPECT);
    let mut body = request.into_body();
    if announced.is_some_and(|length| length > limit as u64) {
        if !waits_for_leave {
            discard(body).await;
        }
        return Err(ApiError::BodyTooLarge { limit });
    }
    match Limited::new(&mut body, limit).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => {
            discard(body).await;
            Err(ApiError::BodyTooLarge { limit })
        }
        Err(_) => Err(ApiError::InvalidRequest("body: it broke off".to_owned())),
    }
}

/// Reads what is refused, within limits: a client that is still sending would find its connection broken, and no answer.
async fn discard(mut body: Body) {
    let reading = async {
        let mut left = MOST_DISCARDED;
        while let Some(Ok(frame)) = body.frame().await {
            let bytes = frame.data_ref().map_or(0, Bytes::len);
            let Some(rest) = left.checked_sub(bytes) else { return };
            left = rest;
        }
    };
    // Whoever is slower does without the answer.
    let _ = tokio::time::timeout(DISCARD_TIME, reading).await;
}

/// Serde would also take an array for a struct, field by field.
pub(super) fn parse_object<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    if body.trim_ascii_start().starts_with(b"[") {
        let detail = "body: an array; an object is needed".to_owned();
        return Err(ApiError::InvalidRequest(detail));
    }
    parse_json(body)
}

fn parse_json<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    if nesting(body) > MAX_DEPTH {
        let detail = format!("body: nested deeper than {MAX_DEPTH} levels");
        return Err(ApiError::InvalidRequest(detail));
    }
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let value = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let path = error.path().to_string();
        let path = if path == "." { "body".to_owned() } else { path };
        ApiError::InvalidRequest(format!("{path}: {}", error.inner()))
    })?;
    let end = deserializer.end();
    end.map_err(|error| ApiError::InvalidRequest(format!("body: {error}")))?;
    Ok(value)
}

/// The depth to which brackets outside of strings nest.
pub(super) fn nesting(json: &[u8]) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let (mut in_string, mut escaped) = (false, false);
    for byte in json {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'[' | b'{' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// The query, of which every parameter must be known.
pub(super) struct QueryParams<T>(pub(super) T);

impl<T: DeserializeOwned, S: Sync> FromRequestParts<S> for QueryParams<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, ApiError> {
        match Query::try_from_uri(&parts.uri) {
            Ok(Query(value)) => Ok(Self(value)),
            Err(rejection) => {
                let cause = std::error::Error::source(&rejection).map_or_else(String::new, ToString::to_string);
                Err(ApiError::InvalidRequest(format!("query: {cause}")))
            }
        }
    }
}

/// No parameter is allowed.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NoParameters {}

/// The session that a path names.
pub(super) struct SessionPath(pub(super) SessionId);

/// The data key of a session that a path names; an encoded slash is a part of the key.
pub(super) struct DataPath {
    pub(super) id: SessionId,
    pub(super) key: DataKey,
}

/// The user that a path names.
pub(super) struct UserPath(pub(super) UserId);

impl<S: Send + Sync> FromRequestParts<S> for SessionPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let text: String = path(parts, state).await?;
        session_id(&text, "path").map(Self)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for DataPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let (id, key): (String, String) = path(parts, state).await?;
        let id = session_id(&id, "path")?;
        let key = DataKey::new(&key).map_err(|error| ApiError::InvalidRequest(format!("path: {error}")))?;
        Ok(Self { id, key })
    }
}

impl<S: Send + Sync> FromRequestParts<S> for UserPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let text: String = path(parts, state).await?;
        let user = UserId::new(&text).map_err(|error| ApiError::InvalidRequest(format!("path: {error}")))?;
        Ok(Self(user))
    }
}

async fn path<T: DeserializeOwned + Send, S: Send + Sync>(parts: &mut Parts, state: &S) -> Result<T, ApiError> {
    let decoded = Path::from_request_parts(parts, state).await;
    let Path(value) =
        decoded.map_err(|rejection| ApiError::InvalidRequest(format!("path: {}", rejection.body_text())))?;
    Ok(value)
}

/// Reads a session id that stands at some place of the request.
pub(super) fn session_id(text: &str, place: &str) -> Result<SessionId, ApiError> {
    text.parse().map_err(|_| {
        let length = SessionId::LENGTH;
        let detail = format!("{place}: a session id is two characters of a-z2-7 and base64url, {length} in all");
        ApiError::InvalidRequest(detail)
    })
}

/// Runs work that must not be left half done because the client went away or the request's time was up: an end that is
/// under way gets into the log of ends.
pub(super) async fn to_the_end<T: Send + 'static>(
    work: impl Future<Output = T> + Send + 'static,
) -> Result<T, ApiError> {
    let done = crate::sessions::to_the_end(work).await;
    done.map_err(|_| ApiError::Unavailable("the server is stopping"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::JsonMap;

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Sample {
        #[serde(default)]
        data: JsonMap,
        #[serde(default)]
        roles: Vec<String>,
    }

    fn refused(json: &str) -> String {
        match parse_object::<Sample>(json.as_bytes()) {
            Err(ApiError::InvalidRequest(detail)) => detail,
            other => panic!("{json} gave {other:?}"),
        }
    }

    #[test]
    fn values_are_kept_as_they_were_written() {
        let sample: Sample = parse_json(br#"{"data": {"a": 1.0, "b": [ ], "c": 12345678901234567890123}}"#).unwrap();
        assert_eq!(sample.data["a"].get(), "1.0");
        assert_eq!(sample.data["b"].get(), "[ ]");
        assert_eq!(sample.data["c"].get(), "12345678901234567890123");
        let value: JsonValue = parse_json(b" \"dark\" \n").unwrap();
        assert_eq!(value.get(), "\"dark\"");
        assert!(sample.roles.is_empty());
    }

    #[test]
    fn a_refusal_says_where_and_what() {
        assert!(refused(r#"{"roles": ["a", 7]}"#).starts_with("roles[1]: invalid type: integer `7`"));
        assert!(refused(r#"{"rolls": []}"#).contains("unknown field `rolls`"));
        assert!(refused("{} {}").contains("trailing characters"));
        assert!(refused("{").contains("EOF"));
        assert!(refused("[]").starts_with("body: "));
        assert!(refused(&format!("{{\"data\": {{\"a\": {}}}}}", "[".repeat(200))).contains("nested deeper"));
    }

    #[test]
    fn brackets_in_strings_do_not_nest() {
        assert_eq!(nesting(br#"{"a": "[[\"[[", "b": [1]}"#), 2);
    }
}
