//! The cluster and three replicas of the program.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::cpus::start_server;
use crate::load::{Connection, Order};
use crate::options::Options;
use crate::requests::{JWT_SECRET, Requests};
use crate::support::process::Program;
use crate::support::redis_cluster::{ClusterNode, ClusterOptions, RedisCluster};
use crate::support::wait::{SOON, eventually};

/// The settings of a server that guards its sessions by all that it has.
const GUARDED: [(&str, &str); 5] = [
    (
        "CLOAKROOM_COOKIE__SECRETS",
        "the first secret signs,the second verifies",
    ),
    ("CLOAKROOM_HTTP__TRUSTED_PROXIES", "127.0.0.1/32"),
    ("CLOAKROOM_BINDING__IP", "refuse"),
    ("CLOAKROOM_BINDING__USER_AGENT", "refuse"),
    ("CLOAKROOM_BINDING__FINGERPRINT", "refuse"),
];

/// A session as its creation gave it out.
#[derive(Clone, Debug)]
pub(crate) struct Made {
    pub(crate) id: String,
    pub(crate) token: String,
    pub(crate) csrf_token: String,
    /// The cookie's name and value.
    pub(crate) cookie: String,
}

/// A server that is measured.
pub(crate) struct Server {
    pub(crate) program: Program,
    pub(crate) address: SocketAddr,
}

impl Server {
    pub(crate) async fn of(program: Program) -> Self {
        let address = program.listener("traffic").await;
        Self { program, address }
    }

    /// Starts the program on the cluster and waits until it is ready: the leases stand.
    pub(crate) async fn cloakroom(cluster: &RedisCluster, server_id: &str, settings: &[(&str, &str)]) -> Self {
        let urls = cluster.urls().join(",");
        let usual = [
            ("CLOAKROOM_SERVER_ID", server_id),
            ("CLOAKROOM_REDIS__URLS", urls.as_str()),
            ("CLOAKROOM_JWT__SECRET", JWT_SECRET),
            // Room for all that the memory measurement holds.
            ("CLOAKROOM_COHERENCE__MAX_BYTES", "1GiB"),
        ];
        let arguments = ["serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"];
        let environment = [&usual, settings].concat();
        let program = start_server(Path::new(env!("CARGO_BIN_EXE_cloakroom")), &arguments, &environment);
        let admin = program.listener("admin").await;
        eventually(SOON, "a replica to be ready", async || {
            let answer = reqwest::get(format!("http://{admin}/readyz")).await;
            answer.is_ok_and(|answer| answer.status() == 200)
        })
        .await;
        Self::of(program).await
    }

    /// Sends each request once.
    pub(crate) async fn send(&self, requests: Vec<String>, status: u16, options: &Options) -> Vec<String> {
        let order = Order {
            address: self.address,
            connections: options.connections,
            millis: None,
            requests,
            status,
            keep_bodies: true,
        };
        order.run().await.bodies
    }
}

/// All that is measured with.
pub(crate) struct Fleet {
    pub(crate) replicas: Vec<Server>,
    /// One more that signs its cookies, binds sessions to their client, and believes the gateway.
    pub(crate) guarded: Server,
    pub(crate) requests: Requests,
    /// Last, so that it outlives those who use it.
    pub(crate) cluster: RedisCluster,
}

impl Fleet {
    pub(crate) async fn start() -> Self {
        let cluster = RedisCluster::start(ClusterOptions {
            // A busy machine is no reason for a failover.
            node_timeout: Duration::from_secs(15),
            ..ClusterOptions::default()
        })
        .await;
        let mut replicas = Vec::new();
        for number in 0..3 {
            replicas.push(Server::cloakroom(&cluster, &format!("cloakroom-{number}"), &[]).await);
        }
        let guarded = Server::cloakroom(&cluster, "guarded", &GUARDED).await;
        Self {
            replicas,
            guarded,
            requests: Requests::new(),
            cluster,
        }
    }

    /// The replica whose cost is measured.
    pub(crate) fn first(&self) -> &Server {
        &self.replicas[0]
    }

    /// Makes sessions at the second replica, of users from `first` on.
    pub(crate) async fn make(&self, first: usize, count: usize, options: &Options) -> Vec<Made> {
        self.make_at(&self.replicas[1], first, count, options).await
    }

    /// As [`Fleet::make`], at a server of choice.
    pub(crate) async fn make_at(&self, server: &Server, first: usize, count: usize, options: &Options) -> Vec<Made> {
        let requests = (first..first + count).map(|user| self.requests.create(user));
        let bodies = server.send(requests.collect(), 201, options).await;
        bodies.iter().map(|body| made(body)).collect()
    }

    pub(crate) async fn connect(&self, replica: usize) -> Connection {
        Connection::open(self.replicas[replica].address).await
    }

    /// What all nodes of the cluster have spent.
    pub(crate) async fn redis_cpu(&self) -> Duration {
        let mut seconds = 0.0;
        for node in self.cluster.nodes() {
            for field in ["used_cpu_user", "used_cpu_sys"] {
                let spent = node.info(field).await.expect("a node that can be asked");
                seconds += spent.parse::<f64>().expect("seconds");
            }
        }
        Duration::from_secs_f64(seconds)
    }

    /// The nodes that serve the slots.
    pub(crate) fn primaries(&self) -> &[ClusterNode] {
        &self.cluster.nodes()[..3]
    }
}

/// What a creation answered.
pub(crate) fn made(body: &str) -> Made {
    let body: Value = serde_json::from_str(body).expect("a creation's answer");
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    Made {
        id: text(&body["session"]["id"]),
        token: text(&body["token"]),
        csrf_token: text(&body["csrf_token"]),
        cookie: text(&body["set_cookie"])
            .split(';')
            .next()
            .unwrap_or_default()
            .to_owned(),
    }
}
