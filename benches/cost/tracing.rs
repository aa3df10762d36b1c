//! What traces cost a hit in memory: the program that exports them, by the default share and all of them, side by side with
//! the program that does not.

use axum::Router;
use axum::http::StatusCode;
use axum::routing::post;
use tokio::net::TcpListener;

use crate::fleet::{Fleet, Server};
use crate::load::Order;
use crate::options::Options;
use crate::requests::Requests;

/// The name by which `--only` asks for it.
const NAME: &str = "traces";

/// One request: the CPU time without traces, with the default share, and with all traced, in microseconds, round by round.
#[derive(Debug)]
pub(crate) struct Traced {
    pub(crate) name: &'static str,
    pub(crate) rounds: Vec<[f64; 3]>,
}

/// Measures the hits, round by round; nothing where it was not asked for.
pub(crate) async fn measure(fleet: &Fleet, options: &Options) -> Vec<Traced> {
    if !options.wants(NAME) {
        return Vec::new();
    }
    let collector = start_collector().await;
    let by = |sample| {
        [
            ("CLOAKROOM_OTLP__ENDPOINT", collector.as_str()),
            ("CLOAKROOM_OTLP__PROTOCOL", "http/protobuf"),
            ("CLOAKROOM_OTLP__SAMPLE", sample),
        ]
    };
    let share = Server::cloakroom(&fleet.cluster, "cloakroom-share", &by("0.01")).await;
    let all = Server::cloakroom(&fleet.cluster, "cloakroom-all", &by("1")).await;
    let warm = fleet.make(4_000_000, options.warm, options).await;
    let requests = &fleet.requests;
    let mut cases = [
        (
            "/auth",
            warm.iter().map(|made| Requests::auth(&made.token)).collect::<Vec<_>>(),
        ),
        ("GET session", warm.iter().map(|made| requests.read(&made.id)).collect()),
        (
            "validate",
            warm.iter().map(|made| requests.validate(&made.token)).collect(),
        ),
    ]
    .map(|(name, requests)| {
        (
            Traced {
                name,
                rounds: Vec::new(),
            },
            requests,
        )
    });
    let servers = [fleet.first(), &share, &all];
    for number in 0..options.rounds {
        for (traced, requests) in &mut cases {
            let mut round = [0.0; 3];
            // Another one begins each time: what changes within a round changes for all of them.
            for turns in 0..servers.len() {
                let index = (number + turns) % servers.len();
                round[index] = turn(servers[index], requests, options).await;
            }
            traced.rounds.push(round);
        }
    }
    cases.map(|(traced, _)| traced).into()
}

/// CPU time a request, in microseconds.
async fn turn(server: &Server, requests: &[String], options: &Options) -> f64 {
    let order = |turn: std::time::Duration| Order {
        address: server.address,
        connections: options.connections,
        millis: Some(u64::try_from(turn.as_millis()).expect("a short turn")),
        requests: requests.to_vec(),
        status: 200,
        keep_bodies: false,
    };
    order(options.turn / 10).run().await;
    let before = server.program.cpu_time();
    let done = order(options.turn).run().await;
    let spent = server.program.cpu_time().saturating_sub(before);
    #[expect(clippy::cast_precision_loss, reason = "a count of requests is small")]
    let requests = done.requests as f64;
    spent.as_secs_f64() * 1e6 / requests
}

/// A collector that takes everything and keeps nothing.
async fn start_collector() -> String {
    let router = Router::new().route("/v1/traces", post(async |_: axum::body::Bytes| StatusCode::OK));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind a port");
    let address = listener.local_addr().expect("a bound address");
    tokio::spawn(async move { axum::serve(listener, router).await.expect("serve") });
    format!("http://{address}")
}
