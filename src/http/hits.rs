//! The short way: what memory alone can answer is answered before the routes.
//!
//! Whatever is not quite ordinary (an escaped query, a condition, a caller whose token was not verified before, a session that
//! memory does not hold) gets no answer here, and goes the long way with the same outcome. So nothing here waits, fails,
//! or writes a log line, and none of the request's span, time limit and slot is needed.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE, ETAG, IF_NONE_MATCH, ORIGIN, STRICT_TRANSPORT_SECURITY};
use axum::http::request::Parts;
use axum::http::{Extensions, HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode};
use axum::response::Response;
use tokio::time::Instant;

use super::caller::Scope;
use super::conditional;
use super::extract::has_json_type;
use super::forward::{self, AUTH_PATH, Inquiry, PlainQuestion};
use super::middleware::{HSTS, Stack, X_REQUEST_ID};
use super::rendered::{JSON, Object, Rendered};
use super::state::ApiState;
use super::v1::{SESSION_PATH, VALIDATE_PATH, validate};
use super::visitor;
use crate::session::SessionId;
use crate::sessions::ValidSession;

/// The largest body that is read before it is known who asks, in bytes.
const SMALL_BODY: usize = 8 * 1024;
const TO_BE_SET: HeaderValue = HeaderValue::from_static("");

/// Answers from memory.
pub(super) struct Hits {
    state: ApiState,
    stack: Arc<Stack>,
    /// Heads with all that never changes; the rest is set in its place.
    auth_head: HeaderMap,
    session_head: HeaderMap,
    judgement_head: HeaderMap,
}

/// What is asked, where it is something that memory may know.
enum Asked<'a> {
    Auth(PlainQuestion<'a>),
    Session(SessionId),
}

impl<'a> Asked<'a> {
    fn by<B>(request: &'a Request<B>) -> Option<Self> {
        let uri = request.uri();
        let headers = request.headers();
        let path = uri.path();
        if path == AUTH_PATH {
            let question = PlainQuestion::of(uri.query())?;
            // An origin matters to who asks for it to be judged, and to nobody else.
            let is_plain = question.wants_csrf() || !headers.contains_key(ORIGIN);
            return is_plain.then_some(Self::Auth(question));
        }
        if uri.query().is_some() || headers.contains_key(ORIGIN) {
            return None;
        }
        let id = path.strip_prefix("/v1/sessions/")?;
        let is_plain = request.method() == Method::GET && !headers.contains_key(IF_NONE_MATCH);
        is_plain.then(|| id.parse().ok())?.map(Self::Session)
    }

    fn route(&self) -> &'static str {
        match self {
            Self::Auth(_) => AUTH_PATH,
            Self::Session(_) => SESSION_PATH,
        }
    }
}

impl Hits {
    pub(super) fn new(state: ApiState, stack: Arc<Stack>) -> Self {
        let head = |own: &[HeaderName], route| {
            let mut head = HeaderMap::new();
            for name in own.iter().chain([&X_REQUEST_ID]) {
                head.insert(name, TO_BE_SET);
            }
            stack.dress(&mut head, Some(route), None);
            head
        };
        let mut session_head = head(&[CONTENT_TYPE, ETAG], SESSION_PATH);
        session_head.insert(CONTENT_TYPE, JSON);
        let mut judgement_head = head(&[CONTENT_TYPE], VALIDATE_PATH);
        judgement_head.insert(CONTENT_TYPE, JSON);
        Self {
            auth_head: head(&forward::IDENTITY, AUTH_PATH),
            session_head,
            judgement_head,
            state,
            stack,
        }
    }

    /// The answer, where memory has it.
    pub(super) fn answer<B>(&self, request: &Request<B>) -> Option<Response> {
        let started = Instant::now();
        let asked = Asked::by(request)?;
        if !self.stack.admits(request.headers()) {
            return None;
        }
        // A panic is dealt with the long way.
        let answered = catch_unwind(AssertUnwindSafe(|| match &asked {
            Asked::Auth(question) => self.auth(question, request),
            &Asked::Session(id) => self.session(id, request.headers(), request.extensions()),
        }));
        let response = answered.ok().flatten()?;
        Some(self.finish(response, request.headers(), asked.route(), request.method(), started))
    }

