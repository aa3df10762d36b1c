//! S55 and S56: what is told about tokens, and who may call.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use cloakroom::http::caller::{CallerAuth, JwtSettings, JwtVerifier};
use cloakroom::session::{ManualClock, Timestamp};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};

use crate::cookie;
use crate::support::api::{Api, NOW, Setup};
use crate::support::broken_store::BrokenStore;
use crate::support::captured_log::CapturedLog;
use crate::support::process::Program;
use crate::support::wait::{SOON, eventually};

const SECRET: &[u8] = b"a secret of at least thirty-two bytes";

/// Judges callers by the secret, at the time of the API's clock.
pub(crate) fn verifier() -> CallerAuth {
    let settings = JwtSettings {
        audience: "cloakroom".to_owned(),
        issuer: Some("us".to_owned()),
    };
    let clock = ManualClock::new(Timestamp::from_millis(NOW));
    let callers = CallerAuth::jwt(Arc::new(JwtVerifier::new(settings, Arc::new(clock))));
    callers.set_secrets(&[SECRET]);
    callers
}

/// A caller's token, signed with the secret.
pub(crate) fn jwt(scope: &str) -> String {
    signed(&Header::default(), &claims(scope))
}

fn claims(scope: &str) -> Value {
    json!({"aud": "cloakroom", "iss": "us", "exp": NOW / 1000 + 60, "scope": scope})
}

fn signed(header: &Header, claims: &Value) -> String {
    encode(header, claims, &EncodingKey::from_secret(SECRET)).unwrap()
}

#[tokio::test]
async fn s55_a_panic_tells_no_token() {
    let (log, _guard) = CapturedLog::listen();
    // Its counting of a bucket panics, all else fails.
    let api = Api::with(Setup {
        store: Some(Arc::new(BrokenStore::default())),
        ..Setup::default()
    });
    api.get("/v1/servers").await;
    tracing::callsite::rebuild_interest_cache();
    let token = crate::unknown_token();
    let (cookie, header) = (cookie(&token), format!("Session {token}"));
    for path in ["/v1/stats", "/auth", "/session"] {
        for credential in [("cookie", cookie.as_str()), ("authorization", header.as_str())] {
            let answer = api.call("GET", path, &[credential], "").await;
            assert!(answer.status.is_server_error(), "{path}: {}", answer.status);
            assert!(!answer.body.contains(&token[2..]), "{path}: {}", answer.body);
        }
    }
    let log = log.text();
    assert!(log.contains("request_id"), "the test sees the log");
    assert!(!log.contains(&token[2..]), "{log}");
}

