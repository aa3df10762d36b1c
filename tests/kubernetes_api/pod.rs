//! A server as its pod would run it.

use std::net::SocketAddr;

use cloakroom::session::{Clock as _, SystemClock};
use jsonwebtoken::{EncodingKey, Header, encode};
use reqwest::{Client, Method};
use serde_json::{Value, json};

use crate::site::Site;
use crate::support::ports::free_address;
use crate::support::process::Program;
use crate::support::single_redis::SingleRedis;
use crate::support::unique_prefix;
use crate::support::wait::{SOON, eventually};

const SECRET: &str = "a secret of at least thirty-two bytes";

/// A process with the credentials of its pod.
pub(crate) struct Pod {
    pub(crate) name: String,
    pub(crate) program: Program,
    traffic: SocketAddr,
    admin: SocketAddr,
    client: Client,
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) text: String,
}

impl Answer {
    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text);
        serde_json::from_str(&self.text).unwrap_or_default()
    }

    #[track_caller]
    pub(crate) fn problem(self, status: u16, code: &str) {
        let body = self.expect(status);
        assert_eq!(body["code"], code, "{body}");
    }
}

/// Where the sessions of one test are.
pub(crate) struct Store {
    pub(crate) urls: String,
    pub(crate) prefix: String,
}

impl Store {
    /// In one Redis, under a prefix of its own.
    pub(crate) fn of(redis: &SingleRedis) -> Self {
        Self {
            urls: redis.url(),
            prefix: unique_prefix(),
        }
    }
}

impl Pod {
    /// Starts the server of a pod that is there, and waits until it is ready.
    pub(crate) async fn start(site: &Site, name: &str, store: &Store, settings: &[(&str, &str)]) -> Self {
        let pod = Self::launch(site, name, name, store, settings).await;
        pod.until_ready().await;
        pod
    }

    /// Starts a server with the credentials of a pod, under an id.
    pub(crate) async fn launch(
        site: &Site,
        name: &str,
        server_id: &str,
        store: &Store,
        settings: &[(&str, &str)],
    ) -> Self {
        let kubeconfig = site.kubeconfig(name).await;
        let (traffic, admin) = (free_address(), free_address());
        let (traffic_text, admin_text) = (traffic.to_string(), admin.to_string());
        let shared = [
            ("listen", traffic_text.as_str()),
            ("admin_listen", &admin_text),
            ("server_id", server_id),
            ("redis.urls", &store.urls),
            ("redis.prefix", &store.prefix),
            ("jwt.secret", SECRET),
            ("log.format", "json"),
            ("kubernetes.enabled", "true"),
        ];
        let settings: Vec<_> = [&shared[..], settings].concat();
        let settings: Vec<_> = settings.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let mut arguments = vec!["serve"];
        for setting in &settings {
            arguments.extend(["--set", setting]);
        }
        Self {
            name: name.to_owned(),
            program: Program::cloakroom(&arguments, &[("KUBECONFIG", kubeconfig.to_str().unwrap())]),
            traffic,
            admin,
            client: Client::builder().timeout(SOON).build().unwrap(),
        }
    }

    pub(crate) async fn until_ready(&self) {
        let what = format!("{} to be ready", self.name);
        eventually(SOON, &what, async || {
            let ended = self.program.exit_status();
            assert!(ended.is_none(), "{} ended: {ended:?}", self.name);
            let url = format!("http://{}/readyz", self.admin);
            self.client
                .get(url)
                .send()
                .await
                .is_ok_and(|answer| answer.status() == 200)
        })
        .await;
    }

    /// A call by an administrator with a JWT.
    pub(crate) async fn call(&self, method: &str, path: &str, body: Option<Value>) -> Answer {
        let exp = SystemClock.now().as_millis() / 1000 + 600;
        let claims = json!({"aud": "cloakroom", "exp": exp, "scope": "sessions:admin"});
        let key = EncodingKey::from_secret(SECRET.as_bytes());
        let token = encode(&Header::default(), &claims, &key).unwrap();
        self.call_as(&token, method, path, body).await
    }

    /// A call with a bearer token, as a patient client makes it: a store that is too slow on a busy machine is asked again.
    pub(crate) async fn call_as(&self, token: &str, method: &str, path: &str, body: Option<Value>) -> Answer {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        eventually(SOON, "the store", async || {
            let answer = self.call_once(token, method.clone(), path, body.as_ref()).await;
            let is_slow = answer.status == 503 && answer.text.contains("store_unavailable");
            (!is_slow).then_some(answer)
        })
        .await
    }

    async fn call_once(&self, token: &str, method: Method, path: &str, body: Option<&Value>) -> Answer {
        let mut request = self.client.request(method, format!("http://{}{path}", self.traffic));
        request = request.bearer_auth(token);
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = request.send().await;
        let response = response.unwrap_or_else(|error| panic!("{}: {path}: {error:?}", self.name));
        Answer {
            status: response.status().as_u16(),
            text: response.text().await.unwrap(),
        }
    }

    pub(crate) async fn get(&self, path: &str) -> Value {
        self.call("GET", path, None).await.expect(200)
    }

    /// A new session: its path and its token.
    pub(crate) async fn create(&self, body: Value) -> (String, String) {
        let body = self.call("POST", "/v1/sessions", Some(body)).await.expect(201);
        let id = body["session"]["id"].as_str().unwrap();
        (format!("/v1/sessions/{id}"), body["token"].as_str().unwrap().to_owned())
    }

    /// Uses a session, as a visitor's request does.
    pub(crate) async fn uses(&self, token: &str) {
        let body = json!({"token": token});
        let verdict = self.call("POST", "/v1/sessions/validate", Some(body)).await.expect(200);
        assert_eq!(verdict["valid"], true, "{verdict}");
    }

    /// The servers of the fleet as this one sees them, with their state.
    pub(crate) async fn sees(&self) -> Vec<(String, Option<String>)> {
        let servers = self.get("/v1/servers").await;
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let servers = servers["servers"].as_array().unwrap().iter();
        servers
            .map(|server| (text(&server["server_id"]).unwrap(), text(&server["state"])))
            .collect()
    }

    /// The fleet's state of a server; nothing where it is not there.
    pub(crate) async fn state_of(&self, server: &str) -> Option<String> {
        let servers = self.sees().await.into_iter();
        servers.filter(|(id, _)| id == server).find_map(|(_, state)| state)
    }

    /// A metric without labels, or with these as they are written.
    pub(crate) async fn metric(&self, name: &str) -> Option<f64> {
        let url = format!("http://{}/metrics", self.admin);
        let text = self.client.get(url).send().await.ok()?.text().await.ok()?;
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' ').map(str::to_owned));
        line?.parse().ok()
    }

    pub(crate) async fn leads(&self) -> bool {
        self.metric("cloakroom_leader").await == Some(1.0)
    }
}
