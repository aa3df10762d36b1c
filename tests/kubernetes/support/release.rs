//! An installed chart.

use std::time::Duration;

use serde_json::{Value, json};

use super::command::{Outcome, outcome, succeed};
use super::namespace::Namespace;
use crate::helm;
use crate::wait::{SOON, eventually};

/// How long all of an installation may take on a busy machine; what it should take is asserted where that is the question.
const READY: &str = "--timeout=300s";

/// A release of the chart; the namespace takes it along when it goes.
#[derive(Debug)]
pub(crate) struct Release<'a> {
    pub(crate) namespace: &'a Namespace,
    /// The release's name.
    pub(crate) name: String,
    fullname: String,
    /// What helm printed at the end of the installation.
    pub(crate) notes: String,
}

impl<'a> Release<'a> {
    pub(super) async fn install(namespace: &'a Namespace, name: &str, arguments: &[&str]) -> Self {
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
        }
    }

    /// Objects of the chart that helm did not install, but that have the same names and labels.
    pub(crate) fn of_others(namespace: &'a Namespace, fullname: &str) -> Self {
        Self {
            namespace,
            name: fullname.to_owned(),
            fullname: fullname.to_owned(),
            notes: String::new(),
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

    /// Removes it, and waits until its pods are gone.
    pub(crate) async fn uninstall(&self) {
        let whole = [
            "uninstall",
            self.name.as_str(),
            "--cascade",
            "foreground",
            "--wait",
            READY,
        ];
        self.namespace.helm(&whole).await;
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

    /// Calls the API through the Service from inside the cluster or out of it, wherever this machine stands.
    pub(crate) async fn caller(&self, scope: &str) -> Caller {
        let token = self.token(scope).await;
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
