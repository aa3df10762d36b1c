//! Traces of a real fleet in a real receiver: parents, links, and nothing that is nobody's business.

use std::time::Duration;

use serde_json::{Value, json};

use crate::collector::{Collector, Seen, Spoken, hex};
use crate::support::fleet::{Fleet, Replica, SECRET};
use crate::support::process::Program;
use crate::support::redis_cluster::shared_cluster;
use crate::support::wait::{SOON, eventually};
use crate::tls_front::TlsFront;

const CALLER_TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER_SPAN: &str = "00f067aa0ba902b7";

fn sampled_by_caller() -> String {
    format!("00-{CALLER_TRACE}-{CALLER_SPAN}-01")
}

async fn send(replica: &Replica, method: &str, path: &str, traceparent: Option<&str>, body: Option<Value>) -> Value {
    let mut request = replica
        .request(method, path)
        .header("authorization", &replica.credential);
    if let Some(traceparent) = traceparent {
        request = request.header("traceparent", traceparent);
    }
    if let Some(body) = body {
        request = request.json(&body);
    }
    let answer = request.send().await.unwrap();
    assert!(answer.status().is_success(), "{method} {path}: {}", answer.status());
    let text = answer.text().await.unwrap();
    serde_json::from_str(&text).unwrap_or_default()
}

fn server_span<'a>(replica: &'a Replica, name: &'a str) -> impl Fn(&Seen) -> bool + 'a {
    move |seen| seen.server == replica.id && seen.span.name == name && seen.trace() == CALLER_TRACE
}

fn is_child_of(child: &Seen, parent: &Seen) -> bool {
    child.span.trace_id == parent.span.trace_id && child.span.parent_span_id == parent.span.span_id
}

/// Create on one replica, read on another, destroy on the third.
async fn a_session_is_followed_over_three_replicas(spoken: Spoken) {
    let collector = Collector::start(spoken).await;
    let cluster = shared_cluster().await;
    let settings = [
        ("otlp.endpoint", collector.url()),
        ("otlp.protocol", spoken.setting().to_owned()),
        ("otlp.sample", "0".to_owned()),
        ("otlp.headers", "x-key=a-collector's-key".to_owned()),
        ("log.level", "debug".to_owned()),
    ];
    let settings: Vec<(&str, &str)> = settings.iter().map(|(key, value)| (*key, value.as_str())).collect();
    let fleet = Fleet::start(cluster, &settings).await;
    let [a, b, c] = [fleet.at(0), fleet.at(1), fleet.at(2)];
    let traced = sampled_by_caller();
    let traced = Some(traced.as_str());

    let secretive = json!({
        "user_id": "alice-whom-nobody-names",
        "data": {"note": "data-that-stays-here"},
        "fingerprint": "a-fingerprint-of-hers",
    });
    let made = send(a, "POST", "/v1/sessions", traced, Some(secretive)).await;
    let (id, token) = (made["session"]["id"].as_str().unwrap(), made["token"].as_str().unwrap());
    let path = format!("/v1/sessions/{id}");
    send(b, "GET", &path, traced, None).await;
    // The second read is a hit in memory: the short way.
    send(b, "GET", &path, traced, None).await;
    send(
        b,
        "POST",
        "/v1/sessions/validate",
        traced,
        Some(json!({"token": token})),
    )
    .await;
    send(b, "GET", "/v1/users/alice-whom-nobody-names/sessions", traced, None).await;
    send(c, "DELETE", &path, traced, None).await;

    requests_have_their_parents(&collector, [a, b, c]).await;
    the_dropped_copy_leads_to_its_cause(&collector, b, c).await;

    // Log lines lead to the trace.
    let logged = a.program.log();
    let traced = logged.iter().find(|line| line["span"]["trace_id"] == CALLER_TRACE);
    assert!(traced.is_some_and(|line| line["span"]["span_id"].as_str().is_some_and(|id| id.len() == 16)));

    // No secret, nor anything of the user, in any byte that left.
    let sent = collector.bytes();
    let credential = a.credential.trim_start_matches("Bearer ");
    for private in [
        token,
        credential,
        SECRET,
        made["csrf_token"].as_str().unwrap(),
        "alice-whom-nobody-names",
        "data-that-stays-here",
        "a-fingerprint-of-hers",
        "a-collector's-key",
    ] {
        assert!(!contains(&sent, private), "{private} was exported");
    }
    assert!(contains(&sent, "POST /v1/sessions"), "the search finds what is there");
    assert_eq!(collector.key().as_deref(), Some("a-collector's-key"));
    for replica in &fleet.replicas {
        // Counted once the collector has answered, which is after it has what it was sent.
        let admin = format!("http://{}", replica.admin);
        eventually(SOON, "exported spans to be counted", async || {
            exported(&admin, "exported").await > 0.0
        })
        .await;
    }
}

