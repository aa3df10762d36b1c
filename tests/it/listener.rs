//! The listener: limits, slow clients, TLS, drain; and the admin listener over it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use axum::routing::get;
use cloakroom::cli::client;
use cloakroom::cli::signals::Shutdown;
use cloakroom::http::admin;
use cloakroom::http::listener::{Drain, Limits, Listener, Role, Tls, TlsError};
use cloakroom::runtime::Readiness;
use cloakroom::telemetry::Metrics;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

use crate::support::tls::TlsMaterial;
use crate::support::wait::{SOON, eventually};

/// A request held at the server until the test lets it go.
#[derive(Clone, Default)]
struct Gate {
    entered: Arc<Notify>,
    open: Arc<Notify>,
}

struct Fixture {
    address: SocketAddr,
    metrics: Metrics,
    gate: Gate,
    drain: watch::Sender<bool>,
    served: JoinHandle<usize>,
}

struct Options {
    limits: Limits,
    tls: Option<Arc<Tls>>,
    grace: Duration,
    drain_limit: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            tls: None,
            grace: Duration::ZERO,
            drain_limit: SOON,
        }
    }
}

fn loopback() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

fn start(options: Options) -> Fixture {
    let gate = Gate::default();
    let held = gate.clone();
    let router = Router::new()
        .route(
            "/peer",
            get(async |ConnectInfo(peer): ConnectInfo<SocketAddr>| peer.to_string()),
        )
        .route(
            "/held",
            get(async move || {
                held.entered.notify_one();
                held.open.notified().await;
                "let go"
            }),
        );
    let metrics = Metrics::new().unwrap();
    let listener = Listener::bind(Role::Traffic, loopback(), options.tls, options.limits, metrics.clone()).unwrap();
    let address = listener.local_addr();
    let (drain, requested) = watch::channel(false);
    let (grace, limit) = (options.grace, options.drain_limit);
    let served = tokio::spawn(listener.serve(
        TowerToHyperService::new(router),
        Drain {
            requested,
            grace,
            limit,
        },
    ));
    Fixture {
        address,
        metrics,
        gate,
        drain,
        served,
    }
}

async fn connect(address: SocketAddr) -> TcpStream {
    TcpStream::connect(address).await.unwrap()
}

async fn ask(stream: &mut TcpStream, path: &str) {
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
}

/// Reads one answer whose body is short and plain, up to and with `end`.
async fn answer(stream: &mut TcpStream, end: &str) -> String {
    let mut text = Vec::new();
    let reading = async {
        while !String::from_utf8_lossy(&text).contains(end) {
            let mut buffer = [0; 4096];
            let count = stream.read(&mut buffer).await.unwrap();
            assert!(count > 0, "closed after {:?}", String::from_utf8_lossy(&text));
            text.extend_from_slice(&buffer[..count]);
        }
    };
    tokio::time::timeout(SOON, reading).await.unwrap();
    String::from_utf8(text).unwrap()
}

/// Waits until the server has closed the connection; a reset is a close, too.
async fn closed(stream: &mut TcpStream) -> String {
    let mut rest = Vec::new();
    let read = tokio::time::timeout(SOON, stream.read_to_end(&mut rest)).await;
    let _ = read.expect("the connection is still open");
    String::from_utf8(rest).unwrap()
}

#[tokio::test]
async fn handlers_learn_the_peers_address_and_connections_are_counted() {
    let server = start(Options::default());
    let mut stream = connect(server.address).await;
    ask(&mut stream, "/peer").await;
    let local = stream.local_addr().unwrap().to_string();
    answer(&mut stream, &local).await;
    assert_eq!(server.metrics.http_connections.get(), 1);
    drop(stream);
    eventually(SOON, "the connection is counted out", async || {
        server.metrics.http_connections.get() == 0
    })
    .await;
}

