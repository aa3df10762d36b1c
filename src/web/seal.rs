use std::borrow::Cow;
use std::sync::Arc;

use arc_swap::ArcSwap;
use aws_lc_rs::{constant_time, hmac};
use base64::Engine as _;
use base64::engine::general_purpose::{GeneralPurpose, STANDARD_NO_PAD, URL_SAFE_NO_PAD};
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

/// HMAC-SHA256 in base64 without padding.
const SIGNATURE_CHARS: usize = 43;

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

    /// The first secret's signature. There is one, or the cookie would be refused, not believed: the settings see to it.
    fn sign(&self, message: [&str; 2], alphabet: &GeneralPurpose) -> String {
        let ring = self.0.load();
        let signature = ring.first().and_then(|key| Signature::of(key, message, alphabet));
        signature
            .map(|Signature(text)| text.iter().map(|byte| char::from(*byte)).collect())
            .unwrap_or_default()
    }

    /// In constant time for each secret (S07).
    fn verify(&self, message: [&str; 2], alphabet: &GeneralPurpose, given: &str) -> bool {
        let is_genuine =
            |Signature(text): Signature| constant_time::verify_slices_are_equal(&text, given.as_bytes()).is_ok();
        let ring = self.0.load();
        ring.iter()
            .any(|key| Signature::of(key, message, alphabet).is_some_and(is_genuine))
    }
}

/// A signature as it stands in cookies.
struct Signature([u8; SIGNATURE_CHARS]);

impl Signature {
    /// Of a message in two parts.
    fn of(key: &hmac::Key, message: [&str; 2], alphabet: &GeneralPurpose) -> Option<Self> {
        let mut signing = hmac::Context::with_key(key);
        for part in message {
            signing.update(part.as_bytes());
        }
        let mut text = [0; SIGNATURE_CHARS];
        alphabet.encode_slice(signing.sign(), &mut text).ok()?;
        Some(Self(text))
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
    preset: CookiePreset,
    secrets: Option<CookieSecrets>,
    /// What is signed in front of the token. In our own form it is the cookie's name, so that no value counts under
    /// another name.
    prefix: String,
}

impl Seal {
    pub(crate) fn new(settings: &CookieSettings) -> Self {
        Self {
            preset: settings.preset,
            secrets: settings.secrets.clone(),
            prefix: match settings.preset {
                CookiePreset::Default => format!("{}=", settings.name),
                CookiePreset::Express => String::new(),
            },
        }
    }

    /// The cookie's value for a token.
    pub(crate) fn close(&self, token: &Token) -> String {
        let token = token.expose();
        let Some(secrets) = &self.secrets else { return token };
        let signature = secrets.sign([&self.prefix, &token], self.alphabet());
        match self.preset {
            CookiePreset::Default => format!("{token}.{signature}"),
            CookiePreset::Express => utf8_percent_encode(&format!("s:{token}.{signature}"), URI_COMPONENT).to_string(),
        }
    }

    /// The token in a cookie's value; nothing where a signature is due and is not there or is wrong.
    pub(crate) fn open<'a>(&self, value: &'a str) -> Option<Cow<'a, str>> {
        let Some(secrets) = &self.secrets else {
            return Some(Cow::Borrowed(value));
        };
        match self.preset {
            CookiePreset::Default => self.signed_by(secrets, value).map(Cow::Borrowed),
            CookiePreset::Express => match percent_decode_str(value).decode_utf8().ok()? {
                Cow::Borrowed(value) => self.signed_by(secrets, value.strip_prefix("s:")?).map(Cow::Borrowed),
                Cow::Owned(value) => {
                    let token = self.signed_by(secrets, value.strip_prefix("s:")?)?;
                    Some(Cow::Owned(token.to_owned()))
                }
            },
        }
    }

    /// The token that is signed.
    fn signed_by<'a>(&self, secrets: &CookieSecrets, signed: &'a str) -> Option<&'a str> {
        let (token, signature) = signed.rsplit_once('.')?;
        let is_genuine = secrets.verify([&self.prefix, token], self.alphabet(), signature);
        is_genuine.then_some(token)
    }

    fn alphabet(&self) -> &'static GeneralPurpose {
        match self.preset {
            CookiePreset::Default => &URL_SAFE_NO_PAD,
            CookiePreset::Express => &STANDARD_NO_PAD,
        }
    }

    /// The token in what an application passes on: the bare token, or the cookie's value as its framework shows it.
    pub(crate) fn open_or_bare<'a>(&self, presented: &'a str) -> Cow<'a, str> {
        if presented.len() == Token::LENGTH {
            return Cow::Borrowed(presented);
        }
        self.open(presented).unwrap_or_default()
    }
}

#[cfg(test)]
#[path = "seal_tests.rs"]
mod tests;
