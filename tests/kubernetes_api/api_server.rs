//! An API server with its etcd, on free ports.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use parking_lot::Mutex;
use rcgen::KeyPair;
use rustix::process::Signal;
use tempfile::TempDir;
use tokio::sync::OnceCell;

use crate::support::ports::free_address;
use crate::support::supervised::Supervised;
use crate::support::tls::{TlsFiles, TlsMaterial};
use crate::support::wait::eventually;

/// Names a folder with the programs `kube-apiserver` and `helm`, in place of one that is built here.
const PROGRAMS_VARIABLE: &str = "CLOAKROOM_TEST_KUBERNETES";
/// Builds the programs once, and prints their folder.
const BUILD: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/kubernetes/cluster/build");

const ADMIN_TOKEN: &str = "admin-token";
/// The issuer of service accounts' tokens.
pub(crate) const ISSUER: &str = "https://kubernetes.default.svc";
/// How long an API server may take to be ready on a busy machine.
const UP: std::time::Duration = std::time::Duration::from_mins(1);

/// A running API server; dropped, it and its etcd are killed.
pub(crate) struct ApiServer {
    address: SocketAddr,
    etcd_url: String,
    process: Mutex<Supervised>,
    _etcd: Supervised,
    files: TlsFiles,
    /// The key with which tokens of service accounts are signed.
    account_key: String,
    directory: TempDir,
}

static SHARED: OnceCell<ApiServer> = OnceCell::const_new();

/// The API server for tests that do not stop it, each in a namespace of its own.
pub(crate) async fn shared() -> &'static ApiServer {
    SHARED.get_or_init(ApiServer::start).await
}

/// A program of Kubernetes, or of its tools.
pub(crate) fn program(name: &str) -> PathBuf {
    let folder = std::env::var_os(PROGRAMS_VARIABLE).filter(|folder| !folder.is_empty());
    let folder = folder.map_or_else(build, PathBuf::from);
    let path = folder.join(name);
    assert!(path.is_file(), "{} is not there: run {BUILD}", path.display());
    path
}

fn build() -> PathBuf {
    let built = Command::new(BUILD).stderr(Stdio::inherit()).output();
    let built = built.unwrap_or_else(|error| panic!("{BUILD}: {error}"));
    assert!(built.status.success(), "{BUILD}: {}", built.status);
    PathBuf::from(String::from_utf8(built.stdout).unwrap().trim())
}

impl ApiServer {
    pub(crate) async fn start() -> Self {
        let directory = TempDir::with_prefix("cloakroom-kubernetes-").unwrap();
        let files = TlsMaterial::generate().write_to(directory.path());
        let accounts = KeyPair::generate().unwrap();
        let account_key = accounts.serialize_pem();
        std::fs::write(directory.path().join("accounts.key"), &account_key).unwrap();
        std::fs::write(directory.path().join("accounts.pub"), accounts.public_key_pem()).unwrap();
        let users = format!("{ADMIN_TOKEN},admin,admin,system:masters\n");
        std::fs::write(directory.path().join("users.csv"), users).unwrap();
        let (etcd, etcd_url) = start_etcd(directory.path());
        let address = free_address();
        let process = Mutex::new(launch(address, &etcd_url, directory.path()));
        let server = Self {
            address,
            etcd_url,
            process,
            _etcd: etcd,
            files,
            account_key,
            directory,
        };
        server.until_ready().await;
        server
    }

    /// SIGKILL.
    pub(crate) fn kill(&self) {
        self.process.lock().kill();
    }

    /// SIGSTOP: connections stay open and nothing is answered.
    pub(crate) fn freeze(&self) {
        self.process.lock().signal(Signal::STOP);
    }

    /// SIGCONT.
    pub(crate) fn thaw(&self) {
        self.process.lock().signal(Signal::CONT);
    }

    /// Starts it again at the same address after it was killed, with all that it knew.
    pub(crate) async fn restart(&self) {
        *self.process.lock() = launch(self.address, &self.etcd_url, self.directory.path());
        self.until_ready().await;
    }

    /// The private key of service accounts' tokens, PEM.
    pub(crate) fn account_key(&self) -> &str {
        &self.account_key
    }

    /// A client that may do everything.
    pub(crate) async fn admin(&self) -> Client {
        let kubeconfig = self.kubeconfig("default", &format!("token: {ADMIN_TOKEN}"));
        let kubeconfig = Kubeconfig::from_yaml(&kubeconfig).unwrap();
        let options = KubeConfigOptions::default();
        let config = Config::from_custom_kubeconfig(kubeconfig, &options).await.unwrap();
        Client::try_from(config).unwrap()
    }

    /// A kubeconfig for a user with this credential, a line of YAML.
    pub(crate) fn kubeconfig(&self, namespace: &str, credential: &str) -> String {
        let (address, authority) = (self.address, self.files.ca.display());
        format!(
            "apiVersion: v1
kind: Config
clusters: [{{name: test, cluster: {{server: 'https://{address}', certificate-authority: {authority}}}}}]
users:
  - name: test
    user:
      {credential}
contexts: [{{name: test, context: {{cluster: test, user: test, namespace: {namespace}}}}}]
current-context: test
"
        )
    }

    /// What the API server says at a path that is no object.
    pub(crate) async fn raw(&self, path: &str) -> kube::Result<String> {
        let request = http::Request::get(path).body(Vec::new()).unwrap();
        self.admin().await.request_text(request).await
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("apiserver.log")).unwrap_or_default()
    }

    async fn until_ready(&self) {
        eventually(UP, "the API server to be ready", async || {
            let ended = self.process.lock().exit_status();
            assert!(ended.is_none(), "the API server ended: {ended:?}\n{}", self.log());
            self.raw("/readyz").await.is_ok()
        })
        .await;
    }
}

fn start_etcd(directory: &Path) -> (Supervised, String) {
    let (client, peer) = (free_address(), free_address());
    let (client, peer) = (format!("http://{client}"), format!("http://{peer}"));
    let mut command = Command::new("etcd");
    command
        .args(["--unsafe-no-fsync", "--data-dir", "etcd", "--log-level", "error"])
        .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
        .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
        .args(["--initial-cluster", &format!("default={peer}")])
        .current_dir(directory)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    (Supervised::spawn(&mut command, Some(directory)), client)
}

fn launch(address: SocketAddr, etcd_url: &str, directory: &Path) -> Supervised {
    let log = std::fs::File::options()
        .create(true)
        .append(true)
        .open(directory.join("apiserver.log"))
        .unwrap();
    let mut command = Command::new(program("kube-apiserver"));
    command
        .arg(format!("--etcd-servers={etcd_url}"))
        .arg(format!("--bind-address={}", address.ip()))
        .arg(format!("--secure-port={}", address.port()))
        .arg(format!("--service-account-issuer={ISSUER}"))
        .args(["--tls-cert-file=server.pem", "--tls-private-key-file=server.key"])
        .args([
            "--service-account-key-file=accounts.pub",
            "--service-account-signing-key-file=accounts.key",
        ])
        .args(["--authorization-mode=RBAC", "--token-auth-file=users.csv"])
        .args([
            "--service-cluster-ip-range=10.96.0.0/24",
            "--endpoint-reconciler-type=none",
        ])
        .current_dir(directory)
        .stdout(Stdio::null())
        .stderr(log);
    Supervised::spawn(&mut command, Some(directory))
}
