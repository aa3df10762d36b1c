//! An installed chart.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::{RwLock, RwLockWriteGuard};

use super::command::{Outcome, outcome, succeed};
use super::namespace::Namespace;
use crate::helm;
use crate::wait::{SOON, eventually};

/// How long all of an installation may take on a busy machine; what it should take is asserted where that is the question.
const READY: &str = "--timeout=300s";
/// How often, a second apart, it is looked for what a removed release left.
const LOOKS: usize = 30;
/// Held by who installs, and by who wants a node to take no pods for a while alone.
static SCHEDULING: RwLock<()> = RwLock::const_new(());

/// A release of the chart; the namespace takes it along when it goes.
#[derive(Debug)]
pub(crate) struct Release<'a> {
    pub(crate) namespace: &'a Namespace,
    /// The release's name.
    pub(crate) name: String,
    fullname: String,
    /// What helm printed at the end of the installation.
    pub(crate) notes: String,
    /// What was in the namespace already.
    before: Vec<String>,
}

impl<'a> Release<'a> {
    pub(super) async fn install(namespace: &'a Namespace, name: &str, arguments: &[&str]) -> Self {
        let _scheduling = SCHEDULING.read().await;
        let before = namespace.holds().await;
        let chart = helm::chart();
        let fixed = ["install", name, chart.to_str().expect("a path"), "--wait", READY];
        let notes = namespace.helm(&[&fixed[..], arguments].concat()).await;
        let selector = format!("app.kubernetes.io/instance={name},app.kubernetes.io/component=server");
        let deployments = namespace.list(&["deployments", "--selector", &selector]).await;
        let fullname = deployments[0]["metadata"]["name"].as_str().expect("a name");
        Self {
            namespace,
            name: name.to_owned(),
            fullname: fullname.to_owned(),
            notes,
            before,
        }
    }

