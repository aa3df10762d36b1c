//! What memory answers before the routes is what the routes would have answered.

use std::sync::Arc;

use axum::http::HeaderMap;
use cloakroom::http::HttpSettings;
use cloakroom::http::caller::{CallerAuth, JwtSettings, JwtVerifier};
use cloakroom::session::{Bucket, ManualClock, SystemRandom, Timestamp, Token};
use cloakroom::sessions::{Binding, BindingPolicy};
use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::{Value, json};

use super::{Answer, Api, NOBODY, NOW, Setup};
use crate::support::broken_store::BrokenStore;
use crate::support::wait::{SOON, eventually};

const SECRET: &[u8] = b"a secret of at least thirty-two bytes";
/// A header that only the routes deal with.
const THE_LONG_WAY: (&str, &str) = ("origin", "https://elsewhere.example");

async fn covered(setup: Setup) -> Api {
    let api = Api::with(Setup { fed: true, ..setup });
    eventually(SOON, "memory to be covered", async || api.sessions.is_covered()).await;
    api
}

fn comparable(answer: &Answer) -> (u16, HeaderMap, &str) {
    let mut headers = answer.headers.clone();
    assert!(headers.remove("x-request-id").is_some());
    // The routes write it, and where they did not, the connection does.
    headers.remove("content-length");
    (answer.status.as_u16(), headers, &answer.body)
}

/// The routes measure the body; the short way leaves that to the connection.
fn went_the_short_way(answer: &Answer) -> bool {
    !answer.headers.contains_key("content-length")
}

/// Asks both ways, and gives the answer where they agree. The first request fills memory.
async fn both_ways(api: &Api, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    api.call(method, path, headers, body).await;
    let short = api.call(method, path, headers, body).await;
    let long = api.call(method, path, &[headers, &[THE_LONG_WAY]].concat(), body).await;
    assert_eq!(comparable(&short), comparable(&long), "{method} {path}");
    short
}

async fn made(api: &Api) -> (String, String, String) {
    let made: Value = api
        .create(json!({
            "user_id": "al/ice ü", "roles": ["user", "ops"], "data": {"n": 1.0},
            "metadata": {"user_agent": "one \\ \"browser\"", "ip": "203.0.113.9"},
        }))
        .await;
    let token = made["token"].as_str().unwrap().to_owned();
    let id = made["session"]["id"].as_str().unwrap().to_owned();
    (id, format!("__Host-cloakroom={token}"), token)
}

