use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use cloakroom::http::HttpSettings;
use futures_util::stream;
use serde_json::json;

use super::{Api, NOBODY, Setup};
use crate::support::broken_store::BrokenStore;
use crate::support::captured_log::CapturedLog;

fn with_settings(settings: HttpSettings) -> Api {
    Api::with(Setup {
        settings,
        ..Setup::default()
    })
}

#[tokio::test]
async fn s53_bodies_are_bounded_announced_or_not() {
    let api = with_settings(HttpSettings {
        max_body: 100,
        ..HttpSettings::default()
    });
    let large = json!({"data": {"a": "x".repeat(100)}}).to_string();
    api.call("POST", "/v1/sessions", &[], &large)
        .await
        .problem(413, "body_too_large");
    api.call("POST", "/v1/sessions", &[("content-length", "101")], "{}")
        .await
        .problem(413, "body_too_large");
    let chunks = stream::iter(
        large
            .clone()
            .into_bytes()
            .into_iter()
            .map(|byte| Ok::<_, std::io::Error>(vec![byte])),
    );
    let request = Request::post("/v1/sessions").header("content-type", "application/json");
    let answer = api.send(request.body(Body::from_stream(chunks)).unwrap()).await;
    answer.problem(413, "body_too_large");
}

#[tokio::test]
async fn s53_headers_are_bounded() {
    let api = Api::new();
    let large = "x".repeat(16 * 1024);
    api.call("GET", "/v1/stats", &[("x-large", &large)], "")
        .await
        .problem(431, "headers_too_large");
    let many: Vec<_> = (0..200)
        .map(|number| (format!("x-{number}"), "x".repeat(100)))
        .collect();
    let many: Vec<_> = many
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    api.call("GET", "/v1/stats", &many, "")
        .await
        .problem(431, "headers_too_large");
    api.call("GET", "/v1/stats", &many[..100], "").await.expect(200);
}

#[tokio::test]
async fn too_many_requests_and_slow_ones_are_told_to_come_again() {
    let busy = with_settings(HttpSettings {
        max_concurrent: 0,
        ..HttpSettings::default()
    });
    busy.get("/v1/stats").await.problem(503, "store_unavailable");
    let impatient = with_settings(HttpSettings {
        timeout: Duration::from_millis(20),
        ..HttpSettings::default()
    });
    let never = stream::pending::<Result<Vec<u8>, std::io::Error>>();
    let request = Request::post("/v1/sessions").header("content-type", "application/json");
    let answer = impatient.send(request.body(Body::from_stream(never)).unwrap()).await;
    answer.problem(503, "store_unavailable");
}

#[tokio::test]
async fn s48_without_the_truth_the_answer_is_503_and_never_401() {
    let api = Api::with(Setup {
        store: Some(Arc::new(BrokenStore::default())),
        ..Setup::default()
    });
    let token = format!("aa{}", "A".repeat(43));
    let cookie = [("cookie", format!("__Host-cloakroom={token}"))];
    let cookie: Vec<_> = cookie.iter().map(|(name, value)| (*name, value.as_str())).collect();
    for path in ["/auth", "/session"] {
        let answer = api.call("GET", path, &cookie, "").await;
        answer.problem(503, "store_unavailable");
        assert!(!answer.headers.contains_key("set-cookie"));
        assert!(
            !answer.body.contains(BrokenStore::WORDS),
            "the store's own words stay inside"
        );
    }
    api.get(NOBODY).await.problem(503, "store_unavailable");
    api.delete(NOBODY).await.problem(503, "store_unavailable");
    api.post("/v1/sessions", json!({}))
        .await
        .problem(503, "store_unavailable");
    api.post("/v1/sessions/validate", json!({"token": token}))
        .await
        .problem(503, "store_unavailable");
    api.post("/v1/sessions/validate", json!({"token": "x"}))
        .await
        .expect(200);
}

#[tokio::test]
async fn a_panic_is_a_500_that_tells_nothing() {
    let api = Api::with(Setup {
        store: Some(Arc::new(BrokenStore::default())),
        ..Setup::default()
    });
    let answer = api.get("/v1/stats").await;
    answer.problem(500, "internal_error");
    assert!(!answer.body.contains(BrokenStore::WORDS));
    assert!(answer.headers.contains_key("x-request-id"));
    assert_eq!(api.metrics.http_in_flight.get(), 0);
}

#[tokio::test]
async fn every_answer_has_a_request_id_and_is_counted() {
    let api = Api::new();
    let answer = api.call("GET", "/v1/stats", &[("x-request-id", "mine-1")], "").await;
    assert_eq!(answer.header("x-request-id"), "mine-1");
    let answer = api.call("GET", "/nowhere", &[("x-request-id", "not mine")], "").await;
    assert_ne!(answer.header("x-request-id"), "not mine");
    api.call("PROPFIND", NOBODY, &[], "")
        .await
        .problem(405, "method_not_allowed");
    let count = |method: &str, route: &str, status: &str| {
        api.metrics
            .http_requests
            .with_label_values(&[method, route, status])
            .get()
    };
    assert_eq!(count("GET", "/v1/stats", "200"), 1);
    assert_eq!(count("GET", "unmatched", "404"), 1);
    assert_eq!(count("other", "/v1/sessions/{id}", "405"), 1);
    assert_eq!(
        api.metrics
            .http_duration
            .with_label_values(&["/v1/stats"])
            .get_sample_count(),
        1
    );
}

#[tokio::test]
async fn s55_no_secret_is_logged_even_at_trace_level() {
    let (log, _guard) = CapturedLog::listen();
    let api = Api::new();
    // Other tests may have met the log's call sites while nobody listened.
    api.get("/v1/stats").await.expect(200);
    tracing::callsite::rebuild_interest_cache();
    let made = api
        .create(json!({"user_id": "alice", "fingerprint": "device-secret"}))
        .await;
    let token = made["token"].as_str().unwrap();
    let (cookie, header) = (format!("__Host-cloakroom={token}"), format!("Session {token}"));
    for path in [
        "/auth",
        "/session",
        &format!("/auth?token={token}"),
        &format!("/nowhere/{token}"),
    ] {
        api.call("GET", path, &[("cookie", &cookie)], "").await;
        api.call("GET", path, &[("authorization", &header)], "").await;
    }
    api.post("/v1/sessions/validate", json!({"token": token, "x": token}))
        .await
        .problem(400, "invalid_request");
    api.post("/v1/sessions/validate", json!({"token": token}))
        .await
        .expect(200);
    api.get(&format!("/v1/sessions/{token}"))
        .await
        .problem(400, "invalid_request");

    let log = log.text();
    assert!(log.contains("request_id"), "the test sees the log");
    for secret in [token, made["csrf_token"].as_str().unwrap(), "device-secret"] {
        assert!(!log.contains(secret), "{log}");
    }
}
