use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Serialize, Serializer};

use super::{Bucket, Random, RandomError};

const SECRET_BYTES: usize = 32;
const SECRET_CHARS: usize = 43;
const DIGEST_BYTES: usize = 16;
const DIGEST_CHARS: usize = 22;

/// The text is no token, or no session id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed")]
pub struct InvalidToken;

/// A session's secret, which only the client holds: 2 bucket characters and 43 of base64url (256 random bits).
///
/// It is neither stored nor logged: `Debug` shows only the bucket, and there is no `Display`.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    bucket: Bucket,
    /// As it stands in the cookie: each token has one text, and it is this that is hashed.
    text: [u8; Self::LENGTH],
}

impl Token {
    /// Length of every token's text, in bytes.
    pub const LENGTH: usize = 2 + SECRET_CHARS;

    /// A fresh token in a bucket.
    pub fn generate(bucket: Bucket, random: &dyn Random) -> Result<Self, RandomError> {
        let mut secret = [0; SECRET_BYTES];
        random.fill(&mut secret)?;
        let mut text = [0; Self::LENGTH];
        text[..2].copy_from_slice(&bucket.label());
        encode(&secret, &mut text[2..]);
        Ok(Self { bucket, text })
    }

    /// The text that goes into the client's cookie. Never log it.
    pub fn expose(&self) -> String {
        self.text.iter().map(|byte| char::from(*byte)).collect()
    }

    /// The public handle of the session that this token opens.
    pub fn id(&self) -> SessionId {
        let hash = digest::digest(&digest::SHA256, &self.text);
        let mut digest = [0; DIGEST_BYTES];
        digest.copy_from_slice(&hash.as_ref()[..DIGEST_BYTES]);
        SessionId {
            bucket: self.bucket,
            digest,
        }
    }

    /// The bucket of its session.
    pub fn bucket(&self) -> Bucket {
        self.bucket
    }
}

impl FromStr for Token {
    type Err = InvalidToken;

    fn from_str(text: &str) -> Result<Self, InvalidToken> {
        let (bucket, _) = decode::<SECRET_BYTES>(text.as_bytes(), Self::LENGTH)?;
        let text = text.as_bytes().try_into().map_err(|_| InvalidToken)?;
        Ok(Self { bucket, text })
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token({}…)", self.bucket)
    }
}

/// A session's public handle: its bucket's 2 characters and base64url of the first 16 bytes of SHA-256 of its token.
///
/// Safe to list and to log; no credential.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId {
    bucket: Bucket,
    digest: [u8; DIGEST_BYTES],
}

impl SessionId {
    /// Length of every id's text, in bytes.
    pub const LENGTH: usize = 2 + DIGEST_CHARS;

    /// The bucket of its session.
    pub fn bucket(&self) -> Bucket {
        self.bucket
    }

    /// The id's text, without an allocation.
    pub fn text(&self) -> SessionIdText {
        let mut text = [0; Self::LENGTH];
        text[..2].copy_from_slice(&self.bucket.label());
        encode(&self.digest, &mut text[2..]);
        SessionIdText(text)
    }
}

/// A session id spelled out.
#[derive(Clone, Copy)]
pub struct SessionIdText([u8; SessionId::LENGTH]);

impl SessionIdText {
    /// The text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl FromStr for SessionId {
    type Err = InvalidToken;

    fn from_str(text: &str) -> Result<Self, InvalidToken> {
        let (bucket, digest) = decode(text.as_bytes(), Self::LENGTH)?;
        Ok(Self { bucket, digest })
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text().as_str())
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionId({self})")
    }
}

impl Serialize for SessionId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.text().as_str())
    }
}

/// Names one change, so that a script that runs twice (a connection lost between request and answer) counts once.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct OperationId([u8; 12]);

impl OperationId {
    /// A fresh id, 96 random bits.
    pub fn generate(random: &dyn Random) -> Result<Self, RandomError> {
        let mut bytes = [0; 12];
        random.fill(&mut bytes)?;
        Ok(Self(bytes))
    }
}

impl fmt::Display for OperationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl fmt::Debug for OperationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OperationId({self})")
    }
}

fn encode(bytes: &[u8], out: &mut [u8]) {
    let written = URL_SAFE_NO_PAD.encode_slice(bytes, out);
    debug_assert!(written.is_ok(), "the buffer has the length of the encoding");
}

/// Splits a text into its bucket and `N` bytes of canonical base64url: one text for each value, and none besides.
fn decode<const N: usize>(text: &[u8], length: usize) -> Result<(Bucket, [u8; N]), InvalidToken> {
    if text.len() != length {
        return Err(InvalidToken);
    }
    let bucket = Bucket::from_label([text[0], text[1]]).ok_or(InvalidToken)?;
    let mut bytes = [0; N];
    // `decode_slice` wants room for its estimate, which exceeds N; the engine refuses non-zero trailing bits.
    let mut buffer = [0; SECRET_BYTES + 4];
    let decoded = URL_SAFE_NO_PAD
        .decode_slice(&text[2..], &mut buffer)
        .map_err(|_| InvalidToken)?;
    if decoded != N {
        return Err(InvalidToken);
    }
    bytes.copy_from_slice(&buffer[..N]);
    Ok((bucket, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::SystemRandom;
    use proptest::prelude::*;

    #[test]
    fn a_token_leads_back_to_itself_and_to_one_id() {
        let token = Token::generate(Bucket::new(7), &SystemRandom).unwrap();
        let text = token.expose();
        assert_eq!(text.len(), Token::LENGTH);
        let parsed: Token = text.parse().unwrap();
        assert_eq!(parsed, token);
        assert_eq!(parsed.id(), token.id());
        let id = token.id();
        assert_eq!(id.to_string().parse(), Ok(id));
        assert!(
            !format!("{token:?}").contains(&text[2..]),
            "a token's secret must not show"
        );
    }

    #[test]
    fn the_id_is_the_documented_hash() {
        let token: Token = format!("a7{}", "A".repeat(43)).parse().unwrap();
        let hash = digest::digest(&digest::SHA256, token.expose().as_bytes());
        assert_eq!(
            token.id().to_string(),
            format!("a7{}", URL_SAFE_NO_PAD.encode(&hash.as_ref()[..16]))
        );
    }

    #[test]
    fn one_text_for_each_token_and_none_besides() {
        let last_bits_set = format!("a7{}B", "A".repeat(42));
        for text in [
            "",
            "a7",
            &last_bits_set,
            &"a".repeat(45)[..44],
            &format!("a1{}", "A".repeat(43)),
        ] {
            assert_eq!(text.parse::<Token>(), Err(InvalidToken), "{text}");
        }
        let id = Token::generate(Bucket::new(1), &SystemRandom).unwrap().id().to_string();
        assert_eq!(
            id.parse::<Token>(),
            Err(InvalidToken),
            "an id is never accepted where a token is due"
        );
    }

    proptest! {
        #[test]
        fn parsers_never_panic(text in ".{0,60}", bytes in proptest::collection::vec(any::<u8>(), 45)) {
            let _ = text.parse::<Token>();
            let _ = text.parse::<SessionId>();
            if let Ok(text) = std::str::from_utf8(&bytes) {
                let _ = text.parse::<Token>();
            }
        }
    }
}
