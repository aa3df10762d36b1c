use std::time::Duration;

use serde_json::json;

use super::{Api, NOBODY, path_of};

#[tokio::test]
async fn a_session_is_made_read_changed_and_ended() {
    let api = Api::new();
    let made = api
        .post(
            "/v1/sessions",
            json!({"user_id": "alice", "data": {"theme": "dark"}, "roles": ["user"]}),
        )
        .await;
    assert_eq!(made.header("cache-control"), "no-store");
    assert_eq!(made.header("vary"), "Cookie");
    let location = made.header("location").to_owned();
    let body = made.expect(201);
    assert_eq!(location, path_of(&body));
    assert!(body["csrf_token"].as_str().unwrap().len() > 20);
    assert!(body.get("durable").is_none());
    let session = &body["session"];
    assert_eq!(session["user_id"], "alice");
    assert_eq!(session["class"], "normal");
    assert_eq!(session["data"], json!({"theme": "dark"}));
    assert_eq!(session["version"], 1);
    assert_eq!(session["server_id"], "one");
    assert_eq!(session["created_at"], "2027-01-15T08:00:00.000Z");

    let read = api.get(&location).await;
    assert_eq!(read.header("etag"), "\"1\"");
    assert!(
        !read.body.contains(body["token"].as_str().unwrap()),
        "a session never contains its token"
    );
    assert_eq!(&read.expect(200), session);

    let change = json!({
        "data": {"theme": null, "lang": {"a": [1.0, []]}},
        "roles": ["admin"],
        "metadata": {"ip": "203.0.113.9"},
        "security": {"login_attempts": 3, "suspicious": true, "last_password_change": "2026-01-31T12:00:00+01:00"},
    });
    let changed = api.call("PATCH", &location, &[], &change.to_string()).await;
    assert_eq!(changed.header("etag"), "\"2\"");
    let session = changed.expect(200);
    assert_eq!(session["data"], json!({"lang": {"a": [1.0, []]}}));
    assert_eq!(session["security"]["last_password_change"], "2026-01-31T11:00:00.000Z");
    assert_eq!(session["roles"], json!(["admin"]));
    let defaults = r#"{"security": {"login_attempts": null, "last_password_change": null}}"#;
    let security = api.call("PATCH", &location, &[], defaults).await.expect(200)["security"].clone();
    assert_eq!(
        security,
        json!({"login_attempts": 0, "suspicious": true, "last_password_change": null})
    );

    assert_eq!(api.delete(&location).await.expect(204), json!(null));
    api.delete(&location).await.expect(204);
    api.get(&location).await.problem(404, "session_not_found");
    api.call("PATCH", &location, &[], "{}")
        .await
        .problem(404, "session_not_found");
}

#[tokio::test]
async fn s27_an_unknown_session_is_ended_like_a_known_one() {
    let api = Api::new();
    let answer = api.delete(NOBODY).await;
    assert_eq!((answer.status.as_u16(), answer.body.as_str()), (204, ""));
    for path in ["", "/data/a", "/cart", "/activity"] {
        api.get(&format!("{NOBODY}{path}"))
            .await
            .problem(404, "session_not_found");
    }
    for path in ["/touch", "/data/a/increment"] {
        api.call("POST", &format!("{NOBODY}{path}"), &[], "")
            .await
            .problem(404, "session_not_found");
    }
    for (path, body) in [
        ("/rotate", json!({})),
        ("/cart/items", json!({"product_id": "a", "quantity": 1})),
        ("/activity", json!({"action": "a"})),
        ("/csrf/verify", json!({"csrf_token": "a"})),
        ("/migrate", json!({"server_id": "two"})),
    ] {
        api.post(&format!("{NOBODY}{path}"), body)
            .await
            .problem(404, "session_not_found");
    }
    api.call("PUT", &format!("{NOBODY}/data/a"), &[], "1")
        .await
        .problem(404, "session_not_found");
}