    /// Whether it is a judgement of a token, which memory may have once its body is there.
    pub(super) fn may_judge<B>(&self, request: &Request<B>) -> bool {
        let (uri, headers) = (request.uri(), request.headers());
        let length = headers
            .get(CONTENT_LENGTH)
            .and_then(|length| length.to_str().ok()?.parse().ok());
        request.method() == Method::POST
            && uri.path() == VALIDATE_PATH
            && uri.query().is_none()
            && !headers.contains_key(ORIGIN)
            && length.is_some_and(|length: usize| length <= SMALL_BODY.min(self.state.settings().max_body))
            && has_json_type(headers)
            && self.stack.admits(headers)
    }

    /// How long the body may take.
    pub(super) fn patience(&self) -> Duration {
        self.state.settings().timeout
    }

    /// The judgement of the token in a body, where memory has it.
    pub(super) fn judge(&self, head: &Parts, body: &[u8], started: Instant) -> Option<Response> {
        let answered = catch_unwind(AssertUnwindSafe(|| {
            let may = self.state.callers().recall(&head.headers) >= Some(Scope::Read);
            may.then(|| validate::held(&self.state, body)).flatten()
        }));
        let object = answered.ok().flatten()?;
        self.state.counters().accepted.inc();
        let mut answer_head = self.judgement_head.clone();
        if self
            .stack
            .demands_tls(&head.extensions, &head.headers, Some(VALIDATE_PATH))
        {
            answer_head.insert(STRICT_TRANSPORT_SECURITY, HSTS);
        }
        let response = answer(answer_head, Body::from(object.0));
        Some(self.finish(response, &head.headers, VALIDATE_PATH, &head.method, started))
    }

    fn finish(
        &self,
        mut response: Response,
        asked: &HeaderMap,
        route: &str,
        method: &Method,
        started: Instant,
    ) -> Response {
        response
            .headers_mut()
            .insert(X_REQUEST_ID, self.stack.request_id(asked));
        self.stack
            .observe(Some(route), method, StatusCode::OK, started.elapsed());
        response
    }

    fn auth<B>(&self, question: &PlainQuestion<'_>, request: &Request<B>) -> Option<Response> {
        if !self.state.settings().cache_for.is_zero() {
            return None;
        }
        let inquiry = Inquiry {
            method: request.method(),
            uri: request.uri(),
            headers: request.headers(),
            extensions: request.extensions(),
        };
        let is_met = |valid: &ValidSession| question.is_met(&self.state, inquiry, valid);
        let valid = visitor::held_session(&self.state, inquiry.extensions, inquiry.headers, is_met)?;
        let identity = Rendered::identity(&valid.session)?;
        let mut head = self.auth_head.clone();
        for (name, value) in forward::IDENTITY.iter().zip(identity) {
            head.insert(name, value.clone());
        }
        Some(answer(head, Body::empty()))
    }

    fn session(&self, id: SessionId, headers: &HeaderMap, extensions: &Extensions) -> Option<Response> {
        if self.state.callers().recall(headers) < Some(Scope::Read) {
            return None;
        }
        let session = self.state.sessions().get_held(id)?;
        let object = Object::of(&session).ok()?;
        self.state.counters().accepted.inc();
        let mut head = self.session_head.clone();
        head.insert(ETAG, conditional::etag(session.version));
        if self.stack.demands_tls(extensions, headers, Some(SESSION_PATH)) {
            head.insert(STRICT_TRANSPORT_SECURITY, HSTS);
        }
        Some(answer(head, Body::from(object.0)))
    }
}

fn answer(head: HeaderMap, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.headers_mut() = head;
    response
}
