use std::path::PathBuf;

use cloakroom::http::HttpSettings;
use cloakroom::web::{CookiePreset, CookieSecrets, CookieSettings};
use serde_json::{Value, json};

use crate::http::{Api, Setup};
use crate::support::process::Program;
use crate::support::wait::{SOON, eventually};

fn secrets(ring: &[&'static str]) -> CookieSecrets {
    CookieSecrets::new(ring.iter().map(|secret| secret.as_bytes()))
}

fn with_cookie(cookie: CookieSettings) -> Api {
    Api::with(Setup {
        settings: HttpSettings {
            cookie,
            ..HttpSettings::default()
        },
        ..Setup::default()
    })
}

fn signed(ring: &CookieSecrets) -> CookieSettings {
    CookieSettings {
        secrets: Some(ring.clone()),
        ..CookieSettings::default()
    }
}

fn express(ring: &CookieSecrets) -> CookieSettings {
    CookieSettings {
        name: "connect.sid".to_owned(),
        preset: CookiePreset::Express,
        ..signed(ring)
    }
}

/// The pair that a browser keeps of a `Set-Cookie`.
fn pair(set_cookie: &str) -> &str {
    set_cookie.split(';').next().unwrap()
}

async fn who(api: &Api, cookie: &str) -> u16 {
    let answer = api.call("GET", "/session", &[("cookie", cookie)], "").await;
    answer.status.as_u16()
}

#[tokio::test]
async fn s06_with_secrets_only_signed_cookies_count() {
    for cookie in [signed(&secrets(&["one"])), express(&secrets(&["one"]))] {
        let name = cookie.name.clone();
        let api = with_cookie(cookie);
        let made = api.create(json!({"user_id": "alice"})).await;
        let (token, set_cookie) = (made["token"].as_str().unwrap(), made["set_cookie"].as_str().unwrap());
        assert_eq!(who(&api, pair(set_cookie)).await, 200);
        for bad in [
            format!("{name}={token}"),
            format!("{name}={token}.AAAA"),
            format!("{}A", pair(set_cookie)),
        ] {
            let answer = api.call("GET", "/auth", &[("cookie", &bad)], "").await;
            answer.problem(401, "session_not_found");
        }
        let header = format!("Session {token}");
        api.call("GET", "/session", &[("authorization", &header)], "")
            .await
            .expect(200);
    }
}

#[tokio::test]
async fn an_application_may_have_the_cookie_judged_as_it_came() {
    let valid = async |api: &Api, token: &str| {
        api.post("/v1/sessions/validate", json!({"token": token}))
            .await
            .expect(200)["valid"]
            .clone()
    };
    for cookie in [signed(&secrets(&["one"])), express(&secrets(&["one"]))] {
        let api = with_cookie(cookie);
        let made = api.create(json!({})).await;
        let value = pair(made["set_cookie"].as_str().unwrap()).split_once('=').unwrap().1;
        let decoded = value.replace("%3A", ":").replace("%2B", "+").replace("%2F", "/");
        assert_eq!(valid(&api, value).await, true);
        assert_eq!(valid(&api, &decoded).await, true);
        assert_eq!(valid(&api, made["token"].as_str().unwrap()).await, true);
        assert_eq!(valid(&api, &format!("{value}A")).await, false);
    }
}

#[tokio::test]
async fn p8_secrets_are_rotated_and_nobody_is_logged_out() {
    let ring = secrets(&["old"]);
    let api = with_cookie(signed(&ring));
    let made = api.create(json!({})).await;
    let before = pair(made["set_cookie"].as_str().unwrap());
    ring.replace([&b"new"[..], b"old"]);
    assert_eq!(who(&api, before).await, 200);
    let path = format!("/v1/sessions/{}/rotate", made["session"]["id"].as_str().unwrap());
    let renewed = api.post(&path, json!({})).await.expect(201);
    ring.replace([&b"new"[..]]);
    assert_eq!(who(&api, pair(renewed["set_cookie"].as_str().unwrap())).await, 200);
    assert_eq!(who(&api, before).await, 401);
}

#[tokio::test]
async fn the_service_reads_its_secrets_from_a_file() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("secrets");
    std::fs::write(&file, "one\n").unwrap();
    let setting = format!("cookie.secrets_file={}", file.display());
    let arguments = [
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--admin-listen",
        "127.0.0.1:0",
        "--set",
        &setting,
    ];
    let server = Program::cloakroom(&arguments, &[]);
    let address = super::serving(&server).await;
    let client = reqwest::Client::new();
    let made = client
        .post(format!("http://{address}/v1/sessions"))
        .body("{}")
        .send()
        .await
        .unwrap();
    let made: Value = made.json().await.unwrap();
    let status = async |cookie: &str| {
        let asked = client.get(format!("http://{address}/session")).header("cookie", cookie);
        asked.send().await.unwrap().status().as_u16()
    };
    let cookie = pair(made["set_cookie"].as_str().unwrap()).to_owned();
    assert_eq!(status(&cookie).await, 200);
    assert_eq!(
        status(&format!("__Host-cloakroom={}", made["token"].as_str().unwrap())).await,
        401
    );
    std::fs::write(&file, "two\n").unwrap();
    eventually(SOON, "the new secret", async || status(&cookie).await == 401).await;
}

/// Where `tests/run` puts express and express-session.
fn node_modules() -> Option<PathBuf> {
    let given = std::env::var_os("CLOAKROOM_TEST_NODE_MODULES").map(PathBuf::from);
    let usual = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/tools/express-5.3.0-1.19.0/node_modules");
    let modules = given.unwrap_or_else(usual);
    modules.join("express-session").is_dir().then_some(modules)
}

#[tokio::test]
async fn express_session_and_we_take_each_others_cookies() {
    let Some(modules) = node_modules() else {
        eprintln!("passed over: tests/run installs express and express-session where there is npm");
        return;
    };
    let api = with_cookie(express(&secrets(&["new", "old"])));
    let made = api.create(json!({"user_id": "alice"})).await;
    let (token, ours) = (
        made["token"].as_str().unwrap(),
        pair(made["set_cookie"].as_str().unwrap()),
    );
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/browser/express.mjs");
    for ring in ["new", "old,older"] {
        let arguments = [script, modules.to_str().unwrap(), ring, token];
        let application = Program::start("node".as_ref(), &arguments, &[]);
        let address = application.listener("traffic").await;
        let client = reqwest::Client::new();
        let ask = async |cookie: Option<&str>| {
            let mut asked = client.get(format!("http://{address}/"));
            if let Some(cookie) = cookie {
                asked = asked.header("cookie", cookie);
            }
            let answer = asked.send().await.unwrap();
            let set = answer
                .headers()
                .get("set-cookie")
                .map(|value| value.to_str().unwrap().to_owned());
            (set, answer.json::<Value>().await.unwrap())
        };
        let (theirs, first) = ask(None).await;
        assert_eq!((&first["id"], &first["views"]), (&json!(token), &json!(1)));
        let theirs = theirs.expect("express-session sets a cookie");
        assert_eq!(
            who(&api, pair(&theirs)).await,
            200,
            "we take the cookie of express-session"
        );
        // Only the ring whose first secret is ours knows our signature.
        let (set, second) = ask(Some(ours)).await;
        let expected = if ring == "new" { (2, true) } else { (1, false) };
        assert_eq!((second["views"].as_u64().unwrap(), set.is_none()), expected);
        if ring == "new" {
            assert_eq!(pair(&theirs), ours, "to the byte");
        }
    }
}
