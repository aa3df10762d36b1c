use std::collections::HashMap;
use std::sync::OnceLock;
use std::time::Duration;

use axum::http::{Method, StatusCode};
use prometheus::{Histogram, IntCounter};
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::{OpenApi, Paths};

use crate::telemetry::Metrics;

/// The label of paths that no route has.
const UNMATCHED: &str = "unmatched";
const METHODS: [&str; 8] = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "other"];
/// The statuses that the API answers with.
const STATUSES: [u16; 17] = [
    200, 201, 204, 302, 304, 400, 401, 403, 404, 405, 409, 412, 413, 429, 431, 500, 503,
];
/// What every route may answer, described or not.
const FAILURES: [&str; 2] = ["500", "503"];

/// The handles of each route's metrics, so that a request does not look them up by their labels.
pub(super) struct RouteTable {
    metrics: Metrics,
    routes: HashMap<String, RouteMetrics>,
    unmatched: RouteMetrics,
}

struct RouteMetrics {
    route: String,
    duration: Histogram,
    requests: [[OnceLock<IntCounter>; STATUSES.len()]; METHODS.len()],
}

impl RouteTable {
    /// A table of the routes that are described. Every answer that the description names is there at zero.
    pub(super) fn new(metrics: &Metrics, description: &OpenApi) -> Self {
        let Paths { paths, .. } = &description.paths;
        for (route, item) in paths {
            for (method, operation) in operations(item) {
                let described = operation.responses.responses.keys().map(String::as_str);
                let numbers = described.filter(|status| status.parse::<u16>().is_ok());
                for status in numbers.chain(FAILURES) {
                    metrics.http_requests.with_label_values(&[method, route, status]);
                }
            }
        }
        metrics.http_requests.with_label_values(&["GET", UNMATCHED, "404"]);
        let routes = paths.keys().cloned();
        Self {
            metrics: metrics.clone(),
            routes: routes
                .map(|route| (route.clone(), RouteMetrics::new(metrics, route)))
                .collect(),
            unmatched: RouteMetrics::new(metrics, UNMATCHED.to_owned()),
        }
    }

    /// Counts an answered request.
    pub(super) fn observe(&self, route: Option<&str>, method: &Method, status: StatusCode, took: Duration) {
        let route = route
            .and_then(|route| self.routes.get(route))
            .unwrap_or(&self.unmatched);
        route.duration.observe(took.as_secs_f64());
        let other = METHODS.len() - 1;
        let method = METHODS
            .iter()
            .position(|name| *name == method.as_str())
            .unwrap_or(other);
        let count = |status: &str| {
            let labels = [METHODS[method], &route.route, status];
            self.metrics.http_requests.with_label_values(&labels)
        };
        match STATUSES.binary_search(&status.as_u16()) {
            Ok(known) => route.requests[method][known]
                .get_or_init(|| count(status.as_str()))
                .inc(),
            Err(_) => count(status.as_str()).inc(),
        }
    }
}

fn operations(item: &PathItem) -> impl Iterator<Item = (&'static str, &Operation)> {
    let described = [
        ("GET", &item.get),
        ("POST", &item.post),
        ("PUT", &item.put),
        ("PATCH", &item.patch),
        ("DELETE", &item.delete),
    ];
    described
        .into_iter()
        .filter_map(|(method, operation)| operation.as_ref().map(|operation| (method, operation)))
}

impl RouteMetrics {
    fn new(metrics: &Metrics, route: String) -> Self {
        Self {
            duration: metrics.http_duration.with_label_values(&[&route]),
            route,
            requests: Default::default(),
        }
    }
}