#[tokio::test]
async fn both_ways_say_the_same() {
    let api = covered(Setup::with_l1()).await;
    let (id, cookie, token) = made(&api).await;
    let path = format!("/v1/sessions/{id}");
    let read = both_ways(&api, "GET", &path, &[], "").await;
    assert_eq!((read.status.as_u16(), read.header("etag")), (200, "\"1\""));
    assert!(went_the_short_way(&read));
    assert_eq!(read.header("content-type"), "application/json");

    let auth = both_ways(&api, "GET", "/auth", &[("cookie", &cookie)], "").await;
    assert_eq!(auth.header("x-auth-user"), "al%2Fice%20%C3%BC");
    assert!(went_the_short_way(&auth));
    both_ways(&api, "DELETE", "/auth", &[("cookie", &cookie)], "").await;
    let header = format!("Session {token}");
    both_ways(&api, "GET", "/auth", &[("authorization", &header)], "").await;
    let given = [("cookie", cookie.as_str()), ("x-request-id", "given-1")];
    let answer = api.call("GET", "/auth", &given, "").await;
    assert_eq!(answer.header("x-request-id"), "given-1");

    let body = json!({"token": token}).to_string();
    let json = [("content-type", "application/json")];
    let length = body.len().to_string();
    let headers = [json[0], ("content-length", length.as_str())];
    let judged = both_ways(&api, "POST", "/v1/sessions/validate", &headers, &body).await;
    assert!(
        judged.body.starts_with(r#"{"valid":true,"session":{"id":"#),
        "{}",
        judged.body
    );
    assert_eq!(
        serde_json::from_str::<Value>(&judged.body).unwrap()["session"]["id"],
        id
    );

    let counted = api.metrics.reads.with_label_values(&["l1"]).get();
    both_ways(&api, "GET", &path, &[], "").await;
    assert_eq!(api.metrics.reads.with_label_values(&["l1"]).get(), counted + 3);
}

#[tokio::test]
async fn reads_that_ask_the_store_go_the_short_way_too() {
    let api = covered(Setup::with_l1()).await;
    let (id, _, token) = made(&api).await;
    let path = format!("/v1/sessions/{id}?consistency=strong");
    let strong = || api.metrics.reads.with_label_values(&["strong"]).get();
    let asked = strong();
    let read = both_ways(&api, "GET", &path, &[("x-request-id", "given-1")], "").await;
    assert_eq!((read.status.as_u16(), read.header("etag")), (200, "\"1\""));
    assert!(went_the_short_way(&read));
    assert_eq!(read.header("x-request-id"), "given-1");
    assert_eq!(strong(), asked + 3);
    // A use that was noted meanwhile, or a change by another server, is there.
    api.sessions.touch(id.parse().unwrap()).await.unwrap();
    both_ways(&api, "GET", &path, &[], "").await;

    let body = json!({"token": token, "consistency": "strong"}).to_string();
    let length = body.len().to_string();
    let headers = [
        ("content-type", "application/json"),
        ("content-length", length.as_str()),
    ];
    let judged = both_ways(&api, "POST", "/v1/sessions/validate", &headers, &body).await;
    assert_eq!(judged.expect(200)["session"]["id"], id);
    assert!(went_the_short_way(&judged));

    for query in ["", "?consistency=strong"] {
        let missing = both_ways(&api, "GET", &format!("{NOBODY}{query}"), &[], "").await;
        missing.problem(404, "session_not_found");
        assert!(went_the_short_way(&missing));
    }
    for query in ["?consistency=weak", "?consistency=strong&x=1", "?Consistency=strong"] {
        let refused = both_ways(&api, "GET", &format!("{NOBODY}{query}"), &[], "").await;
        refused.problem(400, "invalid_request");
    }
}

#[tokio::test]
async fn what_fails_says_the_same_both_ways_and_is_counted_and_limited_alike() {
    let broken = |settings| {
        Api::with(Setup {
            store: Some(Arc::new(BrokenStore::default())),
            settings,
            ..Setup::default()
        })
    };
    let path = format!("{NOBODY}?consistency=strong");
    let token = format!(
        r#"{{"token":"{}"}}"#,
        Token::generate(Bucket::new(7), &SystemRandom).unwrap().expose()
    );
    let length = token.len().to_string();
    let length = [("content-length", length.as_str())];
    let api = broken(HttpSettings::default());
    both_ways(&api, "GET", &path, &[], "")
        .await
        .problem(503, "store_unavailable");
    both_ways(&api, "POST", "/v1/sessions/validate", &length, &token)
        .await
        .problem(503, "store_unavailable");
    let route = ["GET", "/v1/sessions/{id}", "503"];
    assert_eq!(api.metrics.http_requests.with_label_values(&route).get(), 3);
    assert_eq!(api.metrics.http_in_flight.get(), 0);

    let full = broken(HttpSettings {
        max_concurrent: 0,
        ..HttpSettings::default()
    });
    both_ways(&full, "GET", &path, &[], "")
        .await
        .problem(503, "store_unavailable");
}

#[tokio::test]
async fn what_is_not_plain_goes_the_long_way() {
    let api = covered(Setup::with_l1()).await;
    let (id, cookie, token) = made(&api).await;
    let path = format!("/v1/sessions/{id}");
    both_ways(&api, "GET", &path, &[], "").await;
    assert_eq!(
        both_ways(&api, "GET", &path, &[("if-none-match", "\"1\"")], "")
            .await
            .status,
        304
    );
    assert_eq!(
        both_ways(&api, "GET", &format!("{path}?x=1"), &[], "").await.status,
        400
    );
    assert_eq!(both_ways(&api, "HEAD", &path, &[], "").await.body, "");
    assert_eq!(
        both_ways(&api, "GET", "/auth?role=root", &[("cookie", &cookie)], "")
            .await
            .status,
        403
    );
    assert_eq!(
        both_ways(&api, "GET", "/auth", &[("cookie", "__Host-cloakroom=x")], "")
            .await
            .status,
        401
    );
    for body in [
        format!(r#"["{token}"]"#),
        format!(r#"{{"token": "{token}", "x": 1}}"#),
        format!(r#"{{"token": "{token}"}} {{}}"#),
        format!(r#"{{"token": "{token}""#),
    ] {
        let length = body.len().to_string();
        let headers = [
            ("content-type", "application/json"),
            ("content-length", length.as_str()),
        ];
        let answer = both_ways(&api, "POST", "/v1/sessions/validate", &headers, &body).await;
        assert_eq!(answer.status, 400, "{body}");
    }
    let body = format!(r#"{{"token": "{token}", "csrf_token": "x"}}"#);
    let length = body.len().to_string();
    let headers = [
        ("content-type", "application/json"),
        ("content-length", length.as_str()),
    ];
    let answer = both_ways(&api, "POST", "/v1/sessions/validate", &headers, &body).await;
    assert!(answer.body.contains("csrf_mismatch"), "{}", answer.body);
}

#[tokio::test]
async fn a_change_and_an_end_are_seen_at_once() {
    let api = covered(Setup::with_l1()).await;
    let (id, cookie, _) = made(&api).await;
    let path = format!("/v1/sessions/{id}");
    both_ways(&api, "GET", &path, &[], "").await;
    let json = [("content-type", "application/json")];
    api.call("PATCH", &path, &json, r#"{"roles": ["root"]}"#)
        .await
        .expect(200);
    let auth = both_ways(&api, "GET", "/auth", &[("cookie", &cookie)], "").await;
    assert_eq!(
        (auth.header("x-auth-roles"), auth.header("x-auth-version")),
        ("root", "2")
    );
    assert_eq!(both_ways(&api, "GET", &path, &[], "").await.header("etag"), "\"2\"");
    api.call("DELETE", &path, &[], "").await.expect(204);
    assert_eq!(both_ways(&api, "GET", &path, &[], "").await.status, 404);
    assert_eq!(
        both_ways(&api, "GET", "/auth", &[("cookie", &cookie)], "").await.status,
        401
    );
}

#[tokio::test]
async fn another_client_is_judged_the_long_way() {
    let api = covered(Setup {
        binding: Binding {
            user_agent: BindingPolicy::Refuse,
            ..Binding::default()
        },
        ..Setup::with_l1()
    })
    .await;
    let (_, cookie, _) = made(&api).await;
    let as_client = |agent| [("cookie", cookie.as_str()), ("user-agent", agent)];
    let same = as_client("one \\ \"browser\"");
    assert_eq!(both_ways(&api, "GET", "/auth", &same, "").await.status, 200);
    // The difference is recorded, and marks the session: after that both ways agree.
    api.call("GET", "/auth", &as_client("another"), "").await;
    assert_eq!(
        both_ways(&api, "GET", "/auth", &as_client("another"), "").await.status,
        403
    );
}

#[tokio::test]
async fn what_a_gateway_demands_is_judged_the_short_way_where_it_is_met() {
    let api = covered(Setup::with_l1()).await;
    let (id, cookie, token) = made(&api).await;
    let csrf = api.sessions.csrf_token(&id.parse().unwrap());
    let ask = async |query: &str, headers: &[(&str, &str)]| {
        let cookie = [("cookie", cookie.as_str())];
        let plain = api
            .call("GET", &format!("/auth?{query}"), &[&cookie, headers].concat(), "")
            .await;
        // An escape says the same, and goes the long way.
        let (name, value) = query.split_once('=').unwrap();
        let escaped = format!("{name}=%{:02x}{}", value.as_bytes()[0], &value[1..]);
        let long = api
            .call("GET", &format!("/auth?{escaped}"), &[&cookie, headers].concat(), "")
            .await;
        assert!(!went_the_short_way(&long), "{escaped}");
        assert_eq!(comparable(&plain), comparable(&long), "{query} {headers:?}");
        (plain.status.as_u16(), went_the_short_way(&plain))
    };
    api.call("GET", "/auth", &[("cookie", &cookie)], "").await;
    let get = [("x-forwarded-method", "GET")];
    let post = |proof: (&'static str, &str)| {
        [("x-original-method", "POST"), (proof.0, proof.1)].map(|(name, value)| (name, value.to_owned()))
    };
    for (query, answer) in [
        ("role=ops", (200, true)),
        ("role=ops&max_age=60", (200, true)),
        ("max_age=60&role=ops", (200, true)),
        ("role=root", (403, false)),
        ("permission=write", (403, false)),
        ("role=ops&role=user", (400, false)),
        ("csrf=0", (200, true)),
        ("csrf=2", (400, false)),
        ("sign_in=x", (400, false)),
        ("max_age=x", (400, false)),
    ] {
        assert_eq!(ask(query, &[]).await, answer, "{query}");
    }
    assert_eq!(ask("csrf=1", &get).await, (200, true));
    assert_eq!(
        ask("csrf=1", &[]).await,
        (400, false),
        "the gateway must say the method"
    );
    for (proof, answer) in [
        (("x-csrf-token", csrf.as_str()), (200, true)),
        (("x-csrf-token", token.as_str()), (403, false)),
        (("sec-fetch-site", "same-origin"), (200, true)),
        (("sec-fetch-site", "cross-site"), (403, false)),
        (("origin", "https://elsewhere.example"), (403, false)),
    ] {
        let headers = post(proof);
        let headers = headers.each_ref().map(|(name, value)| (*name, value.as_str()));
        assert_eq!(ask("csrf=1", &headers).await, answer, "{proof:?}");
    }
    let counted = api.metrics.validations.with_label_values(&["valid"]).get();
    ask("role=root", &[]).await;
    assert_eq!(
        api.metrics.validations.with_label_values(&["valid"]).get(),
        counted + 2,
        "what the short way leaves to the long way is counted there"
    );
}

#[tokio::test]
async fn a_caller_whose_secret_was_withdrawn_is_refused_at_once() {
    let settings = JwtSettings {
        audience: "cloakroom".to_owned(),
        issuer: None,
    };
    let clock = ManualClock::new(Timestamp::from_millis(NOW));
    let callers = CallerAuth::jwt(Arc::new(JwtVerifier::new(settings, Arc::new(clock.clone()))));
    callers.set_secrets(&[SECRET]);
    let api = covered(Setup {
        callers: callers.clone(),
        ..Setup::with_l1()
    })
    .await;
    let bearer = |scope: &str| {
        let claims = json!({"aud": "cloakroom", "exp": NOW / 1000 + 60, "scope": scope});
        let token = encode(&Header::default(), &claims, &EncodingKey::from_secret(SECRET)).unwrap();
        format!("Bearer {token}")
    };
    let writer = bearer("sessions:write");
    let json = [("content-type", "application/json"), ("authorization", writer.as_str())];
    let made = api.call("POST", "/v1/sessions", &json, "{}").await;
    let made: Value = serde_json::from_str(&made.body).unwrap();
    let path = format!("/v1/sessions/{}", made["session"]["id"].as_str().unwrap());
    let ask = async |bearer: &str| {
        both_ways(&api, "GET", &path, &[("authorization", bearer)], "")
            .await
            .status
            .as_u16()
    };
    assert_eq!(ask(&writer).await, 200);
    assert_eq!(ask(&bearer("email")).await, 403);
    assert_eq!(ask("Bearer x").await, 401);
    assert_eq!(both_ways(&api, "GET", &path, &[], "").await.status, 401);

    callers.set_secrets(&[b"another secret of at least thirty-two bytes"]);
    assert_eq!(ask(&writer).await, 401);
    callers.set_secrets(&[SECRET]);
    assert_eq!(ask(&writer).await, 200);
    clock.advance(std::time::Duration::from_secs(91));
    assert_eq!(ask(&writer).await, 401, "it expired");
}
