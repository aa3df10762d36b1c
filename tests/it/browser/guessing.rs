use std::net::SocketAddr;
use std::time::Duration;

use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::Request;
use cloakroom::http::HttpSettings;
use serde_json::json;

use crate::http::{Answer, Api, Setup};

fn throttling(trusted: &[&str]) -> Api {
    Api::with(Setup {
        settings: HttpSettings {
            trusted_proxies: trusted.iter().map(|network| network.parse().unwrap()).collect(),
            throttle: 3,
            ..HttpSettings::default()
        },
        ..Setup::default()
    })
}

async fn try_token(api: &Api, client: &str, path: &str, token: &str) -> Answer {
    let request = Request::get(path)
        .extension(ConnectInfo("10.0.0.1:9".parse::<SocketAddr>().unwrap()))
        .header("x-forwarded-for", client)
        .header("cookie", format!("__Host-cloakroom={token}"));
    api.send(request.body(Body::empty()).unwrap()).await
}

#[tokio::test]
async fn s54_who_guesses_is_turned_away_for_the_rest_of_the_minute() {
    let api = throttling(&["10.0.0.0/8"]);
    let (_, token) = api.alice().await;
    let unknown = format!("aa{}", "A".repeat(43));
    for (path, guess) in [
        ("/auth", unknown.as_str()),
        ("/session", "nonsense"),
        ("/ext_authz/x", &unknown),
    ] {
        try_token(&api, "192.0.2.1", path, guess)
            .await
            .problem(401, "session_not_found");
    }
    for (path, guess) in [("/auth", unknown.as_str()), ("/session", &token)] {
        let answer = try_token(&api, "192.0.2.1", path, guess).await;
        answer.problem(429, "throttled");
        assert_eq!(answer.header("retry-after"), "60");
    }
    try_token(&api, "192.0.2.2", "/session", &token).await.expect(200);
    api.call("GET", "/session", &[], "")
        .await
        .problem(401, "session_not_found");
    api.clock.advance(Duration::from_mins(1));
    try_token(&api, "192.0.2.1", "/session", &token).await.expect(200);
    let invalid = |face| api.metrics.invalid_tokens.with_label_values(&[face]).get();
    assert_eq!(
        (invalid("visitor"), api.metrics.throttled.get()),
        (3, 2),
        "no credential is no guess"
    );

    for _ in 0..10 {
        let judged = api
            .post("/v1/sessions/validate", json!({"token": unknown}))
            .await
            .expect(200);
        assert_eq!(
            judged["reason"], "session_not_found",
            "applications are never throttled"
        );
    }
    assert_eq!(invalid("application"), 10);
}

#[tokio::test]
async fn s54_an_ingress_is_never_throttled_for_all_its_users() {
    for trusted in [&[][..], &["172.16.0.0/12"]] {
        let api = throttling(trusted);
        let (_, token) = api.alice().await;
        for _ in 0..10 {
            try_token(&api, "192.0.2.1", "/auth", "nonsense")
                .await
                .problem(401, "session_not_found");
        }
        try_token(&api, "192.0.2.1", "/session", &token).await.expect(200);
    }
}
