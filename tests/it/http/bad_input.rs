use serde_json::json;

use super::{Api, NOBODY};

#[tokio::test]
async fn absurd_ids_are_malformed_requests() {
    let api = Api::new();
    let valid = "aaAAAAAAAAAAAAAAAAAAAAAA";
    let too_long = "a".repeat(4000);
    for id in [
        "x",
        "..",
        "%00",
        "%2F",
        "%FF",
        "aa%2F",
        &valid[1..],
        &format!("{valid}A"),
        &format!("A{}", &valid[1..]),
        &too_long,
    ] {
        let path = format!("/v1/sessions/{id}");
        for method in ["GET", "DELETE"] {
            api.call(method, &path, &[], "").await.problem(400, "invalid_request");
        }
        api.call("PATCH", &path, &[], "{}")
            .await
            .problem(400, "invalid_request");
        api.get(&format!("{path}/data/a")).await.problem(400, "invalid_request");
    }
    for key in ["%00", "%0A", &"x".repeat(257), "%FF"] {
        api.get(&format!("{NOBODY}/data/{key}"))
            .await
            .problem(400, "invalid_request");
    }
    for user in ["%00", &"x".repeat(257), "%FF"] {
        api.get(&format!("/v1/users/{user}/sessions"))
            .await
            .problem(400, "invalid_request");
    }
}

#[tokio::test]
async fn bodies_that_are_not_what_they_should_be() {
    let api = Api::new();
    let deep = format!("{{\"data\": {{\"a\": {}{}}}}}", "[".repeat(5000), "]".repeat(5000));
    for body in [
        "",
        " ",
        "{",
        "[]",
        "null",
        "7",
        "\"x\"",
        "{}{}",
        "{} x",
        "{\"user_id\": 7}",
        "{\"user_id\": \"\"}",
        "{\"user_id\": \"a\\u0000\"}",
        "{\"userid\": \"alice\"}",
        "{\"class\": \"nope\"}",
        "{\"class\": 7}",
        "{\"data\": []}",
        "{\"data\": \"x\"}",
        "{\"data\": {\"\": 1}}",
        "{\"data\": {\"a\": 1e}}",
        "{\"data\": {\"a\": NaN}}",
        "{\"roles\": \"user\"}",
        "{\"roles\": [7]}",
        "{\"roles\": [\"\"]}",
        "{\"roles\": [\"a,b\"]}",
        "{\"permissions\": [\"a\\n\"]}",
        "{\"metadata\": []}",
        "{\"fingerprint\": \"\"}",
        "{\"durable\": 1}",
        "{\"durable\": true, \"durable\": true}",
        "{\"token\": \"x\"}",
        &deep,
    ] {
        api.call("POST", "/v1/sessions", &[], body)
            .await
            .problem(400, "invalid_request");
    }
    let metadata = json!({"metadata": {"a": "x".repeat(4096)}});
    api.post("/v1/sessions", metadata).await.problem(400, "invalid_request");
    let big = json!({"data": {"a": "x".repeat(11_000)}});
    api.post("/v1/sessions", big).await.problem(413, "session_too_large");
}

