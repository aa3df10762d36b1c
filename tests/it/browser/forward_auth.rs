use std::time::Duration;

use cloakroom::http::HttpSettings;
use serde_json::json;

use crate::http::{Answer, Api, Setup};

fn with_settings(settings: HttpSettings) -> Api {
    Api::with(Setup {
        settings,
        ..Setup::default()
    })
}

/// Alice's cookie and her CSRF token.
async fn alice(api: &Api) -> (String, String) {
    let made = api.create(json!({"user_id": "alice", "roles": ["user"]})).await;
    let text = |name: &str| made[name].as_str().unwrap().to_owned();
    (format!("__Host-cloakroom={}", text("token")), text("csrf_token"))
}

async fn ask(api: &Api, path: &str, cookie: &str, headers: &[(&str, &str)]) -> Answer {
    let headers = [&[("cookie", cookie)][..], headers].concat();
    api.call("GET", path, &headers, "").await
}

const SAME_ORIGIN: (&str, &str) = ("sec-fetch-site", "same-origin");
const CROSS_SITE: (&str, &str) = ("sec-fetch-site", "cross-site");

#[tokio::test]
async fn s36_an_unsafe_request_behind_a_gateway_must_prove_its_origin() {
    let api = Api::new();
    let (cookie, csrf) = alice(&api).await;
    for name in ["x-forwarded-method", "x-original-method"] {
        let asks = async |method: &str, proof: (&str, &str)| {
            ask(&api, "/auth?csrf=1", &cookie, &[(name, method), proof]).await
        };
        for method in ["GET", "HEAD", "OPTIONS"] {
            asks(method, CROSS_SITE).await.expect_empty(200);
        }
        for method in ["POST", "DELETE", "get", "PURGE", "ü"] {
            asks(method, CROSS_SITE).await.problem(403, "csrf_mismatch");
            asks(method, SAME_ORIGIN).await.expect_empty(200);
            asks(method, ("x-csrf-token", csrf.as_str())).await.expect_empty(200);
        }
    }
    // Without the requirement nothing is asked for, and a gateway may pass the method on itself.
    ask(&api, "/auth", &cookie, &[("x-forwarded-method", "POST")])
        .await
        .expect_empty(200);
    let own = api
        .call("POST", "/auth?csrf=1", &[("cookie", &cookie), CROSS_SITE], "")
        .await;
    own.problem(403, "csrf_mismatch");
}

#[tokio::test]
async fn s45_what_the_gateway_does_not_say_lets_nobody_pass() {
    let api = Api::new();
    let (cookie, _) = alice(&api).await;
    ask(&api, "/auth?csrf=1", &cookie, &[SAME_ORIGIN])
        .await
        .problem(400, "invalid_request");
    // A client's own word does not outweigh the gateway's.
    for headers in [
        [("x-forwarded-method", "GET"), ("x-original-method", "POST")],
        [("x-forwarded-method", "POST"), ("x-original-method", "GET")],
        [("x-forwarded-method", "GET"), ("x-forwarded-method", "POST")],
    ] {
        ask(&api, "/auth?csrf=1", &cookie, &headers)
            .await
            .problem(403, "csrf_mismatch");
    }
    let posted = [("cookie", cookie.as_str()), ("x-forwarded-method", "GET")];
    api.call("POST", "/auth?csrf=1", &posted, "")
        .await
        .problem(403, "csrf_mismatch");
    for bad in ["csrf=2", "csrf=true", "csrf=", "csrf"] {
        ask(&api, &format!("/auth?{bad}"), &cookie, &[])
            .await
            .problem(400, "invalid_request");
    }
    ask(&api, "/auth?csrf=0", &cookie, &[]).await.expect_empty(200);
}

#[tokio::test]
async fn s47_only_navigations_are_sent_to_sign_in_and_only_to_the_list() {
    let api = with_settings(HttpSettings {
        return_urls: vec![
            "https://login.example/in".to_owned(),
            "https://login.example/fixed?a=1".to_owned(),
        ],
        ..HttpSettings::default()
    });
    let navigates = ("sec-fetch-mode", "navigate");
    let answer = ask(
        &api,
        "/auth?sign_in=https://login.example/in?back=%2Fcart",
        "a=b",
        &[navigates],
    )
    .await;
    assert_eq!(answer.status.as_u16(), 302);
    assert_eq!(answer.header("location"), "https://login.example/in?back=/cart");
    assert_eq!(answer.header("x-auth-reason"), "session_not_found");
    assert_eq!(answer.header("cache-control"), "no-store");
    let path = "/auth?sign_in=https://login.example/in";
    let old_browser = ask(
        &api,
        path,
        "a=b",
        &[("accept", "text/html,application/xhtml+xml;q=0.9")],
    )
    .await;
    assert_eq!(old_browser.status.as_u16(), 302);
    for no_navigation in [
        ("sec-fetch-mode", "cors"),
        ("accept", "application/json"),
        ("x-forwarded-method", "POST"),
    ] {
        let headers = [("sec-fetch-mode", "navigate"), no_navigation];
        let from = usize::from(no_navigation.0 != "x-forwarded-method");
        ask(&api, path, "a=b", &headers[from..])
            .await
            .problem(401, "session_not_found");
    }
    let (cookie, _) = alice(&api).await;
    ask(&api, path, &cookie, &[navigates]).await.expect_empty(200);
    ask(&api, &format!("{path}&role=root"), &cookie, &[navigates])
        .await
        .problem(403, "forbidden");
    for evil in [
        "https://evil.example/in",
        "http://login.example/in",
        "https://login.example:8443/in",
        "https://login.example/other",
        "https://login.example/in/../../evil",
        "https://login.example.evil.example/in",
        "https://login.example@evil.example/in",
        "https://user@login.example/in",
        "https://login.example/in%23x",
        "https://login.example/fixed",
        "//login.example/in",
        "/in",
        "javascript:alert(1)",
        "",
    ] {
        let answer = ask(&api, &format!("/auth?sign_in={evil}"), "a=b", &[navigates]).await;
        answer.problem(400, "invalid_request");
        ask(&api, &format!("/auth?sign_in={evil}"), &cookie, &[navigates])
            .await
            .problem(400, "invalid_request");
    }
    ask(&Api::new(), path, "a=b", &[navigates])
        .await
        .problem(400, "invalid_request");
}

