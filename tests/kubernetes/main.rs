//! Tests on a real Kubernetes: the image, the chart and the manifests, installed and used as anybody would.
//!
//! `tests/kubernetes/run` brings up a cluster of one node, builds the images and runs them; `CLOAKROOM_TEST_KUBECONFIG`
//! names another cluster, which then must have the images.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on should stop here and say why; clippy spares only the `#[test]` functions themselves"
)]

mod callers;
mod crash;
#[path = "../chart/helm.rs"]
mod helm;
mod image;
mod install;
mod life;
mod load;
mod manifests;
mod release;
mod support;
mod tls;
#[path = "../it/support/tls.rs"]
#[expect(dead_code, reason = "files are for servers of this machine")]
mod tls_material;
mod values;
#[path = "../it/support/wait.rs"]
mod wait;
