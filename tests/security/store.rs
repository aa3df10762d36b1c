//! S49 to S54: the store, the memory before it, and their limits.

use cloakroom::sessions::CacheSettings;
use serde_json::json;

use crate::pod::memory;
use crate::support::api::{Answer, Api, Setup, path_of};
use crate::support::fleet::{Fleet, segment};
use crate::support::redis_cluster::shared_cluster;
use crate::support::wait::{SOON, eventually};
use crate::{cookie, unknown_token};

/// An API whose memory answers.
fn with_memory(cache: CacheSettings) -> Api {
    Api::with(Setup {
        fed: true,
        cache: Some(cache),
        ..Setup::default()
    })
}

/// Asks until memory has answered for the session.
async fn warm(api: &Api, path: &str) {
    let hits = api.metrics.reads.with_label_values(&["l1"]);
    eventually(SOON, "memory to answer", async || {
        let before = hits.get();
        api.get(path).await.expect(200);
        hits.get() > before
    })
    .await;
}

#[tokio::test]
async fn s49_memory_holds_the_session_and_never_a_decision() {
    let api = with_memory(memory());
    let made = api
        .create(json!({"user_id": "alice", "roles": ["user"], "permissions": ["read"]}))
        .await;
    warm(&api, &path_of(&made)).await;
    let cookie = cookie(made["token"].as_str().unwrap());
    let ask = async |query: &str, headers: &[(&str, &str)]| -> Answer {
        let headers = [&[("cookie", cookie.as_str())][..], headers].concat();
        api.call("GET", &format!("/auth{query}"), &headers, "").await
    };
    let hits = api.metrics.reads.with_label_values(&["l1"]);
    let before = hits.get();
    // Each question is judged by itself, however the one before was answered.
    for _ in 0..3 {
        ask("", &[]).await.expect_empty(200);
        ask("?role=admin", &[]).await.problem(403, "forbidden");
        ask("?role=user", &[]).await.expect_empty(200);
        ask("?permission=write", &[]).await.problem(403, "forbidden");
        ask("?role=user&permission=read", &[]).await.expect_empty(200);
        let post = [("x-forwarded-method", "POST"), ("sec-fetch-site", "cross-site")];
        ask("?csrf=1", &post).await.problem(403, "csrf_mismatch");
        ask("?csrf=1", &[("x-forwarded-method", "GET")]).await.expect_empty(200);
    }
    assert!(hits.get() >= before + 21, "all of it was answered from memory");
    // Nor is a refusal held: what was wanting is there a moment later.
    let change = json!({"roles": ["user", "admin"], "permissions": ["read", "write"]});
    api.call("PATCH", &path_of(&made), &[], &change.to_string())
        .await
        .expect(200);
    ask("?role=admin&permission=write", &[]).await.expect_empty(200);
    api.call("PATCH", &path_of(&made), &[], r#"{"roles":[]}"#)
        .await
        .expect(200);
    ask("?role=user", &[]).await.problem(403, "forbidden");
}

/// What users may be called, and data keys and classes of tokens may look like, to whoever wants to reach a key of
/// another's.
const NAMES: [&str; 14] = [
    "{a7}:s:x",
    "}:s:x{",
    "*",
    "?[a-z]",
    "a:b:c",
    "meta",
    "../meta",
    "x' OR 1=1",
    "redis.call('FLUSHALL')",
    "%0d%0aFLUSHALL%0d%0a",
    "\\r\\nFLUSHALL",
    "a b",
    "\u{202e}\u{fc}\u{1f980}",
    "-",
];

/// Whether a key is one that the service makes by itself: no part of it was ever given by anybody.
fn is_ours(key: &str) -> bool {
    let is_id = |text: &str| text.parse::<cloakroom::session::SessionId>().is_ok();
    let Some(rest) = key.strip_prefix('{') else {
        return matches!(key, "meta" | "servers" | "leader");
    };
    let Some((bucket, rest)) = rest.split_once("}:") else {
        return false;
    };
    let is_bucket = bucket.len() == 2 && bucket.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'2'..=b'7'));
    let (kind, rest) = rest.split_once(':').unwrap_or((rest, ""));
    is_bucket
        && match kind {
            "s" | "r" | "a" => is_id(rest),
            "o" => rest.len() == 16,
            "x" => ["normal", "remember_me", "sensitive", "temporary"].contains(&rest),
            "q" => rest.parse::<u32>().is_ok(),
            "u" | "n" | "h" | "e" => rest.is_empty(),
            _ => false,
        }
}

