//! `cloakroom token`: a credential for a caller of the API.

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde::Serialize;

use crate::config::{JwtSettings, Period};

/// The claim `sub`, by which the log tells these callers from services.
const SUBJECT: &str = "cloakroom-cli";

/// Why no token could be made.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// There is nothing to sign with: keys of an issuer only verify.
    #[error("cannot sign a token: jwt.secret is not set (give jwt.secret or jwt.secret_file, as the service has it)")]
    NoSecret,
    /// The signature failed.
    #[error("cannot sign a token: {0}")]
    Sign(#[from] jsonwebtoken::errors::Error),
}

/// RFC 7519, section 4.1; `scope` as in RFC 8693, section 4.2. Times in seconds since 1970.
#[derive(Serialize)]
struct Claims<'a> {
    sub: &'a str,
    aud: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    iss: Option<&'a str>,
    iat: u64,
    nbf: u64,
    exp: u64,
    scope: &'a str,
}

/// Signs a token (HS256 with the first of `jwt.secret`) that the service takes from `now`, in seconds since 1970, for `ttl`.
pub fn mint(jwt: &JwtSettings, scope: &str, ttl: Period, now: u64) -> Result<String, TokenError> {
    let ring = jwt.secret.as_ref().ok_or(TokenError::NoSecret)?;
    let claims = Claims {
        sub: SUBJECT,
        aud: &jwt.audience,
        iss: jwt.issuer.as_deref(),
        iat: now,
        nbf: now,
        exp: now.saturating_add(ttl.get().as_secs()),
        scope,
    };
    let first = ring.value().first().ok_or(TokenError::NoSecret)?;
    let key = EncodingKey::from_secret(first.expose().as_bytes());
    Ok(encode(&Header::new(Algorithm::HS256), &claims, &key)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, FlagValue, Sources};
    use jsonwebtoken::{DecodingKey, Validation, decode, decode_header};

    const SECRET: &str = "0123456789abcdef0123456789abcdef";
    const NOW: u64 = 1_800_000_000;

    fn jwt(pairs: &[(&str, &str)]) -> JwtSettings {
        let flag = |(key, value): &(&str, &str)| FlagValue {
            flag: "--set".to_owned(),
            key: (*key).to_owned(),
            values: vec![(*value).to_owned()],
        };
        let sources = Sources {
            flags: pairs.iter().map(flag).collect(),
            ..Sources::default()
        };
        Config::load(&sources).unwrap().config.jwt
    }

    fn claims(token: &str, secret: &str) -> Result<serde_json::Value, jsonwebtoken::errors::Error> {
        let mut validation = Validation::new(Algorithm::HS256);
        validation.validate_exp = false;
        validation.set_audience(&["cloakroom"]);
        decode(token, &DecodingKey::from_secret(secret.as_bytes()), &validation).map(|data| data.claims)
    }

    #[test]
    fn the_token_holds_what_the_service_asks_for() {
        let token = mint(
            &jwt(&[("jwt.secret", SECRET)]),
            "sessions:admin",
            Period::from_hours(1),
            NOW,
        )
        .unwrap();
        let expected = serde_json::json!({
            "sub": "cloakroom-cli", "aud": "cloakroom", "iat": NOW, "nbf": NOW, "exp": NOW + 3600, "scope": "sessions:admin",
        });
        assert_eq!(claims(&token, SECRET).unwrap(), expected);
        let header = decode_header(&token).unwrap();
        assert_eq!((header.typ.as_deref(), header.alg), (Some("JWT"), Algorithm::HS256));
        assert!(claims(&token, &SECRET.replace('0', "1")).is_err());
    }

    #[test]
    fn the_issuer_goes_in_where_it_is_set() {
        let settings = jwt(&[("jwt.secret", SECRET), ("jwt.issuer", "https://id.example")]);
        let token = mint(&settings, "sessions:read", Period::from_mins(1), NOW).unwrap();
        assert_eq!(claims(&token, SECRET).unwrap()["iss"], "https://id.example");
    }

    #[test]
    fn without_a_secret_there_is_no_token() {
        let refusal = mint(&jwt(&[]), "sessions:read", Period::from_mins(1), NOW).unwrap_err();
        assert!(refusal.to_string().contains("jwt.secret is not set"), "{refusal}");
    }
}
