//! S46: no request is framed otherwise here than by the proxy in front. A real nginx passes on `/session` only; whatever
//! arrives for another path came in within the body of an allowed request.

mod corpus;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::json;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use corpus::{corpus, request};

use crate::cookie;
use crate::support::ports::free_address;
use crate::support::process::Program;
use crate::support::wait::{SOON, eventually};

/// A request that only the service's own callers may send: the proxy does not pass it on.
const SMUGGLED: &str = "GET /v1/stats HTTP/1.1\r\nHost: a\r\n\r\n";
/// How long an answer to what may never be answered is waited for.
const PATIENCE: Duration = Duration::from_millis(300);

const NGINX: &str = r"
daemon off;
master_process off;
worker_processes 1;
pid {directory}/nginx.pid;
error_log {directory}/error.log;
events {}
http {
    access_log off;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    proxy_cache_path {directory}/cache keys_zone=answers:1m;
    upstream cloakroom {
        server {cloakroom};
        keepalive 4;
    }
    proxy_http_version 1.1;
    proxy_set_header Connection '';
    server {
        listen {buffering};
        location /session { proxy_pass http://cloakroom; }
        location / { return 404; }
    }
    server {
        listen {streaming};
        proxy_request_buffering off;
        location /session { proxy_pass http://cloakroom; }
        location / { return 404; }
    }
    server {
        listen {caching};
        proxy_cache answers;
        proxy_cache_key $uri;
        proxy_cache_valid any 10m;
        add_header X-Cache $upstream_cache_status always;
        location / { proxy_pass http://cloakroom; }
    }
}
";

/// The service behind an nginx, which listens thrice.
pub(crate) struct Behind {
    pub(crate) service: SocketAddr,
    admin: SocketAddr,
    /// Reads the whole body before it passes a request on.
    buffering: SocketAddr,
    /// Passes a body on as it comes.
    streaming: SocketAddr,
    /// Caches whatever it may, whoever asks.
    pub(crate) caching: SocketAddr,
    _nginx: Program,
    server: Program,
    _directory: TempDir,
}

fn nginx() -> PathBuf {
    let places = std::env::var_os("PATH").unwrap_or_default();
    let mut places: Vec<_> = std::env::split_paths(&places).collect();
    places.push("/usr/sbin".into());
    let found = places
        .into_iter()
        .map(|place| place.join("nginx"))
        .find(|path| path.is_file());
    found.expect("nginx is missing: install the Debian package nginx-light, or run tests/run")
}

impl Behind {
    pub(crate) async fn nginx() -> Self {
        let arguments = ["serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"];
        let server = Program::cloakroom(&arguments, &[]);
        let (service, admin) = (server.listener("traffic").await, server.listener("admin").await);
        eventually(SOON, "readiness", async || {
            let answer = reqwest::get(format!("http://{admin}/readyz")).await;
            answer.is_ok_and(|answer| answer.status().is_success())
        })
        .await;
        let directory = tempfile::tempdir().unwrap();
        let [buffering, streaming, caching] = [free_address(), free_address(), free_address()];
        let text = NGINX
            .replace("{directory}", directory.path().to_str().unwrap())
            .replace("{cloakroom}", &service.to_string())
            .replace("{buffering}", &buffering.to_string())
            .replace("{streaming}", &streaming.to_string())
            .replace("{caching}", &caching.to_string());
        let file = directory.path().join("nginx.conf");
        std::fs::write(&file, text).unwrap();
        let arguments = [
            "-c",
            file.to_str().unwrap(),
            "-p",
            directory.path().to_str().unwrap(),
            "-e",
            "stderr",
        ];
        let nginx = Program::start(&nginx(), &arguments, &[]);
        eventually(SOON, "nginx", async || TcpStream::connect(caching).await.is_ok()).await;
        Self {
            service,
            admin,
            buffering,
            streaming,
            caching,
            _nginx: nginx,
            server,
            _directory: directory,
        }
    }

    /// How many requests for a path that the proxy does not pass on have arrived.
    async fn smuggled(&self) -> u64 {
        let metrics = reqwest::get(format!("http://{}/metrics", self.admin)).await.unwrap();
        let text = metrics.text().await.unwrap();
        let counted = text.lines().filter(|line| {
            line.starts_with("cloakroom_http_requests_total")
                && (line.contains("/v1/stats") || line.contains("unmatched"))
        });
        counted
            .filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok())
            .sum()
    }

    pub(crate) async fn log_in(&self, user: &str) -> String {
        let made = reqwest::Client::new().post(format!("http://{}/v1/sessions", self.service));
        let made = made.json(&json!({"user_id": user})).send().await.unwrap();
        let made: serde_json::Value = made.json().await.unwrap();
        made["token"].as_str().unwrap().to_owned()
    }
}

/// Sends bytes and reads what comes within a while.
async fn exchange(address: SocketAddr, bytes: &[u8]) -> String {
    let mut socket = TcpStream::connect(address).await.unwrap();
    let mut answer = Vec::new();
    // Whoever is refused may be cut off while still sending.
    let _ = socket.write_all(bytes).await;
    let _ = tokio::time::timeout(PATIENCE, socket.read_to_end(&mut answer)).await;
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn s46_nothing_is_smuggled_through_a_proxy() {
    let behind = Behind::nginx().await;
    let victim = behind.log_in("victim").await;
    let client = reqwest::Client::new();
    let corpus = corpus();
    assert!(corpus.len() > 100, "{}", corpus.len());
    let before = behind.smuggled().await;
    for (name, address) in [("buffering", behind.buffering), ("streaming", behind.streaming)] {
        for attack in &corpus {
            // Many at a time would take each other's connections to the service: one after the other, each followed by
            // victims on the connections that it may have left behind.
            let answer = exchange(address, attack.as_bytes()).await;
            for number in 0..4 {
                let id = format!("victim-{number}");
                let request = client
                    .get(format!("http://{address}/session"))
                    .header("cookie", cookie(&victim));
                let answer = request.header("x-request-id", &id).send().await.unwrap();
                assert_eq!(answer.status(), 200, "{name}: {attack:?}");
                assert_eq!(
                    answer.headers()["x-request-id"],
                    id.as_str(),
                    "{name}: a victim got another's answer: {attack:?}"
                );
                let session: serde_json::Value = answer.json().await.unwrap();
                assert_eq!(session["user_id"], "victim", "{name}: {attack:?}");
            }
            assert_eq!(
                behind.smuggled().await,
                before,
                "{name}: {attack:?} was answered {answer:?}"
            );
        }
    }
    assert!(behind.server.exit_status().is_none());
    assert!(!behind.server.output().iter().any(|line| line.contains("panicked")));
}

/// Without a proxy, what has no one meaning is refused, and its connection closed.
#[tokio::test]
async fn s46_what_has_two_meanings_is_refused() {
    let behind = Behind::nginx().await;
    for headers in [
        "Content-Length: 5\r\nContent-Length: 6",
        "Content-Length: 5, 6",
        "Content-Length: +5",
        "Content-Length: -5",
        "Content-Length: 0x5",
        "Content-Length: 18446744073709551621",
        "Content-Length : 5",
        "Transfer-Encoding : chunked",
        "Transfer-Encoding: chunked, identity",
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding: identity",
        "X: \u{0}",
        " Content-Length: 5",
    ] {
        let bytes = request(headers, &format!("0\r\n\r\n{SMUGGLED}"));
        let answer = exchange(behind.service, bytes.as_bytes()).await;
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 400"),
            "{headers:?}: {answer}"
        );
        assert!(answer.matches("HTTP/1.1 ").count() <= 1, "{headers:?}: {answer}");
    }
    assert_eq!(behind.smuggled().await, 0);
}