#[tokio::test]
async fn changes_that_are_not_what_they_should_be() {
    let api = Api::new();
    let (path, _) = api.alice().await;
    for body in [
        "{\"version\": 7}",
        "{\"user_id\": \"bob\"}",
        "{\"security\": []}",
        "{\"security\": [1, true, null]}",
        "{\"security\": {\"login_attempts\": -1}}",
        "{\"security\": {\"login_attempts\": 4294967296}}",
        "{\"security\": {\"suspicious\": \"yes\"}}",
        "{\"security\": {\"last_password_change\": \"yesterday\"}}",
        "{\"security\": {\"last_password_change\": 7}}",
        "{\"security\": {\"last_password_change\": \"1969-01-01T00:00:00Z\"}}",
        "{\"security\": {\"locked\": true}}",
        "{\"data\": {\"a\\n\": 1}}",
    ] {
        api.call("PATCH", &path, &[], body)
            .await
            .problem(400, "invalid_request");
    }
    let grow = |key: &str| json!({"metadata": {key: "x".repeat(3000)}}).to_string();
    api.call("PATCH", &path, &[], &grow("a")).await.expect(200);
    api.call("PATCH", &path, &[], &grow("b"))
        .await
        .problem(400, "invalid_request");
    for body in ["", "{", "1 2", "'x'", "{\"a\": 1,}"] {
        api.call("PUT", &format!("{path}/data/a"), &[], body)
            .await
            .problem(400, "invalid_request");
    }
    for body in [json!({"by": null, "x": 1}), json!([1]), json!({"by": {}})] {
        api.post(&format!("{path}/data/n/increment"), body)
            .await
            .problem(400, "invalid_request");
    }
    for body in [
        json!({"keep": [""]}),
        json!({"keep": "a"}),
        json!({"user_id": ""}),
        json!({"class": "nope"}),
    ] {
        api.post(&format!("{path}/rotate"), body)
            .await
            .problem(400, "invalid_request");
    }
    for body in [
        json!({}),
        json!({"token": 7}),
        json!({"token": "x", "consistency": "weak"}),
        json!(["x"]),
    ] {
        api.post("/v1/sessions/validate", body)
            .await
            .problem(400, "invalid_request");
    }
}

#[tokio::test]
async fn a_refusal_says_where_what_and_what_is_allowed() {
    let api = Api::new();
    let detail = |answer: super::Answer| answer.json()["detail"].as_str().unwrap().to_owned();
    let roles = detail(api.post("/v1/sessions", json!({"roles": ["user", 7]})).await);
    assert!(
        roles.starts_with("roles[1]: invalid type: integer `7`, expected a string"),
        "{roles}"
    );
    let class = detail(api.post("/v1/sessions", json!({"class": "nope"})).await);
    assert_eq!(
        class,
        "unknown class `nope`; the classes are normal, remember_me, sensitive, temporary"
    );
    let query = detail(api.get("/v1/sessions?limti=7").await);
    assert!(
        query.contains("unknown field `limti`, expected one of `limit`"),
        "{query}"
    );
}

#[tokio::test]
async fn other_types_than_json_are_refused() {
    let api = Api::new();
    for content_type in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/jsonx",
        "",
    ] {
        let answer = api
            .call("POST", "/v1/sessions", &[("content-type", content_type)], "{}")
            .await;
        answer.problem(400, "invalid_request");
    }
    for content_type in [
        "application/json; charset=utf-8",
        "Application/JSON",
        "application/problem+json",
    ] {
        let answer = api
            .call("POST", "/v1/sessions", &[("content-type", content_type)], "{}")
            .await;
        answer.expect(201);
    }
}

#[tokio::test]
async fn unknown_paths_methods_and_parameters() {
    let api = Api::new();
    for path in [
        "/",
        "/v1",
        "/v1/session",
        "/v1/sessions/",
        "/v2/sessions",
        "/metrics",
        "/livez",
    ] {
        api.get(path).await.problem(404, "not_found");
    }
    let answer = api.call("PUT", "/v1/sessions", &[], "{}").await;
    answer.problem(405, "method_not_allowed");
    let mut allowed: Vec<_> = answer.header("allow").split(',').collect();
    allowed.sort_unstable();
    assert_eq!(allowed, ["DELETE", "GET", "HEAD", "POST"]);
    api.get("/v1/sessions/validate")
        .await
        .problem(405, "method_not_allowed");
    api.call("PUT", "/v1/stats", &[], "")
        .await
        .problem(405, "method_not_allowed");
    for query in [
        "consistency=weak",
        "min_version=-1",
        "x=1",
        "consistency=strong&consistency=strong",
    ] {
        api.get(&format!("{NOBODY}?{query}"))
            .await
            .problem(400, "invalid_request");
    }
    api.delete(&format!("{NOBODY}?durable=maybe"))
        .await
        .problem(400, "invalid_request");
}
