//! The admin listener: metrics for Prometheus, liveness and readiness for Kubernetes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::{StatusCode, header};

use crate::telemetry::Metrics;

/// Whether this server wants traffic.
///
/// Ready once the store has answered and the leases stand, until it drains. A later outage does not make it unready:
/// all pods would leave the Service, and callers would see refused connections in place of a 503 with `Retry-After`.
#[derive(Debug, Clone, Default)]
pub struct Readiness(Arc<Flags>);

#[derive(Debug, Default)]
struct Flags {
    store_answered: AtomicBool,
    leases_stand: AtomicBool,
    draining: AtomicBool,
}

impl Readiness {
    /// The store has answered once.
    pub fn store_has_answered(&self) {
        self.0.store_answered.store(true, Ordering::Release);
    }

    /// What keeps this server's cache coherent has been set up once.
    pub fn leases_stand(&self) {
        self.0.leases_stand.store(true, Ordering::Release);
    }

    /// The server is about to leave.
    pub fn drain(&self) {
        self.0.draining.store(true, Ordering::Release);
    }

    /// Whether it wants traffic.
    pub fn is_ready(&self) -> bool {
        self.checks().iter().all(|check| check.passed)
    }

    fn checks(&self) -> [Check; 3] {
        let set = |flag: &AtomicBool| flag.load(Ordering::Acquire);
        [
            Check::new("store", set(&self.0.store_answered), "has not answered yet"),
            Check::new("leases", set(&self.0.leases_stand), "do not stand yet"),
            Check::new("server", !set(&self.0.draining), "draining"),
        ]
    }
}

struct Check {
    name: &'static str,
    passed: bool,
    failure: &'static str,
}

impl Check {
    fn new(name: &'static str, passed: bool, failure: &'static str) -> Self {
        Self { name, passed, failure }
    }

    fn line(&self) -> String {
        let outcome = if self.passed { "ok" } else { self.failure };
        format!("{}: {outcome}\n", self.name)
    }
}

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