#[tokio::test]
async fn conditions_on_the_version() {
    let api = Api::new();
    let (path, _) = api.alice().await;
    let change = |tag: &'static str| {
        let (api, path) = (&api, &path);
        async move {
            api.call("PATCH", path, &[("if-match", tag)], r#"{"data": {"a": 1}}"#)
                .await
        }
    };
    for stale in ["\"7\"", "W/\"1\"", "\"other\"", "\"01\"", "\"2\", \"3\""] {
        change(stale).await.problem(412, "version_conflict");
    }
    change("1").await.problem(400, "invalid_request");
    assert_eq!(change("\"9\", \"1\"").await.expect(200)["version"], 2);
    assert_eq!(change("*").await.expect(200)["version"], 3);

    let key = format!("{path}/data/b");
    api.call("PUT", &key, &[("if-match", "\"1\"")], "1")
        .await
        .problem(412, "version_conflict");
    let set = api.call("PUT", &key, &[("if-match", "\"3\"")], "1").await;
    set.expect(204);
    assert_eq!(set.header("etag"), "\"4\"");
    api.call("DELETE", &key, &[("if-match", "\"3\"")], "")
        .await
        .problem(412, "version_conflict");
    api.call("DELETE", &key, &[("if-match", "\"4\"")], "").await.expect(204);

    let known = api.call("GET", &path, &[("if-none-match", "W/\"5\"")], "").await;
    assert_eq!((known.status.as_u16(), known.body.as_str()), (304, ""));
    api.call("GET", &path, &[("if-none-match", "\"4\"")], "")
        .await
        .expect(200);
    api.get(&format!("{path}?consistency=strong&min_version=5"))
        .await
        .expect(200);
}

#[tokio::test]
async fn values_are_kept_as_written_under_any_key() {
    let api = Api::new();
    let (path, _) = api.alice().await;
    for key in [
        "theme",
        "a%2Fb",
        "%7Ba7%7D",
        "a%20b",
        "%F0%9F%A6%80",
        "increment",
        "%25",
    ] {
        for value in [
            "1.0",
            "[ ]",
            "{\"a\":  12345678901234567890123}",
            "null",
            "\"\\u00fc\"",
            "false",
        ] {
            let path = format!("{path}/data/{key}");
            api.call("PUT", &path, &[], value).await.expect(204);
            let read = api.get(&path).await;
            assert_eq!((read.status.as_u16(), read.body.as_str()), (200, value), "{key}");
        }
    }
    let data = api.get(&path).await.expect(200)["data"].clone();
    for key in ["a/b", "{a7}", "a b", "🦀", "%"] {
        assert_eq!(data[key], false, "{key}");
    }
    api.delete(&format!("{path}/data/a%2Fb")).await.expect(204);
    api.get(&format!("{path}/data/a%2Fb"))
        .await
        .problem(404, "key_not_found");
    api.delete(&format!("{path}/data/a%2Fb")).await.expect(204);
    let big = format!("\"{}\"", "x".repeat(11_000));
    api.call("PUT", &format!("{path}/data/big"), &[], &big)
        .await
        .problem(413, "session_too_large");
}

