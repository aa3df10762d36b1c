//! What a real server shows at its very first scrape.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::process::{Command, Stdio};

use cloakroom::telemetry::metric_names;

use crate::support::process::Program;

const ANY_PORT: [&str; 5] = ["serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"];

async fn first_scrape() -> (Program, String) {
    let server = Program::cloakroom(&ANY_PORT, &[]);
    let admin = server.listener("admin").await;
    let text = reqwest::get(format!("http://{admin}/metrics")).await.unwrap();
    let text = text.text().await.unwrap();
    (server, text)
}

/// A redis URL that leads nowhere: the store never opens.
async fn first_scrape_without_a_store() -> (Program, String) {
    let environment = [("CLOAKROOM_REDIS__URLS", "redis://127.0.0.1:1")];
    let server = Program::cloakroom(&ANY_PORT, &environment);
    let admin = server.listener("admin").await;
    let text = reqwest::get(format!("http://{admin}/metrics")).await.unwrap();
    let text = text.text().await.unwrap();
    (server, text)
}

#[tokio::test]
async fn all_metrics_are_there_from_the_first_scrape_store_or_none() {
    for (_server, text) in [first_scrape().await, first_scrape_without_a_store().await] {
        let shown: BTreeSet<&str> = text
            .lines()
            .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next())
            .collect();
        let missing: Vec<_> = metric_names().filter(|(name, _)| !shown.contains(name)).collect();
        assert!(missing.is_empty(), "{missing:?}");
        for own in [
            "process_cpu_seconds_total",
            "process_resident_memory_bytes",
            "process_open_fds",
        ] {
            assert!(shown.contains(own), "{own}");
        }
        // A rate that an alert needs begins at zero.
        for series in [
            r#"cloakroom_sessions_ended_total{reason="theft"} 0"#,
            r#"cloakroom_sessions{class="remember_me"} 0"#,
            r#"cloakroom_coherence_connections_ended_total{reason="lease"} 0"#,
            "cloakroom_keys_without_ttl_total 0",
            r#"cloakroom_store_operations_total{operation="get",outcome="failed"} 0"#,
        ] {
            assert!(text.lines().any(|line| line == series), "{series}\n{text}");
        }
    }
}

#[tokio::test]
async fn answers_that_the_api_describes_are_there_at_zero() {
    let (server, _) = first_scrape().await;
    let admin = server.listener("admin").await;
    server.listener("traffic").await;
    let text = reqwest::get(format!("http://{admin}/metrics"))
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    for (method, route, status) in [("POST", "/v1/sessions", "503"), ("DELETE", "/v1/sessions/{id}", "204")] {
        let series =
            format!("cloakroom_http_requests_total{{method=\"{method}\",route=\"{route}\",status=\"{status}\"}} 0");
        assert!(text.lines().any(|line| line == series), "{series}");
    }
}

/// By Prometheus's own linter.
#[tokio::test]
async fn promtool_finds_nothing_amiss() {
    let (_server, text) = first_scrape().await;
    let checking = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut checking = checking.expect("promtool, of Debian's package prometheus: tests/run installs it");
    checking.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let checked = checking.wait_with_output().unwrap();
    let told = String::from_utf8_lossy(&checked.stderr);
    assert!(checked.status.success() && told.is_empty(), "{told}");
}
