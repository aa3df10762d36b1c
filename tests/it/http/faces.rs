use std::time::Duration;

use cloakroom::http::HttpSettings;
use serde_json::json;

use super::{Answer, Api, Setup, path_of};

async fn with_cookie(api: &Api, path: &str, cookie: &str) -> Answer {
    api.call("GET", path, &[("cookie", cookie)], "").await
}

#[tokio::test]
async fn a_gateway_learns_who_it_is() {
    let api = Api::new();
    let made = api
        .create(json!({"user_id": "al/ice ü", "roles": ["user", "ops"], "permissions": ["read"]}))
        .await;
    let cookie = format!("a=b; __Host-cloakroom={}", made["token"].as_str().unwrap());
    for method in ["GET", "POST", "DELETE", "OPTIONS", "PROPFIND"] {
        let answer = api.call(method, "/auth", &[("cookie", &cookie)], "").await;
        assert_eq!((answer.status.as_u16(), answer.body.as_str()), (200, ""), "{method}");
        assert_eq!(answer.header("x-auth-user"), "al%2Fice%20%C3%BC");
        assert_eq!(answer.header("x-auth-session"), made["session"]["id"].as_str().unwrap());
        assert_eq!(answer.header("x-auth-roles"), "user,ops");
        assert_eq!(answer.header("x-auth-permissions"), "read");
        assert_eq!(answer.header("x-auth-class"), "normal");
        assert_eq!(answer.header("x-auth-version"), "1");
        assert_eq!(answer.header("cache-control"), "no-store");
        assert_eq!(answer.header("vary"), "Cookie, Authorization");
    }
    with_cookie(&api, "/auth?role=ops&permission=read&max_age=60", &cookie)
        .await
        .expect(200);
    with_cookie(&api, "/auth?role=root", &cookie)
        .await
        .problem(403, "forbidden");
    with_cookie(&api, "/auth?permission=write", &cookie)
        .await
        .problem(403, "forbidden");
    api.clock.advance(Duration::from_mins(1));
    with_cookie(&api, "/auth?max_age=60", &cookie).await.expect(200);
    api.clock.advance(Duration::from_millis(1));
    with_cookie(&api, "/auth?max_age=60", &cookie)
        .await
        .problem(403, "reauthentication_required");
}

#[tokio::test]
async fn s45_a_misspelt_requirement_lets_nobody_pass() {
    let api = Api::new();
    let (_, token) = api.alice().await;
    let cookie = format!("__Host-cloakroom={token}");
    for bad in ["rôle=a", "roles=root", "role=a&role=b", "max_age=x", "max_age=-1", "x"] {
        let path = format!("/auth?{}", bad.replace('ô', "%C3%B4"));
        with_cookie(&api, &path, &cookie).await.problem(400, "invalid_request");
    }
    with_cookie(&api, "/session?x=1", &cookie)
        .await
        .problem(400, "invalid_request");
    for path in ["/auth/", "/auth/x", "//auth", "/Auth"] {
        with_cookie(&api, path, &cookie).await.problem(404, "not_found");
    }
}

#[tokio::test]
async fn s03_s06_s32_what_is_no_credential_is_refused() {
    let api = Api::new();
    let made = api.create(json!({"user_id": "alice"})).await;
    let (token, id) = (made["token"].as_str().unwrap(), made["session"]["id"].as_str().unwrap());
    let unknown = format!("aa{}", "A".repeat(43));
    for cookie in [
        "a=b".to_owned(),
        format!("__Host-cloakroom={id}"),
        format!("__Host-cloakroom={unknown}"),
        format!("__host-cloakroom={token}"),
        format!("__Host-cloakroom={token}; __Host-cloakroom={token}"),
        format!("__Host-cloakroom=\"{token}\""),
        format!("__Host-cloakroom={}", "x".repeat(5000)),
    ] {
        for path in ["/auth", "/session"] {
            let answer = with_cookie(&api, path, &cookie).await;
            answer.problem(401, "session_not_found");
            assert_eq!(answer.header("x-auth-reason"), "session_not_found");
            assert!(!answer.headers.contains_key("set-cookie"));
        }
    }
    api.clock.advance(Duration::from_hours(24));
    let answer = with_cookie(&api, "/auth", &format!("__Host-cloakroom={token}")).await;
    answer.problem(401, "session_expired");
    assert_eq!(answer.header("x-auth-reason"), "session_expired");
}

#[tokio::test]
async fn s05_one_transport_at_a_time() {
    let api = Api::new();
    let (_, token) = api.alice().await;
    let (cookie, header) = (format!("__Host-cloakroom={token}"), format!("Session {token}"));
    let both = [("cookie", cookie.as_str()), ("authorization", header.as_str())];
    api.call("GET", "/session", &both[1..], "").await.expect(200);
    api.call("GET", "/session", &both, "")
        .await
        .problem(401, "session_not_found");
    let twice = [both[1], both[1]];
    api.call("GET", "/session", &twice, "")
        .await
        .problem(401, "session_not_found");
    let foreign = [both[0], ("authorization", "Bearer x")];
    api.call("GET", "/session", &foreign, "").await.expect(200);

    let settings = HttpSettings {
        session_header: false,
        ..HttpSettings::default()
    };
    let api = Api::with(Setup {
        settings,
        ..Setup::default()
    });
    let (_, token) = api.alice().await;
    let header = format!("Session {token}");
    let answer = api.call("GET", "/auth", &[("authorization", &header)], "").await;
    answer.problem(401, "session_not_found");
}

#[tokio::test]
async fn a_browser_learns_who_it_is() {
    let api = Api::new();
    let made = api.create(json!({"user_id": "alice"})).await;
    let token = made["token"].as_str().unwrap();
    let answer = with_cookie(&api, "/session", &format!("__Host-cloakroom={token}")).await;
    assert_eq!(answer.header("vary"), "Cookie, Authorization");
    assert!(!answer.body.contains(token));
    assert_eq!(answer.expect(200)["id"], made["session"]["id"]);
    api.delete(&path_of(&made)).await.expect(204);
    with_cookie(&api, "/session", &format!("__Host-cloakroom={token}"))
        .await
        .problem(401, "session_not_found");
}
