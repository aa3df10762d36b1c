use aws_lc_rs::{constant_time, hmac};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::{Bucket, Random, RandomError, SessionId, UserId};

/// What is derived from a deployment's one secret, the bucket key in its layout record.
pub struct Keyring {
    key: hmac::Key,
}

impl Keyring {
    /// Length of the bucket key, in bytes.
    pub const KEY_BYTES: usize = 32;

    /// The derivations of this bucket key.
    pub fn new(bucket_key: &[u8; Self::KEY_BYTES]) -> Self {
        Self {
            key: hmac::Key::new(hmac::HMAC_SHA256, bucket_key),
        }
    }

    /// The bucket of a user's sessions, which tells nothing about the user to whoever lacks the key (S02).
    pub fn bucket_of(&self, user: &UserId) -> Bucket {
        let hash = self.derive(b"bucket:", user.as_str());
        Bucket::new(u16::from_be_bytes([hash[0], hash[1]]))
    }

    /// A bucket for an anonymous session.
    pub fn random_bucket(random: &dyn Random) -> Result<Bucket, RandomError> {
        let mut bytes = [0; 2];
        random.fill(&mut bytes)?;
        Ok(Bucket::new(u16::from_be_bytes(bytes)))
    }

    /// What stands for a user in keys, so that no input ever forms one (S50): 16 characters of base64url.
    pub fn user_hash(&self, user: &UserId) -> String {
        URL_SAFE_NO_PAD.encode(&self.derive(b"user:", user.as_str())[..12])
    }

    /// Where a value of the application lies: its bucket, and what stands for its name in keys.
    pub fn value_place(&self, name: &str) -> (Bucket, String) {
        let hash = self.derive(b"value:", name);
        let bucket = Bucket::new(u16::from_be_bytes([hash[0], hash[1]]));
        (bucket, URL_SAFE_NO_PAD.encode(&hash[2..18]))
    }

    /// The CSRF token of a session: bound to its id, hence new with each token (S37), and stored nowhere.
    pub fn csrf_token(&self, id: &SessionId) -> String {
        URL_SAFE_NO_PAD.encode(self.derive(b"csrf:", id.text().as_str()))
    }

    /// Compares a CSRF token in constant time.
    pub fn verify_csrf(&self, id: &SessionId, given: &str) -> bool {
        constant_time::verify_slices_are_equal(self.csrf_token(id).as_bytes(), given.as_bytes()).is_ok()
    }

    fn derive(&self, purpose: &[u8], text: &str) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(purpose);
        context.update(text.as_bytes());
        let mut out = [0; 32];
        out.copy_from_slice(context.sign().as_ref());
        out
    }
}

impl std::fmt::Debug for Keyring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keyring")
    }
}
