//! A namespace in which servers run: their account, their rights, the endpoints of their Service, their Lease.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Namespace, Pod as PodObject, ServiceAccount};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::api_server::ApiServer;
use crate::chart;
use crate::support::wait::{SOON, eventually};

/// The account as which the servers run.
const ACCOUNT: &str = "cloakroom";
pub(crate) const SERVICE: &str = "cloakroom-headless";
pub(crate) const LEASE_NAME: &str = "cloakroom";

static SITES: AtomicU32 = AtomicU32::new(0);

pub(crate) struct Site {
    pub(crate) server: &'static ApiServer,
    pub(crate) namespace: String,
    pub(crate) client: Client,
    directory: TempDir,
}

/// A pod as the endpoints tell of it.
#[derive(Clone, Copy)]
pub(crate) struct Listed<'a> {
    pub(crate) pod: &'a str,
    pub(crate) serving: bool,
    pub(crate) terminating: bool,
}

/// Listed, and ready for traffic.
pub(crate) fn ready(pod: &str) -> Listed<'_> {
    Listed {
        pod,
        serving: true,
        terminating: false,
    }
}

/// Listed, and on its way out.
pub(crate) fn terminating(pod: &str) -> Listed<'_> {
    Listed {
        pod,
        serving: true,
        terminating: true,
    }
}

fn object<T: DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

impl Site {
    /// A namespace with what the chart makes for its servers: their rights and the Lease.
    pub(crate) async fn new(server: &'static ApiServer) -> Self {
        Self::with_rules(server, &chart::rules()).await
    }

    /// The same, but the servers have just these rights, besides judging tokens.
    pub(crate) async fn with_rules(server: &'static ApiServer, rules: &[Value]) -> Self {
        let number = SITES.fetch_add(1, Ordering::Relaxed);
        let site = Self {
            server,
            namespace: format!("site-{}-{number}", std::process::id()),
            client: server.admin().await,
            directory: TempDir::with_prefix("cloakroom-site-").unwrap(),
        };
        site.set_up(rules).await;
        site
    }

    async fn set_up(&self, rules: &[Value]) {
        let made = PostParams::default();
        let namespace = object(json!({"metadata": {"name": self.namespace}}));
        Api::<Namespace>::all(self.client.clone())
            .create(&made, &namespace)
            .await
            .unwrap();
        self.add_account(ACCOUNT).await;
        let own = object(json!({"metadata": {"name": ACCOUNT}, "rules": rules}));
        self.all::<Role>().create(&made, &own).await.unwrap();
        let binding = json!({
            "metadata": {"name": ACCOUNT},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": ACCOUNT},
            "subjects": [{"kind": "ServiceAccount", "name": ACCOUNT, "namespace": self.namespace}],
        });
        self.all::<RoleBinding>().create(&made, &object(binding)).await.unwrap();
        self.add_lease().await;
        let judging = json!({
            "metadata": {"name": self.namespace},
            "rules": chart::cluster_rules(),
        });
        let cluster_wide = Api::<ClusterRole>::all(self.client.clone());
        cluster_wide.create(&made, &object(judging)).await.unwrap();
        self.allow_reviews(true).await;
    }

    /// Whether the servers may have tokens judged.
    pub(crate) async fn allow_reviews(&self, allowed: bool) {
        let bindings = Api::<ClusterRoleBinding>::all(self.client.clone());
        if !allowed {
            bindings
                .delete(&self.namespace, &DeleteParams::default())
                .await
                .unwrap();
            return;
        }
        let binding = json!({
            "metadata": {"name": self.namespace},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": self.namespace},
            "subjects": [{"kind": "ServiceAccount", "name": ACCOUNT, "namespace": self.namespace}],
        });
        bindings.create(&PostParams::default(), &object(binding)).await.unwrap();
    }

    /// All objects of a kind.
    pub(crate) fn all<T>(&self) -> Api<T>
    where
        T: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    pub(crate) async fn add_account(&self, name: &str) {
        let account = object(json!({"metadata": {"name": name}}));
        self.all::<ServiceAccount>()
            .create(&PostParams::default(), &account)
            .await
            .unwrap();
    }

    pub(crate) async fn remove_account(&self, name: &str) {
        self.all::<ServiceAccount>()
            .delete(name, &DeleteParams::default())
            .await
            .unwrap();
    }

