use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;

/// The public keys of those who issue JWTs (RFC 7517), each fixed to one algorithm by its type: RSA to RS256, P-256 to
/// ES256, Ed25519 to `EdDSA`.
#[derive(Default)]
pub struct KeySet {
    keys: Vec<PublicKey>,
}

pub(super) struct PublicKey {
    id: Option<String>,
    pub(super) algorithm: Algorithm,
    pub(super) key: DecodingKey,
}

/// The text is no JWK set.
#[derive(Debug, thiserror::Error)]
#[error("no JWK set: {0}")]
pub struct InvalidKeySet(String);

impl KeySet {
    /// Reads a JWK set. Keys of other types and for other uses are passed over, and so is what else a set may hold.
    pub fn parse(json: &[u8]) -> Result<Self, InvalidKeySet> {
        #[derive(Deserialize)]
        struct Set {
            keys: Vec<serde_json::Value>,
        }
        let set: Set = serde_json::from_slice(json).map_err(|error| InvalidKeySet(error.to_string()))?;
        let keys = set
            .keys
            .into_iter()
            .filter_map(|key| PublicKey::new(&serde_json::from_value(key).ok()?));
        Ok(Self { keys: keys.collect() })
    }

    /// How many keys of it can be used.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether none of it can be used.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The key that a token names. A token without a key id is taken only where there is no choice.
    pub(super) fn find(&self, id: Option<&str>, algorithm: Algorithm) -> Option<&PublicKey> {
        match (id, self.keys.as_slice()) {
            (None, [only]) => Some(only).filter(|key| key.algorithm == algorithm),
            (None, _) => None,
            (Some(id), keys) => keys
                .iter()
                .find(|key| key.id.as_deref() == Some(id) && key.algorithm == algorithm),
        }
    }

    /// Whether any key has this id.
    pub(super) fn has(&self, id: &str) -> bool {
        self.keys.iter().any(|key| key.id.as_deref() == Some(id))
    }
}

impl PublicKey {
    fn new(jwk: &Jwk) -> Option<Self> {
        let (algorithm, name) = match &jwk.algorithm {
            AlgorithmParameters::RSA(_) => (Algorithm::RS256, KeyAlgorithm::RS256),
            AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => {
                (Algorithm::ES256, KeyAlgorithm::ES256)
            }
            AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => {
                (Algorithm::EdDSA, KeyAlgorithm::EdDSA)
            }
            _ => return None,
        };
        let for_signatures = !matches!(&jwk.common.public_key_use, Some(usage) if *usage != PublicKeyUse::Signature);
        let for_this_algorithm = !matches!(jwk.common.key_algorithm, Some(other) if other != name);
        if !for_signatures || !for_this_algorithm {
            return None;
        }
        Some(Self {
            id: jwk.common.key_id.clone(),
            algorithm,
            key: DecodingKey::from_jwk(jwk).ok()?,
        })
    }
}

impl std::fmt::Debug for KeySet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "KeySet({} keys)", self.keys.len())
    }
}