#[tokio::test]
async fn s45_envoys_paths_and_queries_decide_nothing() {
    let api = Api::new();
    let (cookie, csrf) = alice(&api).await;
    let require = |line| [("x-auth-require", line)];
    for path in [
        "/ext_authz/",
        "/ext_authz/cart",
        "/ext_authz/a//b/..%2f?role=user&role=x",
        "/ext_authz/auth?role=root",
    ] {
        let answer = ask(&api, path, &cookie, &require("role=user")).await;
        answer.expect_empty(200);
        assert_eq!(answer.header("x-auth-user"), "alice");
        ask(&api, path, &cookie, &require("role=root"))
            .await
            .problem(403, "forbidden");
        ask(&api, path, &cookie, &[]).await.expect_empty(200);
        ask(&api, path, "a=b", &[]).await.problem(401, "session_not_found");
        for bad in ["roles=root", "role=a&role=b", "csrf=2", "role=user#", "role=\u{fc}"] {
            ask(&api, path, &cookie, &require(bad))
                .await
                .problem(400, "invalid_request");
        }
        let twice = [("x-auth-require", "role=user"), ("x-auth-require", "role=user")];
        ask(&api, path, &cookie, &twice).await.problem(400, "invalid_request");
    }
    let post = async |headers: &[(&str, &str)]| {
        let headers = [
            &[("cookie", cookie.as_str()), ("x-auth-require", "csrf=1")][..],
            headers,
        ]
        .concat();
        api.call("POST", "/ext_authz/cart", &headers, "").await
    };
    post(&[CROSS_SITE]).await.problem(403, "csrf_mismatch");
    // Envoy passes the method on: what a header says of it does not count.
    post(&[CROSS_SITE, ("x-forwarded-method", "GET")])
        .await
        .problem(403, "csrf_mismatch");
    post(&[("x-csrf-token", &csrf)]).await.expect_empty(200);
    ask(&api, "/ext_authz/cart", &cookie, &require("csrf=1"))
        .await
        .expect_empty(200);
    for path in ["/ext_authz", "/ext_authzx", "/auth/", "/auth/cart"] {
        ask(&api, path, &cookie, &[]).await.problem(404, "not_found");
    }
}

fn reusing(cache_for: Duration) -> Api {
    Api::with(Setup {
        settings: HttpSettings {
            cache_for,
            ..HttpSettings::default()
        },
        ..Setup::with_l1()
    })
}

fn reusable(answer: &Answer) -> Option<u64> {
    answer.expect_empty(200);
    assert_eq!(answer.header("cache-control"), "no-store");
    let value = answer.headers.get("x-auth-cache-for")?;
    Some(value.to_str().unwrap().parse().unwrap())
}

#[tokio::test]
async fn n9_an_answer_may_be_reused_for_no_longer_than_the_bound_allows() {
    let api = reusing(Duration::from_mins(1));
    let (cookie, csrf) = alice(&api).await;
    let of = async |path: &str, headers: &[(&str, &str)]| reusable(&ask(&api, path, &cookie, headers).await);
    assert_eq!(
        of("/auth", &[]).await,
        Some(1000),
        "the staleness bound from the read on"
    );
    assert_eq!(of("/auth?role=user&max_age=3", &[]).await, Some(1000));
    api.clock.advance(Duration::from_millis(2500));
    assert_eq!(
        of("/auth?max_age=3", &[]).await,
        Some(500),
        "then the answer would be another"
    );
    let post = ("x-forwarded-method", "POST");
    assert_eq!(
        of("/auth?csrf=1", &[post, ("x-csrf-token", &csrf)]).await,
        None,
        "it depends on the token"
    );
    assert_eq!(of("/auth?csrf=1", &[("x-forwarded-method", "GET")]).await, Some(1000));
    assert_eq!(of("/ext_authz/x", &[]).await, None);
    let header = cookie.replace("__Host-cloakroom=", "Session ");
    let by_header = api.call("GET", "/auth", &[("authorization", &header)], "").await;
    assert_eq!(
        reusable(&by_header),
        None,
        "who reuses by the cookie would give it to everybody"
    );
    api.clock
        .advance(Duration::from_hours(24) - Duration::from_millis(2900));
    assert_eq!(
        of("/auth", &[]).await,
        Some(399),
        "the time to expiry, for the store told whole milliseconds"
    );

    let brief = reusing(Duration::from_millis(300));
    let (cookie, _) = alice(&brief).await;
    assert_eq!(reusable(&ask(&brief, "/auth", &cookie, &[]).await), Some(300));
    let off = reusing(Duration::ZERO);
    let (cookie, _) = alice(&off).await;
    assert_eq!(reusable(&ask(&off, "/auth", &cookie, &[]).await), None);
}

#[tokio::test]
async fn n9_without_a_bound_nothing_may_be_reused() {
    let api = with_settings(HttpSettings {
        cache_for: Duration::from_mins(1),
        ..HttpSettings::default()
    });
    let (cookie, _) = alice(&api).await;
    assert_eq!(reusable(&ask(&api, "/auth", &cookie, &[]).await), None);
}
