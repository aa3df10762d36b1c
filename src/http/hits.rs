//! The short way: plain reads are answered before the routes.
//!
//! Whatever is not quite ordinary (an escaped query, a condition, a caller whose token was not verified before) gets no answer
//! here, and goes the long way with the same outcome. What memory alone can answer does not wait, fail, or write a log
//! line, and needs none of the request's span, time limit and slot. Where the store must be asked, all of these are
//! there, and only the routes and their extractors are spared.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE, ETAG, IF_NONE_MATCH, ORIGIN, STRICT_TRANSPORT_SECURITY};
use axum::http::request::Parts;
use axum::http::{Extensions, HeaderMap, HeaderValue, Method, Request, StatusCode};
use axum::response::Response;
use tokio::time::Instant;

use super::caller::Scope;
use super::conditional;
use super::extract::has_json_type;
use super::forward::{self, AUTH_PATH};
use super::head::{Head, TO_BE_SET};
use super::middleware::{HSTS, Stack, X_REQUEST_ID};
use super::problem::ApiError;
use super::question::{Inquiry, PlainQuestion};
use super::rendered::{JSON, Object, Rendered};
use super::stale;
use super::state::ApiState;
use super::v1::validate::{self, ValidateBody};
use super::v1::{SESSION_PATH, VALIDATE_PATH};
use super::visitor;
use crate::session::SessionId;
use crate::sessions::{Consistency, Freshness, Seen, ValidSession};

/// The largest body that is read before it is known who asks, in bytes.
const SMALL_BODY: usize = 8 * 1024;

/// Answers plain reads.
pub(super) struct Hits {
    state: ApiState,
    stack: Arc<Stack>,
    auth_head: Head<7>,
    session_head: Head<2>,
    judgement_head: Head<1>,
}

/// How a request is to be answered.
pub(super) enum Way {
    /// With this: memory had it.
    Answered(Response),
    /// By [`Hits::read`]: the store must be asked.
    Read(SessionId, Consistency),
    /// By [`Hits::judge`], once the body is there.
    Judge,
    /// By the routes.
    Long,
}

/// What is asked, where it is a plain read.
enum Asked<'a> {
    Auth(PlainQuestion<'a>),
    Session(SessionId, Consistency),
}

impl<'a> Asked<'a> {
    fn by<B>(request: &'a Request<B>) -> Option<Self> {
        let (uri, headers) = (request.uri(), request.headers());
        if uri.path() == AUTH_PATH {
            let question = PlainQuestion::of(uri.query())?;
            // An origin matters to who asks for it to be judged, and to nobody else.
            let is_plain = question.wants_csrf() || !headers.contains_key(ORIGIN);
            return is_plain.then_some(Self::Auth(question));
        }
        let id = uri.path().strip_prefix("/v1/sessions/")?;
        let consistency = match uri.query() {
            None => Consistency::Bounded,
            Some("consistency=strong") => Consistency::Strong,
            Some(_) => return None,
        };
        let is_unusual = [ORIGIN, IF_NONE_MATCH].iter().any(|name| headers.contains_key(name));
        let is_plain = request.method() == Method::GET && !is_unusual;
        let id = is_plain.then(|| id.parse().ok())??;
        Some(Self::Session(id, consistency))
    }
}

impl Hits {
    pub(super) fn new(state: ApiState, stack: Arc<Stack>) -> Self {
        let json = (CONTENT_TYPE, JSON);
        let [user, session, roles, permissions, class, version] = forward::IDENTITY.clone();
        let of_identity = [X_REQUEST_ID, user, session, roles, permissions, class, version];
        Self {
            auth_head: Head::new(&of_identity, None, &stack, AUTH_PATH),
            session_head: Head::new(&[X_REQUEST_ID, ETAG], Some(json.clone()), &stack, SESSION_PATH),
            judgement_head: Head::new(&[X_REQUEST_ID], Some(json), &stack, VALIDATE_PATH),
            state,
            stack,
        }
    }

    /// Finds the way of a request, and goes it where memory alone can answer.
    pub(super) fn way<B>(&self, request: &Request<B>) -> Way {
        let started = Instant::now();
        let (headers, extensions) = (request.headers(), request.extensions());
        if !self.stack.admits(headers) {
            return Way::Long;
        }
        let Some(asked) = Asked::by(request) else {
            return if self.is_judgement(request) {
                Way::Judge
            } else {
                Way::Long
            };
        };
        // A panic is dealt with the long way.
        let way = catch_unwind(AssertUnwindSafe(|| match asked {
            Asked::Auth(question) => {
                let response = self.auth(&question, request)?;
                self.note(headers, AUTH_PATH, request.method(), started);
                Some(Way::Answered(response))
            }
            Asked::Session(id, consistency) => {
                self.recalls_reader(headers).then_some(())?;
                let held = match consistency {
                    Consistency::Bounded => self.session(id, headers, extensions),
                    Consistency::Strong => None,
                };
                Some(match held {
                    Some(response) => {
                        self.note(headers, SESSION_PATH, request.method(), started);
                        Way::Answered(response)
                    }
                    None => Way::Read(id, consistency),
                })
            }
        }));
        way.ok().flatten().unwrap_or(Way::Long)
    }