/// Each request is a child of the caller's span, at its own server, and what it asked of Redis is a child of it.
async fn requests_have_their_parents(collector: &Collector, [a, b, c]: [&Replica; 3]) {
    for (replica, request, script) in [
        (a, "POST /v1/sessions", "EVALSHA create"),
        (b, "GET /v1/sessions/{id}", "EVALSHA get"),
        (c, "DELETE /v1/sessions/{id}", "EVALSHA end"),
    ] {
        let within = collector
            .span(script, |seen| seen.server == replica.id && seen.span.name == script)
            .await;
        assert_eq!(within.span.kind, 3, "a client's: {within:?}");
        let server = collector
            .span(request, |seen| {
                server_span(replica, request)(seen) && is_child_of(&within, seen)
            })
            .await;
        assert_eq!(server.span.kind, 2, "a server's: {server:?}");
        assert_eq!(hex(&server.span.parent_span_id), CALLER_SPAN);
        assert_eq!(
            server.attribute("http.route").as_deref(),
            request.split_once(' ').map(|(_, route)| route)
        );
        assert_eq!(
            server.attribute("http.request.method").as_deref(),
            request.split_once(' ').map(|(method, _)| method)
        );
        assert!(server.attribute("http.response.status_code").unwrap().starts_with('2'));
        assert_eq!(within.attribute("db.system.name").as_deref(), Some("redis"));
        assert_eq!(
            within.attribute("db.stored_procedure.name").as_deref(),
            script.split_once(' ').map(|(_, name)| name)
        );
    }
    eventually(SOON, "both reads, the hit among them", async || {
        let reads = collector.spans();
        reads
            .iter()
            .filter(|seen| server_span(b, "GET /v1/sessions/{id}")(seen))
            .count()
            == 2
    })
    .await;
}

