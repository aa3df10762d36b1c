//! Three real `cloakroom serve` processes over a real Redis Cluster, asked by HTTP.

use std::net::SocketAddr;
use std::time::Duration;

use cloakroom::session::{Clock as _, SystemClock};
use futures_util::future::join_all;
use futures_util::stream::{self, StreamExt as _};
use jsonwebtoken::{EncodingKey, Header, encode};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value, json};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

use super::audit::{Audit, audit};
use super::ports::free_address;
use super::process::Program;
use super::redis_cluster::RedisCluster;
use super::unique_prefix;
use super::wait::{SOON, eventually};

/// The staleness bound that the fleets promise: the default.
pub(crate) const BOUND: Duration = Duration::from_secs(1);
pub(crate) const SECRET: &str = "a secret of at least thirty-two bytes";
/// How many fleets there are at a time: three processes each, whose timing is looked at.
static FLEETS: Semaphore = Semaphore::const_new(2);
/// How many requests a crowd has in flight.
pub(crate) const CROWD: usize = 64;

/// A fleet over one deployment; dropped, its processes are killed.
pub(crate) struct Fleet {
    pub(crate) replicas: Vec<Replica>,
    pub(crate) prefix: String,
    _turn: SemaphorePermit<'static>,
}

/// One process and how to start it again.
pub(crate) struct Replica {
    pub(crate) program: Program,
    pub(crate) arguments: Vec<String>,
    pub(crate) id: String,
    pub(crate) traffic: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) client: Client,
    pub(crate) credential: String,
}

/// An answer, read to its end.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) text: String,
}

impl Fleet {
    /// Three replicas, ready, with settings beside those that they need.
    pub(crate) async fn start(cluster: &RedisCluster, settings: &[(&str, &str)]) -> Self {
        Self::listening("127.0.0.1", cluster, settings).await
    }

    /// The same on loopback by another name, under which the program does not know it: it takes leave of load
    /// balancers, and waits until they have noticed.
    pub(crate) async fn behind_a_balancer(cluster: &RedisCluster, settings: &[(&str, &str)]) -> Self {
        Self::listening("[::ffff:127.0.0.1]", cluster, settings).await
    }

    pub(crate) async fn listening(host: &str, cluster: &RedisCluster, settings: &[(&str, &str)]) -> Self {
        let turn = FLEETS.acquire().await.unwrap();
        let prefix = unique_prefix();
        let urls = cluster.urls().join(",");
        let shared = [
            ("redis.urls", urls.as_str()),
            ("redis.prefix", &prefix),
            ("jwt.secret", SECRET),
            ("log.format", "json"),
        ];
        let settings = [&shared[..], settings].concat();
        let start = |index| Replica::start(&format!("replica-{index}"), host, &settings);
        let replicas: Vec<Replica> = (0..3).map(start).collect();
        join_all(replicas.iter().map(Replica::until_ready)).await;
        Self {
            replicas,
            prefix,
            _turn: turn,
        }
    }

    pub(crate) fn at(&self, index: usize) -> &Replica {
        &self.replicas[index % self.replicas.len()]
    }

    /// Asks `count` times, round the replicas, many at a time.
    pub(crate) async fn crowd<T>(&self, count: usize, ask: impl AsyncFn(&Replica, usize) -> T) -> Vec<T> {
        let ask = &ask;
        stream::iter(0..count)
            .map(|number| async move { ask(self.at(number), number).await })
            .buffer_unordered(CROWD)
            .collect()
            .await
    }

    /// Waits until every replica has heard of all.
    pub(crate) async fn know_each_other(&self) {
        for replica in &self.replicas {
            eventually(SOON, "a replica to know the fleet", async || {
                let servers = replica.get("/v1/servers").await.json();
                let servers = servers["servers"].as_array();
                // A store that is slow on a busy machine is asked again.
                servers.is_some_and(|servers| servers.len() == self.replicas.len())
            })
            .await;
        }
    }

