//! The admin listener: metrics for Prometheus, liveness and readiness for Kubernetes.

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::{StatusCode, header};

use crate::runtime::{Check, Readiness};
use crate::telemetry::Metrics;

/// The routes of the admin listener: `/metrics`, `/livez` and `/readyz`.
pub fn router(metrics: Metrics, readiness: Readiness) -> Router {
    Router::new()
        .route("/livez", get(async || "ok\n"))
        .route(
            "/readyz",
            get(async |State(readiness)| readyz(&readiness)).with_state(readiness.clone()),
        )
        .route(
            "/metrics",
            get(async |State((metrics, readiness)): State<(Metrics, Readiness)>| render(&metrics, &readiness))
                .with_state((metrics, readiness)),
        )
        .fallback(async || {
            (
                StatusCode::NOT_FOUND,
                "not found: /metrics, /livez and /readyz are here\n",
            )
        })
}

fn readyz(readiness: &Readiness) -> Response {
    let checks = readiness.checks();
    let ready = checks.iter().all(|check| check.passed);
    let status = if ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let lines: String = checks.iter().map(Check::line).collect();
    (status, lines).into_response()
}

fn render(metrics: &Metrics, readiness: &Readiness) -> Response {
    metrics.ready.set(i64::from(readiness.is_ready()));
    match metrics.render() {
        Ok((text, content_type)) => ([(header::CONTENT_TYPE, content_type)], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "cannot render the metrics");
            (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response()
        }
    }
}
