//! S31 to S35: the cookie, and what else an answer says of a session.

use std::collections::BTreeSet;

use cloakroom::http::HttpSettings;
use cloakroom::web::{CookieSettings, SameSite};
use serde_json::{Value, json};

use crate::cookie;
use crate::support::api::{Answer, Api, Setup, path_of};

const SAME_ORIGIN: (&str, &str) = ("sec-fetch-site", "same-origin");

/// Every way in which a `Set-Cookie` comes about.
async fn every_set_cookie(api: &Api) -> Vec<String> {
    let text = |made: &Value| made["set_cookie"].as_str().unwrap().to_owned();
    let rotate = |made: &Value| format!("{}/rotate", path_of(made));
    let made = api.create(json!({"user_id": "alice", "class": "remember_me"})).await;
    let rotated = api.post(&rotate(&made), json!({})).await.expect(201);
    let again = api
        .post(&rotate(&rotated), json!({"user_id": "alice"}))
        .await
        .expect(201);
    let nobody = api.create(json!({"class": "temporary"})).await;
    let logged_in = api.post(&rotate(&nobody), json!({"user_id": "bob"})).await.expect(201);
    let mut all: Vec<_> = [&made, &rotated, &again, &nobody, &logged_in].map(text).into();
    let device = format!("/session/all/{}", again["session"]["id"].as_str().unwrap());
    for (made, path) in [
        (&again, device.as_str()),
        (&logged_in, "/session"),
        (&logged_in, "/session"),
    ] {
        let pair = text(made).split(';').next().unwrap().to_owned();
        let answer = api.call("DELETE", path, &[("cookie", &pair), SAME_ORIGIN], "").await;
        answer.expect(204);
        all.push(answer.header("set-cookie").to_owned());
    }
    all
}

#[tokio::test]
async fn s31_every_set_cookie_is_as_strict_as_the_settings_say() {
    let all = every_set_cookie(&Api::new()).await;
    assert_eq!(all.len(), 8);
    for value in &all {
        let mut parts = value.split("; ");
        assert!(parts.next().unwrap().starts_with("__Host-cloakroom="), "{value}");
        let attributes: BTreeSet<_> = parts.filter(|part| !part.starts_with("Max-Age=")).collect();
        assert_eq!(
            attributes,
            BTreeSet::from(["Path=/", "Secure", "HttpOnly", "SameSite=Lax"]),
            "{value}"
        );
    }
    let settings = CookieSettings {
        name: "id".to_owned(),
        same_site: SameSite::Strict,
        domain: Some("example.com".to_owned()),
        path: "/app".to_owned(),
        partitioned: true,
        browser_lifetime: true,
        ..CookieSettings::default()
    };
    let api = Api::with(Setup {
        settings: HttpSettings {
            cookie: settings,
            ..HttpSettings::default()
        },
        ..Setup::default()
    });
    let expected = "; Path=/app; Domain=example.com; Secure; HttpOnly; SameSite=Strict; Partitioned";
    for value in every_set_cookie(&api).await {
        let (pair, attributes) = value.split_once(';').unwrap();
        let attributes = format!(";{attributes}").replace("; Max-Age=0", "");
        assert_eq!((&pair[..3], attributes.as_str()), ("id=", expected), "{value}");
    }
}

#[tokio::test]
async fn s32_a_prefix_in_another_case_is_refused_on_every_face() {
    let api = Api::new();
    let (_, token) = api.alice().await;
    for name in [
        "__host-cloakroom",
        "__HOST-CLOAKROOM",
        "__HoSt-cloakroom",
        "__Host-Cloakroom",
    ] {
        for path in ["/auth", "/session", "/session/csrf", "/session/all", "/ext_authz/x"] {
            for header in [format!("{name}={token}"), format!("{name}=x; {}", cookie(&token))] {
                let answer = api.call("GET", path, &[("cookie", &header)], "").await;
                answer.problem(401, "session_not_found");
            }
        }
    }
}

