use std::time::Duration;

use cloakroom::http::{HttpSettings, TokenKeys};
use cloakroom::session::SigningKeys;
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{DecodingKey, Validation, decode, decode_header};
use serde_json::{Value, json};

use crate::http::{Answer, Api, NOBODY, Setup, path_of};
use crate::support::process::Program;

const SECRET: &str = "0123456789abcdef0123456789abcdef";
const NOW: u64 = 1_800_000_000;

fn signing(keys: &TokenKeys) -> Api {
    Api::with(Setup {
        settings: HttpSettings {
            token_keys: Some(keys.clone()),
            ..HttpSettings::default()
        },
        ..Setup::default()
    })
}

fn derived(secrets: &[&'static str]) -> SigningKeys {
    SigningKeys::derived(secrets.iter().map(|secret| secret.as_bytes()))
}

async fn exchange(api: &Api, session: &str, body: Value) -> Answer {
    api.post(&format!("{session}/token"), body).await
}

/// The claims, where a key that the service publishes signed them for this audience.
fn verified(published: &Value, jwt: &str, audience: &str) -> Option<Value> {
    let header = decode_header(jwt).unwrap();
    let set: JwkSet = serde_json::from_value(published.clone()).unwrap();
    let jwk = set.find(header.kid.as_deref().unwrap())?;
    let mut validation = Validation::new(header.alg);
    validation.set_audience(&[audience]);
    // The tests' clock stands still, far from the machine's.
    validation.validate_exp = false;
    let key = DecodingKey::from_jwk(jwk).unwrap();
    decode(jwt, &key, &validation).ok().map(|data| data.claims)
}

#[tokio::test]
async fn p10_a_session_is_exchanged_for_a_jwt_that_others_verify() {
    let api = signing(&TokenKeys::new(derived(&[SECRET])));
    let made = api
        .create(json!({"user_id": "alice", "roles": ["user"], "permissions": ["read"]}))
        .await;
    let answer = exchange(&api, &path_of(&made), json!({"audience": "orders"}))
        .await
        .expect(200);
    assert_eq!(answer["expires_at"], "2027-01-15T08:01:00.000Z");
    let published = api.get("/.well-known/jwks.json").await;
    assert_eq!(published.header("cache-control"), "public, max-age=60");
    let published = published.expect(200);
    let jwt = answer["jwt"].as_str().unwrap();
    let claims = verified(&published, jwt, "orders").unwrap();
    assert_eq!(claims["sub"], "alice");
    assert_eq!(claims["sid"], made["session"]["id"]);
    assert_eq!(
        (&claims["roles"], &claims["permissions"]),
        (&json!(["user"]), &json!(["read"]))
    );
    assert_eq!(
        (&claims["iat"], &claims["exp"], &claims["auth_time"]),
        (&json!(NOW), &json!(NOW + 60), &json!(NOW))
    );
    assert!(verified(&published, jwt, "billing").is_none(), "for no other audience");
    assert!(!jwt.contains(made["token"].as_str().unwrap()));
    let key = &published["keys"][0];
    assert_eq!(
        (&key["kty"], &key["alg"], &key["use"]),
        (&json!("OKP"), &json!("EdDSA"), &json!("sig"))
    );
    assert!(key.get("d").is_none(), "the private half stays here");
}

#[tokio::test]
async fn p10_the_jwt_is_short_lived_and_never_outlives_its_session() {
    let api = signing(&TokenKeys::new(derived(&[SECRET])));
    let made = api.create(json!({"class": "temporary"})).await;
    let path = path_of(&made);
    let published = api.get("/.well-known/jwks.json").await.expect(200);
    let claims = async |ttl: &str| {
        let answer = exchange(&api, &path, json!({"audience": "a", "ttl": ttl}))
            .await
            .expect(200);
        verified(&published, answer["jwt"].as_str().unwrap(), "a").unwrap()
    };
    assert_eq!(claims("90s").await["exp"], NOW + 90);
    assert_eq!(claims("1h").await["exp"], NOW + 300, "the idle timeout of the class");
    assert!(claims("1s").await.get("sub").is_none(), "nobody's session");
    for bad in [
        json!({}),
        json!({"audience": ""}),
        json!({"audience": "a\n"}),
        json!({"audience": "a", "ttl": "0s"}),
        json!({"audience": "a", "ttl": "61m"}),
        json!({"audience": "a", "ttl": 60}),
        json!({"audience": "a", "x": 1}),
    ] {
        exchange(&api, &path, bad).await.problem(400, "invalid_request");
    }
    exchange(&api, NOBODY, json!({"audience": "a"}))
        .await
        .problem(404, "session_not_found");
    api.clock.advance(Duration::from_mins(5));
    exchange(&api, &path, json!({"audience": "a"}))
        .await
        .problem(404, "session_not_found");
    let keyless = Api::new();
    let (path, _) = keyless.alice().await;
    exchange(&keyless, &path, json!({"audience": "a"}))
        .await
        .problem(400, "invalid_request");
    assert_eq!(
        keyless.get("/.well-known/jwks.json").await.expect(200),
        json!({"keys": []})
    );
}

#[tokio::test]
async fn p8_keys_are_rotated_while_their_tokens_go_on() {
    let keys = TokenKeys::new(derived(&["old old old old old old old old "]));
    let api = signing(&keys);
    let (path, _) = api.alice().await;
    let jwt = async || {
        exchange(&api, &path, json!({"audience": "a"})).await.expect(200)["jwt"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let before = jwt().await;
    keys.replace(derived(&[
        "new new new new new new new new ",
        "old old old old old old old old ",
    ]));
    let published = api.get("/.well-known/jwks.json").await.expect(200);
    for jwt in [&before, &jwt().await] {
        assert!(verified(&published, jwt, "a").is_some());
    }
    keys.replace(derived(&["new new new new new new new new "]));
    let published = api.get("/.well-known/jwks.json").await.expect(200);
    assert!(verified(&published, &before, "a").is_none());
}

/// Verifies with Node's own cryptography, in place of a library that knows only our own mistakes.
const NODE: &str = r#"
const [jwt, jwks] = process.argv.slice(1);
const { createPublicKey, verify } = require("node:crypto");
const [header, claims, signature] = jwt.split(".");
const { alg, kid } = JSON.parse(Buffer.from(header, "base64url"));
const jwk = JSON.parse(jwks).keys.find((key) => key.kid === kid);
const key = createPublicKey({ key: jwk, format: "jwk" });
const message = Buffer.from(`${header}.${claims}`);
const good = verify(alg === "EdDSA" ? null : "sha256", message, { key, dsaEncoding: "ieee-p1363" }, Buffer.from(signature, "base64url"));
console.log(JSON.stringify({ good, sub: JSON.parse(Buffer.from(claims, "base64url")).sub }));
"#;

#[tokio::test]
async fn p10_every_server_of_a_secret_publishes_the_same_key_and_node_verifies_by_it() {
    let setting = format!("jwt.secret={SECRET}");
    let arguments = [
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--admin-listen",
        "127.0.0.1:0",
        "--set",
        &setting,
    ];
    let servers = [Program::cloakroom(&arguments, &[]), Program::cloakroom(&arguments, &[])];
    let client = reqwest::Client::new();
    let mut published = Vec::new();
    let mut first = None;
    for server in &servers {
        let address = super::serving(server).await;
        first = first.or(Some(address));
        let answer = client
            .get(format!("http://{address}/.well-known/jwks.json"))
            .send()
            .await
            .unwrap();
        published.push(answer.json::<Value>().await.unwrap());
    }
    assert_eq!(published[0], published[1]);
    assert_eq!(published[0]["keys"].as_array().unwrap().len(), 1);
    assert_eq!(published[0], derived(&[SECRET]).published());

    let api = signing(&TokenKeys::new(derived(&[SECRET])));
    let (path, _) = api.alice().await;
    let answer = exchange(&api, &path, json!({"audience": "a"})).await.expect(200);
    let jwt = answer["jwt"].as_str().unwrap();
    let verdict = std::process::Command::new("node")
        .args(["-e", NODE, jwt, &published[0].to_string()])
        .output();
    let Ok(verdict) = verdict else {
        eprintln!("passed over: there is no node");
        return;
    };
    let verdict: Value = serde_json::from_slice(&verdict.stdout).unwrap_or_else(|_| panic!("{verdict:?}"));
    assert_eq!(verdict, json!({"good": true, "sub": "alice"}));
}
