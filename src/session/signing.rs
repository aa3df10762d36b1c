use aws_lc_rs::digest;
use aws_lc_rs::hkdf;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject as _;
use serde::Serialize;
use serde_json::{Value, json};

use super::RandomError;

/// What sets this derivation apart from any other use of the same secret (RFC 5869, `info`).
const DERIVATION: &[u8] = b"cloakroom session token signing key, Ed25519";

/// The ring of keys that sign the short-lived tokens of sessions: the first signs, the public halves of all are published.
pub struct SigningKeys(Vec<SigningKey>);

struct SigningKey {
    id: String,
    pair: Pair,
}

enum Pair {
    Ed25519(Ed25519KeyPair),
    P256(EcdsaKeyPair),
}

impl SigningKeys {
    /// Reads PEM: one or more private keys in PKCS #8, of Ed25519 or P-256. The error repeats nothing of them.
    pub fn from_pem(text: &str) -> Result<Self, String> {
        const RULE: &str = "is not PEM with private keys in PKCS #8 (BEGIN PRIVATE KEY), of Ed25519 or P-256";
        let blocks = PrivatePkcs8KeyDer::pem_slice_iter(text.as_bytes());
        let keys: Option<Vec<_>> = blocks
            .map(|block| SigningKey::from_pkcs8(block.ok()?.secret_pkcs8_der()))
            .collect();
        let keys = keys.filter(|keys| !keys.is_empty()).ok_or(RULE)?;
        Ok(Self(keys))
    }

    /// One Ed25519 key for each secret, the same on every server that has it.
    pub fn derived<'a>(secrets: impl IntoIterator<Item = &'a [u8]>) -> Self {
        Self(secrets.into_iter().filter_map(SigningKey::derived).collect())
    }

    /// Signs claims as a JWT, in the compact form of RFC 7515.
    pub fn sign(&self, claims: &impl Serialize) -> Result<String, RandomError> {
        let key = self.0.first().ok_or(RandomError)?;
        let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let header = json!({"alg": key.pair.algorithm(), "kid": key.id, "typ": "JWT"});
        let claims = serde_json::to_vec(claims).map_err(|_| RandomError)?;
        let message = format!("{}.{}", encode(header.to_string().as_bytes()), encode(&claims));
        let signature = key.pair.sign(message.as_bytes())?;
        Ok(format!("{message}.{}", encode(&signature)))
    }

    /// The public halves as a JWK set (RFC 7517).
    pub fn published(&self) -> Value {
        let jwk = |key: &SigningKey| {
            let mut jwk = key.pair.public();
            jwk["kid"] = json!(key.id);
            jwk["alg"] = json!(key.pair.algorithm());
            jwk["use"] = json!("sig");
            jwk
        };
        json!({"keys": self.0.iter().map(jwk).collect::<Vec<_>>()})
    }
}

impl SigningKey {
    fn new(pair: Pair) -> Self {
        // RFC 7638: the hash of the required members, in the order of their names, which is how a map of serde_json is
        // written.
        let thumbprint = digest::digest(&digest::SHA256, pair.public().to_string().as_bytes());
        let id = URL_SAFE_NO_PAD.encode(thumbprint);
        Self { id, pair }
    }

    fn from_pkcs8(der: &[u8]) -> Option<Self> {
        let ed25519 = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der).map(Pair::Ed25519);
        let p256 = || EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der).map(Pair::P256);
        ed25519.or_else(|_| p256()).ok().map(Self::new)
    }

    fn derived(secret: &[u8]) -> Option<Self> {
        let key = hkdf::Salt::new(hkdf::HKDF_SHA256, &[]).extract(secret);
        let mut seed = [0; 32];
        key.expand(&[DERIVATION], hkdf::HKDF_SHA256)
            .ok()?
            .fill(&mut seed)
            .ok()?;
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed).ok()?;
        Some(Self::new(Pair::Ed25519(pair)))
    }
}

impl Pair {
    fn algorithm(&self) -> &'static str {
        match self {
            Self::Ed25519(_) => "EdDSA",
            Self::P256(_) => "ES256",
        }
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, RandomError> {
        match self {
            Self::Ed25519(pair) => Ok(pair.sign(message).as_ref().to_vec()),
            Self::P256(pair) => {
                let signature = pair.sign(&SystemRandom::new(), message);
                signature.map(|bytes| bytes.as_ref().to_vec()).map_err(|_| RandomError)
            }
        }
    }

