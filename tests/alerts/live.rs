//! A fleet that is used, watched by Prometheus: what the dashboards ask is answered, and whoever is to be told is told.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::post;
use cloakroom::session::{Clock as _, SystemClock};
use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::dashboards::{Target, substituted, targets};
use crate::load::{HABITS, Load, SESSIONS, SETTINGS};
use crate::monitoring::{INTERVAL, Monitoring};
use crate::runbooks::every_question_has_an_answer;
use crate::support::fleet::Fleet;
use crate::support::redis_cluster::{ClusterOptions, RedisCluster};
use crate::support::wait::eventually;

/// Rates look back three minutes: all of them must lie in the fleet's life.
const WINDOW: Duration = Duration::from_mins(3);
/// An alert must hold for a minute, its numbers are counted every ten seconds, and a busy machine takes its time.
pub(crate) const ALERTED: Duration = Duration::from_mins(5);
/// Names a directory for the data of every panel, to draw pictures of.
const PICTURES: &str = "CLOAKROOM_TEST_PICTURES";
/// Nobody verifies it here.
const SIGNED_WITH: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
/// What people would be woken for.
const ANOMALIES: [&str; 6] = [
    "CloakroomSessionsDropped",
    "CloakroomCreationsDropped",
    "CloakroomSessionsAboveNormal",
    "CloakroomCreationsAboveNormal",
    "CloakroomEndsAboveNormal",
    "CloakroomStaleAnswer",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn panels_have_data_and_a_mass_log_out_a_storm_and_a_flush_are_told_to_a_webhook() {
    let cluster = RedisCluster::start(ClusterOptions::default()).await;
    let (url, endpoint) = take_events().await;
    let webhook = [
        ("webhooks.shop.url", url.as_str()),
        ("webhooks.shop.secrets", SIGNED_WITH),
    ];
    let fleet = Fleet::start(&cluster, &[&SETTINGS[..], &webhook].concat()).await;
    let load = Load::new(&fleet);
    load.log_in(SESSIONS).await;
    let monitoring = Monitoring::start(&fleet, &HABITS).await;
    let started = now();
    tokio::select! {
        () = load.go_on() => unreachable!(),
        () = listen(&fleet) => unreachable!(),
        () = watch(&cluster, &load, &monitoring, started) => {}
    }
    monitoring.stop().await;
    endpoint.abort();
}

/// An endpoint for webhooks that takes whatever comes.
async fn take_events() -> (String, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let router = Router::new().route("/", post(async || StatusCode::NO_CONTENT));
    let serving = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    (url, serving)
}

/// Listens to the events for ever. The client's time limit ends each stream, and answers may be errors meanwhile.
async fn listen(fleet: &Fleet) {
    let replica = fleet.at(1);
    loop {
        let request = replica
            .request("GET", "/v1/events")
            .header("authorization", &replica.credential);
        if let Ok(mut stream) = request.send().await {
            while let Ok(Some(_)) = stream.chunk().await {}
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

async fn watch(cluster: &RedisCluster, load: &Load<'_>, monitoring: &Monitoring, started: f64) {
    tokio::time::sleep(WINDOW).await;
    every_panel_has_data(monitoring, started).await;
    every_rule_finds_its_metrics(monitoring).await;
    every_question_has_an_answer(monitoring).await;
    // Measured against their own invalidation: nothing waits for somebody else's.
    let slow = "histogram_quantile(0.99, sum by (le) (rate(cloakroom_invalidation_delay_seconds_bucket[3m])))";
    let slow = monitoring.query(&format!("{slow} > 2.5")).await;
    assert!(slow.is_empty(), "invalidations take as long as this: {slow:?}");
    let firing = monitoring.firing().await;
    assert!(
        !firing.iter().any(|alert| ANOMALIES.contains(&alert.as_str())),
        "nothing has happened: {firing:?}"
    );

    let mark = monitoring.mark();
    load.log_everybody_out().await;
    let (dropped, ended) = tokio::join!(
        monitoring.told_of("CloakroomSessionsDropped", "firing", mark, ALERTED),
        monitoring.told_of("CloakroomEndsAboveNormal", "firing", mark, ALERTED),
    );
    assert_eq!(dropped["labels"]["severity"], "critical");
    assert_eq!(dropped["labels"]["namespace"], "shop");
    for text in ["summary", "description", "runbook_url"] {
        let told = dropped["annotations"][text].as_str().unwrap();
        assert!(!told.is_empty() && !told.contains("{{"), "{text}: {told}");
    }
    assert_eq!(ended["labels"]["reason"], "all");

    load.log_in(3 * SESSIONS).await;
    monitoring
        .told_of("CloakroomCreationsAboveNormal", "firing", mark, ALERTED)
        .await;
    monitoring
        .told_of("CloakroomSessionsDropped", "resolved", mark, ALERTED)
        .await;

    let mark = monitoring.mark();
    for primary in cluster.primaries().await {
        cluster.command(primary, &["FLUSHALL"]).await;
    }
    monitoring
        .told_of("CloakroomSessionsDropped", "firing", mark, ALERTED)
        .await;
    if let Some(directory) = std::env::var_os(PICTURES) {
        keep_data(monitoring, started, PathBuf::from(directory)).await;
    }
}

/// In seconds since the epoch.
#[expect(clippy::cast_precision_loss, reason = "milliseconds since the epoch fit a double")]
fn now() -> f64 {
    SystemClock.now().as_millis() as f64 / 1000.0
}

async fn ask(monitoring: &Monitoring, target: &Target, started: f64) -> Vec<Value> {
    let expression = substituted(&target.expression);
    if target.instant {
        monitoring.query(&expression).await
    } else {
        monitoring.query_range(&expression, started, now()).await
    }
}

/// Whether a series has a number at all.
fn has_numbers(series: &Value) -> bool {
    let of = |sample: &Value| sample[1].as_str().unwrap().parse::<f64>().unwrap().is_finite();
    match series["values"].as_array() {
        Some(values) => values.iter().any(of),
        None => of(&series["value"]),
    }
}

/// Every query of every panel, without exception. Where the leader of a busy machine counts late, it is asked again.
async fn every_panel_has_data(monitoring: &Monitoring, started: f64) {
    for target in targets() {
        let query = format!("{}: {}: {}", target.dashboard, target.panel, target.expression);
        eventually(ALERTED, &format!("data of {query}"), async || {
            let series = ask(monitoring, &target, started).await;
            series.iter().any(has_numbers)
        })
        .await;
    }
}

/// What an expression selects: every metric of ours, with the labels that it is chosen by.
pub(crate) fn selectors_of(expression: &str) -> BTreeSet<String> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || "_:".contains(c);
    let mut selectors = BTreeSet::new();
    let mut rest = expression;
    while let Some(begin) = rest.find("cloakroom") {
        let (before, found) = rest.split_at(begin);
        let end = found.find(|c| !is_part(c)).unwrap_or(found.len());
        let (name, after) = found.split_at(end);
        let labels = after.strip_prefix('{').and_then(|labels| labels.split_once('}'));
        if !before.ends_with(['"', '/']) && (name.starts_with("cloakroom_") || name.starts_with("cloakroom:")) {
            let labels = labels.map(|(labels, _)| format!("{{{labels}}}")).unwrap_or_default();
            selectors.insert(format!("{name}{labels}"));
        }
        rest = after;
    }
    selectors
}

/// Those of the selectors that no series matches.
pub(crate) async fn missing_of(monitoring: &Monitoring, selectors: &BTreeSet<String>) -> Vec<String> {
    let missing = join_all(selectors.iter().map(async |selector| {
        let found = monitoring.query(&format!("count({selector})")).await;
        found.is_empty().then(|| selector.clone())
    }));
    missing.await.into_iter().flatten().collect()
}

/// Every recording rule records, and every alert, which has no data while all is well, chooses among series that there are:
/// by metric and labels, without exception.
async fn every_rule_finds_its_metrics(monitoring: &Monitoring) {
    // A rule that was not evaluated yet has no health.
    let rules = eventually(ALERTED, "every rule to be evaluated", async || {
        let rules = monitoring.rules().await;
        rules.iter().all(|rule| rule["health"] != "unknown").then_some(rules)
    })
    .await;
    let mut selectors = BTreeSet::new();
    for rule in &rules {
        assert_eq!(rule["health"], "ok", "{rule}");
        let expression = rule["query"].as_str().unwrap();
        if rule["type"] == "recording" {
            let name = rule["name"].as_str().unwrap();
            eventually(ALERTED, &format!("{name} to record {expression}"), async || {
                !monitoring.query(expression).await.is_empty()
            })
            .await;
        }
        selectors.extend(selectors_of(expression));
    }
    assert!(selectors.len() > 40, "{selectors:?}");
    let missing = missing_of(monitoring, &selectors).await;
    assert!(missing.is_empty(), "no server shows {missing:?}");
}

/// Writes what every panel shows, for `grafana/pictures`.
async fn keep_data(monitoring: &Monitoring, started: f64, directory: PathBuf) {
    let mut kept = Vec::new();
    for target in targets() {
        let series = ask(monitoring, &target, started).await;
        kept.push(json!({
            "dashboard": target.dashboard,
            "panel": target.panel_id,
            "legend": target.legend,
            "series": series,
        }));
    }
    std::fs::create_dir_all(&directory).unwrap();
    std::fs::write(directory.join("panels.json"), serde_json::to_string(&kept).unwrap()).unwrap();
}
