//! Prometheus, Alertmanager and whoever is told by them.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::routing::post;
use parking_lot::Mutex;
use reqwest::{Client, Url};
use serde_json::Value;
use tempfile::TempDir;
use tokio::task::JoinHandle;

use crate::history::{self, Habit};
use crate::support::fleet::Fleet;
use crate::support::ports::free_address;
use crate::support::process::Program;
use crate::support::wait::{SOON, eventually};
use crate::{files, text_of};

/// How often the fleet is scraped and the rules are evaluated. The windows of the rules are those that are shipped; only
/// how often the recorded ones are evaluated is shortened, from a minute to this.
pub(crate) const INTERVAL: Duration = Duration::from_secs(5);

/// A Prometheus with the shipped rules that scrapes a fleet and tells an Alertmanager, which tells a webhook.
pub(crate) struct Monitoring {
    prometheus: Program,
    alertmanager: Program,
    address: SocketAddr,
    client: Client,
    /// What the webhook was told: the alerts of each call.
    told: Arc<Mutex<Vec<Value>>>,
    webhook: JoinHandle<()>,
    _directory: TempDir,
}

impl Monitoring {
    pub(crate) async fn start(fleet: &Fleet, habits: &[Habit]) -> Self {
        let directory = TempDir::with_prefix("cloakroom-prometheus-").unwrap();
        let path = directory.path();
        history::write(habits, &path.join("storage"));
        let told = Arc::new(Mutex::new(Vec::new()));
        let (webhook, receiver) = receive(Arc::clone(&told)).await;
        let alertmanager_address = free_address();
        let alertmanager = start_alertmanager(path, alertmanager_address, receiver);
        let address = free_address();
        let prometheus = start_prometheus(path, address, alertmanager_address, fleet);
        let monitoring = Self {
            prometheus,
            alertmanager,
            address,
            client: Client::builder().timeout(SOON).build().unwrap(),
            told,
            webhook,
            _directory: directory,
        };
        for (name, address) in [("Prometheus", address), ("Alertmanager", alertmanager_address)] {
            eventually(SOON, &format!("{name} to be ready"), async || {
                let url = format!("http://{address}/-/ready");
                let answer = monitoring.client.get(url).send().await;
                answer.is_ok_and(|answer| answer.status().is_success())
            })
            .await;
        }
        monitoring
    }

    async fn ask(&self, path: &str, parameters: &[(&str, String)]) -> Value {
        let url = format!("http://{}/api/v1/{path}", self.address);
        let url = Url::parse_with_params(&url, parameters).unwrap();
        let answer = self.client.get(url).send().await.unwrap();
        let answer: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
        assert_eq!(answer["status"], "success", "{path} {parameters:?}: {answer}");
        answer["data"].clone()
    }

    /// The series that an expression has now.
    pub(crate) async fn query(&self, expression: &str) -> Vec<Value> {
        let data = self.ask("query", &[("query", expression.to_owned())]).await;
        series(&data)
    }

    /// The series that an expression had since a moment, in seconds since the epoch.
    pub(crate) async fn query_range(&self, expression: &str, since: f64, until: f64) -> Vec<Value> {
        let parameters = [
            ("query", expression.to_owned()),
            ("start", since.to_string()),
            ("end", until.to_string()),
            ("step", INTERVAL.as_secs().to_string()),
        ];
        series(&self.ask("query_range", &parameters).await)
    }

    /// Every rule, as Prometheus has evaluated it.
    pub(crate) async fn rules(&self) -> Vec<Value> {
        let data = self.ask("rules", &[]).await;
        let groups = data["groups"].as_array().unwrap().iter();
        groups
            .flat_map(|group| group["rules"].as_array().unwrap().clone())
            .collect()
    }

