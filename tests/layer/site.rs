//! An application with sessions, and browsers that use it.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::Body;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Extension, Router};
use cloakroom::Cloakroom;
use cloakroom::layer::{Error, LogIn, Options, Session, SessionLayer};
use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tokio::sync::Notify;
use tower::ServiceExt as _;

use crate::support::redis_cluster::shared_cluster;
use crate::support::unique_prefix;

/// Sessions in one kind of store.
pub(crate) struct Place {
    pub(crate) name: &'static str,
    pub(crate) cloakroom: Cloakroom,
}

impl Place {
    pub(crate) fn site(&self, options: Options) -> Site {
        Site::new(SessionLayer::new(self.cloakroom.sessions(), options).expect("valid options"))
    }
}

/// Sessions in memory, and in a cluster: whatever holds for one must hold for the other.
pub(crate) async fn places() -> [Place; 2] {
    let memory = Cloakroom::in_memory().await.expect("sessions in memory");
    [
        Place {
            name: "memory",
            cloakroom: memory,
        },
        Place {
            name: "cluster",
            cloakroom: replica(&unique_prefix(), "one").await,
        },
    ]
}

/// A replica over the cluster: those of one prefix share their sessions.
pub(crate) async fn replica(prefix: &str, server_id: &str) -> Cloakroom {
    let builder = Cloakroom::builder()
        .set("redis.prefix", prefix)
        .set("server_id", server_id);
    let urls = shared_cluster().await.urls();
    let builder = urls.into_iter().fold(builder, cloakroom::runtime::Builder::redis_url);
    builder.open().await.expect("a cluster that answers")
}

/// The application: `/do` runs the verbs in its body one after the other.
#[derive(Clone)]
pub(crate) struct Site {
    routes: Router,
    pub(crate) pause: Arc<Pause>,
}

/// Where the verb `pause` waits: until another request has done something.
#[derive(Default)]
pub(crate) struct Pause {
    pub(crate) reached: Notify,
    pub(crate) over: Notify,
}

impl Site {
    pub(crate) fn new(layer: SessionLayer) -> Self {
        let pause = Arc::<Pause>::default();
        let routes = Router::new()
            .route("/do", post(run).get(run))
            .route(
                "/plain",
                get(async || "nobody asks for the session").post(async || "nor here"),
            )
            .layer(layer)
            .layer(Extension(Arc::clone(&pause)));
        Self { routes, pause }
    }

    pub(crate) fn browser(&self) -> Browser {
        Browser {
            site: self.clone(),
            jar: BTreeMap::new(),
            headers: HeaderMap::new(),
            peer: None,
        }
    }
}

async fn run(session: Session, Extension(pause): Extension<Arc<Pause>>, verbs: String) -> Response {
    match serde_json::from_str::<Vec<Vec<Value>>>(&verbs) {
        Ok(verbs) => {
            let mut results = Vec::new();
            for verb in verbs {
                if verb[0] == "pause" {
                    pause.reached.notify_one();
                    pause.over.notified().await;
                    continue;
                }
                match act(&session, &verb).await {
                    Ok(result) => results.push(result),
                    Err(error) => return error.into_response(),
                }
            }
            Value::from(results).to_string().into_response()
        }
        Err(error) => (StatusCode::BAD_REQUEST, error.to_string()).into_response(),
    }
}

/// One verb with its arguments.
async fn act(session: &Session, verb: &[Value]) -> Result<Value, Error> {
    let text = |index: usize| verb.get(index).and_then(Value::as_str).unwrap_or_default();
    let done = |outcome: Result<(), Error>| outcome.map(|()| Value::Null);
    match text(0) {
        "get" => Ok(session.get(text(1)).await?.unwrap_or(Value::Null)),
        "set" => done(session.set(text(1), &verb[2]).await),
        "remove" => Ok(session.remove(text(1)).await?.unwrap_or(Value::Null)),
        "increment" => Ok(session.increment(text(1), verb[2].as_i64().unwrap_or(1)).await?.into()),
        "append" => {
            let item = text(2).to_owned();
            let append = |list: Option<Vec<String>>| {
                let mut list = list.unwrap_or_default();
                list.push(item.clone());
                list
            };
            Ok(json!(session.update(text(1), append).await?))
        }
        "add_to_cart" => Ok(json!(
            session.add_to_cart(text(1), verb[2].as_u64().unwrap_or(1)).await?
        )),
        "cart" => Ok(json!(session.cart().await?)),
        "log_in" => {
            let keep = verb.get(2).and_then(Value::as_array).cloned().unwrap_or_default();
            let keep = keep.iter().filter_map(Value::as_str);
            let mut log_in = LogIn::user(text(1)).roles(["reader"]).keep(keep);
            if verb.len() > 3 {
                log_in = log_in.class(text(3));
            }
            done(session.log_in(log_in).await)
        }
        "log_out" => done(session.log_out().await),
        "destroy" => done(session.destroy().await),
        "regenerate" => done(session.regenerate().await),
        "rotate" => done(session.rotate().await),
        "save" => done(session.save().await),
        "reload" => done(session.reload().await),
        "touch" => done(session.touch().await),
        "unset" => done(session.unset().await),
        "id" => Ok(json!(session.id().await?)),
        "user" => Ok(json!(session.user_id().await?)),
        "is_reader" => Ok(session.has_role("reader").await?.into()),
        "record" => Ok(json!(session.record().await?)),
        "csrf_token" => Ok(session.csrf_token().await?.into()),
        "verify_csrf" => Ok(session.verify_csrf(text(1)).await?.into()),
        "issued_token" => Ok(json!(session.issued_token().await?)),
        other => panic!("no verb {other}"),
    }
}

