//! How callers are authenticated.

use std::path::PathBuf;

use super::problem::Checks;
use super::reader::{Reader, Section};
use super::secret::{Secret, SecretRing};
use super::setting::quote;

/// Shortest secret for HS256: the size of its hash (RFC 7518, section 3.2).
pub const SHORTEST_JWT_SECRET: usize = 32;

/// The section `jwt`.
#[derive(Clone, Debug)]
pub struct JwtSettings {
    /// `jwt.secret`: for HS256, each of at least [`SHORTEST_JWT_SECRET`] bytes; all verify, the first signs.
    pub secret: Option<SecretRing>,
    /// `jwt.jwks_url`: where the issuer publishes its keys (RFC 7517).
    pub jwks_url: Option<String>,
    /// `jwt.jwks_file`: the issuer's keys in a file, watched.
    pub jwks_file: Option<PathBuf>,
    /// `jwt.issuer`: the claim `iss` that a token must have; any where unset.
    pub issuer: Option<String>,
    /// `jwt.audience`: the claim `aud` that a token must have; default `cloakroom`.
    pub audience: String,
}

impl Default for JwtSettings {
    fn default() -> Self {
        Self {
            secret: None,
            jwks_url: None,
            jwks_file: None,
            issuer: None,
            audience: "cloakroom".to_owned(),
        }
    }
}

impl JwtSettings {
    /// Whether any key is there to verify a caller's token with.
    pub fn is_configured(&self) -> bool {
        self.secret.is_some() || self.jwks_url.is_some() || self.jwks_file.is_some()
    }
}

impl Section for JwtSettings {
    fn read(&mut self, reader: &mut Reader) {
        reader.secret("jwt.secret", &mut self.secret, |ring| long_enough(ring));
        reader.optional("jwt.jwks_url", &mut self.jwks_url);
        reader.optional("jwt.jwks_file", &mut self.jwks_file);
        reader.optional("jwt.issuer", &mut self.issuer);
        reader.value("jwt.audience", &mut self.audience);
    }

    fn validate(&self, checks: &mut Checks) {
        if let Some(url) = &self.jwks_url
            && !is_web_url(url)
        {
            checks.fail(
                "jwt.jwks_url",
                format!("{} is not an http:// or https:// URL without credentials", quote(url)),
            );
        }
        if self.jwks_url.is_some() && self.jwks_file.is_some() {
            checks.fail_among(
                &["jwt.jwks_file", "jwt.jwks_url"],
                "the keys come from one place: give jwt.jwks_url or jwt.jwks_file, not both",
            );
        }
    }
}

fn long_enough(ring: &[Secret]) -> Result<(), String> {
    let shortest = ring
        .iter()
        .map(|secret| secret.expose().len())
        .min()
        .unwrap_or_default();
    if shortest < SHORTEST_JWT_SECRET {
        return Err(format!(
            "is too short: {shortest} bytes, at least {SHORTEST_JWT_SECRET} are needed"
        ));
    }
    Ok(())
}

/// Whether `text` is an absolute web URL; one with a password in it would show up in print and logs.
pub(super) fn is_web_url(text: &str) -> bool {
    reqwest::Url::parse(text).is_ok_and(|url| {
        matches!(url.scheme(), "http" | "https")
            && url.has_host()
            && url.username().is_empty()
            && url.password().is_none()
    })
}