    /// Whether a condition comes to hold at every replica, for every request that is sent later than the staleness
    /// bound after now.
    pub(crate) async fn all_show(&self, what: &str, shows: impl AsyncFn(&Replica) -> bool) {
        let done = Instant::now();
        for replica in &self.replicas {
            loop {
                let sent = Instant::now();
                if shows(replica).await {
                    break;
                }
                let age = sent - done;
                assert!(age <= BOUND, "{}: {what}: not after {age:?}", replica.id);
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    }

    /// Stops all, which succeeds, and holds all keys against each other.
    pub(crate) async fn finish(self, cluster: &RedisCluster) -> Audit {
        for replica in &self.replicas {
            replica.program.terminate();
        }
        for replica in &self.replicas {
            let status = replica.program.wait_exit(SOON).await;
            assert_eq!(status.code(), Some(0), "{}", replica.id);
            replica.has_kept_calm();
        }
        audit(cluster, &self.prefix).await
    }
}

impl Replica {
    pub(crate) fn start(id: &str, host: &str, settings: &[(&str, &str)]) -> Self {
        let (traffic, admin) = (free_address(), free_address());
        let mut arguments: Vec<String> = ["serve", "--server-id", id, "--listen"].map(str::to_owned).into();
        arguments.push(format!("{host}:{}", traffic.port()));
        arguments.extend(["--admin-listen".to_owned(), admin.to_string()]);
        for (key, value) in settings {
            arguments.extend(["--set".to_owned(), format!("{key}={value}")]);
        }
        Self {
            program: run(&arguments),
            arguments,
            id: id.to_owned(),
            traffic,
            admin,
            client: Client::builder().timeout(SOON).build().unwrap(),
            credential: format!("Bearer {}", jwt("sessions:admin")),
        }
    }

    /// A new process in the place of one that has ended.
    pub(crate) async fn restart(&mut self) {
        assert!(self.program.exit_status().is_some(), "{} still runs", self.id);
        self.program = run(&self.arguments);
        self.until_ready().await;
    }

    pub(crate) async fn until_ready(&self) {
        let what = format!("{} to be ready", self.id);
        eventually(SOON, &what, async || {
            let ended = self.program.exit_status();
            assert!(ended.is_none(), "{} ended: {ended:?}", self.id);
            self.readiness().await == Some(200)
        })
        .await;
    }

    /// The status of `/readyz`; nothing where nobody listens.
    pub(crate) async fn readiness(&self) -> Option<u16> {
        let url = format!("http://{}/readyz", self.admin);
        Some(self.client.get(url).send().await.ok()?.status().as_u16())
    }

    /// A request with nothing on it.
    pub(crate) fn request(&self, method: &str, path: &str) -> RequestBuilder {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        self.client.request(method, format!("http://{}{path}", self.traffic))
    }

    pub(crate) async fn try_call(&self, method: &str, path: &str, body: Option<&Value>) -> reqwest::Result<Answer> {
        let mut request = self.request(method, path).header("authorization", &self.credential);
        if let Some(body) = body {
            request = request.json(body);
        }
        Answer::of(request).await
    }

    pub(crate) async fn call(&self, method: &str, path: &str, body: Value) -> Answer {
        let answer = self.try_call(method, path, Some(&body)).await;
        answer.unwrap_or_else(|error| panic!("{}: {method} {path}: {error:?}", self.id))
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        let answer = self.try_call("GET", path, None).await;
        answer.unwrap_or_else(|error| panic!("{}: GET {path}: {error:?}", self.id))
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        let answer = self.try_call("DELETE", path, None).await;
        answer.unwrap_or_else(|error| panic!("{}: DELETE {path}: {error:?}", self.id))
    }

    /// A new session: its path and its token.
    pub(crate) async fn create(&self, body: Value) -> (String, String) {
        self.call("POST", "/v1/sessions", body).await.expect(201).issued()
    }

    /// A face that takes the session's own credential.
    pub(crate) async fn as_browser(&self, path: &str, token: &str) -> Answer {
        let request = self
            .request("GET", path)
            .header("cookie", format!("__Host-cloakroom={token}"));
        Answer::of(request).await.unwrap()
    }

    pub(crate) async fn validate(&self, token: &str) -> Value {
        let body = json!({"token": token, "touch": false});
        self.call("POST", "/v1/sessions/validate", body)
            .await
            .expect(200)
            .json()
    }

    pub(crate) async fn is_valid(&self, token: &str) -> bool {
        self.validate(token).await["valid"] == true
    }

    /// Neither panics nor internal errors are in the log.
    pub(crate) fn has_kept_calm(&self) {
        for line in self.program.output() {
            assert!(!line.contains("panicked"), "{}: {line}", self.id);
            assert!(!line.contains("\"level\":\"ERROR\""), "{}: {line}", self.id);
        }
    }
}

impl Answer {
    pub(crate) async fn of(request: RequestBuilder) -> reqwest::Result<Self> {
        let response = request.send().await?;
        Ok(Self {
            status: response.status().as_u16(),
            headers: response.headers().clone(),
            text: response.text().await?,
        })
    }

    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.text);
        self
    }

    /// An error of the contract's form.
    #[track_caller]
    pub(crate) fn problem(self, status: u16, code: &str) -> Self {
        let answer = self.expect(status);
        assert_eq!(answer.header("content-type"), "application/problem+json");
        assert_eq!(answer.json()["code"], code, "{}", answer.text);
        answer
    }

    /// The answer to a question that cannot be answered at present.
    #[track_caller]
    pub(crate) fn unavailable(self) -> Self {
        let answer = self.problem(503, "store_unavailable");
        assert_eq!(answer.header("retry-after"), "1");
        assert!(!answer.headers.contains_key("set-cookie"));
        answer
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    /// The path and the token of a session that was made or rotated.
    pub(crate) fn issued(self) -> (String, String) {
        let body = self.json();
        let id = body["session"]["id"].as_str().unwrap();
        (format!("/v1/sessions/{id}"), body["token"].as_str().unwrap().to_owned())
    }
}

pub(crate) fn run(arguments: &[String]) -> Program {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    Program::cloakroom(&arguments, &[])
}

/// A caller's credential, signed with the shared secret.
pub(crate) fn jwt(scope: &str) -> String {
    let claims = claims(scope);
    encode(
        &Header::default(),
        &claims,
        &EncodingKey::from_secret(SECRET.as_bytes()),
    )
    .unwrap()
}

pub(crate) fn claims(scope: &str) -> Value {
    json!({"sub": "the-tests", "aud": "cloakroom", "exp": SystemClock.now().as_millis() / 1000 + 600, "scope": scope})
}

/// A text as a segment of a path.
pub(crate) fn segment(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}