/// The replica that dropped its copy tells so, in a trace of its own that leads to the request that had it dropped; who
/// held no copy says nothing.
async fn the_dropped_copy_leads_to_its_cause(collector: &Collector, b: &Replica, c: &Replica) {
    let dropped = collector
        .span("the invalidation at the second replica", |seen| {
            seen.server == b.id && seen.span.name == "invalidate ended"
        })
        .await;
    assert_eq!(dropped.span.kind, 5, "a consumer's");
    assert_ne!(dropped.trace(), CALLER_TRACE, "a trace of its own");
    let destroyed = collector
        .span("the log-out", server_span(c, "DELETE /v1/sessions/{id}"))
        .await;
    let [link] = dropped.span.links.as_slice() else {
        panic!("one link: {dropped:?}");
    };
    assert_eq!(hex(&link.trace_id), CALLER_TRACE);
    assert_eq!(link.span_id, destroyed.span.span_id);
    assert_eq!(dropped.attribute("cloakroom.l1.dropped").as_deref(), Some("1"));
    // Who held no copy says nothing.
    let silent = collector
        .spans()
        .into_iter()
        .filter(|seen| seen.span.name.starts_with("invalidate"));
    assert!(silent.map(|seen| seen.server).all(|server| server == b.id));
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

#[tokio::test]
async fn a_session_is_followed_over_three_replicas_by_grpc() {
    a_session_is_followed_over_three_replicas(Spoken::Grpc).await;
}

#[tokio::test]
async fn a_session_is_followed_over_three_replicas_by_http() {
    a_session_is_followed_over_three_replicas(Spoken::Http).await;
}

/// What came of a server's spans.
async fn exported(admin: &str, outcome: &str) -> f64 {
    let text = reqwest::get(format!("{admin}/metrics"))
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    let series = format!("cloakroom_trace_spans_total{{outcome=\"{outcome}\"}} ");
    let value = text.lines().find_map(|line| line.strip_prefix(&series)).unwrap();
    value.parse().unwrap()
}

/// One server over its own memory.
struct Alone {
    program: Program,
    traffic: String,
    admin: String,
}

impl Alone {
    async fn start(collector: &str, spoken: Spoken, sample: &str) -> Self {
        Self::with(collector, spoken, sample, &[]).await
    }

    async fn with(collector: &str, spoken: Spoken, sample: &str, more: &[(&str, &str)]) -> Self {
        let usual = [
            ("CLOAKROOM_OTLP__ENDPOINT", collector),
            ("CLOAKROOM_OTLP__PROTOCOL", spoken.setting()),
            ("CLOAKROOM_OTLP__SAMPLE", sample),
        ];
        let environment = [&usual, more].concat();
        let arguments = ["serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"];
        let program = Program::cloakroom(&arguments, &environment);
        let traffic = format!("http://{}", program.listener("traffic").await);
        let admin = format!("http://{}", program.listener("admin").await);
        let ready = format!("{admin}/readyz");
        eventually(SOON, "a server that is ready", async || {
            reqwest::get(&ready).await.unwrap().status() == 200
        })
        .await;
        Self {
            program,
            traffic,
            admin,
        }
    }

    async fn ask(&self, traceparent: Option<&str>) {
        let mut request = reqwest::Client::new().get(format!("{}/v1/stats", self.traffic));
        if let Some(traceparent) = traceparent {
            request = request.header("traceparent", traceparent);
        }
        assert_eq!(request.send().await.unwrap().status(), 200);
    }

    async fn spans(&self, outcome: &str) -> f64 {
        exported(&self.admin, outcome).await
    }
}

#[tokio::test]
async fn the_caller_decides_and_else_the_share() {
    let collector = Collector::start(Spoken::Grpc).await;
    let all = Alone::start(&collector.url(), Spoken::Grpc, "1").await;
    // The caller traces, and not this request.
    all.ask(Some(&format!("00-{CALLER_TRACE}-{CALLER_SPAN}-00"))).await;
    // What is no context of any caller counts as none.
    all.ask(Some("00-zz-zz-01")).await;
    let root = collector.span("a root", |seen| seen.span.name == "GET /v1/stats").await;
    assert!(root.span.parent_span_id.is_empty() && root.trace() != CALLER_TRACE);
    all.program.terminate();
    assert_eq!(all.program.wait_exit(SOON).await.code(), Some(0));
    let seen = collector.spans();
    assert!(seen.iter().all(|seen| seen.trace() != CALLER_TRACE), "{seen:?}");
}

#[tokio::test]
async fn the_last_spans_leave_with_the_drain() {
    let collector = Collector::start(Spoken::Http).await;
    let server = Alone::start(&collector.url(), Spoken::Http, "1").await;
    for _ in 0..20 {
        server.ask(None).await;
    }
    // At once: nothing has waited for a batch.
    server.program.terminate();
    assert_eq!(server.program.wait_exit(SOON).await.code(), Some(0));
    let spans = collector.spans();
    assert_eq!(
        spans.iter().filter(|seen| seen.span.name == "GET /v1/stats").count(),
        20
    );
}

/// By the authority that the settings name, and by no other.
#[tokio::test]
async fn a_collector_behind_tls_is_believed_by_its_authority() {
    for spoken in [Spoken::Grpc, Spoken::Http] {
        let collector = Collector::start(spoken).await;
        let front = TlsFront::start(collector.address).await;
        let stranger = Alone::start(&front.url(), spoken, "1").await;
        stranger.ask(None).await;
        eventually(SOON, "a refusal of the certificate", async || {
            stranger.spans("failed").await >= 1.0
        })
        .await;
        assert!(collector.spans().is_empty());

        let ca_file = front.ca_file.to_str().unwrap();
        let server = Alone::with(&front.url(), spoken, "1", &[("CLOAKROOM_OTLP__CA_FILE", ca_file)]).await;
        server.ask(None).await;
        collector
            .span("a span through TLS", |seen| seen.span.name == "GET /v1/stats")
            .await;
    }
}

/// Down, slow, back again: requests are answered, spans are counted as lost, and later ones arrive.
#[tokio::test]
async fn a_collector_that_is_away_or_slow_harms_nobody() {
    for spoken in [Spoken::Grpc, Spoken::Http] {
        let collector = Collector::start(spoken).await;
        let (address, url) = (collector.address, collector.url());
        drop(collector);
        let server = Alone::start(&url, spoken, "1").await;
        server.ask(None).await;
        eventually(SOON, "a failure", async || server.spans("failed").await >= 1.0).await;
        server
            .program
            .logged("traces cannot be exported: they are lost until they can")
            .await;

        let collector = Collector::start_at(spoken, address).await;
        eventually(Duration::from_mins(1), "spans again", async || {
            server.ask(None).await;
            !collector.spans().is_empty()
        })
        .await;
        server.program.logged("the collector takes traces again").await;

        let failed = server.spans("failed").await;
        collector.be_slow(true);
        server.ask(None).await;
        eventually(SOON, "patience to end", async || server.spans("failed").await > failed).await;
        collector.be_slow(false);
        server.ask(None).await;

        // The drain does not wait for a collector that says nothing.
        collector.be_slow(true);
        server.ask(None).await;
        server.program.terminate();
        assert_eq!(server.program.wait_exit(SOON).await.code(), Some(0));
    }
}