/// A client that keeps cookies as browsers do.
#[derive(Clone)]
pub(crate) struct Browser {
    site: Site,
    pub(crate) jar: BTreeMap<String, String>,
    headers: HeaderMap,
    peer: Option<std::net::SocketAddr>,
}

/// What a browser is answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Browser {
    /// With a header in every request.
    pub(crate) fn with(mut self, name: &'static str, value: &str) -> Self {
        let value = HeaderValue::from_str(value).expect("a header's value");
        self.headers.append(HeaderName::from_static(name), value);
        self
    }

    /// As if its requests came from this address.
    pub(crate) fn from(mut self, peer: &str) -> Self {
        self.peer = Some(peer.parse().expect("an address"));
        self
    }

    /// The same browser at another replica, or before other options.
    pub(crate) fn at(&self, site: &Site) -> Self {
        Self {
            site: site.clone(),
            ..self.clone()
        }
    }

    pub(crate) async fn send(&mut self, method: &str, path: &str, body: String) -> Answer {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "shop.example");
        let pairs: Vec<_> = self.jar.iter().map(|(name, value)| format!("{name}={value}")).collect();
        if !pairs.is_empty() {
            request = request.header("cookie", pairs.join("; "));
        }
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        if let Some(peer) = self.peer {
            request = request.extension(axum::extract::ConnectInfo(peer));
        }
        let request = request.body(Body::from(body)).expect("a request");
        let Ok(response) = self.site.routes.clone().oneshot(request).await;
        let (head, body) = response.into_parts();
        let body = body.collect().await.expect("a body").to_bytes();
        let answer = Answer {
            status: head.status.as_u16(),
            headers: head.headers,
            body: String::from_utf8_lossy(&body).into_owned(),
        };
        self.keep(&answer);
        answer
    }

    fn keep(&mut self, answer: &Answer) {
        for line in answer.cookies() {
            let (pair, attributes) = line.split_once(';').unwrap_or((line, ""));
            let (name, value) = pair.split_once('=').expect("a cookie's name and value");
            if attributes.contains("Max-Age=0") {
                self.jar.remove(name);
            } else {
                self.jar.insert(name.to_owned(), value.to_owned());
            }
        }
    }

    /// Runs verbs in one request, and gives what each answered.
    pub(crate) async fn run(&mut self, verbs: Value) -> Vec<Value> {
        let answer = self.answer(verbs).await;
        answer.results()
    }

    /// As [`Browser::run`], with all of the answer.
    pub(crate) async fn answer(&mut self, verbs: Value) -> Answer {
        self.send("POST", "/do", verbs.to_string()).await
    }

    /// One verb without arguments beyond text, and what it answered.
    pub(crate) async fn ask(&mut self, verb: &[&str]) -> Value {
        self.run(json!([verb])).await.remove(0)
    }
}

impl Answer {
    pub(crate) fn cookies(&self) -> Vec<&str> {
        let lines = self.headers.get_all("set-cookie").iter();
        lines.map(|line| line.to_str().expect("text")).collect()
    }

    pub(crate) fn results(&self) -> Vec<Value> {
        assert_eq!(self.status, 200, "{}", self.body);
        serde_json::from_str(&self.body).expect("results")
    }

    /// That it is this problem.
    pub(crate) fn problem(&self, status: u16, code: &str) {
        assert_eq!(self.status, status, "{}", self.body);
        let body: Value = serde_json::from_str(&self.body).expect("a problem");
        assert_eq!((&body["code"], &body["status"]), (&json!(code), &json!(status)));
        assert_eq!(self.headers["content-type"], "application/problem+json");
    }
}
