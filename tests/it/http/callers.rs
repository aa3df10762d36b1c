use std::sync::Arc;

use cloakroom::http::caller::{CallerAuth, JwtSettings, JwtVerifier};
use cloakroom::session::{ManualClock, Timestamp};
use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::json;

use super::{Answer, Api, NOBODY, NOW, Setup};

const SECRET: &[u8] = b"a secret of at least thirty-two bytes";

fn guarded() -> Api {
    let settings = JwtSettings {
        audience: "cloakroom".to_owned(),
        issuer: None,
    };
    let clock = ManualClock::new(Timestamp::from_millis(NOW));
    let callers = CallerAuth::jwt(Arc::new(JwtVerifier::new(settings, Arc::new(clock))));
    callers.set_secrets(&[SECRET]);
    Api::with(Setup {
        callers,
        ..Setup::default()
    })
}

fn token(scope: &str) -> String {
    let claims = json!({"aud": "cloakroom", "exp": NOW / 1000 + 60, "scope": scope});
    encode(&Header::default(), &claims, &EncodingKey::from_secret(SECRET)).unwrap()
}

async fn call(api: &Api, method: &str, path: &str, scope: &str) -> Answer {
    let bearer = format!("Bearer {}", token(scope));
    api.call(method, path, &[("authorization", &bearer)], "").await
}

/// Every route for applications, with the scope that it needs.
const ROUTES: [(&str, &str, &str); 27] = [
    ("POST", "/v1/sessions", "write"),
    ("GET", "/v1/sessions", "admin"),
    ("DELETE", "/v1/sessions", "admin"),
    ("POST", "/v1/sessions/validate", "read"),
    ("GET", "/v1/sessions/{id}", "read"),
    ("PATCH", "/v1/sessions/{id}", "write"),
    ("DELETE", "/v1/sessions/{id}", "write"),
    ("GET", "/v1/sessions/{id}/data/k", "read"),
    ("PUT", "/v1/sessions/{id}/data/k", "write"),
    ("DELETE", "/v1/sessions/{id}/data/k", "write"),
    ("POST", "/v1/sessions/{id}/data/k/increment", "write"),
    ("POST", "/v1/sessions/{id}/cart/items", "write"),
    ("GET", "/v1/sessions/{id}/cart", "read"),
    ("POST", "/v1/sessions/{id}/touch", "write"),
    ("POST", "/v1/sessions/{id}/migrate", "write"),
    ("POST", "/v1/sessions/{id}/rotate", "write"),
    ("POST", "/v1/sessions/{id}/csrf/verify", "read"),
    ("GET", "/v1/sessions/{id}/activity", "read"),
    ("POST", "/v1/sessions/{id}/activity", "write"),
    ("GET", "/v1/users/alice/activity", "read"),
    ("GET", "/v1/users/alice/sessions", "read"),
    ("DELETE", "/v1/users/alice/sessions", "write"),
    ("GET", "/v1/stats", "read"),
    ("GET", "/v1/servers", "read"),
    ("GET", "/v1/events", "read"),
    ("HEAD", "/v1/stats", "read"),
    ("HEAD", "/v1/sessions", "admin"),
];

#[tokio::test]
async fn s56_every_route_for_applications_needs_its_scope() {
    let api = guarded();
    let id = NOBODY.rsplit('/').next().unwrap();
    for (method, path, needed) in ROUTES {
        let path = path.replace("{id}", id);
        let anonymous = api.call(method, &path, &[], "").await;
        assert_eq!(anonymous.status, 401, "{method} {path}");
        assert_eq!(anonymous.header("www-authenticate"), "Bearer");
        let scopes = ["", "sessions:read", "sessions:write", "sessions:admin"];
        let needed = format!("sessions:{needed}");
        let from = scopes.iter().position(|scope| *scope == needed).unwrap();
        for (rank, scope) in scopes.into_iter().enumerate() {
            if rank >= from && path == "/v1/events" {
                continue; // A stream without an end.
            }
            let answer = call(&api, method, &path, scope).await;
            let refused = answer.status == 401 || answer.status == 403;
            assert_eq!(refused, rank < from, "{method} {path} with {scope:?}: {}", answer.body);
            if refused && method != "HEAD" {
                answer.problem(403, "forbidden");
                assert!(
                    answer.json()["detail"].as_str().unwrap().contains(&needed),
                    "it names the scope"
                );
                assert!(answer.header("www-authenticate").contains("insufficient_scope"));
            }
        }
    }
    let counted = api.metrics.callers.with_label_values(&["missing"]).get();
    assert_eq!(counted, ROUTES.len() as u64);
}

#[tokio::test]
async fn s56_a_refused_token_is_told_why_and_never_repeated() {
    let api = guarded();
    let foreign = encode(&Header::default(), &json!({}), &EncodingKey::from_secret(b"another")).unwrap();
    let bearer = format!("Bearer {foreign}");
    let answer = api.call("GET", "/v1/stats", &[("authorization", &bearer)], "").await;
    answer.problem(401, "unauthorized");
    assert_eq!(answer.header("www-authenticate"), "Bearer error=\"invalid_token\"");
    assert!(!answer.body.contains(&foreign[..20]));
}

#[tokio::test]
async fn browsers_gateways_and_readers_of_the_description_need_no_caller() {
    let api = guarded();
    api.get("/openapi.json").await.expect(200);
    api.get("/auth").await.problem(401, "session_not_found");
    api.get("/session").await.problem(401, "session_not_found");
    api.get("/nowhere").await.problem(404, "not_found");
}
