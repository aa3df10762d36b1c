//! `cloakroom serve`: what it refuses, what it warns of, and how it ends.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::process::{Program, field};
use crate::support::wait::{SOON, eventually};

const ANY_PORT: [&str; 5] = ["serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"];

/// A request whose body is still to come, held by a handler that waits for it.
async fn half_a_request(address: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = "POST /v1/sessions HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\
                Expect: 100-continue\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut interim = [0; 25];
    // The handler asks for the body: the request is in flight.
    stream.read_exact(&mut interim).await.unwrap();
    assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream
}

async fn until_readiness_is(status: u16, admin: SocketAddr) {
    let url = format!("http://{admin}/readyz");
    eventually(SOON, "the readiness awaited", async || {
        reqwest::get(&url).await.unwrap().status().as_u16() == status
    })
    .await;
}

#[tokio::test]
async fn a_drain_is_seen_by_probes_answers_what_is_in_flight_and_ends_with_0() {
    let server = Program::cloakroom(&ANY_PORT, &[]);
    let (traffic, admin) = (server.listener("traffic").await, server.listener("admin").await);
    for part in ["not for production", "callers are not authenticated"] {
        let is_it = |line: &serde_json::Value| field(line, "message").is_some_and(|message| message.contains(part));
        eventually(SOON, &format!("the warning of {part}"), async || {
            server.log().iter().any(is_it)
        })
        .await;
    }
    until_readiness_is(200, admin).await;

    let mut held = half_a_request(traffic).await;
    server.terminate();
    until_readiness_is(503, admin).await;
    eventually(SOON, "no new connections", async || {
        TcpStream::connect(traffic).await.is_err()
    })
    .await;
    held.write_all(b"{}").await.unwrap();
    let mut answer = String::new();
    held.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    assert!(answer.to_lowercase().contains("connection: close"), "{answer}");
    assert_eq!(server.wait_exit(SOON).await.code(), Some(0));
}

#[tokio::test]
async fn a_second_signal_aborts_with_1() {
    let server = Program::cloakroom(&ANY_PORT, &[]);
    until_readiness_is(200, server.listener("admin").await).await;
    let _held = half_a_request(server.listener("traffic").await).await;
    server.terminate();
    server.logged("draining").await;
    assert!(
        server.exit_status().is_none(),
        "the drain waits for the request in flight"
    );
    server.terminate();
    assert_eq!(server.wait_exit(SOON).await.code(), Some(1));
}

#[tokio::test]
async fn without_a_way_to_authenticate_callers_only_loopback_is_served() {
    let server = Program::cloakroom(
        &["serve", "--listen", "0.0.0.0:0", "--admin-listen", "127.0.0.1:0"],
        &[],
    );
    assert_eq!(server.wait_exit(SOON).await.code(), Some(1));
    let output = server.output().join("\n");
    assert!(
        output.contains("jwt.secret") && output.contains("0.0.0.0:0"),
        "{output}"
    );
}

#[tokio::test]
async fn bad_tls_files_are_named_at_the_start() {
    let arguments = [
        &ANY_PORT[..],
        &[
            "--set",
            "tls.cert_file=/no/cert.pem",
            "--set",
            "tls.key_file=/no/key.pem",
        ],
    ];
    let server = Program::cloakroom(&arguments.concat(), &[]);
    assert_eq!(server.wait_exit(SOON).await.code(), Some(1));
    let output = server.output().join("\n");
    assert!(output.contains("tls: cannot read `/no/cert.pem`"), "{output}");
}

#[tokio::test]
async fn the_selftest_passes_over_a_sound_service_and_says_what_is_wrong_with_another() {
    const SECRET: &str = "jwt.secret=0123456789abcdef0123456789abcdef";
    let server = Program::cloakroom(&[&ANY_PORT[..], &["--set", SECRET]].concat(), &[]);
    let url = format!("http://{}", server.listener("traffic").await);
    until_readiness_is(200, server.listener("admin").await).await;

    let sound = Program::cloakroom(&["selftest", "--url", &url, "--set", SECRET], &[]);
    assert_eq!(sound.wait_exit(SOON).await.code(), Some(0), "{:?}", sound.output());
    let unsigned = Program::cloakroom(&["selftest", "--url", &url], &[]);
    assert_eq!(unsigned.wait_exit(SOON).await.code(), Some(1));
    eventually(SOON, "the reason", async || {
        unsigned.output().join("\n").contains("answered 401")
    })
    .await;

    server.stop(SOON).await;
    let nobody = Program::cloakroom(&["selftest", "--url", &url, "--set", SECRET], &[]);
    assert_eq!(nobody.wait_exit(SOON).await.code(), Some(1));
}