    /// The required members of the public key (RFC 8037, section 2; RFC 7518, section 6.2).
    fn public(&self) -> Value {
        let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        match self {
            Self::Ed25519(pair) => json!({"crv": "Ed25519", "kty": "OKP", "x": encode(pair.public_key().as_ref())}),
            Self::P256(pair) => {
                // SEC 1, section 2.3.3: a byte that says uncompressed, then both coordinates.
                let point = pair.public_key().as_ref();
                json!({"crv": "P-256", "kty": "EC", "x": encode(&point[1..33]), "y": encode(&point[33..])})
            }
        }
    }
}

impl std::fmt::Debug for SigningKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ids: Vec<_> = self.0.iter().map(|key| key.id.as_str()).collect();
        f.debug_tuple("SigningKeys").field(&ids).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jsonwebtoken::jwk::JwkSet;
    use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};

    fn pem(der: &[u8]) -> String {
        let text = base64::engine::general_purpose::STANDARD.encode(der);
        format!("-----BEGIN PRIVATE KEY-----\n{text}\n-----END PRIVATE KEY-----\n")
    }

    fn verify(keys: &SigningKeys, jwt: &str) -> Value {
        let set: JwkSet = serde_json::from_value(keys.published()).unwrap();
        let header = decode_header(jwt).unwrap();
        let jwk = set.find(header.kid.as_deref().unwrap()).unwrap();
        let mut validation = Validation::new(header.alg);
        validation.required_spec_claims.clear();
        validation.validate_exp = false;
        decode(jwt, &DecodingKey::from_jwk(jwk).unwrap(), &validation)
            .unwrap()
            .claims
    }

    #[test]
    fn p10_the_first_key_signs_and_all_are_published() {
        let claims = json!({"sub": "alice"});
        // As openssl writes it: without the public half.
        let ed25519 = Ed25519KeyPair::generate().unwrap().to_pkcs8v1().unwrap();
        let ed25519 = pem(ed25519.as_ref());
        let p256 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new()).unwrap();
        let old = SigningKeys::from_pem(&ed25519).unwrap();
        let before = old.sign(&claims).unwrap();
        assert_eq!(decode_header(&before).unwrap().alg, Algorithm::EdDSA);
        let ring = SigningKeys::from_pem(&format!("{}{ed25519}", pem(p256.as_ref()))).unwrap();
        let after = ring.sign(&claims).unwrap();
        assert_eq!(decode_header(&after).unwrap().alg, Algorithm::ES256);
        for jwt in [before, after] {
            assert_eq!(verify(&ring, &jwt), claims);
        }
        assert!(!ring.published().to_string().contains("\"d\""));
    }

    #[test]
    fn p10_every_server_derives_the_same_key_from_the_same_secret() {
        let derived = |secret: &'static [u8]| SigningKeys::derived([secret]);
        let one = derived(b"0123456789abcdef0123456789abcdef");
        assert_eq!(
            one.published(),
            derived(b"0123456789abcdef0123456789abcdef").published()
        );
        assert_ne!(
            one.published(),
            derived(b"0123456789abcdef0123456789abcdeg").published()
        );
        assert_eq!(verify(&one, &one.sign(&json!({"a": 1})).unwrap()), json!({"a": 1}));
    }

    #[test]
    fn the_key_id_is_the_thumbprint_of_the_rfc() {
        // RFC 8037, appendix A: the key and its thumbprint.
        let seed = URL_SAFE_NO_PAD
            .decode("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A")
            .unwrap();
        let key = SigningKey::new(Pair::Ed25519(Ed25519KeyPair::from_seed_unchecked(&seed).unwrap()));
        assert_eq!(key.id, "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
    }

    #[test]
    fn what_is_no_key_is_refused_and_not_repeated() {
        for bad in [
            "",
            "secret",
            "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n",
        ] {
            let refusal = SigningKeys::from_pem(bad).unwrap_err();
            assert!(
                refusal.contains("PKCS #8") && !refusal.contains("c2VjcmV0"),
                "{refusal}"
            );
        }
    }
}
