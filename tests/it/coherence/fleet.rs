//! Three real replicas over a real cluster of six nodes, each behind a proxy.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::{Mutex, MutexGuard, OnceCell};

use crate::support::process::Program;
use crate::support::redis_cluster::{ClusterNode, ClusterOptions, FAILOVER_LIMIT, RedisCluster};
use crate::support::server::ServerOptions;
use crate::support::wait::eventually;

const REPLICAS: usize = 3;
const BUCKETS: f64 = 1024.0;
/// The user as whom the first replica works: its connections are spared by the proxies' faults, so that writes go on
/// while the others hear nothing.
const SPARED: &str = "spared-replica";
/// Longer than any answer of a replica may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// What a read of a session came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// The session's number `n`, and its version.
    Alive { n: u64, version: u64 },
    /// There is no such session.
    Gone,
    /// The truth cannot be known now: 503, or no answer.
    Unknown,
}

/// One `cloakroom serve`.
pub(super) struct Replica {
    pub(super) program: Program,
    traffic: SocketAddr,
    admin: SocketAddr,
}

pub(super) struct Fleet {
    pub(super) cluster: RedisCluster,
    pub(super) replicas: Vec<Replica>,
}

static STEADY: OnceCell<Mutex<Fleet>> = OnceCell::const_new();
static SHIFTING: OnceCell<Mutex<Fleet>> = OnceCell::const_new();

impl Fleet {
    /// The fleet for faults that leave the cluster's topology alone; one test has it at a time.
    pub(super) async fn steady() -> MutexGuard<'static, Self> {
        Self::take(&STEADY).await
    }

    /// The fleet for faults that change who serves what; one test has it at a time.
    pub(super) async fn shifting() -> MutexGuard<'static, Self> {
        Self::take(&SHIFTING).await
    }

    async fn take(fleet: &'static OnceCell<Mutex<Self>>) -> MutexGuard<'static, Self> {
        let fleet = fleet
            .get_or_init(|| async { Mutex::new(Self::start().await) })
            .await
            .lock()
            .await;
        fleet.heal().await;
        fleet
    }

    async fn start() -> Self {
        let cluster = RedisCluster::start(ClusterOptions {
            server: ServerOptions::default()
                .with("enable-debug-command", &"yes")
                .with("user", &format!("{SPARED} on nopass ~* &* +@all")),
            proxied: true,
            ..ClusterOptions::default()
        })
        .await;
        cluster.nodes().iter().for_each(|node| node.proxy().spare(SPARED));
        let mut replicas = Vec::new();
        for number in 0..REPLICAS {
            replicas.push(Replica::start(&cluster.urls(), number).await);
        }
        Self { cluster, replicas }
    }

    /// A fleet of which every packet tells whose it is: by its address that of a node, and by its group, one for each,
    /// that of a replica.
    pub(super) async fn apart(groups: [u32; REPLICAS]) -> Self {
        let cluster = RedisCluster::start(ClusterOptions {
            apart: true,
            ..ClusterOptions::default()
        })
        .await;
        let mut replicas = Vec::new();
        for (number, group) in groups.into_iter().enumerate() {
            let start = |arguments: &[&str]| Program::cloakroom_in_group(group, arguments);
            replicas.push(Replica::start_by(start, &cluster.urls(), number, &[]).await);
        }
        let fleet = Self { cluster, replicas };
        fleet.wait_until_covered().await;
        fleet
    }

    /// Ends what a test left behind, and waits until every replica answers for every bucket from memory.
    pub(super) async fn heal(&self) {
        for node in self.cluster.nodes() {
            node.proxy().clear();
            if node.is_running() {
                node.thaw();
            } else {
                node.restart().await;
            }
        }
        for replica in &self.replicas {
            replica.program.thaw();
        }
        self.cluster.wait_until_healthy().await;
        self.wait_until_covered().await;
    }

    async fn wait_until_covered(&self) {
        for replica in &self.replicas {
            eventually(FAILOVER_LIMIT, "every bucket to be covered", async || {
                replica.metric("cloakroom_l1_covered_buckets").await == Some(BUCKETS)
            })
            .await;
        }
    }

    /// The node that serves a session.
    pub(super) async fn primary_of(&self, id: &str) -> &ClusterNode {
        self.cluster.primary_of_key(&format!("{{{}}}", &id[..2])).await
    }
}

