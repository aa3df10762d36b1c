//! The ACL that the page of Redis calls enough.

use std::collections::BTreeSet;

use redis::Value as RedisValue;
use serde_json::json;

use super::{ANY_PORT, blocks, text_of};
use crate::redis_store::acl as least;
use crate::support::process::Program;
use crate::support::server::{Acl, ServerOptions};
use crate::support::single_redis::SingleRedis;
use crate::support::wait::{SOON, eventually};

/// The rules that the page gives, on one line.
fn acl_rules() -> String {
    blocks(&text_of("docs/redis.md"), "## ACL", "acl")
        .concat()
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
}

#[test]
fn the_acl_of_the_page_is_the_tested_one() {
    let tested = [
        least::COMMANDS,
        least::HEARTBEAT_COMMANDS,
        least::CLUSTER_COMMANDS,
        least::DURABLE_COMMANDS,
        least::OPTIONAL_COMMANDS,
    ]
    .join(" ");
    let commands = |rules: &str| -> BTreeSet<String> {
        let words = rules.split_whitespace().filter(|word| word.starts_with('+'));
        words.map(str::to_owned).collect()
    };
    assert_eq!(commands(&acl_rules()), commands(&tested));
}

#[tokio::test]
async fn the_acl_of_the_page_is_enough() {
    let acl = Acl {
        username: "cloakroom".to_owned(),
        password: "secret".to_owned(),
        rules: acl_rules(),
    };
    let redis = SingleRedis::start(ServerOptions {
        acl: Some(acl),
        ..ServerOptions::default()
    })
    .await;
    let url = redis.url();
    let arguments = [
        "serve",
        "--listen",
        ANY_PORT,
        "--admin-listen",
        ANY_PORT,
        "--redis-url",
        &url,
    ];
    let server = Program::cloakroom(&arguments, &[]);
    let api = format!("http://{}", server.listener("traffic").await);
    let admin = server.listener("admin").await;
    eventually(SOON, "readiness", async || {
        reqwest::get(format!("http://{admin}/readyz"))
            .await
            .is_ok_and(|answer| answer.status() == 200)
    })
    .await;

    let client = reqwest::Client::new();
    let call = async |method: &str, path: &str, body: serde_json::Value| {
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        let request = client.request(method, format!("{api}{path}"));
        let request = if body.is_null() { request } else { request.json(&body) };
        let answer = request.send().await.unwrap();
        let (status, text) = (answer.status().as_u16(), answer.text().await.unwrap());
        assert!((200..300).contains(&status), "{path}: {status} {text}");
        serde_json::from_str::<serde_json::Value>(&text).unwrap_or_default()
    };
    let listener = client
        .get(format!("{api}/v1/events"))
        .header("Last-Event-ID", "0-0-aa")
        .send()
        .await
        .unwrap();
    assert_eq!(listener.status(), 200);
    let made = call(
        "POST",
        "/v1/sessions",
        json!({"user_id": "alice", "data": {"a": 1}, "durable": true}),
    )
    .await;
    let session = format!("/v1/sessions/{}", made["session"]["id"].as_str().unwrap());
    let home = made["session"]["server_id"].clone();
    call("GET", &session, json!(null)).await;
    call("PATCH", &session, json!({"data": {"a": null, "b": 2}, "roles": ["x"]})).await;
    call("POST", &format!("{session}/data/n/increment"), json!(null)).await;
    call(
        "POST",
        &format!("{session}/cart/items"),
        json!({"product_id": "hat", "quantity": 1}),
    )
    .await;
    call("POST", &format!("{session}/activity"), json!({"action": "x"})).await;
    call("POST", &format!("{session}/touch"), json!(null)).await;
    call("POST", &format!("{session}/migrate"), json!({"server_id": home})).await;
    let rotated = call(
        "POST",
        &format!("{session}/rotate"),
        json!({"class": "sensitive", "keep": ["n"]}),
    )
    .await;
    let judged = call("POST", "/v1/sessions/validate", json!({"token": rotated["token"]})).await;
    assert_eq!(judged["valid"], true);
    call("GET", "/v1/users/alice/sessions", json!(null)).await;
    call("GET", "/v1/sessions?limit=10", json!(null)).await;
    call("GET", "/v1/stats", json!(null)).await;
    call("DELETE", &session, json!(null)).await;
    call("POST", "/v1/sessions", json!({"user_id": "alice"})).await;
    call("DELETE", "/v1/users/alice/sessions", json!(null)).await;
    call("POST", "/v1/sessions", json!({})).await;
    call("DELETE", "/v1/sessions?confirm=all", json!(null)).await;

    assert!(server.stop(SOON).await.success());
    let denied = redis.command(&["ACL", "LOG"]).await;
    assert!(
        matches!(&denied, RedisValue::Array(entries) if entries.is_empty()),
        "{denied:?}"
    );
}
