use std::net::SocketAddr;

use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::Request;
use cloakroom::http::HttpSettings;
use serde_json::json;

use crate::http::{Answer, Api, Setup};

fn with_settings(settings: HttpSettings) -> Api {
    Api::with(Setup {
        settings,
        ..Setup::default()
    })
}

async fn from_peer(api: &Api, peer: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
    let mut request = Request::get(path).extension(ConnectInfo(peer.parse::<SocketAddr>().unwrap()));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    api.send(request.body(Body::empty()).unwrap()).await
}

#[tokio::test]
async fn s42_no_answer_may_be_guessed_at_framed_or_run() {
    let api = Api::new();
    for path in ["/session", "/auth", "/v1/stats", "/openapi.json", "/nowhere"] {
        let answer = api.get(path).await;
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(answer.header("referrer-policy"), "no-referrer");
        assert_eq!(
            answer.header("content-security-policy"),
            "default-src 'none'; frame-ancestors 'none'"
        );
        assert!(!answer.headers.contains_key("strict-transport-security"));
    }
}

#[tokio::test]
async fn s42_s43_tls_is_demanded_where_it_was_spoken() {
    let trusting = with_settings(HttpSettings {
        trusted_proxies: vec!["10.0.0.0/8".parse().unwrap()],
        ..HttpSettings::default()
    });
    let https = [("x-forwarded-proto", "https")];
    let demands = |answer: Answer| answer.headers.contains_key("strict-transport-security");
    assert!(demands(from_peer(&trusting, "10.1.1.1:9", "/session", &https).await));
    assert!(!demands(
        from_peer(&trusting, "10.1.1.1:9", "/session", &[("x-forwarded-proto", "http")]).await
    ));
    assert!(!demands(from_peer(&trusting, "192.0.2.1:9", "/session", &https).await));
    assert!(
        !demands(from_peer(&trusting, "10.1.1.1:9", "/auth", &https).await),
        "not for another host"
    );
    assert!(!demands(from_peer(&Api::new(), "10.1.1.1:9", "/session", &https).await));
}

#[tokio::test]
async fn s36_s43_the_origin_is_held_against_what_a_trusted_proxy_says() {
    let api = with_settings(HttpSettings {
        trusted_proxies: vec!["10.0.0.0/8".parse().unwrap()],
        ..HttpSettings::default()
    });
    let delete = async |peer: &str, origin: &str| {
        let made = api.create(json!({})).await;
        let request = Request::delete("/session")
            .extension(ConnectInfo(peer.parse::<SocketAddr>().unwrap()))
            .header(
                "cookie",
                format!("__Host-cloakroom={}", made["token"].as_str().unwrap()),
            )
            .header("host", "cloakroom.internal")
            .header("x-forwarded-host", "shop.example")
            .header("x-forwarded-proto", "https")
            .header("origin", origin);
        api.send(request.body(Body::empty()).unwrap()).await.status.as_u16()
    };
    assert_eq!(delete("10.0.0.1:9", "https://shop.example").await, 204);
    assert_eq!(delete("10.0.0.1:9", "http://shop.example").await, 403);
    assert_eq!(delete("10.0.0.1:9", "https://cloakroom.internal").await, 403);
    assert_eq!(delete("192.0.2.1:9", "https://shop.example").await, 403);
    assert_eq!(delete("192.0.2.1:9", "https://cloakroom.internal").await, 204);
}

const LISTED: &str = "https://app.example";

#[tokio::test]
async fn s41_other_origins_are_a_fixed_list() {
    let api = with_settings(HttpSettings {
        cors_origins: vec![LISTED.to_owned()],
        ..HttpSettings::default()
    });
    let made = api.create(json!({})).await;
    let cookie = format!("__Host-cloakroom={}", made["token"].as_str().unwrap());
    let ask = async |path: &str, origin: &str| {
        let answer = api
            .call("GET", path, &[("cookie", &cookie), ("origin", origin)], "")
            .await;
        answer.expect(200);
        let vary: Vec<_> = answer
            .headers
            .get_all("vary")
            .iter()
            .map(|value| value.to_str().unwrap())
            .collect();
        assert!(vary.contains(&"Origin"), "{vary:?}");
        answer
    };
    let answer = ask("/session/csrf", LISTED).await;
    assert_eq!(answer.header("access-control-allow-origin"), LISTED);
    assert_eq!(answer.header("access-control-allow-credentials"), "true");
    for other in [
        "https://evil.example",
        "null",
        "https://app.example.evil.example",
        "http://app.example",
        "*",
    ] {
        assert!(
            !ask("/session", other)
                .await
                .headers
                .contains_key("access-control-allow-origin"),
            "{other}"
        );
    }
    let answer = api
        .call("GET", "/auth", &[("cookie", &cookie), ("origin", LISTED)], "")
        .await;
    assert!(
        !answer.headers.contains_key("access-control-allow-origin"),
        "gateways are no pages"
    );
    // Nor is a listed origin our own: an unsafe request from it needs the CSRF token.
    let delete = async |headers: &[(&str, &str)]| {
        let headers = [&[("cookie", cookie.as_str()), ("origin", LISTED)][..], headers].concat();
        api.call("DELETE", "/session", &headers, "").await
    };
    delete(&[("sec-fetch-site", "cross-site")])
        .await
        .problem(403, "csrf_mismatch");
    delete(&[("x-csrf-token", made["csrf_token"].as_str().unwrap())])
        .await
        .expect(204);
}

#[tokio::test]
async fn s41_preflights_are_answered_for_the_list_alone() {
    let preflight = async |api: &Api, path: &str, origin: &str| {
        let headers = [("origin", origin), ("access-control-request-method", "DELETE")];
        api.call("OPTIONS", path, &headers, "").await
    };
    let api = with_settings(HttpSettings {
        cors_origins: vec![LISTED.to_owned()],
        ..HttpSettings::default()
    });
    let answer = preflight(&api, "/session", LISTED).await;
    answer.expect(204);
    assert_eq!(answer.header("access-control-allow-origin"), LISTED);
    assert!(answer.header("access-control-allow-methods").contains("DELETE"));
    assert!(answer.header("access-control-allow-headers").contains("X-CSRF-Token"));
    preflight(&api, "/session", "https://evil.example")
        .await
        .problem(405, "method_not_allowed");
    preflight(&api, "/nowhere", LISTED).await.problem(404, "not_found");
    preflight(&api, "/auth", LISTED).await.problem(401, "session_not_found");
    preflight(&Api::new(), "/session", LISTED)
        .await
        .problem(405, "method_not_allowed");
}