impl Replica {
    async fn start(urls: &[String], number: usize) -> Self {
        let user = format!("redis.username={SPARED}");
        let spared = ["--set", &user, "--set", "redis.password=any"];
        let own: &[&str] = if number == 0 { &spared } else { &[] };
        Self::start_by(|arguments| Program::cloakroom(arguments, &[]), urls, number, own).await
    }

    async fn start_by(start: impl Fn(&[&str]) -> Program, urls: &[String], number: usize, own: &[&str]) -> Self {
        let id = format!("cloakroom-{number}");
        let mut arguments = vec!["serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"];
        arguments.extend(["--server-id", &id]);
        for url in urls {
            arguments.extend(["--redis-url", url]);
        }
        arguments.extend(own);
        let program = start(&arguments);
        let (traffic, admin) = (program.listener("traffic").await, program.listener("admin").await);
        Self {
            program,
            traffic,
            admin,
        }
    }

    /// How clients of this runtime reach it.
    pub(super) fn client(&self) -> Client {
        Client {
            http: reqwest::Client::builder().timeout(PATIENCE).build().unwrap(),
            base: format!("http://{}", self.traffic),
        }
    }

    /// A metric without labels, or the sum over its labels.
    pub(super) async fn metric(&self, name: &str) -> Option<f64> {
        let text = reqwest::get(format!("http://{}/metrics", self.admin))
            .await
            .ok()?
            .text()
            .await
            .ok()?;
        let values = text
            .lines()
            .filter(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '{'])))
            .filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok());
        Some(values.sum())
    }
}

/// Requests to one replica.
#[derive(Clone)]
pub(super) struct Client {
    http: reqwest::Client,
    base: String,
}

impl Client {
    /// Makes a session with `n` = 0, and gives its id.
    pub(super) async fn create(&self) -> String {
        let made = self
            .http
            .post(format!("{}/v1/sessions", self.base))
            .json(&json!({"data": {"n": 0}}));
        let made: Value = made
            .send()
            .await
            .unwrap()
            .error_for_status()
            .unwrap()
            .json()
            .await
            .unwrap();
        made["session"]["id"].as_str().unwrap().to_owned()
    }

    /// Sets a session's number; gives the version if that was acknowledged.
    pub(super) async fn write(&self, id: &str, n: u64) -> Option<u64> {
        let change = self.http.patch(self.session(id)).json(&json!({"data": {"n": n}}));
        let answer = change.send().await.ok()?.error_for_status().ok()?;
        answer.json::<Value>().await.ok()?["version"].as_u64()
    }

    pub(super) async fn read(&self, id: &str) -> Seen {
        let Ok(answer) = self.http.get(self.session(id)).send().await else {
            return Seen::Unknown;
        };
        match answer.status().as_u16() {
            404 => Seen::Gone,
            200 => match answer.json::<Value>().await {
                Ok(session) => Seen::Alive {
                    n: session["data"]["n"].as_u64().unwrap(),
                    version: session["version"].as_u64().unwrap(),
                },
                Err(_) => Seen::Unknown,
            },
            503 => Seen::Unknown,
            other => panic!("a read was answered {other}"),
        }
    }

    /// Ends a session; whether that was acknowledged.
    pub(super) async fn destroy(&self, id: &str) -> bool {
        let answer = self.http.delete(self.session(id)).send().await;
        answer.is_ok_and(|answer| answer.status().as_u16() == 204)
    }

    fn session(&self, id: &str) -> String {
        format!("{}/v1/sessions/{id}", self.base)
    }
}