#[tokio::test]
async fn s33_no_cookie_is_longer_than_browsers_keep() {
    for value in every_set_cookie(&Api::new()).await {
        assert!(value.split(';').next().unwrap().len() <= 4096);
    }
    // What would be longer, or no cookie at all, is refused at the start.
    let refused = |key: &str, value: &str| {
        let flag = cloakroom::config::FlagValue {
            flag: "--set".to_owned(),
            key: key.to_owned(),
            values: vec![value.to_owned()],
        };
        let sources = cloakroom::config::Sources {
            flags: vec![flag],
            ..cloakroom::config::Sources::default()
        };
        cloakroom::config::Config::load(&sources).is_err()
    };
    let long = "x".repeat(4096);
    for name in ["", "a b", "a;b", "a=b", "a\r\nSet-Cookie: b", "\u{fc}", long.as_str()] {
        assert!(refused("cookie.name", name), "{name:?}");
    }
    for path in ["app", "/a;b", "/a\nb", "/\u{fc}"] {
        assert!(refused("cookie.path", path), "{path:?}");
    }
    for domain in ["a;b", "a b", "example.com/x", "\r\n", "exa\u{fc}mple.com"] {
        assert!(refused("cookie.domain", domain), "{domain:?}");
    }
}

/// Every path of the description with the method it has, and a session's id and a data key in it.
fn every_call(made: &Value) -> Vec<(String, String)> {
    let description = serde_json::to_value(cloakroom::http::openapi()).unwrap();
    let mut calls = Vec::new();
    for (path, operations) in description["paths"].as_object().unwrap() {
        for method in operations.as_object().unwrap().keys() {
            let path = path
                .replace("{id}", made["session"]["id"].as_str().unwrap())
                .replace("{user_id}", "alice")
                .replace("{key}", "n")
                .replace("{*original}", "x");
            calls.push((method.to_uppercase(), path));
        }
    }
    assert!(calls.len() > 25, "{calls:?}");
    calls
}

/// Those that neither read nor set a session.
const PUBLIC: [&str; 2] = ["/openapi.json", "/.well-known/jwks.json"];

#[tokio::test]
async fn s34_nothing_that_touched_a_session_may_be_stored() {
    let api = Api::new();
    let made = api.create(json!({"user_id": "alice", "data": {"n": 1}})).await;
    let token = made["token"].as_str().unwrap();
    for (method, path) in every_call(&made) {
        if PUBLIC.contains(&path.as_str()) || path == "/v1/events" {
            continue;
        }
        for credential in [Some(token), None] {
            let header = cookie(credential.unwrap_or("x"));
            let headers = [("cookie", header.as_str()), SAME_ORIGIN];
            let answer: Answer = api.call(&method, &path, &headers, "").await;
            let what = format!("{method} {path}: {}", answer.status);
            assert_eq!(answer.headers["cache-control"], "no-store", "{what}");
            let vary: Vec<_> = answer
                .headers
                .get_all("vary")
                .iter()
                .map(|value| value.to_str().unwrap())
                .collect();
            let vary = vary.join(", ");
            assert!(vary.contains("Cookie"), "{what}: {vary}");
            // Callers' answers are nobody else's by `no-store` alone; a visitor may come by either credential.
            assert!(
                vary.contains("Authorization") || path.starts_with("/v1/"),
                "{what}: {vary}"
            );
            for validator in ["age", "expires", "last-modified"] {
                assert!(!answer.headers.contains_key(validator), "{what}: {validator}");
            }
        }
    }
}

#[tokio::test]
async fn s35_no_script_can_read_the_token() {
    let api = Api::new();
    let made = api.create(json!({"user_id": "alice", "roles": ["a"]})).await;
    let token = made["token"].as_str().unwrap();
    let mut seen = 0;
    for (method, path) in every_call(&made) {
        // What a page can reach: applications' calls need a caller's JWT.
        if path.starts_with("/v1/") {
            continue;
        }
        for credential in [("cookie", cookie(token)), ("authorization", format!("Session {token}"))] {
            let headers = [(credential.0, credential.1.as_str()), ("sec-fetch-site", "cross-site")];
            let answer = api.call(&method, &path, &headers, "").await;
            seen += 1;
            let secret = &token[2..];
            assert!(!answer.body.contains(secret), "{method} {path}");
            for (name, value) in &answer.headers {
                assert!(!value.to_str().unwrap().contains(secret), "{method} {path}: {name}");
            }
        }
    }
    assert!(seen >= 14, "{seen} answers were looked at");
    // And the object that applications hand on does not hold it.
    assert!(!made["session"].to_string().contains(&token[2..]));
    let read = api.get(&path_of(&made)).await.expect(200);
    assert!(!read.to_string().contains(&token[2..]));
}