    /// The alerts that fire, by name.
    pub(crate) async fn firing(&self) -> Vec<String> {
        let alerts = self.query(r#"ALERTS{alertstate="firing"}"#).await;
        let names = alerts
            .iter()
            .map(|alert| alert["metric"]["alertname"].as_str().unwrap().to_owned());
        names.collect()
    }

    /// Waits until the webhook is told of an alert, which began after `mark`, and returns it.
    pub(crate) async fn told_of(&self, alert: &str, status: &str, mark: usize, limit: Duration) -> Value {
        eventually(
            limit,
            &format!("the webhook to be told that {alert} is {status}"),
            async || {
                let told = self.told.lock();
                let mut later = told.iter().skip(mark);
                later
                    .rfind(|told| told["labels"]["alertname"] == alert && told["status"] == status)
                    .cloned()
            },
        )
        .await
    }

    /// How many alerts the webhook has been told of.
    pub(crate) fn mark(&self) -> usize {
        self.told.lock().len()
    }

    pub(crate) async fn stop(self) {
        self.webhook.abort();
        self.prometheus.stop(SOON).await;
        self.alertmanager.stop(SOON).await;
    }
}

fn series(data: &Value) -> Vec<Value> {
    data["result"].as_array().unwrap().clone()
}

/// Listens for Alertmanager's calls.
async fn receive(told: Arc<Mutex<Vec<Value>>>) -> (JoinHandle<()>, SocketAddr) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let note = async |State(told): State<Arc<Mutex<Vec<Value>>>>, body: String| {
        let call: Value = serde_json::from_str(&body).unwrap();
        told.lock().extend(call["alerts"].as_array().unwrap().iter().cloned());
    };
    let router = Router::new().route("/", post(note)).with_state(told);
    let serving = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    (serving, address)
}

fn start_alertmanager(directory: &Path, address: SocketAddr, receiver: SocketAddr) -> Program {
    let configuration = format!(
        "route: {{receiver: webhook, group_by: ['...'], group_wait: 0s, group_interval: 1s, repeat_interval: 1h}}\n\
         receivers: [{{name: webhook, webhook_configs: [{{url: 'http://{receiver}/', send_resolved: true}}]}}]\n"
    );
    let file = directory.join("alertmanager.yml");
    std::fs::write(&file, configuration).unwrap();
    let arguments = [
        format!("--config.file={}", file.display()),
        format!("--storage.path={}", directory.join("alertmanager").display()),
        format!("--web.listen-address={address}"),
        "--cluster.listen-address=".to_owned(),
    ];
    start("prometheus-alertmanager", &arguments)
}

fn start_prometheus(directory: &Path, address: SocketAddr, alertmanager: SocketAddr, fleet: &Fleet) -> Program {
    let seconds = INTERVAL.as_secs();
    for rules in files("grafana/alerts", ".yaml") {
        let text = text_of(&rules).replace("interval: 1m\n", &format!("interval: {seconds}s\n"));
        std::fs::write(directory.join(rules.file_name().unwrap()), text).unwrap();
    }
    let targets = fleet.replicas.iter().map(|replica| {
        format!(
            "      - {{targets: ['{}'], labels: {{namespace: shop, pod: {}}}}}\n",
            replica.admin, replica.id
        )
    });
    let configuration = format!(
        "global: {{scrape_interval: {seconds}s, evaluation_interval: {seconds}s}}\n\
         rule_files: ['{}/*.yaml']\n\
         alerting: {{alertmanagers: [{{static_configs: [{{targets: ['{alertmanager}']}}]}}]}}\n\
         scrape_configs:\n  - job_name: cloakroom\n    static_configs:\n{}",
        directory.display(),
        targets.collect::<String>()
    );
    let file = directory.join("prometheus.yml");
    std::fs::write(&file, configuration).unwrap();
    let arguments = [
        format!("--config.file={}", file.display()),
        format!("--storage.tsdb.path={}", directory.join("storage").display()),
        format!("--web.listen-address={address}"),
    ];
    start("prometheus", &arguments)
}

fn start(name: &str, arguments: &[String]) -> Program {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    Program::start(Path::new(name), &arguments, &[])
}