    /// The session, read from the store or with those who read it already.
    pub(super) async fn read(&self, head: &Parts, id: SessionId, consistency: Consistency) -> Response {
        let reading = async {
            self.state.counters().accepted.inc();
            let freshness = Freshness {
                consistency,
                min_version: None,
                accept_stale: true,
            };
            let seen = self.state.sessions().get_marked(id, freshness).await?;
            let Seen { session, stale: age } = seen.ok_or(ApiError::SessionNotFound)?;
            let object = match consistency {
                Consistency::Bounded => Object::of(&session)?,
                Consistency::Strong => Object::once(&session)?,
            };
            // The id is set by who leads the request to its answer.
            let answer = self.session_answer(TO_BE_SET, session.version, object);
            Ok(stale::marked(answer, age))
        };
        let mut response = self.ask(head, SESSION_PATH, reading).await;
        // The head of a session is dressed beforehand.
        if response.status() != StatusCode::OK {
            self.stack.dress(response.headers_mut(), Some(SESSION_PATH), None);
        }
        response
    }

    /// How long the body of a judgement may take.
    pub(super) fn patience(&self) -> Duration {
        self.state.settings().timeout
    }

    /// The judgement of the token in a body; nothing where that is for the routes.
    pub(super) async fn judge(&self, head: &Parts, body: &[u8], started: Instant) -> Option<Response> {
        if !self.recalls_reader(&head.headers) {
            return None;
        }
        let body = validate::plain(body)?;
        if let Some(response) = self.judgement(head, &body) {
            self.note(&head.headers, VALIDATE_PATH, &head.method, started);
            return Some(response);
        }
        let judging = async {
            self.state.counters().accepted.inc();
            validate::judge(&self.state, &body).await
        };
        let mut response = self.ask(head, VALIDATE_PATH, judging).await;
        self.stack.dress(response.headers_mut(), Some(VALIDATE_PATH), None);
        Some(response)
    }

    fn is_judgement<B>(&self, request: &Request<B>) -> bool {
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
    }

    /// Whether the caller may read, as far as that is known without judging its token once more.
    fn recalls_reader(&self, headers: &HeaderMap) -> bool {
        self.state.callers().recall(headers) >= Some(Scope::Read)
    }

    /// Goes through all that every request goes through, but the routes; what every answer says is left to the caller.
    async fn ask(
        &self,
        head: &Parts,
        route: &'static str,
        answer: impl Future<Output = Result<Response, ApiError>>,
    ) -> Response {
        let noted = self.stack.note(&head.method, &head.headers, Some(route));
        // In a place of its own: what is put around it would copy all of it, again and again.
        let mut response = self.stack.lead(noted, Box::pin(answer)).await;
        if self.stack.demands_tls(&head.extensions, &head.headers, Some(route)) {
            response.headers_mut().insert(STRICT_TRANSPORT_SECURITY, HSTS);
        }
        response
    }

    /// Counts an answer that is about to leave.
    fn note(&self, asked: &HeaderMap, route: &str, method: &Method, started: Instant) {
        let took = started.elapsed();
        if let Some(traced) = self.stack.traced(asked) {
            traced.record(method, route, StatusCode::OK, took);
        }
        self.stack.observe(Some(route), method, StatusCode::OK, took);
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
        let [user, session, roles, permissions, class, version] = Rendered::identity(&valid.session)?.values();
        let id = self.stack.request_id(inquiry.headers);
        let head = self
            .auth_head
            .with([id, user, session, roles, permissions, class, version]);
        Some(answer(head, Body::empty()))
    }

    fn session(&self, id: SessionId, headers: &HeaderMap, extensions: &Extensions) -> Option<Response> {
        let session = self.state.sessions().get_held(id)?;
        let object = Object::of(&session).ok()?;
        self.state.counters().accepted.inc();
        let mut response = self.session_answer(self.stack.request_id(headers), session.version, object);
        if self.stack.demands_tls(extensions, headers, Some(SESSION_PATH)) {
            response.headers_mut().insert(STRICT_TRANSPORT_SECURITY, HSTS);
        }
        Some(response)
    }

    fn session_answer(&self, request_id: HeaderValue, version: u64, object: Object) -> Response {
        let head = self.session_head.with([request_id, conditional::etag(version)]);
        answer(head, Body::from(object.0))
    }

    fn judgement(&self, head: &Parts, body: &ValidateBody) -> Option<Response> {
        let known = catch_unwind(AssertUnwindSafe(|| validate::held(&self.state, body)));
        let object = known.ok().flatten()?;
        self.state.counters().accepted.inc();
        let mut answer_head = self.judgement_head.with([self.stack.request_id(&head.headers)]);
        if self
            .stack
            .demands_tls(&head.extensions, &head.headers, Some(VALIDATE_PATH))
        {
            answer_head.insert(STRICT_TRANSPORT_SECURITY, HSTS);
        }
        Some(answer(answer_head, Body::from(object.0)))
    }
}

fn answer(head: HeaderMap, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.headers_mut() = head;
    response
}