    /// A token of an account, for an audience (none: the API server's), bound to a pod or not.
    pub(crate) async fn token(&self, account: &str, audience: Option<&str>, pod: Option<&str>) -> String {
        let mut spec = json!({"audiences": audience.into_iter().collect::<Vec<_>>(), "expirationSeconds": 3600});
        if let Some(pod) = pod {
            spec["boundObjectRef"] = json!({"kind": "Pod", "apiVersion": "v1", "name": pod});
        }
        let request = object::<TokenRequest>(json!({"spec": spec}));
        let accounts = self.all::<ServiceAccount>();
        let params = PostParams::default();
        let made = accounts.create_subresource("token", account, &params, &request);
        let made: TokenRequest = made.await.unwrap();
        made.status.unwrap().token
    }

    /// A pod of the servers' account, which no kubelet will ever run; and its uid.
    pub(crate) async fn add_pod(&self, name: &str) -> String {
        self.add_pod_of(ACCOUNT, name).await
    }

    /// A pod of an account.
    pub(crate) async fn add_pod_of(&self, account: &str, name: &str) -> String {
        let pod = object(json!({
            "metadata": {"name": name, "labels": {"app": "cloakroom"}},
            "spec": {"serviceAccountName": account, "automountServiceAccountToken": false,
                     "containers": [{"name": "cloakroom", "image": "cloakroom"}]},
        }));
        let made = self
            .all::<PodObject>()
            .create(&PostParams::default(), &pod)
            .await
            .unwrap();
        made.metadata.uid.unwrap()
    }

    /// A kubeconfig with the credentials of a pod, as the kubelet would mount them.
    pub(crate) async fn kubeconfig(&self, pod: &str) -> PathBuf {
        let token = self.token(ACCOUNT, None, Some(pod)).await;
        let token_file = self.directory.path().join(format!("{pod}.token"));
        std::fs::write(&token_file, token).unwrap();
        let credential = format!("tokenFile: {}", token_file.display());
        let path = self.directory.path().join(format!("{pod}.conf"));
        std::fs::write(&path, self.server.kubeconfig(&self.namespace, &credential)).unwrap();
        path
    }

    /// Makes these pods the endpoints of the Service.
    pub(crate) async fn list(&self, pods: &[Listed<'_>]) {
        let mut endpoints = Vec::new();
        for (
            index,
            Listed {
                pod,
                serving,
                terminating,
            },
        ) in pods.iter().enumerate()
        {
            let uid = self.all::<PodObject>().get(pod).await.unwrap().metadata.uid;
            endpoints.push(json!({
                "addresses": [format!("10.1.0.{}", index + 1)],
                "conditions": {"ready": *serving && !terminating, "serving": serving, "terminating": terminating},
                "targetRef": {"kind": "Pod", "namespace": self.namespace, "name": pod, "uid": uid},
            }));
        }
        let slice = json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {"name": "cloakroom-1", "labels": {"kubernetes.io/service-name": SERVICE}},
            "addressType": "IPv4", "endpoints": endpoints, "ports": [],
        });
        let applied = PatchParams::apply("tests").force();
        let slices = self.all::<EndpointSlice>();
        slices
            .patch("cloakroom-1", &applied, &Patch::Apply(&slice))
            .await
            .unwrap();
    }

    /// Makes the Lease as the chart does.
    pub(crate) async fn add_lease(&self) {
        let lease = object(chart::lease());
        self.all::<Lease>()
            .create(&PostParams::default(), &lease)
            .await
            .unwrap();
    }

    /// Takes the Lease away, as where nobody has made one.
    pub(crate) async fn remove_lease(&self) {
        self.all::<Lease>()
            .delete(LEASE_NAME, &DeleteParams::default())
            .await
            .unwrap();
    }

    /// The Lease, once a server has written itself into it.
    pub(crate) async fn lease(&self) -> Lease {
        let leases = self.all::<Lease>();
        eventually(SOON, "a Lease that was taken", async || {
            let lease = leases.get_opt(LEASE_NAME).await.unwrap();
            lease.filter(|lease| lease.spec.as_ref().is_some_and(|spec| spec.acquire_time.is_some()))
        })
        .await
    }

    /// Who holds the Lease, if anybody does.
    pub(crate) async fn holder(&self) -> Option<String> {
        self.lease().await.spec.unwrap().holder_identity
    }

    /// The Events with this reason.
    pub(crate) async fn events(&self, reason: &str) -> Vec<Event> {
        let events = self.all::<Event>().list(&ListParams::default()).await.unwrap();
        let wanted = events
            .into_iter()
            .filter(|event| event.reason.as_deref() == Some(reason));
        wanted.collect()
    }
}
