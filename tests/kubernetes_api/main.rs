//! Real `cloakroom serve` processes against a real API server of Kubernetes: etcd and kube-apiserver, with RBAC on. What a
//! controller or a kubelet would do, the tests do by hand.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on should stop here and say why; clippy spares only the `#[test]` functions themselves"
)]

mod api_server;
mod callers;
mod chart;
mod events;
mod fleet;
#[path = "../chart/helm.rs"]
mod helm;
mod leader;
mod outage;
mod pod;
mod role;
mod site;

#[path = "../it/support/mod.rs"]
mod support;

use std::time::Duration;

/// How long a lease lasts that nobody renews.
const LEASE: Duration = Duration::from_secs(10);
/// How often a server tries to take it.
const RETRY: Duration = Duration::from_secs(3);
