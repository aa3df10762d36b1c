//! A namespace for one test.

use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::Value;

use super::cluster::Cluster;
use super::command::{Outcome, outcome, succeed};
use super::release::Release;

static NUMBERS: AtomicU64 = AtomicU64::new(0);

/// A namespace of its own; dropped, it is deleted, and if the test is failing it is described first.
#[derive(Debug)]
pub(crate) struct Namespace {
    pub(crate) cluster: &'static Cluster,
    pub(crate) name: String,
}

impl Namespace {
    pub(super) async fn create(cluster: &'static Cluster, name: &str) -> Self {
        let number = NUMBERS.fetch_add(1, Ordering::Relaxed);
        let name = format!("{name}-{}-{number}", std::process::id());
        let manifest = serde_json::json!({
            "apiVersion": "v1", "kind": "Namespace",
            "metadata": {"name": name, "labels": {
                "pod-security.kubernetes.io/enforce": "restricted",
                "pod-security.kubernetes.io/enforce-version": "latest",
                "cloakroom-test": "yes",
            }},
        });
        cluster.apply(&manifest.to_string()).await;
        Self { cluster, name }
    }

    /// Runs `kubectl` in this namespace, which must succeed, and returns what it printed.
    pub(crate) async fn kubectl(&self, arguments: &[&str]) -> String {
        succeed(self.cluster.kubectl_command(&self.here(arguments)), "").await
    }

    /// Runs `kubectl` in this namespace, whatever comes of it.
    pub(crate) async fn try_kubectl(&self, arguments: &[&str]) -> Outcome {
        outcome(self.cluster.kubectl_command(&self.here(arguments)), "").await
    }

    /// Creates or changes what the manifests describe, in this namespace.
    pub(crate) async fn apply(&self, manifests: &str) {
        let arguments = self.here(&["apply", "--filename", "-"]);
        succeed(self.cluster.kubectl_command(&arguments), manifests).await;
    }

    /// What `kubectl get … --output json` finds here.
    pub(crate) async fn get(&self, arguments: &[&str]) -> Value {
        self.cluster.get_json(&self.here(arguments)).await
    }

    /// The items of a list, such as `&["pods", "--selector", "a=b"]`.
    pub(crate) async fn list(&self, arguments: &[&str]) -> Vec<Value> {
        let list = self.get(arguments).await;
        list["items"].as_array().expect("a list of objects").clone()
    }

    /// Runs `helm` in this namespace, which must succeed, and returns what it printed.
    pub(crate) async fn helm(&self, arguments: &[&str]) -> String {
        succeed(self.cluster.helm_command(&self.here(arguments)), "").await
    }

    /// Runs `helm` in this namespace, whatever comes of it.
    pub(crate) async fn try_helm(&self, arguments: &[&str]) -> Outcome {
        outcome(self.cluster.helm_command(&self.here(arguments)), "").await
    }

    /// Installs the chart with these arguments of `helm install`, and waits until all of it is ready.
    pub(crate) async fn install(&self, release: &str, arguments: &[&str]) -> Release<'_> {
        Release::install(self, release, arguments).await
    }

    /// What is here besides what every namespace has, of any kind, as `kind/name`.
    pub(crate) async fn holds(&self) -> Vec<String> {
        let kinds = self.cluster.kinds().await;
        let names = self.kubectl(&["get", &kinds, "--output=name"]).await;
        let of_every_namespace = ["configmap/kube-root-ca.crt", "serviceaccount/default"];
        let names = names.lines().filter(|name| !of_every_namespace.contains(name));
        names.map(str::to_owned).collect()
    }

    fn here<'a>(&'a self, arguments: &[&'a str]) -> Vec<&'a str> {
        [&["--namespace", self.name.as_str()], arguments].concat()
    }

    /// What is here and what happened, for who reads why a test failed.
    fn describe(&self) {
        let log = "--selector=app.kubernetes.io/name=cloakroom";
        for arguments in [
            &["get", "all,leases"][..],
            &["get", "events", "--sort-by=.lastTimestamp"],
            &["logs", log, "--all-containers", "--prefix", "--tail=40"],
        ] {
            let mut command = self.cluster.kubectl_command(&self.here(arguments)).into_std();
            let _ = command.stdout(Stdio::inherit()).stderr(Stdio::inherit()).status();
        }
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.describe();
        }
        let arguments = ["delete", "namespace", &self.name, "--wait=false"];
        let mut command = self.cluster.kubectl_command(&arguments).into_std();
        let _ = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
    }
}