/// The time series of a scrape, without their values.
async fn series(admin: std::net::SocketAddr) -> BTreeMap<String, String> {
    let text = reqwest::get(format!("http://{admin}/metrics"))
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .filter_map(|line| line.rsplit_once(' '))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

#[tokio::test]
async fn s55_no_label_tells_a_token_or_a_user_or_grows_with_what_clients_send() {
    let arguments = [
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--admin-listen",
        "127.0.0.1:0",
        "--set",
        "log.level=trace",
    ];
    let server = Program::cloakroom(&arguments, &[]);
    let (traffic, admin) = (server.listener("traffic").await, server.listener("admin").await);
    let client = reqwest::Client::new();
    eventually(SOON, "readiness", async || {
        let answer = client.get(format!("http://{admin}/readyz")).send().await;
        answer.is_ok_and(|answer| answer.status().is_success())
    })
    .await;
    let url = |path: &str| format!("http://{traffic}{path}");
    let mut secrets = vec!["the device of alice".to_owned()];
    let mut wave = async |number: usize| {
        let user = format!("alice-{number}@example.org");
        let made = client
            .post(url("/v1/sessions"))
            .json(&json!({"user_id": user, "fingerprint": "the device of alice"}));
        let made: Value = made.send().await.unwrap().json().await.unwrap();
        let (token, id) = (made["token"].as_str().unwrap(), made["session"]["id"].as_str().unwrap());
        for path in [
            "/auth".to_owned(),
            "/session".to_owned(),
            format!("/auth?role={token}"),
            format!("/{token}"),
            format!("/v1/sessions/{id}"),
            format!("/v1/sessions/{token}"),
            format!("/v1/users/{user}/sessions"),
            format!("/v1/sessions/{id}/data/{token}"),
        ] {
            for method in ["GET", "PATCH", &format!("X{number}"), "PROPFIND"] {
                let request = client
                    .request(method.parse().unwrap(), url(&path))
                    .header("cookie", cookie(token));
                let request = request
                    .header("user-agent", token)
                    .header("x-request-id", format!("r{number}"));
                let _ = request
                    .header("referer", format!("https://shop.example/?t={token}"))
                    .send()
                    .await
                    .unwrap();
            }
        }
        for _ in 0..2 {
            let body = json!({"token": token, "csrf_token": made["csrf_token"]});
            let judged = client
                .post(url("/v1/sessions/validate"))
                .json(&body)
                .send()
                .await
                .unwrap();
            assert_eq!(judged.status(), 200);
        }
        let rotated = client
            .post(url(&format!("/v1/sessions/{id}/rotate")))
            .json(&json!({}))
            .send()
            .await
            .unwrap();
        let rotated: Value = rotated.json().await.unwrap();
        for made in [&made, &rotated] {
            secrets.extend(["token", "csrf_token"].map(|name| made[name].as_str().unwrap()[2..].to_owned()));
        }
    };
    wave(0).await;
    let before = series(admin).await;
    for number in 1..20 {
        wave(number).await;
    }
    let after = series(admin).await;
    let names = |series: &BTreeMap<String, String>| series.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&after), names(&before), "the number of series grew");
    let scrape = names(&after).join("\n");
    for secret in secrets.iter().map(String::as_str).chain(["alice-", "example.org"]) {
        assert!(!scrape.contains(secret), "{secret}");
    }
    let log = server.output();
    assert!(
        log.iter()
            .any(|line| line.contains("\"level\":\"TRACE\"") || line.contains("\"level\":\"DEBUG\""))
    );
    for line in &log {
        for secret in &secrets {
            assert!(!line.contains(secret.as_str()), "{secret}: {line}");
        }
    }
}

/// A token of this head, with the claims and the signature of a good one.
fn with_head(head: &Value, signature: Option<&str>) -> String {
    let good = jwt("sessions:read");
    let mut parts = good.split('.').skip(1);
    let (payload, own) = (parts.next().unwrap(), parts.next().unwrap());
    let head = URL_SAFE_NO_PAD.encode(head.to_string());
    format!("{head}.{payload}.{}", signature.unwrap_or(own))
}

/// Heads that attackers put before good claims.
fn forged_heads() -> Vec<String> {
    let key = jsonwebtoken::jwk::Jwk::from_encoding_key(&EncodingKey::from_secret(SECRET), Algorithm::HS256);
    let jwk = serde_json::to_value(key.unwrap()).unwrap();
    let own = None;
    let heads = [
        (json!({"alg": "none", "typ": "JWT"}), Some("")),
        (json!({"alg": "None", "typ": "JWT"}), Some("")),
        (json!({"alg": "nOnE"}), own),
        (json!({"alg": "", "typ": "JWT"}), own),
        (json!({"typ": "JWT"}), own),
        (json!({"alg": "HS256", "typ": "JWT", "jwk": jwk}), own),
        (json!({"alg": "HS256", "jku": "https://evil.example/jwks.json"}), own),
        (json!({"alg": "HS256", "x5u": "https://evil.example/cert.pem"}), own),
        (json!({"alg": "HS256", "kid": "../../dev/null"}), Some("")),
        (json!({"alg": "HS256", "kid": "' UNION SELECT 'x"}), own),
        (json!({"alg": "RS256", "typ": "JWT"}), own),
        (json!({"alg": "ES256"}), Some("AAAA")),
        (json!({"alg": "EdDSA"}), own),
        (json!({"alg": "HS256", "crit": ["exp"], "exp": 0}), own),
        (json!({"alg": "HS256", "zip": "DEF"}), own),
        (json!(["HS256"]), own),
        (json!({"alg": ["HS256"]}), own),
    ];
    let mut forged: Vec<_> = heads
        .iter()
        .map(|(head, signature)| with_head(head, *signature))
        .collect();
    for algorithm in [Algorithm::HS384, Algorithm::HS512] {
        forged.push(signed(&Header::new(algorithm), &claims("sessions:read")));
    }
    for typ in ["JWE", "dpop+jwt", "logout+jwt", "secevent+jwt"] {
        let header = Header {
            typ: Some(typ.to_owned()),
            ..Header::default()
        };
        forged.push(signed(&header, &claims("sessions:read")));
    }
    forged
}

