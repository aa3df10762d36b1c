//! The cluster that the tests were given.

use std::path::PathBuf;
use std::sync::OnceLock;

use serde_json::Value;
use tokio::process::Command;

use super::command::{command, succeed};
use super::namespace::Namespace;
use crate::helm;

/// Names the KUBECONFIG of a cluster that may be filled and emptied; `KUBECONFIG` itself could be anybody's.
const VARIABLE: &str = "CLOAKROOM_TEST_KUBECONFIG";

/// A cluster with the images of the project and of Redis.
#[derive(Debug)]
pub(crate) struct Cluster {
    kubeconfig: PathBuf,
}

impl Cluster {
    /// The cluster of this test run.
    pub(crate) fn get() -> &'static Self {
        static CLUSTER: OnceLock<Cluster> = OnceLock::new();
        CLUSTER.get_or_init(|| {
            let kubeconfig = std::env::var_os(VARIABLE).unwrap_or_else(|| {
                panic!("{VARIABLE} names no cluster: run tests/kubernetes/run, or set it to a KUBECONFIG")
            });
            Self {
                kubeconfig: kubeconfig.into(),
            }
        })
    }

    /// `kubectl` with these arguments.
    pub(crate) fn kubectl_command(&self, arguments: &[&str]) -> Command {
        let mut command = command("kubectl", arguments);
        command.env("KUBECONFIG", &self.kubeconfig);
        command
    }

    /// `helm` with these arguments.
    pub(crate) fn helm_command(&self, arguments: &[&str]) -> Command {
        let mut command = command(helm::program().expect("helm"), arguments);
        command.env("KUBECONFIG", &self.kubeconfig);
        command
    }

    /// A shell line as an operator would paste it, with `kubectl` and `helm` at hand.
    pub(crate) fn shell_command(&self, line: &str) -> Command {
        let helm = helm::program().expect("helm");
        let path = std::env::var("PATH").expect("a PATH");
        let mut command = command("bash", &["-euo", "pipefail", "-c", line]);
        let directory = helm.parent().expect("a program lies in a directory");
        command
            .env("PATH", format!("{}:{path}", directory.display()))
            .env("KUBECONFIG", &self.kubeconfig);
        command
    }

    /// Runs `kubectl`, which must succeed, and returns what it printed.
    pub(crate) async fn kubectl(&self, arguments: &[&str]) -> String {
        succeed(self.kubectl_command(arguments), "").await
    }

    /// What `kubectl get … --output json` finds.
    pub(crate) async fn get_json(&self, arguments: &[&str]) -> Value {
        let text = self.kubectl(&[&["get", "--output", "json"], arguments].concat()).await;
        serde_json::from_str(&text).expect("JSON of kubectl")
    }

    /// Creates or changes what the manifests describe.
    pub(crate) async fn apply(&self, manifests: &str) {
        succeed(
            self.kubectl_command(&["apply", "--server-side", "--filename", "-"]),
            manifests,
        )
        .await;
    }

    /// A namespace that enforces the *restricted* Pod Security Standard, gone with all it holds when it is dropped.
    pub(crate) async fn namespace(&'static self, name: &str) -> Namespace {
        Namespace::create(self, name).await
    }

    /// Whether this machine reaches the addresses of Services, as one of the cluster's own nodes does.
    pub(crate) async fn reaches_services(&self) -> bool {
        let service = self
            .get_json(&["service", "kubernetes", "--namespace", "default"])
            .await;
        let address = format!("{}:443", service["spec"]["clusterIP"].as_str().expect("an address"));
        let connecting = tokio::net::TcpStream::connect(address);
        let within = std::time::Duration::from_secs(3);
        tokio::time::timeout(within, connecting)
            .await
            .is_ok_and(|connected| connected.is_ok())
    }

    /// Whether its node is made of processes of this machine, as `cluster/up` makes it.
    pub(crate) fn is_of_this_machine(&self) -> bool {
        self.kubeconfig.with_file_name("processes").is_file()
    }

    /// Every kind of objects that lives in a namespace, as `kubectl get` takes them; without Events, which are a log.
    pub(crate) async fn kinds(&self) -> String {
        let listed = ["api-resources", "--namespaced", "--verbs=list,get", "--output=name"];
        let kinds = self.kubectl(&listed).await;
        let kinds = kinds.lines().filter(|kind| kind.split('.').next() != Some("events"));
        kinds.collect::<Vec<_>>().join(",")
    }
}