#[tokio::test]
async fn numbers_are_incremented_and_nothing_else() {
    let api = Api::new();
    let (path, _) = api.alice().await;
    let increment = format!("{path}/data/n/increment");
    assert_eq!(api.call("POST", &increment, &[], "").await.body, r#"{"value":1}"#);
    assert_eq!(api.post(&increment, json!({})).await.body, r#"{"value":2}"#);
    assert_eq!(api.post(&increment, json!({"by": -5})).await.body, r#"{"value":-3}"#);
    assert_eq!(
        api.post(&increment, json!({"by": 0.5})).await.expect(200)["value"],
        -2.5
    );
    api.post(&increment, json!({"by": "1"}))
        .await
        .problem(400, "invalid_request");
    api.call("PUT", &format!("{path}/data/s"), &[], "\"x\"")
        .await
        .expect(204);
    api.call("POST", &format!("{path}/data/s/increment"), &[], "")
        .await
        .problem(409, "not_a_number");
}

#[tokio::test]
async fn the_cart_of_the_tutorials() {
    let api = Api::new();
    let (path, _) = api.alice().await;
    let items = format!("{path}/cart/items");
    assert_eq!(api.get(&format!("{path}/cart")).await.expect(200), json!({"items": []}));
    api.post(&items, json!({"product_id": "p1", "quantity": 2}))
        .await
        .expect(200);
    let cart = api
        .post(&items, json!({"product_id": "p1", "quantity": 1}))
        .await
        .expect(200);
    assert_eq!(cart, json!({"items": [{"product_id": "p1", "quantity": 3}]}));
    assert_eq!(
        api.get(&format!("{path}/cart?consistency=strong")).await.expect(200),
        cart
    );
    for bad in [
        json!({"product_id": "", "quantity": 1}),
        json!({"product_id": "x".repeat(257), "quantity": 1}),
        json!({"product_id": "p", "quantity": 0}),
        json!({"product_id": "p", "quantity": -1}),
        json!({"product_id": "p", "quantity": 1.5}),
        json!({"product_id": "p", "quantity": 1_000_000_001}),
        json!({"product_id": "p"}),
        json!(["p", 1]),
    ] {
        api.post(&items, bad).await.problem(400, "invalid_request");
    }
    api.call("PUT", &format!("{path}/data/cart"), &[], "7")
        .await
        .expect(204);
    api.get(&format!("{path}/cart")).await.problem(400, "invalid_request");
}

#[tokio::test]
async fn t22_a_log_out_is_among_its_users_activities() {
    let api = Api::new();
    let (path, _) = api.alice().await;
    let activities = "/v1/users/alice/activity";
    assert_eq!(api.get(activities).await.expect(200), json!({"activities": []}));
    api.call("DELETE", &path, &[], "").await.expect(204);
    let id = path.rsplit('/').next().unwrap();
    let told = api.get(activities).await.expect(200);
    let [only] = &told["activities"].as_array().unwrap()[..] else {
        panic!("{told}")
    };
    assert_eq!(
        (&only["action"], &only["metadata"]),
        (&json!("logout"), &json!({"session_id": id}))
    );
    assert!(only["at"].is_string());
    assert_eq!(
        api.get("/v1/users/bob/activity").await.expect(200),
        json!({"activities": []})
    );
}

#[tokio::test]
async fn activities_come_newest_first() {
    let api = Api::new();
    let (path, _) = api.alice().await;
    let activity = format!("{path}/activity");
    api.post(
        &activity,
        json!({"action": "log in", "metadata": {"ip": "203.0.113.9"}}),
    )
    .await
    .expect(200);
    api.clock.advance(Duration::from_secs(1));
    api.post(&activity, json!({"action": "buy"})).await.expect(200);
    let listed = api.get(&activity).await.expect(200);
    let activities = listed["activities"].as_array().unwrap();
    assert_eq!(activities[0]["action"], "buy");
    assert_eq!(activities[1]["metadata"], json!({"ip": "203.0.113.9"}));
    assert_eq!(
        api.get(&path).await.expect(200)["version"],
        1,
        "an activity is no change"
    );
    for bad in [
        json!({}),
        json!({"action": ""}),
        json!({"action": "a\nb"}),
        json!({"action": "x".repeat(129)}),
    ] {
        api.post(&activity, bad).await.problem(400, "invalid_request");
    }
}

#[tokio::test]
async fn a_session_moves_to_a_server_of_the_fleet() {
    let api = Api::new();
    let (path, _) = api.alice().await;
    let moved = api
        .post(&format!("{path}/migrate"), json!({"server_id": "two"}))
        .await
        .expect(200);
    assert_eq!((&moved["server_id"], &moved["migrations"]), (&json!("two"), &json!(1)));
    assert_eq!(moved["previous_server_id"], "one");
    for bad in [
        json!({"server_id": "three"}),
        json!({"server_id": "a b"}),
        json!({}),
        json!({"server_id": 1}),
    ] {
        api.post(&format!("{path}/migrate"), bad)
            .await
            .problem(400, "invalid_request");
    }
}

#[tokio::test]
async fn s16_a_session_ends_at_its_very_millisecond_and_a_touch_puts_it_off() {
    let api = Api::new();
    let made = api.create(json!({"class": "temporary"})).await;
    let path = path_of(&made);
    api.clock.advance(Duration::from_millis(299_999));
    let touched = api.call("POST", &format!("{path}/touch"), &[], "").await.expect(200);
    assert_ne!(touched["expires_at"], made["session"]["expires_at"]);
    api.clock.advance(Duration::from_millis(299_999));
    api.get(&path).await.expect(200);
    api.clock.advance(Duration::from_millis(1));
    api.get(&path).await.problem(404, "session_not_found");
    let judged = api
        .post("/v1/sessions/validate", json!({"token": made["token"]}))
        .await
        .expect(200);
    assert_eq!(judged, json!({"valid": false, "reason": "session_expired"}));
}