/// Claims that are signed well, and not for us, or not now.
fn foreign_claims() -> Vec<String> {
    let now = NOW / 1000;
    let changes = [
        json!({"exp": null}),
        json!({"exp": 0}),
        json!({"exp": -1}),
        json!({"exp": "9999999999"}),
        json!({"exp": now - 31}),
        json!({"nbf": now + 31}),
        json!({"aud": null}),
        json!({"aud": "other"}),
        json!({"aud": []}),
        json!({"aud": ["cloakroom2", "CLOAKROOM"]}),
        json!({"aud": {"cloakroom": true}}),
        json!({"iss": null}),
        json!({"iss": "us2"}),
        json!({"iss": ["us"]}),
    ];
    let with = |change: &Value| {
        let mut all = claims("sessions:read");
        for (name, value) in change.as_object().unwrap() {
            all[name] = value.clone();
        }
        all.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        signed(&Header::default(), &all)
    };
    changes.iter().map(with).collect()
}

/// A good token, torn, doubled, or with something added.
fn torn() -> Vec<String> {
    let good = jwt("sessions:read");
    let (body, signature) = good.rsplit_once('.').unwrap();
    let (head, payload) = body.split_once('.').unwrap();
    vec![
        body.to_owned(),
        format!("{body}."),
        format!("{good}."),
        format!("{good}.{signature}"),
        format!("{good}="),
        format!("{body}.{}", &signature[1..]),
        format!(".{payload}.{signature}"),
        format!("{head}..{signature}"),
        "..".to_owned(),
        String::new(),
        "x".repeat(9_000),
        format!("{good} {good}"),
        format!("{good},{good}"),
    ]
}

/// What attackers make of a JWT (RFC 8725): each is refused, and told no more than which rule it breaks.
#[tokio::test]
async fn s56_the_corpus_of_forged_jwts_is_refused() {
    let api = Api::with(Setup {
        callers: verifier(),
        ..Setup::default()
    });
    let ask = async |token: &str| {
        let bearer = format!("Bearer {token}");
        api.call("GET", "/v1/stats", &[("authorization", &bearer)], "").await
    };
    let good = jwt("sessions:read");
    ask(&good).await.expect(200);
    let corpus = [forged_heads(), foreign_claims(), torn()].concat();
    for forged in &corpus {
        let answer = ask(forged).await;
        answer.problem(401, "unauthorized");
        assert!(answer.header("www-authenticate").starts_with("Bearer"));
        assert!(
            forged.len() < 20 || !answer.body.contains(forged.as_str()),
            "{}",
            answer.body
        );
    }
    // A scope that only looks like one of ours gives nothing.
    for scope in [
        "",
        "sessions",
        "SESSIONS:READ",
        "sessions:read,sessions:write",
        "sessions:read\u{a0}",
        "xsessions:read",
    ] {
        ask(&jwt(scope)).await.problem(403, "forbidden");
    }
    // Two credentials are none, and other schemes are no bearer's.
    let (one, other) = (format!("Bearer {good}"), format!("Session {good}"));
    for headers in [
        vec![("authorization", one.as_str()), ("authorization", one.as_str())],
        vec![("authorization", other.as_str())],
        vec![("proxy-authorization", one.as_str())],
        vec![("authorization", "Basic YTpi")],
    ] {
        let answer = api.call("GET", "/v1/stats", &headers, "").await;
        answer.problem(401, "unauthorized");
    }
    let by_query = api.get(&format!("/v1/stats?access_token={good}")).await;
    assert_eq!(by_query.status.as_u16(), 401);
}
