use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::signature::KeyPair as _;
use aws_lc_rs::{rand::SystemRandom, rsa, signature};
use axum::http::HeaderValue;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{EncodingKey, encode};
use serde_json::{Value, json};

use super::*;
use crate::session::{ManualClock, Timestamp};

const SECRET: &[u8] = b"a secret of at least thirty-two bytes";
const NOW: u64 = 1_800_000_000;

pub(in crate::http::caller) fn verifier(issuer: Option<&str>) -> JwtVerifier {
    let settings = JwtSettings {
        audience: "cloakroom".to_owned(),
        issuer: issuer.map(str::to_owned),
    };
    let clock = ManualClock::new(Timestamp::from_millis(NOW * 1000));
    JwtVerifier::new(settings, Arc::new(clock))
}

fn with_secret(issuer: Option<&str>) -> JwtVerifier {
    let verifier = verifier(issuer);
    verifier.set_secrets(&[SECRET]);
    verifier
}

fn good() -> Value {
    json!({"aud": "cloakroom", "exp": NOW + 60, "scope": "sessions:write"})
}

fn sign(header: &Header, claims: &Value, key: &EncodingKey) -> String {
    encode(header, claims, key).unwrap()
}

fn hs256(claims: &Value) -> String {
    sign(
        &Header::new(Algorithm::HS256),
        claims,
        &EncodingKey::from_secret(SECRET),
    )
}

async fn authenticate(verifier: &JwtVerifier, headers: &HeaderMap) -> Result<Option<Scope>, Refusal> {
    verifier.authenticate(bearer(headers)?).await
}

async fn judge(verifier: &JwtVerifier, token: &str) -> Result<Option<Scope>, Refusal> {
    let mut headers = HeaderMap::new();
    headers.insert(AUTHORIZATION, HeaderValue::try_from(format!("Bearer {token}")).unwrap());
    authenticate(verifier, &headers).await
}

/// Changes one claim of a good token.
async fn claim(name: &str, value: Value) -> Result<Option<Scope>, Refusal> {
    let mut claims = good();
    claims[name] = value;
    judge(&with_secret(None), &hs256(&claims)).await
}

#[tokio::test]
async fn s56_a_good_token_gives_its_scope() {
    assert_eq!(judge(&with_secret(None), &hs256(&good())).await, Ok(Some(Scope::Write)));
    assert_eq!(claim("scope", json!("email")).await, Ok(None));
    assert_eq!(
        claim("aud", json!(["other", "cloakroom"])).await,
        Ok(Some(Scope::Write))
    );
    assert_eq!(claim("exp", json!(1_800_000_060.5)).await, Ok(Some(Scope::Write)));
}

#[tokio::test]
async fn s56_audience_issuer_and_times_are_checked() {
    assert_eq!(claim("aud", json!("other")).await, Err(Refusal::Audience));
    assert_eq!(claim("aud", json!(["cloakroom2"])).await, Err(Refusal::Audience));
    assert_eq!(claim("aud", Value::Null).await, Err(Refusal::Audience));
    assert_eq!(claim("exp", Value::Null).await, Err(Refusal::Expired));
    assert_eq!(
        claim("exp", json!(NOW - 29)).await,
        Ok(Some(Scope::Write)),
        "within the leeway"
    );
    assert_eq!(claim("exp", json!(NOW - 30)).await, Err(Refusal::Expired));
    assert_eq!(claim("exp", json!("soon")).await, Err(Refusal::Malformed));
    assert_eq!(
        claim("nbf", json!(NOW + 30)).await,
        Ok(Some(Scope::Write)),
        "within the leeway"
    );
    assert_eq!(claim("nbf", json!(NOW + 31)).await, Err(Refusal::NotYet));

    let picky = with_secret(Some("https://issuer"));
    assert_eq!(judge(&picky, &hs256(&good())).await, Err(Refusal::Issuer));
    for (issuer, outcome) in [
        ("https://issuer", Ok(Some(Scope::Write))),
        ("https://issuer/", Err(Refusal::Issuer)),
    ] {
        let mut claims = good();
        claims["iss"] = json!(issuer);
        assert_eq!(judge(&picky, &hs256(&claims)).await, outcome);
    }
}

#[tokio::test]
async fn s56_the_type_must_be_that_of_a_jwt_and_critical_extensions_are_refused() {
    let with = |change: fn(&mut Header)| {
        let mut header = Header::new(Algorithm::HS256);
        change(&mut header);
        sign(&header, &good(), &EncodingKey::from_secret(SECRET))
    };
    let verifier = with_secret(None);
    for good in [
        with(|header| header.typ = None),
        with(|header| header.typ = Some("at+jwt".to_owned())),
        with(|header| header.typ = Some("application/at+JWT".to_owned())),
    ] {
        assert!(judge(&verifier, &good).await.is_ok());
    }
    let typed = with(|header| header.typ = Some("dpop+jwt".to_owned()));
    assert_eq!(judge(&verifier, &typed).await, Err(Refusal::Type));
    let critical = with(|header| header.crit = Some(vec!["b64".to_owned()]));
    assert_eq!(judge(&verifier, &critical).await, Err(Refusal::Malformed));
}