#[tokio::test]
async fn connections_beyond_the_limit_are_closed_and_counted() {
    let limits = Limits {
        max_connections: 1,
        ..Limits::default()
    };
    let server = start(Options {
        limits,
        ..Options::default()
    });
    let mut first = connect(server.address).await;
    ask(&mut first, "/peer").await;
    answer(&mut first, "127.0.0.1:").await;
    let mut second = connect(server.address).await;
    assert_eq!(closed(&mut second).await, "");
    assert_eq!(server.metrics.http_connections_refused.get(), 1);
    ask(&mut first, "/peer").await;
    answer(&mut first, "127.0.0.1:").await;
    drop(first);
    eventually(SOON, "the place is free again", async || {
        let mut third = connect(server.address).await;
        third
            .write_all(b"GET /peer HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            .await
            .ok()?;
        let mut text = String::new();
        third.read_to_string(&mut text).await.ok()?;
        text.starts_with("HTTP/1.1 200").then_some(())
    })
    .await;
}

#[tokio::test]
async fn clients_that_do_not_finish_their_first_head_are_closed() {
    let limits = Limits {
        header_read_timeout: Duration::from_millis(100),
        ..Limits::default()
    };
    let server = start(Options {
        limits,
        ..Options::default()
    });
    for start_of_head in ["", "P", "PRI * HTTP/2.0\r\n", "GET /peer HTTP/1.1\r\nHost: loc"] {
        let mut stream = connect(server.address).await;
        stream.write_all(start_of_head.as_bytes()).await.unwrap();
        assert_eq!(closed(&mut stream).await, "", "{start_of_head:?}");
    }
}

#[tokio::test]
async fn a_slow_handler_is_no_slow_client_and_an_idle_connection_is_closed() {
    let limits = Limits {
        header_read_timeout: Duration::from_millis(50),
        idle_timeout: Duration::from_millis(100),
        ..Limits::default()
    };
    let server = start(Options {
        limits,
        ..Options::default()
    });
    let mut stream = connect(server.address).await;
    ask(&mut stream, "/held").await;
    server.gate.entered.notified().await;
    // Nothing tells that a timer has not fired: several of its periods have to go by.
    tokio::time::sleep(Duration::from_millis(400)).await;
    server.gate.open.notify_one();
    answer(&mut stream, "let go").await;
    assert_eq!(closed(&mut stream).await, "");
    let mut half = connect(server.address).await;
    ask(&mut half, "/peer").await;
    answer(&mut half, "127.0.0.1:").await;
    half.write_all(b"GET /peer HT").await.unwrap();
    assert_eq!(closed(&mut half).await, "", "half a head does not keep a connection");
}

#[tokio::test]
async fn heads_may_be_large_but_not_without_limit() {
    let server = start(Options::default());
    for (size, status) in [(100 * 1024, "HTTP/1.1 200"), (200 * 1024, "HTTP/1.1 431")] {
        let mut stream = connect(server.address).await;
        let head = format!(
            "GET /peer HTTP/1.1\r\nHost: localhost\r\nX-Large: {}\r\n\r\n",
            "x".repeat(size)
        );
        // The server may answer and close before it has read all.
        let _ = stream.write_all(head.as_bytes()).await;
        assert!(
            answer(&mut stream, "\r\n\r\n").await.starts_with(status),
            "{size} bytes"
        );
    }
}

#[tokio::test]
async fn http_2_is_spoken_without_tls_too() {
    let server = start(Options::default());
    let client = reqwest::Client::builder().http2_prior_knowledge().build().unwrap();
    let response = client
        .get(format!("http://{}/peer", server.address))
        .send()
        .await
        .unwrap();
    assert_eq!(response.version(), reqwest::Version::HTTP_2);
    assert!(response.text().await.unwrap().starts_with("127.0.0.1:"));
}

#[tokio::test]
async fn an_idle_http_2_connection_is_closed() {
    let limits = Limits {
        idle_timeout: Duration::from_millis(100),
        ..Limits::default()
    };
    let server = start(Options {
        limits,
        ..Options::default()
    });
    let client = reqwest::Client::builder().http2_prior_knowledge().build().unwrap();
    client
        .get(format!("http://{}/peer", server.address))
        .send()
        .await
        .unwrap();
    eventually(SOON, "the connection is closed", async || {
        server.metrics.http_connections.get() == 0
    })
    .await;
}

#[tokio::test]
async fn a_drain_answers_what_is_in_flight_and_closes_idle_connections() {
    let server = start(Options::default());
    let mut idle = connect(server.address).await;
    ask(&mut idle, "/peer").await;
    answer(&mut idle, "127.0.0.1:").await;
    let silent = connect(server.address).await;
    let mut busy = connect(server.address).await;
    ask(&mut busy, "/held").await;
    server.gate.entered.notified().await;
    server.drain.send_replace(true);
    assert_eq!(closed(&mut idle).await, "", "an idle connection is closed at once");
    eventually(SOON, "new connections are refused", async || {
        TcpStream::connect(server.address).await.is_err()
    })
    .await;
    server.gate.open.notify_one();
    let text = answer(&mut busy, "let go").await.to_lowercase();
    assert!(text.contains("connection: close"), "{text}");
    closed(&mut busy).await;
    assert_eq!(server.served.await.unwrap(), 0);
    drop(silent);
}

#[tokio::test]
async fn a_drain_cuts_what_does_not_finish_in_time() {
    let server = start(Options {
        drain_limit: Duration::from_millis(50),
        ..Options::default()
    });
    let mut busy = connect(server.address).await;
    ask(&mut busy, "/held").await;
    server.gate.entered.notified().await;
    server.drain.send_replace(true);
    assert_eq!(server.served.await.unwrap(), 1);
    assert_eq!(closed(&mut busy).await, "");
    assert_eq!(server.metrics.http_connections.get(), 0);
}

#[tokio::test]
async fn new_connections_are_served_during_the_grace() {
    let server = start(Options {
        grace: Duration::from_millis(500),
        ..Options::default()
    });
    server.drain.send_replace(true);
    let mut stream = connect(server.address).await;
    ask(&mut stream, "/peer").await;
    answer(&mut stream, "127.0.0.1:").await;
    assert_eq!(server.served.await.unwrap(), 0);
    assert!(TcpStream::connect(server.address).await.is_err());
}

#[tokio::test]
async fn the_second_signal_aborts() {
    let (trigger, shutdown) = Shutdown::new();
    assert!(!*shutdown.draining().borrow());
    trigger.signal("SIGTERM");
    tokio::time::timeout(SOON, shutdown.requested()).await.unwrap();
    assert!(*shutdown.draining().borrow());
    let soon = Duration::from_millis(50);
    assert!(
        tokio::time::timeout(soon, shutdown.aborted()).await.is_err(),
        "one signal only drains"
    );
    trigger.signal("SIGINT");
    tokio::time::timeout(SOON, shutdown.aborted()).await.unwrap();
}

fn https(material: &TlsMaterial) -> reqwest::Client {
    let authority = reqwest::Certificate::from_pem(material.ca.as_bytes()).unwrap();
    reqwest::Client::builder().tls_certs_only([authority]).build().unwrap()
}

#[tokio::test]
async fn tls_is_spoken_and_replaced_files_take_effect() {
    let directory = tempfile::tempdir().unwrap();
    let first = TlsMaterial::generate();
    let files = first.write_to(directory.path());
    let tls = Arc::new(Tls::load(&files.certificate, &files.key).unwrap());
    let server = start(Options {
        tls: Some(Arc::clone(&tls)),
        ..Options::default()
    });
    let url = format!("https://localhost:{}/peer", server.address.port());
    let response = https(&first).get(&url).send().await.unwrap();
    assert_eq!(response.version(), reqwest::Version::HTTP_2, "negotiated by ALPN");
    assert!(!tls.reload().await.unwrap(), "nothing has changed");

    let second = TlsMaterial::generate();
    std::fs::write(&files.key, &second.key).unwrap();
    let error = tls.reload().await.unwrap_err();
    assert!(matches!(error, TlsError::Pair { .. }), "{error}");
    https(&first)
        .get(&url)
        .send()
        .await
        .expect("the former certificate stays in use");

    second.write_to(directory.path());
    assert!(tls.reload().await.unwrap());
    https(&second).get(&url).send().await.unwrap();
    https(&first)
        .get(&url)
        .send()
        .await
        .expect_err("the former authority signs no more");
}

#[tokio::test]
async fn a_tls_handshake_that_does_not_come_is_closed() {
    let directory = tempfile::tempdir().unwrap();
    let files = TlsMaterial::generate().write_to(directory.path());
    let tls = Some(Arc::new(Tls::load(&files.certificate, &files.key).unwrap()));
    let limits = Limits {
        header_read_timeout: Duration::from_millis(100),
        ..Limits::default()
    };
    let server = start(Options {
        limits,
        tls,
        ..Options::default()
    });
    let mut silent = connect(server.address).await;
    assert_eq!(closed(&mut silent).await, "");
}

#[tokio::test]
async fn tls_errors_name_the_file_and_the_fault() {
    let directory = tempfile::tempdir().unwrap();
    let files = TlsMaterial::generate().write_to(directory.path());
    let missing = directory.path().join("missing.pem");
    let fault = |certificate, key| Tls::load(certificate, key).err().unwrap().to_string();
    let text = fault(&missing, &files.key);
    assert!(text.contains("cannot read") && text.contains("missing.pem"), "{text}");
    let text = fault(&files.key, &files.key);
    assert!(text.contains("server.key") && text.contains("no certificate"), "{text}");
    let text = fault(&files.certificate, &files.certificate);
    assert!(text.contains("server.pem") && text.contains("no private key"), "{text}");
}

#[tokio::test]
async fn an_address_in_use_is_named() {
    let server = start(Options::default());
    let metrics = Metrics::new().unwrap();
    let error = Listener::bind(Role::Admin, server.address, None, Limits::default(), metrics)
        .err()
        .unwrap();
    assert!(
        error
            .to_string()
            .contains(&format!("cannot listen on {}", server.address)),
        "{error}"
    );
}

#[tokio::test]
async fn the_admin_listener_tells_metrics_liveness_and_readiness() {
    let (metrics, readiness) = (Metrics::new().unwrap(), Readiness::default());
    let listener = Listener::bind(Role::Admin, loopback(), None, Limits::default(), metrics.clone()).unwrap();
    let url = format!("http://{}", listener.local_addr());
    let (_drain, requested) = watch::channel(false);
    let (grace, limit) = (Duration::ZERO, Duration::ZERO);
    let router = admin::router(metrics, readiness.clone());
    let _served = tokio::spawn(listener.serve(
        TowerToHyperService::new(router),
        Drain {
            requested,
            grace,
            limit,
        },
    ));
    let read = async |path: &str| {
        let response = reqwest::get(format!("{url}{path}")).await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    };

    assert_eq!(read("/livez").await, (200, "ok\n".to_owned()));
    assert_eq!(read("/nothing").await.0, 404);
    let (status, text) = read("/metrics").await;
    assert!(status == 200 && text.contains("cloakroom_build_info"), "{text}");

    let waiting = "store: has not answered yet\nleases: do not stand yet\nserver: ok\n";
    assert_eq!(read("/readyz").await, (503, waiting.to_owned()));
    let refused = client::health(&url).await.unwrap_err().to_string();
    assert!(
        refused.contains("503") && refused.contains("has not answered yet"),
        "{refused}"
    );
    readiness.store_has_answered();
    assert_eq!(read("/readyz").await.0, 503);
    readiness.leases_stand();
    assert_eq!(
        read("/readyz").await,
        (200, "store: ok\nleases: ok\nserver: ok\n".to_owned())
    );
    client::health(&url).await.unwrap();
    readiness.drain();
    assert_eq!(
        read("/readyz").await,
        (503, "store: ok\nleases: ok\nserver: draining\n".to_owned())
    );
    assert_eq!(read("/livez").await.0, 200, "a draining server is alive");
}
