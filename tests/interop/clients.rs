//! HTTP clients that others wrote carry our cookie as a browser does: over TLS, until the log-out.

use std::process::{Command, Output};

use tempfile::TempDir;

use crate::gateway::nginx_around;
use crate::service::{Service, application};
use crate::support::ports::free_address;
use crate::support::process::Program;
use crate::support::tls::TlsMaterial;
use crate::support::wait::{SOON, eventually};
use crate::tools::{library, program};

const SCRIPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/interop/clients");

/// Refused, logged in, let in, logged out, refused; and the jar is empty.
const EXPECTED: &str = "401 200 200 204 401 0";

/// A site with TLS: an nginx in front of the service and of an application that logs in.
struct Site {
    url: String,
    authority: String,
    folder: TempDir,
    _programs: [Program; 2],
}

impl Site {
    async fn start() -> Self {
        let service = Service::start(&[]).await;
        let application = application(service.address).await;
        let (address, folder) = (free_address(), tempfile::tempdir().unwrap());
        let tls = TlsMaterial::generate().write_to(folder.path());
        let server = format!(
            "server {{\n\
             listen {address} ssl; ssl_certificate {}; ssl_certificate_key {};\n\
             proxy_set_header Host $http_host;\n\
             proxy_set_header X-Forwarded-For $remote_addr;\n\
             proxy_set_header X-Forwarded-Proto $scheme;\n\
             proxy_set_header X-Forwarded-Host $http_host;\n\
             location = /_session {{ internal; proxy_pass http://{service}/auth;\n\
               proxy_pass_request_body off; proxy_set_header Content-Length \"\"; }}\n\
             location / {{ auth_request /_session; proxy_pass http://{application}; }}\n\
             location = /login {{ proxy_pass http://{application}; }}\n\
             location /session {{ proxy_pass http://{service}; }}\n\
             }}",
            tls.certificate.display(),
            tls.key.display(),
            service = service.address,
        );
        let home = folder.path().to_str().unwrap();
        let file = folder.path().join("nginx.conf");
        std::fs::write(&file, nginx_around(&server, home)).unwrap();
        let arguments = ["-c", file.to_str().unwrap(), "-p", home, "-e", "stderr"];
        let nginx = Program::start(&program("nginx"), &arguments, &[]);
        eventually(SOON, "nginx", async || {
            tokio::net::TcpStream::connect(address).await.is_ok()
        })
        .await;
        Self {
            url: format!("https://localhost:{}", address.port()),
            authority: tls.ca.to_str().unwrap().to_owned(),
            folder,
            _programs: [service.program, nginx],
        }
    }

    /// What a client prints that visits the site.
    async fn visited_by(self, mut client: Command) -> String {
        client.current_dir(self.folder.path());
        let output = tokio::task::spawn_blocking(move || client.output()).await.unwrap();
        let Output { status, stdout, stderr } = output.unwrap();
        let errors = String::from_utf8_lossy(&stderr);
        assert!(status.success(), "{status}: {errors}");
        String::from_utf8_lossy(&stdout).trim().to_owned()
    }
}

fn script(interpreter: &str, name: &str) -> Command {
    let mut command = Command::new(interpreter);
    command.arg(format!("{SCRIPTS}/{name}"));
    command
}

#[tokio::test]
async fn curls_cookie_jar_carries_the_session() {
    let site = Site::start().await;
    let mut curl = script("bash", "curl.sh");
    curl.args([&site.url, &site.authority]);
    assert_eq!(site.visited_by(curl).await, EXPECTED);
}

#[tokio::test]
async fn pythons_requests_carries_the_session() {
    let site = Site::start().await;
    let mut python = script("python3", "with_requests.py");
    python.args([&site.url, &site.authority]);
    python.env("PYTHONPATH", library("python-interop", "requests"));
    assert_eq!(site.visited_by(python).await, EXPECTED);
}

#[tokio::test]
async fn nodes_fetch_carries_the_session() {
    let site = Site::start().await;
    let mut node = script("node", "with_fetch.mjs");
    node.arg(&site.url);
    node.env("MODULES", library("node-interop", "node_modules/fetch-cookie"));
    node.env("NODE_EXTRA_CA_CERTS", &site.authority);
    assert_eq!(site.visited_by(node).await, EXPECTED);
}