#[tokio::test]
async fn s56_unsigned_foreign_and_broken_tokens_are_refused() {
    let verifier = with_secret(None);
    let payload = URL_SAFE_NO_PAD.encode(good().to_string());
    for alg in ["none", "None", "NONE"] {
        let header = URL_SAFE_NO_PAD.encode(format!("{{\"alg\":\"{alg}\",\"typ\":\"JWT\"}}"));
        for token in [format!("{header}.{payload}."), format!("{header}.{payload}")] {
            assert_eq!(judge(&verifier, &token).await, Err(Refusal::Malformed), "{token}");
        }
    }
    let foreign = sign(
        &Header::new(Algorithm::HS256),
        &good(),
        &EncodingKey::from_secret(b"another"),
    );
    assert_eq!(judge(&verifier, &foreign).await, Err(Refusal::Signature));
    let hs512 = sign(
        &Header::new(Algorithm::HS512),
        &good(),
        &EncodingKey::from_secret(SECRET),
    );
    assert_eq!(judge(&verifier, &hs512).await, Err(Refusal::UnknownKey));
    for broken in [
        "",
        "x",
        "a.b.c",
        "..",
        &format!("{}x", hs256(&good())),
        &"a".repeat(10_000),
    ] {
        assert!(judge(&verifier, broken).await.is_err(), "{broken}");
    }
    let mut headers = HeaderMap::new();
    assert_eq!(authenticate(&verifier, &headers).await, Err(Refusal::Missing));
    headers.append(AUTHORIZATION, HeaderValue::from_static("Basic abc"));
    assert_eq!(authenticate(&verifier, &headers).await, Err(Refusal::Missing));
    let token = HeaderValue::try_from(format!("bearer {}", hs256(&good()))).unwrap();
    headers.insert(AUTHORIZATION, token.clone());
    assert!(authenticate(&verifier, &headers).await.is_ok(), "schemes ignore case");
    headers.append(AUTHORIZATION, token);
    assert_eq!(authenticate(&verifier, &headers).await, Err(Refusal::Malformed));
}

#[tokio::test]
async fn a_replaced_secret_takes_effect_at_once() {
    let verifier = with_secret(None);
    let token = hs256(&good());
    assert!(judge(&verifier, &token).await.is_ok());
    verifier.set_secrets(&[b"another secret of more than 32 bytes"]);
    assert_eq!(judge(&verifier, &token).await, Err(Refusal::Signature));
    verifier.set_secrets(&[]);
    assert_eq!(judge(&verifier, &token).await, Err(Refusal::UnknownKey));
}

#[tokio::test]
async fn p8_every_secret_of_the_ring_verifies() {
    let verifier = with_secret(None);
    verifier.set_secrets(&[b"another secret of more than 32 bytes", SECRET]);
    assert!(judge(&verifier, &hs256(&good())).await.is_ok());
    // What is wrong besides the signature is told of whichever secret it is.
    let mut claims = good();
    claims["exp"] = json!(NOW - 60);
    assert_eq!(judge(&verifier, &hs256(&claims)).await, Err(Refusal::Expired));
}

/// A fresh key pair with its public JWK.
pub(in crate::http::caller) struct Pair {
    algorithm: Algorithm,
    private: EncodingKey,
    pub(in crate::http::caller) public: Jwk,
}