    /// Keeps other tests from installing, until the guard is dropped: for who takes the node away from the pods.
    pub(crate) async fn nobody_installs() -> RwLockWriteGuard<'static, ()> {
        SCHEDULING.write().await
    }

    /// Objects of the chart that helm did not install, but that have the same names and labels.
    pub(crate) fn of_others(namespace: &'a Namespace, fullname: &str) -> Self {
        Self {
            namespace,
            name: fullname.to_owned(),
            fullname: fullname.to_owned(),
            notes: String::new(),
            before: Vec::new(),
        }
    }

    /// The name of its objects.
    pub(crate) fn fullname(&self) -> String {
        self.fullname.clone()
    }

    /// Upgrades it, with the values that it has unless the arguments say otherwise, and waits until all of it is ready.
    pub(crate) async fn upgrade(&self, arguments: &[&str]) {
        let chart = helm::chart();
        let chart = chart.to_str().expect("a path");
        let fixed = ["upgrade", &self.name, chart, "--reuse-values", "--wait", READY];
        self.namespace.helm(&[&fixed[..], arguments].concat()).await;
    }

    /// Goes back to a revision, and waits until all of it is ready.
    pub(crate) async fn rollback(&self, revision: u32) {
        let revision = revision.to_string();
        self.namespace
            .helm(&["rollback", &self.name, &revision, "--wait", READY])
            .await;
    }

    /// Removes it, and waits until its pods are gone, and all else that was not there before it.
    pub(crate) async fn uninstall(&self) {
        let name = self.name.as_str();
        let whole = ["uninstall", name, "--cascade", "foreground", "--wait", READY];
        self.namespace.helm(&whole).await;
        // What Kubernetes made for an object of the release, such as the endpoints of a Service, goes a little later.
        let mut left = Vec::new();
        for _ in 0..LOOKS {
            left = [self.namespace.holds().await, self.cluster_wide().await].concat();
            left.retain(|object| !self.before.contains(object));
            if left.is_empty() {
                return;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        panic!("the release left: {left:?}");
    }

    /// Its objects that live in no namespace: they are named after it.
    async fn cluster_wide(&self) -> Vec<String> {
        let kinds = "clusterroles,clusterrolebindings";
        let selector = format!("app.kubernetes.io/instance={}", self.name);
        let arguments = ["get", kinds, "--selector", &selector, "--output=name"];
        let names = self.namespace.cluster.kubectl(&arguments).await;
        let of_here = format!("/{}-", self.namespace.name);
        names
            .lines()
            .filter(|name| name.contains(&of_here))
            .map(str::to_owned)
            .collect()
    }

    /// `helm test`.
    pub(crate) async fn test(&self) {
        self.namespace.helm(&["test", &self.name, READY]).await;
    }

    /// A token for the API, as an operator gets it.
    pub(crate) async fn token(&self, scope: &str) -> String {
        let deployment = format!("deployment/{}", self.fullname());
        let words = ["exec", &deployment, "--", "cloakroom", "token", "--scope", scope];
        self.namespace.kubectl(&words).await.trim().to_owned()
    }

    /// Waits until a roll is over.
    pub(crate) async fn rolled_out(&self) {
        let deployment = format!("deployment/{}", self.fullname());
        self.namespace.kubectl(&["rollout", "status", &deployment, READY]).await;
    }

    /// Its pods with servers.
    pub(crate) async fn pods(&self) -> Vec<Value> {
        let selector = format!(
            "app.kubernetes.io/instance={},app.kubernetes.io/component=server",
            self.name
        );
        self.namespace.list(&["pods", "--selector", &selector]).await
    }

    /// Which of them holds the leader's Lease, if one does.
    pub(crate) async fn leader(&self) -> Option<String> {
        let holder = self.lease().await["holderIdentity"].as_str().map(str::to_owned);
        holder.filter(|holder| !holder.is_empty())
    }

    /// The state of the leader's Lease.
    pub(crate) async fn lease(&self) -> Value {
        let lease = self.namespace.get(&["lease", &self.fullname()]).await;
        lease["spec"].clone()
    }

    /// A pod of it by name.
    pub(crate) async fn pod(&self, name: &str) -> Value {
        self.namespace.get(&["pod", name]).await
    }

    /// A metric of a pod, without labels; nothing where the pod does not answer.
    pub(crate) async fn metric(&self, pod: &str, name: &str) -> Option<f64> {
        let path = format!(
            "/api/v1/namespaces/{}/pods/{pod}:9090/proxy/metrics",
            self.namespace.name
        );
        let metrics = self.namespace.try_kubectl(&["get", "--raw", &path]).await.stdout;
        let value = metrics
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value?.parse().ok()
    }

    /// The address of the Service, on a machine that reaches it.
    pub(crate) async fn service_url(&self) -> String {
        let service = self.namespace.get(&["service", &self.fullname()]).await;
        let spec = &service["spec"];
        format!(
            "http://{}:{}",
            spec["clusterIP"].as_str().expect("an address"),
            spec["ports"][0]["port"]
        )
    }

    /// Calls the API with a token of the service's own secret.
    pub(crate) async fn caller(&self, scope: &str) -> Caller {
        self.caller_with(self.token(scope).await).await
    }

    /// Calls the API through the Service from inside the cluster or out of it, wherever this machine stands.
    pub(crate) async fn caller_with(&self, token: String) -> Caller {
        if self.namespace.cluster.reaches_services().await {
            return Caller::new(self.service_url().await, token, None);
        }
        let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let port = port.expect("a free port").port();
        let service = format!("service/{}", self.fullname());
        let ports = format!("{port}:http");
        let arguments = [
            "--namespace",
            self.namespace.name.as_str(),
            "port-forward",
            &service,
            &ports,
        ];
        let mut command = self.namespace.cluster.kubectl_command(&arguments);
        command.stdout(std::process::Stdio::null()).kill_on_drop(true);
        let forward = command.spawn().expect("kubectl");
        eventually(SOON, "the forwarded port", async || {
            tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok()
        })
        .await;
        Caller::new(format!("http://127.0.0.1:{port}"), token, Some(forward))
    }

    /// Runs shell lines as an operator would paste them.
    pub(crate) async fn paste(&self, lines: &str) -> String {
        succeed(self.namespace.cluster.shell_command(lines), "").await
    }

    /// The same, whatever comes of it.
    pub(crate) async fn try_paste(&self, lines: &str) -> Outcome {
        outcome(self.namespace.cluster.shell_command(lines), "").await
    }
}

/// An application that calls the API through the Service.
#[derive(Debug)]
pub(crate) struct Caller {
    pub(crate) url: String,
    pub(crate) token: String,
    http: reqwest::Client,
    _forward: Option<tokio::process::Child>,
}

impl Caller {
    fn new(url: String, token: String, forward: Option<tokio::process::Child>) -> Self {
        Self {
            url,
            token,
            // A connection for each request: they go to all pods, not to one.
            http: reqwest::Client::builder()
                .pool_max_idle_per_host(0)
                .timeout(Duration::from_secs(20))
                .build()
                .expect("a client"),
            _forward: forward,
        }
    }

    /// Sends a request as a patient client does: `503` with `Retry-After` is asked again. Returns status and body.
    pub(crate) async fn call(&self, method: reqwest::Method, path: &str, body: Option<Value>) -> (u16, Value) {
        eventually(SOON, "another answer than 503", async || {
            let answer = self.call_once(method.clone(), path, body.clone()).await;
            (answer.0 != 503).then_some(answer)
        })
        .await
    }

    /// Sends a request and returns status and body.
    pub(crate) async fn call_once(&self, method: reqwest::Method, path: &str, body: Option<Value>) -> (u16, Value) {
        self.try_call(method, path, body).await.expect("an answer")
    }

    /// The same, where there may be no answer.
    pub(crate) async fn try_call(
        &self,
        method: reqwest::Method,
        path: &str,
        body: Option<Value>,
    ) -> reqwest::Result<(u16, Value)> {
        let request = self
            .http
            .request(method, format!("{}{path}", self.url))
            .bearer_auth(&self.token);
        let request = match body {
            Some(body) => request.json(&body),
            None => request,
        };
        let answer = request.send().await?;
        let status = answer.status().as_u16();
        Ok((status, answer.json().await.unwrap_or(Value::Null)))
    }

    /// Makes a session of a user, and returns its token and id.
    pub(crate) async fn create(&self, user: &str) -> (String, String) {
        let body = json!({"user_id": user});
        let (status, made) = self.call(reqwest::Method::POST, "/v1/sessions", Some(body)).await;
        assert_eq!(status, 201, "{made}");
        let text = |value: &Value| value.as_str().expect("a string").to_owned();
        (text(&made["token"]), text(&made["session"]["id"]))
    }

    /// What the service says about a token.
    pub(crate) async fn validate(&self, token: &str) -> Value {
        let body = json!({"token": token});
        let (status, judged) = self
            .call(reqwest::Method::POST, "/v1/sessions/validate", Some(body))
            .await;
        assert_eq!(status, 200, "{judged}");
        judged
    }
}
