use std::borrow::Cow;
use std::sync::Arc;

use arc_swap::ArcSwap;
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use super::settings::{CookiePreset, CookieSettings};
use crate::session::Token;

/// What `encodeURIComponent` leaves as it is (ECMA-262, section 19.2.6.4), by which Express writes cookies.
const URI_COMPONENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'!')
    .remove(b'~')
    .remove(b'*')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')');

/// The ring of secrets that sign cookies, which may be replaced while the server runs: the first signs, all verify.
/// Cheap to clone; the clones share the ring.
#[derive(Clone)]
pub struct CookieSecrets(Arc<ArcSwap<Vec<hmac::Key>>>);

impl CookieSecrets {
    /// A ring of these secrets. An empty one verifies nothing.
    pub fn new<'a>(secrets: impl IntoIterator<Item = &'a [u8]>) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(keys(secrets))))
    }

    /// Replaces the ring. Takes effect with the next request.
    pub fn replace<'a>(&self, secrets: impl IntoIterator<Item = &'a [u8]>) {
        self.0.store(Arc::new(keys(secrets)));
    }

    /// Whether there is no secret, so that nothing is verified.
    pub fn is_empty(&self) -> bool {
        self.0.load().is_empty()
    }

    /// Whether nobody else shares the ring.
    pub fn is_last(&self) -> bool {
        Arc::strong_count(&self.0) == 1
    }

    fn sign(&self, message: &[u8]) -> Option<hmac::Tag> {
        self.0.load().first().map(|key| hmac::sign(key, message))
    }

    /// In constant time for each secret (S07).
    fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        let ring = self.0.load();
        ring.iter().any(|key| hmac::verify(key, message, signature).is_ok())
    }
}

fn keys<'a>(secrets: impl IntoIterator<Item = &'a [u8]>) -> Vec<hmac::Key> {
    let key = |secret| hmac::Key::new(hmac::HMAC_SHA256, secret);
    secrets.into_iter().map(key).collect()
}

impl std::fmt::Debug for CookieSecrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "CookieSecrets({})", self.0.load().len())
    }
}

/// How a token stands in a cookie's value.
pub(crate) struct Seal {
    name: String,
    preset: CookiePreset,
    secrets: Option<CookieSecrets>,
}

impl Seal {
    pub(crate) fn new(settings: &CookieSettings) -> Self {
        Self {
            name: settings.name.clone(),
            preset: settings.preset,
            secrets: settings.secrets.clone(),
        }
    }

    /// The cookie's value for a token.
    pub(crate) fn close(&self, token: &Token) -> String {
        let token = token.expose();
        let Some(secrets) = &self.secrets else { return token };
        // A ring is never empty: the settings see to it. Without a signature the cookie would be refused, not believed.
        let tag = secrets.sign(&self.message(&token));
        let tag = tag.as_ref().map(AsRef::as_ref).unwrap_or_default();
        match self.preset {
            CookiePreset::Default => format!("{token}.{}", URL_SAFE_NO_PAD.encode(tag)),
            CookiePreset::Express => {
                let value = format!("s:{token}.{}", STANDARD_NO_PAD.encode(tag));
                utf8_percent_encode(&value, URI_COMPONENT).to_string()
            }
        }
    }

    /// The token in a cookie's value; nothing where a signature is due and is not there or is wrong.
    pub(crate) fn open<'a>(&self, value: &'a str) -> Option<Cow<'a, str>> {
        let Some(secrets) = &self.secrets else {
            return Some(Cow::Borrowed(value));
        };
        let signed = match self.preset {
            CookiePreset::Default => Cow::Borrowed(value),
            CookiePreset::Express => {
                let decoded = percent_decode_str(value).decode_utf8().ok()?;
                Cow::Owned(decoded.strip_prefix("s:")?.to_owned())
            }
        };
        let (token, signature) = signed.rsplit_once('.')?;
        let signature = match self.preset {
            CookiePreset::Default => URL_SAFE_NO_PAD.decode(signature),
            CookiePreset::Express => STANDARD_NO_PAD.decode(signature),
        };
        let is_genuine = secrets.verify(&self.message(token), &signature.ok()?);
        is_genuine.then(|| Cow::Owned(token.to_owned()))
    }

    /// The token in what an application passes on: the bare token, or the cookie's value as its framework shows it.
    pub(crate) fn open_or_bare<'a>(&self, presented: &'a str) -> Cow<'a, str> {
        if presented.len() == Token::LENGTH {
            return Cow::Borrowed(presented);
        }
        self.open(presented).unwrap_or_default()
    }

    /// What is signed. In our own form the cookie's name is part of it, so that no value counts under another name.
    fn message(&self, token: &str) -> Vec<u8> {
        match self.preset {
            CookiePreset::Default => format!("{}={token}", self.name).into_bytes(),
            CookiePreset::Express => token.as_bytes().to_vec(),
        }
    }
}

#[cfg(test)]
#[path = "seal_tests.rs"]
mod tests;