impl Pair {
    pub(in crate::http::caller) fn new(algorithm: Algorithm, kid: &str) -> Self {
        let (private, public) = match algorithm {
            Algorithm::RS256 => {
                let der = rsa::KeyPair::generate(rsa::KeySize::Rsa2048).unwrap();
                let der = STANDARD.encode(AsDer::<Pkcs8V1Der<'_>>::as_der(&der).unwrap().as_ref());
                let pem = format!("-----BEGIN PRIVATE KEY-----\n{der}\n-----END PRIVATE KEY-----\n");
                let private = EncodingKey::from_rsa_pem(pem.as_bytes()).unwrap();
                let public = Jwk::from_encoding_key(&private, algorithm).unwrap();
                (private, public)
            }
            Algorithm::ES256 => {
                let curve = &signature::ECDSA_P256_SHA256_FIXED_SIGNING;
                let der = signature::EcdsaKeyPair::generate_pkcs8(curve, &SystemRandom::new()).unwrap();
                let private = EncodingKey::from_ec_der(der.as_ref());
                let public = Jwk::from_encoding_key(&private, algorithm).unwrap();
                (private, public)
            }
            _ => {
                let der = signature::Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
                let pair = signature::Ed25519KeyPair::from_pkcs8(der.as_ref()).unwrap();
                let x = URL_SAFE_NO_PAD.encode(pair.public_key());
                let public = json!({"kty": "OKP", "crv": "Ed25519", "x": x});
                (
                    EncodingKey::from_ed_der(der.as_ref()),
                    serde_json::from_value(public).unwrap(),
                )
            }
        };
        let mut public: Jwk = public;
        public.common.key_id = Some(kid.to_owned());
        Self {
            algorithm,
            private,
            public,
        }
    }

    pub(in crate::http::caller) fn sign(&self, kid: Option<&str>) -> String {
        let mut header = Header::new(self.algorithm);
        header.kid = kid.map(str::to_owned);
        sign(&header, &good(), &self.private)
    }
}

fn set(keys: &[&Jwk]) -> KeySet {
    KeySet::parse(json!({ "keys": keys }).to_string().as_bytes()).unwrap()
}

#[tokio::test]
async fn s56_public_keys_are_chosen_by_id_and_fixed_to_their_algorithm() {
    let pairs = [
        Pair::new(Algorithm::RS256, "rsa"),
        Pair::new(Algorithm::ES256, "ec"),
        Pair::new(Algorithm::EdDSA, "ed"),
    ];
    let verifier = verifier(None);
    verifier.set_jwks(set(&[&pairs[0].public, &pairs[1].public, &pairs[2].public]));
    for (pair, kid) in pairs.iter().zip(["rsa", "ec", "ed"]) {
        assert_eq!(
            judge(&verifier, &pair.sign(Some(kid))).await,
            Ok(Some(Scope::Write)),
            "{kid}"
        );
        assert_eq!(
            judge(&verifier, &pair.sign(Some("other"))).await,
            Err(Refusal::UnknownKey)
        );
        assert_eq!(
            judge(&verifier, &pair.sign(None)).await,
            Err(Refusal::UnknownKey),
            "which key?"
        );
    }
    assert_eq!(
        judge(&verifier, &pairs[0].sign(Some("ec"))).await,
        Err(Refusal::UnknownKey)
    );

    let alone = with_secret(None);
    alone.set_jwks(set(&[&pairs[2].public]));
    assert!(judge(&alone, &pairs[2].sign(None)).await.is_ok(), "there is no choice");
    alone.set_jwks(set(&[]));
    assert_eq!(
        judge(&alone, &pairs[2].sign(Some("ed"))).await,
        Err(Refusal::UnknownKey),
        "withdrawn"
    );
}

#[tokio::test]
async fn s56_a_public_key_is_no_secret_and_the_token_names_no_key_source() {
    let pair = Pair::new(Algorithm::RS256, "rsa");
    let verifier = verifier(None);
    verifier.set_jwks(set(&[&pair.public]));
    let public_der = serde_json::to_vec(&pair.public).unwrap();
    let mut confused = Header::new(Algorithm::HS256);
    confused.kid = Some("rsa".to_owned());
    let token = sign(&confused, &good(), &EncodingKey::from_secret(&public_der));
    assert_eq!(judge(&verifier, &token).await, Err(Refusal::UnknownKey));

    // A key that the token brings along, or says where to get.
    let attacker = Pair::new(Algorithm::EdDSA, "rsa");
    let mut header = Header::new(Algorithm::EdDSA);
    header.kid = Some("rsa".to_owned());
    header.jwk = Some(attacker.public.clone());
    header.jku = Some("http://127.0.0.1:1/".to_owned());
    header.x5u = Some("http://127.0.0.1:1/".to_owned());
    let token = sign(&header, &good(), &attacker.private);
    assert_eq!(judge(&verifier, &token).await, Err(Refusal::UnknownKey));
}

#[test]
fn s56_keys_for_other_uses_and_algorithms_are_passed_over() {
    let pair = Pair::new(Algorithm::RS256, "rsa");
    let with = |name: &str, value: Value| {
        let mut key = serde_json::to_value(&pair.public).unwrap();
        key[name] = value;
        KeySet::parse(json!({ "keys": [key] }).to_string().as_bytes())
            .unwrap()
            .len()
    };
    assert_eq!(with("use", json!("sig")), 1);
    assert_eq!(with("use", json!("enc")), 0);
    assert_eq!(with("alg", json!("PS256")), 0);
    assert_eq!(with("kty", json!("oct")), 0);
    let odd =
        br#"{"keys": [{"kty": "oct", "k": "c2VjcmV0", "kid": "a"}, 7, {"kty": "EC", "crv": "P-384"}], "more": 1}"#;
    assert!(KeySet::parse(odd).unwrap().is_empty());
    for bad in ["", "[]", "{}", "{\"keys\": 7}"] {
        assert!(KeySet::parse(bad.as_bytes()).is_err());
    }
}

#[tokio::test]
async fn a_request_with_an_unknown_key_waits_for_a_fetch_where_one_is_possible() {
    let pair = Pair::new(Algorithm::EdDSA, "new");
    let verifier = Arc::new(verifier(None));
    assert_eq!(
        judge(&verifier, &pair.sign(Some("new"))).await,
        Err(Refusal::UnknownKey),
        "nobody could fetch"
    );

    verifier.refresh().possible.store(true, Ordering::Release);
    let fetcher = Arc::clone(&verifier);
    let public = pair.public.clone();
    tokio::spawn(async move {
        fetcher.refresh().wanted.notified().await;
        fetcher.set_jwks(set(&[&public]));
        fetcher.refresh().done.send_modify(|count| *count += 1);
    });
    assert!(judge(&verifier, &pair.sign(Some("new"))).await.is_ok());
}
