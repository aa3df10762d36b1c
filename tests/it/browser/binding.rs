use std::net::SocketAddr;
use std::time::Duration;

use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::Request;
use cloakroom::http::HttpSettings;
use cloakroom::sessions::{Binding, BindingPolicy};
use serde_json::{Value, json};

use crate::http::{Answer, Api, Setup, path_of};

fn bound(binding: Binding) -> Api {
    Api::with(Setup {
        binding,
        settings: HttpSettings {
            trusted_proxies: vec!["10.0.0.0/8".parse().unwrap()],
            cache_for: Duration::from_mins(1),
            ..HttpSettings::default()
        },
        ..Setup::with_l1()
    })
}

async fn alice(api: &Api) -> Value {
    let metadata = json!({"ip": "192.0.2.1", "user_agent": "Browser/1"});
    api.create(json!({"user_id": "alice", "fingerprint": "device", "metadata": metadata}))
        .await
}

async fn validate(api: &Api, made: &Value, client: Value) -> Value {
    let mut body = client;
    body["token"] = made["token"].clone();
    api.post("/v1/sessions/validate", body).await.expect(200)
}

/// A request through the trusted proxy.
async fn visit(api: &Api, method: &str, path: &str, made: &Value, headers: &[(&str, &str)]) -> Answer {
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .extension(ConnectInfo("10.0.0.1:9".parse::<SocketAddr>().unwrap()))
        .header(
            "cookie",
            format!("__Host-cloakroom={}", made["token"].as_str().unwrap()),
        );
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    api.send(request.body(Body::empty()).unwrap()).await
}

async fn activities(api: &Api, made: &Value) -> Vec<Value> {
    let listed = api.get(&format!("{}/activity", path_of(made))).await.expect(200);
    listed["activities"].as_array().unwrap().clone()
}

const OTHERS: [(&str, &str); 3] = [
    ("ip", "198.51.100.7"),
    ("user_agent", "Browser/2"),
    ("fingerprint", "other"),
];

fn all(policy: BindingPolicy) -> Binding {
    Binding {
        ip: policy,
        user_agent: policy,
        fingerprint: policy,
    }
}

#[tokio::test]
async fn p6_another_client_is_recorded_once() {
    let api = bound(Binding::default());
    let made = alice(&api).await;
    let same = json!({"ip": "::ffff:192.0.2.1", "user_agent": "Browser/1", "fingerprint": "device"});
    assert_eq!(validate(&api, &made, same).await["valid"], true);
    assert_eq!(validate(&api, &made, json!({})).await["valid"], true);
    assert!(activities(&api, &made).await.is_empty());
    for (what, value) in OTHERS {
        for _ in 0..3 {
            assert_eq!(validate(&api, &made, json!({ what: value })).await["valid"], true);
        }
        let newest = activities(&api, &made).await[0].clone();
        assert_eq!(
            (&newest["action"], &newest["metadata"]["what"]),
            (&json!("client_changed"), &json!(what))
        );
        let seen = (what != "fingerprint").then_some(value);
        assert_eq!(newest["metadata"]["seen"].as_str(), seen);
    }
    assert_eq!(activities(&api, &made).await.len(), 3);
    let now = api.get(&path_of(&made)).await.expect(200);
    assert_eq!(
        (&now["security"]["suspicious"], &now["version"]),
        (&json!(false), &json!(1)),
        "no read changes it"
    );
}

#[tokio::test]
async fn p6_another_client_is_refused() {
    for (what, value) in OTHERS {
        let api = bound(all(BindingPolicy::Refuse));
        let made = alice(&api).await;
        let answer = validate(&api, &made, json!({ what: value })).await;
        assert_eq!(answer, json!({"valid": false, "reason": "fingerprint_mismatch"}));
        let now = api.get(&path_of(&made)).await.expect(200);
        assert_eq!(now["security"]["suspicious"], true);
        let header = match what {
            "ip" => ("x-forwarded-for", value),
            "user_agent" => ("user-agent", value),
            _ => ("x-fingerprint", value),
        };
        for path in ["/auth", "/session", "/session/csrf", "/session/all"] {
            visit(&api, "GET", path, &made, &[header])
                .await
                .problem(403, "fingerprint_mismatch");
        }
        let own = visit(&api, "GET", "/auth", &made, &[]).await;
        own.expect_empty(200);
        assert!(
            !own.headers.contains_key("x-auth-cache-for"),
            "it depends on more than the cookie"
        );
        // Whoever holds the token may end its session.
        let leave = [header, ("sec-fetch-site", "same-origin")];
        visit(&api, "DELETE", "/session", &made, &leave).await.expect(204);
        api.get(&path_of(&made)).await.problem(404, "session_not_found");
    }
}

#[tokio::test]
async fn p6_another_client_must_have_authenticated_recently() {
    let api = bound(all(BindingPolicy::StepUp));
    let made = alice(&api).await;
    let other = json!({"ip": "198.51.100.7"});
    assert_eq!(validate(&api, &made, other.clone()).await["valid"], true);
    api.clock.advance(Duration::from_mins(10) + Duration::from_millis(1));
    let answer = validate(&api, &made, other.clone()).await;
    assert_eq!(answer, json!({"valid": false, "reason": "reauthentication_required"}));
    let visited = visit(&api, "GET", "/auth", &made, &[("x-forwarded-for", "198.51.100.7")]).await;
    visited.problem(403, "reauthentication_required");
    assert_eq!(validate(&api, &made, json!({"ip": "192.0.2.1"})).await["valid"], true);
    let renewed = api
        .post(&format!("{}/rotate", path_of(&made)), json!({}))
        .await
        .expect(201);
    assert_eq!(validate(&api, &renewed, other).await["valid"], true);
}

#[tokio::test]
async fn p6_what_is_ignored_or_unknown_is_not_judged() {
    let api = bound(all(BindingPolicy::Ignore));
    let made = alice(&api).await;
    for (what, value) in OTHERS {
        assert_eq!(validate(&api, &made, json!({ what: value })).await["valid"], true);
    }
    assert!(activities(&api, &made).await.is_empty());
    let strict = bound(all(BindingPolicy::Refuse));
    let plain = strict.create(json!({"user_id": "bob", "metadata": {"ip": 7}})).await;
    for (what, value) in OTHERS {
        assert_eq!(validate(&strict, &plain, json!({ what: value })).await["valid"], true);
    }
}

#[tokio::test]
async fn s43_an_address_that_no_trusted_proxy_names_is_not_judged() {
    let api = bound(all(BindingPolicy::Refuse));
    let made = alice(&api).await;
    let cookie = format!("__Host-cloakroom={}", made["token"].as_str().unwrap());
    let headers = [("cookie", cookie.as_str()), ("x-forwarded-for", "198.51.100.7")];
    api.call("GET", "/auth", &headers, "").await.expect_empty(200);
}