#[tokio::test]
async fn s50_nothing_that_is_given_forms_a_key() {
    let cluster = shared_cluster().await;
    let fleet = Fleet::start(cluster, &[]).await;
    for name in NAMES {
        let body = json!({
            "user_id": name, "data": {name: name}, "roles": [name], "metadata": {name: name}, "fingerprint": name,
        });
        let made = fleet.at(0).call("POST", "/v1/sessions", body).await.expect(201).json();
        let path = path_of(&made);
        let activity = json!({"action": "look", "metadata": {name: name}});
        fleet
            .at(1)
            .call("POST", &format!("{path}/activity"), activity)
            .await
            .expect(200);
        let item = json!({"product_id": name, "quantity": 1});
        fleet
            .at(1)
            .call("POST", &format!("{path}/cart/items"), item)
            .await
            .expect(200);
        let value = fleet
            .at(2)
            .get(&format!("{path}/data/{}", segment(name)))
            .await
            .expect(200);
        assert_eq!(value.json(), json!(name));
        fleet
            .at(2)
            .call("POST", &format!("{path}/rotate"), json!({}))
            .await
            .expect(201);
        let listed = fleet
            .at(0)
            .get(&format!("/v1/users/{}/sessions", segment(name)))
            .await
            .expect(200)
            .json();
        assert_eq!(listed["sessions"].as_array().unwrap().len(), 1, "{name}");
        for bad in ["class", "server_id"] {
            let body = json!({bad: name});
            fleet
                .at(0)
                .call("POST", "/v1/sessions", body)
                .await
                .problem(400, "invalid_request");
        }
        let target = json!({"server_id": name});
        fleet
            .at(0)
            .call("POST", &format!("{path}/migrate"), target)
            .await
            .problem(400, "invalid_request");
    }
    let start = format!("{}:", fleet.prefix);
    let keys = cluster.keys(&format!("{start}*")).await;
    assert!(keys.len() > 60, "{}", keys.len());
    for key in &keys {
        assert!(is_ours(key.strip_prefix(&start).unwrap()), "{key}");
    }
    assert_eq!(fleet.finish(cluster).await.sessions, NAMES.len() as u64);
}

#[tokio::test]
async fn s53_ids_that_are_not_there_take_no_memory() {
    let api = with_memory(CacheSettings {
        max_entries: 100,
        ..memory()
    });
    let made = api.create(json!({"user_id": "alice"})).await;
    warm(&api, &path_of(&made)).await;
    let entries = || {
        api.sessions.show_cache();
        api.metrics.l1_entries.get()
    };
    eventually(SOON, "the entry to be counted", async || entries() == 1).await;
    for _ in 0..5_000 {
        let cookie = cookie(&unknown_token());
        let answer = api.call("GET", "/auth", &[("cookie", &cookie)], "").await;
        answer.problem(401, "session_not_found");
    }
    assert_eq!(entries(), 1, "an absence is never held");
    // And what is there, no more than was allowed.
    for number in 0..300 {
        let made = api.create(json!({"user_id": format!("user-{number}")})).await;
        api.get(&path_of(&made)).await.expect(200);
    }
    eventually(SOON, "memory to keep its limit", async || entries() <= 100).await;
}

#[tokio::test]
async fn s53_a_session_never_grows_beyond_its_limits() {
    let api = Api::new();
    let made = api.create(json!({"user_id": "alice"})).await;
    let path = path_of(&made);
    let grows = async |body: serde_json::Value| api.call("PATCH", &path, &[], &body.to_string()).await;
    for step in 0..40 {
        let answer = grows(json!({"data": {format!("k{step}"): "x".repeat(500)}})).await;
        assert!(matches!(answer.status.as_u16(), 200 | 413), "{}", answer.body);
    }
    let session = api.get(&path).await.expect(200);
    assert!(
        session["data_bytes"].as_u64().unwrap() <= 10_240,
        "{}",
        session["data_bytes"]
    );
    grows(json!({"data": {"last": "x".repeat(500)}}))
        .await
        .problem(413, "session_too_large");
    let roles: Vec<_> = (0..65).map(|number| format!("role-{number}")).collect();
    grows(json!({"roles": roles})).await.problem(400, "invalid_request");
    grows(json!({"permissions": ["x".repeat(129)]}))
        .await
        .problem(400, "invalid_request");
    for _ in 0..3 {
        let answer = grows(json!({"metadata": {format!("m{}", unknown_token()): "x".repeat(2_000)}})).await;
        assert!(matches!(answer.status.as_u16(), 200 | 400), "{}", answer.body);
    }
    let metadata = api.get(&path).await.expect(200)["metadata"].to_string();
    assert!(metadata.len() < 5_000, "{} bytes", metadata.len());
    for number in 0..150 {
        let body = json!({"action": format!("look-{number}")});
        api.post(&format!("{path}/activity"), body).await.expect(200);
    }
    let listed = api.get(&format!("{path}/activity")).await.expect(200);
    assert_eq!(listed["activities"].as_array().unwrap().len(), 100);
}

/// Every face counts what opens no session, and says nothing of why.
#[tokio::test]
async fn s54_invalid_tokens_are_counted_by_face_and_applications_are_never_throttled() {
    let api = Api::new();
    for _ in 0..200 {
        let token = unknown_token();
        api.call("GET", "/session", &[("cookie", &cookie(&token))], "")
            .await
            .problem(401, "session_not_found");
        let judged = api
            .post("/v1/sessions/validate", json!({"token": token}))
            .await
            .expect(200);
        assert_eq!(judged, json!({"valid": false, "reason": "session_not_found"}));
    }
    for face in ["visitor", "application"] {
        assert_eq!(
            api.metrics.invalid_tokens.with_label_values(&[face]).get(),
            200,
            "{face}"
        );
    }
    assert_eq!(api.metrics.throttled.get(), 0);
}
