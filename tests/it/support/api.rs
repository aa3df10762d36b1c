//! The traffic listener's routes without a socket, over the embedded store, by a clock that the test moves.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode};
use cloakroom::cluster::{Member, MemberState, Members, View};
use cloakroom::http::caller::CallerAuth;
use cloakroom::http::{ApiState, Front, HttpSettings, service};
use cloakroom::session::{Classes, ManualClock, Monotonic, Random, ServerId, SystemRandom, Timestamp};
use cloakroom::sessions::{Binding, CacheSettings, MigrationPolicy, Parts, Sessions, Settings};
use cloakroom::store::{MemoryStore, SessionStore};
use cloakroom::telemetry::Metrics;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

pub(crate) const NOW: u64 = 1_800_000_000_000;

/// A server without a socket.
pub(crate) struct Api {
    pub(crate) service: Front,
    pub(crate) clock: ManualClock,
    pub(crate) metrics: Metrics,
    pub(crate) draining: watch::Sender<bool>,
    pub(crate) sessions: Sessions,
}

/// What a test may want to be otherwise.
pub(crate) struct Setup {
    pub(crate) callers: CallerAuth,
    pub(crate) settings: HttpSettings,
    pub(crate) store: Option<Arc<dyn SessionStore>>,
    pub(crate) cache: Option<CacheSettings>,
    /// Whether the embedded store feeds L1, so that it answers.
    pub(crate) fed: bool,
    pub(crate) binding: Binding,
    pub(crate) random: Arc<dyn Random>,
}

impl Setup {
    /// With an L1 that nothing feeds: it answers nothing itself, but knows its bound.
    pub(crate) fn with_l1() -> Self {
        Self {
            cache: Some(CacheSettings {
                staleness_bound: Duration::from_secs(1),
                heartbeat: Duration::from_millis(250),
                max_entries: 100,
                max_bytes: 1 << 20,
                max_age: Duration::from_mins(1),
            }),
            ..Self::default()
        }
    }
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            callers: CallerAuth::Open,
            settings: HttpSettings::default(),
            store: None,
            cache: None,
            fed: false,
            binding: Binding::default(),
            random: Arc::new(SystemRandom),
        }
    }
}

/// An answer, read to its end.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Api {
    pub(crate) fn new() -> Self {
        Self::with(Setup::default())
    }

    pub(crate) fn with(setup: Setup) -> Self {
        let clock = ManualClock::new(Timestamp::from_millis(NOW));
        let shared_clock = Arc::new(clock.clone());
        let embedded = Arc::new(MemoryStore::new(shared_clock.clone(), Arc::new(SystemRandom)).unwrap());
        let store = setup
            .store
            .unwrap_or_else(|| Arc::clone(&embedded) as Arc<dyn SessionStore>);
        let server = |name| ServerId::new(name).unwrap();
        let member = |name| Member {
            server_id: server(name),
            state: MemberState::Live,
        };
        let view = View {
            members: Some(Members(vec![member("one"), member("two")])),
            heard_at: Monotonic::default(),
            leader: Some(server("one")),
        };
        let metrics = Metrics::new().unwrap();
        let settings = Settings {
            server_id: server("one"),
            classes: Classes::default(),
            max_bytes: 10_240,
            rotation_grace: Duration::from_secs(10),
            limit: None,
            migration: MigrationPolicy::default(),
            binding: setup.binding,
            recent_authentication: Duration::from_mins(10),
            serve_stale: std::collections::BTreeMap::new(),
            redo_window: Duration::from_secs(30),
            cache: setup.cache,
        };
        let parts = Parts {
            store,
            clock: shared_clock,
            random: setup.random,
            view: watch::channel(view).1,
            metrics: metrics.clone(),
            traces: cloakroom::telemetry::Traces::off(),
        };
        let (draining, drain) = watch::channel(false);
        let sessions = Sessions::new(settings, parts);
        if setup.fed {
            let fed = sessions.clone();
            tokio::spawn(async move { fed.keep_covered(embedded, CancellationToken::new()).await });
        }
        let state = ApiState::new(sessions.clone(), setup.callers, setup.settings, drain);
        Self {
            service: service(state),
            clock,
            metrics,
            draining,
            sessions,
        }
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.service.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Answer {
            status: parts.status,
            headers: parts.headers,
            body: String::from_utf8(body.to_vec()).unwrap(),
        }
    }

    pub(crate) async fn call(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if !body.is_empty() && !headers.iter().any(|(name, _)| *name == "content-type") {
            request = request.header("content-type", "application/json");
        }
        self.send(request.body(Body::from(body.to_owned())).unwrap()).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.call("GET", path, &[], "").await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Answer {
        self.call("POST", path, &[], &body.to_string()).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.call("DELETE", path, &[], "").await
    }

    /// Makes a session; gives the answer's body.
    pub(crate) async fn create(&self, body: Value) -> Value {
        self.post("/v1/sessions", body).await.expect(201)
    }

    /// Makes alice's session; gives its path and its token.
    pub(crate) async fn alice(&self) -> (String, String) {
        let made = self.create(json!({"user_id": "alice"})).await;
        (path_of(&made), made["token"].as_str().unwrap().to_owned())
    }
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {:?}", self.body))
    }

    #[track_caller]
    pub(crate) fn expect_empty(&self, status: u16) {
        assert_eq!((self.status.as_u16(), self.body.as_str()), (status, ""));
    }

    #[track_caller]
    pub(crate) fn expect(&self, status: u16) -> Value {
        assert_eq!(self.status.as_u16(), status, "{}", self.body);
        if self.body.is_empty() { Value::Null } else { self.json() }
    }

    /// The answer is this problem, in the form that the contract has.
    #[track_caller]
    pub(crate) fn problem(&self, status: u16, code: &str) {
        let problem = self.expect(status);
        assert_eq!(problem["code"], code, "{problem}");
        assert_eq!(problem["status"], status, "{problem}");
        for field in ["type", "title", "detail"] {
            assert!(
                problem[field].as_str().is_some_and(|text| !text.is_empty()),
                "{problem}"
            );
        }
        assert_eq!(self.header("content-type"), "application/problem+json");
        assert_eq!(self.header("cache-control"), "no-store");
        assert_eq!(self.headers.contains_key("retry-after"), [429, 503].contains(&status));
    }

    #[track_caller]
    pub(crate) fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name);
        value.unwrap_or_else(|| panic!("no header {name}")).to_str().unwrap()
    }
}

pub(crate) fn path_of(made: &Value) -> String {
    format!("/v1/sessions/{}", made["session"]["id"].as_str().unwrap())
}

/// A well-formed id of no session.
pub(crate) const NOBODY: &str = "/v1/sessions/aaAAAAAAAAAAAAAAAAAAAAAA";
