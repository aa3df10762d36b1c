//! Targets of `crate::fuzzing`: who calls.

use std::sync::Arc;

use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, HeaderValue};
use jsonwebtoken::{EncodingKey, Header, decode_header, encode};
use serde_json::Value;
use serde_json::value::RawValue;

use super::jwks::KeySet;
use super::jwt::{JwtSettings, JwtVerifier, bearer};
use crate::session::{ManualClock, Timestamp};

const SECRET: [u8; 32] = [7; 32];
const NOW: u64 = 1_800_000_000;

fn verifier() -> JwtVerifier {
    let settings = JwtSettings {
        audience: "cloakroom".to_owned(),
        issuer: Some("us".to_owned()),
    };
    let clock = ManualClock::new(Timestamp::from_millis(NOW * 1_000));
    let verifier = JwtVerifier::new(settings, Arc::new(clock));
    verifier.set_secrets(&[&SECRET]);
    verifier
}

/// Bearer tokens that nobody signed are refused, each time they are shown.
pub(crate) fn caller(bytes: &[u8]) {
    let mut headers = HeaderMap::new();
    for line in bytes.split(|byte| *byte == b'\n').take(4) {
        if let Ok(value) = HeaderValue::from_bytes(line) {
            headers.append(AUTHORIZATION, value);
        }
    }
    let Ok(token) = bearer(&headers) else { return };
    assert_eq!(headers.len(), 1, "two credentials at a time");
    let verifier = verifier();
    if let Ok(head) = decode_header(token) {
        assert!(verifier.verify(token, &head).is_err(), "a forged token was accepted");
    }
    assert_eq!(verifier.recall(token), None, "a refused token is remembered");
}

/// Claims that are signed well: accepted only where they say what they must, by a second reading of the same JSON.
pub(crate) fn claims(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(raw) = RawValue::from_string(text.to_owned()) else {
        return;
    };
    let Ok(token) = encode(&Header::default(), &raw, &EncodingKey::from_secret(&SECRET)) else {
        return;
    };
    let Ok(head) = decode_header(&token) else { return };
    let verifier = verifier();
    let Ok(scope) = verifier.verify(&token, &head) else {
        return;
    };
    let Ok(claims) = serde_json::from_str::<Value>(text) else {
        return;
    };
    let number = |name: &str| claims[name].as_f64();
    let audience = &claims["aud"];
    let for_us = audience == "cloakroom"
        || audience
            .as_array()
            .is_some_and(|all| all.iter().any(|one| one == "cloakroom"));
    assert!(for_us, "for another audience: {text}");
    assert_eq!(claims["iss"], "us");
    #[expect(clippy::cast_precision_loss, reason = "seconds since the epoch fit a double")]
    let now = NOW as f64;
    assert!(number("exp").is_some_and(|exp| exp > now - 30.0), "expired: {text}");
    assert!(
        number("nbf").is_none_or(|nbf| nbf <= now + 30.0),
        "not valid yet: {text}"
    );
    if let Some(scope) = scope {
        let named = claims["scope"].as_str().unwrap_or_default();
        assert!(
            named.split(' ').any(|name| name == scope.as_str()),
            "a scope that nobody granted: {text}"
        );
    }
}

/// JWK sets: whatever they hold, a token that names no key opens nothing.
pub(crate) fn key_set(bytes: &[u8]) {
    let Ok(keys) = KeySet::parse(bytes) else { return };
    let text = String::from_utf8_lossy(bytes);
    assert!(
        keys.is_empty() || text.contains("kty") || text.contains('\\'),
        "keys out of nothing"
    );
    assert!(!keys.has("no such key id at all"));
    let shown = format!("{keys:?}");
    assert_eq!(shown, format!("KeySet({} keys)", keys.len()));
}
