//! Whatever comes by the sockets is answered with a clear refusal; nothing is lost by it, and no token gets into a log.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::{Answer, Fleet, Replica, segment};
use crate::support::redis_cluster::shared_cluster;
use crate::support::wait::SOON;

const NOBODY: &str = "/v1/sessions/aaAAAAAAAAAAAAAAAAAAAAAA";

/// What a server answers to bytes on a new connection until it closes that.
async fn raw(address: SocketAddr, parts: &[&[u8]]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    for part in parts {
        // A server that has refused reads no more.
        if stream.write_all(part).await.is_err() {
            break;
        }
    }
    let mut answer = Vec::new();
    let mut chunk = [0; 4096];
    let reading = async {
        while let Ok(count @ 1..) = stream.read(&mut chunk).await {
            answer.extend_from_slice(&chunk[..count]);
        }
    };
    tokio::time::timeout(SOON, reading)
        .await
        .expect("the server closes the connection");
    String::from_utf8_lossy(&answer).into_owned()
}

async fn send(replica: &Replica, method: &str, path: &str, body: &str) -> Answer {
    let request = replica
        .request(method, path)
        .header("authorization", &replica.credential)
        .header("content-type", "application/json")
        .body(body.to_owned());
    Answer::of(request).await.unwrap()
}

async fn refusals(replica: &Replica, path: &str) {
    for body in [
        "",
        "{",
        "[]",
        "{\"user_id\": 7}",
        "{\"userid\": \"a\"}",
        "{\"class\": \"nope\"}",
        "{\"user_id\": \"a\\u0007b\"}",
        "{\"user_id\": \"\\u0000\"}",
        "{\"roles\": \"user\"}",
    ] {
        send(replica, "POST", "/v1/sessions", body)
            .await
            .problem(400, "invalid_request");
    }
    for id in ["x", "%00", "%FF", "aa%2F", &"a".repeat(4_000)] {
        replica
            .get(&format!("/v1/sessions/{id}"))
            .await
            .problem(400, "invalid_request");
    }
    for user in ["a\u{7}b".to_owned(), "\n".to_owned(), "x".repeat(257)] {
        let path = format!("/v1/users/{}/sessions", segment(&user));
        replica.get(&path).await.problem(400, "invalid_request");
    }
    let much = |bytes: usize| json!({"data": {"a": "x".repeat(bytes)}}).to_string();
    send(replica, "PATCH", path, &much(10_240))
        .await
        .problem(413, "session_too_large");
    for bytes in [70_000, 3_000_000] {
        let answer = send(replica, "PATCH", path, &much(bytes)).await;
        answer.problem(413, "body_too_large");
    }
    send(replica, "PUT", path, "{}")
        .await
        .problem(405, "method_not_allowed");
    send(replica, "BREW", path, "").await.problem(405, "method_not_allowed");
    replica.get("/v1/nowhere").await.problem(404, "not_found");
    replica.get(NOBODY).await.problem(404, "session_not_found");
    let request = replica.request("GET", path).header("x-long", "x".repeat(64 * 1024));
    Answer::of(request).await.unwrap().problem(431, "headers_too_large");
    let unauthenticated = Answer::of(replica.request("GET", path)).await.unwrap();
    unauthenticated.problem(401, "unauthorized");
}

async fn broken_http(address: SocketAddr) {
    for request in [
        &b"GARBAGE\r\n\r\n"[..],
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /v1/sessions HTTP/1.1\r\nHost: a\r\nBad Header: x\r\n\r\n",
        b"POST /v1/sessions HTTP/1.1\r\nHost: a\r\nContent-Length: nine\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ] {
        let answer = raw(address, &[request]).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    }
    let endless = "X-Many: y\r\n".repeat(20_000);
    let answer = raw(address, &[b"GET / HTTP/1.1\r\nHost: a\r\n", endless.as_bytes()]).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer}");
}

/// A body that never comes is given up within the request timeout.
async fn slow_body(replica: &Replica) {
    let head = format!(
        "POST /v1/sessions HTTP/1.1\r\nHost: a\r\nConnection: close\r\nAuthorization: {}\r\n\
         Content-Type: application/json\r\nContent-Length: 20\r\n\r\n{{\"us",
        replica.credential
    );
    let answer = raw(replica.traffic, &[head.as_bytes()]).await;
    assert!(
        answer.starts_with("HTTP/1.1 4") || answer.starts_with("HTTP/1.1 503"),
        "{answer}"
    );
}

fn is_in_log(replica: &Replica, secret: &str) -> bool {
    replica.program.output().iter().any(|line| line.contains(secret))
}

#[tokio::test]
async fn s55_bad_input_is_refused_and_no_token_is_logged() {
    let cluster = shared_cluster().await;
    let settings = [("log.level", "trace"), ("http.timeout", "2s")];
    let fleet = Fleet::start(cluster, &settings).await;
    let mut tokens = Vec::new();
    let (path, token) = fleet
        .at(0)
        .create(json!({"user_id": "alice", "data": {"kept": 1}}))
        .await;
    tokens.push(token.clone());
    refusals(fleet.at(0), &path).await;
    tokio::join!(broken_http(fleet.at(1).traffic), slow_body(fleet.at(2)));

    // Everything that handles tokens, in good order and in bad.
    let as_is = fleet.at(1).get(&path).await.expect(200).json();
    assert_eq!(
        (as_is["data"].clone(), as_is["version"].clone()),
        (json!({"kept": 1}), json!(1))
    );
    for replica in &fleet.replicas {
        assert!(replica.is_valid(&token).await);
        replica.as_browser("/session", &token).await.expect(200);
        replica
            .as_browser(&format!("/auth?unknown={token}"), &token)
            .await
            .expect(400);
        replica
            .get(&format!("/v1/sessions/{token}"))
            .await
            .problem(400, "invalid_request");
        let wrong = json!({"token": token, "surplus": token});
        replica
            .call("POST", "/v1/sessions/validate", wrong)
            .await
            .problem(400, "invalid_request");
        let issued = replica
            .call("POST", "/v1/sessions", json!({"user_id": "bob"}))
            .await
            .expect(201);
        let body: Value = issued.json();
        tokens.extend(["token", "csrf_token"].map(|name| body[name].as_str().unwrap().to_owned()));
        let id = body["session"]["id"].as_str().unwrap();
        let rotate = format!("/v1/sessions/{id}/rotate");
        let (_, rotated) = replica.call("POST", &rotate, json!({})).await.expect(201).issued();
        tokens.push(rotated);
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    for replica in &fleet.replicas {
        assert!(
            is_in_log(replica, "\"level\":\"DEBUG\""),
            "{}: no detailed log",
            replica.id
        );
        for token in &tokens {
            assert!(!is_in_log(replica, token), "{}: {token}", replica.id);
        }
        let (_, signature) = replica.credential.rsplit_once('.').unwrap();
        assert!(!is_in_log(replica, signature), "{}: a caller's credential", replica.id);
        assert!(
            !is_in_log(replica, super::SECRET),
            "{}: the callers' secret",
            replica.id
        );
    }
    let audit = fleet.finish(cluster).await;
    assert_eq!(audit.sessions, 4);
}
