use serde_json::{Value, json};

use super::{Api, path_of};

async fn validate(api: &Api, body: Value) -> Value {
    api.post("/v1/sessions/validate", body).await.expect(200)
}

#[tokio::test]
async fn tokens_are_judged() {
    let api = Api::new();
    let made = api.create(json!({"user_id": "alice"})).await;
    let token = &made["token"];
    let judged = validate(&api, json!({"token": token})).await;
    assert_eq!(judged["valid"], true);
    assert_eq!(judged["session"]["user_id"], "alice");
    let all = json!({
        "token": token, "csrf_token": made["csrf_token"], "fingerprint": "f", "ip": "203.0.113.9", "user_agent": "x",
        "touch": false, "consistency": "strong", "min_version": 1,
    });
    assert_eq!(validate(&api, all).await["valid"], true);
    let wrong = validate(&api, json!({"token": token, "csrf_token": "x"})).await;
    assert_eq!(wrong, json!({"valid": false, "reason": "csrf_mismatch"}));
    for foreign in [
        &made["session"]["id"],
        &json!(""),
        &json!("x"),
        &json!("x".repeat(5000)),
    ] {
        let judged = validate(&api, json!({"token": foreign})).await;
        assert_eq!(
            judged,
            json!({"valid": false, "reason": "session_not_found"}),
            "{foreign}"
        );
    }
}

#[tokio::test]
async fn s37_the_csrf_token_belongs_to_one_session() {
    let api = Api::new();
    let (one, two) = (api.create(json!({})).await, api.create(json!({})).await);
    let verify = format!("{}/csrf/verify", path_of(&one));
    let right = api
        .post(&verify, json!({"csrf_token": one["csrf_token"]}))
        .await
        .expect(200);
    assert_eq!(right, json!({"valid": true}));
    let wrong = api
        .post(&verify, json!({"csrf_token": two["csrf_token"]}))
        .await
        .expect(200);
    assert_eq!(wrong, json!({"valid": false}));
}

#[tokio::test]
async fn the_cookie_is_the_contracts() {
    let api = Api::new();
    let made = api.create(json!({"class": "sensitive"})).await;
    let token = made["token"].as_str().unwrap();
    assert_eq!(
        made["set_cookie"].as_str().unwrap(),
        format!("__Host-cloakroom={token}; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=43200")
    );
}

#[tokio::test]
async fn s08_a_rotation_gives_a_new_token_and_keeps_the_session() {
    let api = Api::new();
    let made = api.create(json!({"user_id": "alice", "data": {"a": 1}})).await;
    let rotated = api.post(&format!("{}/rotate", path_of(&made)), json!({})).await;
    assert_eq!(rotated.header("location"), path_of(&rotated.json()));
    let rotated = rotated.expect(201);
    assert_ne!(rotated["token"], made["token"]);
    assert_ne!(rotated["csrf_token"], made["csrf_token"]);
    assert_eq!(rotated["session"]["data"], json!({"a": 1}));
    assert_eq!(rotated["session"]["created_at"], made["session"]["created_at"]);
    assert_eq!(
        validate(&api, json!({"token": made["token"]})).await["valid"],
        true,
        "within the grace"
    );
}

#[tokio::test]
async fn s09_a_log_in_drops_what_it_does_not_name_and_ends_the_anonymous_session() {
    let api = Api::new();
    let made = api.create(json!({"data": {"cart": [], "draft": "x"}})).await;
    let log_in = json!({"user_id": "alice", "keep": ["cart"], "roles": ["user"], "class": "sensitive"});
    let rotate = format!("{}/rotate", path_of(&made));
    let issued = api.post(&rotate, log_in.clone()).await.expect(201);
    assert_eq!(issued["session"]["data"], json!({"cart": []}));
    assert_eq!(issued["session"]["class"], "sensitive");
    assert_eq!(issued["session"]["roles"], json!(["user"]));
    assert_eq!(validate(&api, json!({"token": made["token"]})).await["valid"], false);
    api.post(&rotate, log_in).await.problem(404, "session_not_found");
    let other = json!({"user_id": "bob"});
    api.post(&format!("{}/rotate", path_of(&issued)), other)
        .await
        .problem(400, "invalid_request");
}

#[tokio::test]
async fn users_sessions_are_listed_and_ended() {
    let api = Api::new();
    let user = "/v1/users/al%2Fice%20%7B%7D%F0%9F%A6%80/sessions";
    let mut made = Vec::new();
    for _ in 0..3 {
        made.push(api.create(json!({"user_id": "al/ice {}🦀"})).await);
    }
    api.create(json!({"user_id": "bob"})).await;
    assert_eq!(api.get(user).await.expect(200)["sessions"].as_array().unwrap().len(), 3);
    let kept = made[0]["session"]["id"].as_str().unwrap();
    let ended = api.delete(&format!("{user}?except={kept}")).await.expect(200);
    assert_eq!(ended, json!({"revoked": 2}));
    assert_eq!(api.get(user).await.expect(200)["sessions"][0]["id"], kept);
    assert_eq!(api.delete(user).await.expect(200), json!({"revoked": 1}));
    assert_eq!(api.delete(user).await.expect(200), json!({"revoked": 0}));
    assert_eq!(
        api.get("/v1/users/bob/sessions").await.expect(200)["sessions"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    api.delete(&format!("{user}?except=x"))
        .await
        .problem(400, "invalid_request");
}

#[tokio::test]
async fn durability_is_asked_for_in_the_body_or_the_query() {
    let api = Api::new();
    let made = api.create(json!({"durable": true})).await;
    assert!(made["durable"].is_boolean(), "{made}");
    let made = api.post("/v1/sessions?durable=true", json!({})).await.expect(201);
    assert!(made["durable"].is_boolean(), "{made}");
    let rotate = format!("{}/rotate?durable=true", path_of(&made));
    let rotated = api.post(&rotate, json!({})).await.expect(201);
    assert!(rotated["durable"].is_boolean(), "{rotated}");
    api.post("/v1/sessions?durabel=true", json!({}))
        .await
        .problem(400, "invalid_request");
}
