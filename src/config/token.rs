//! The short-lived tokens of sessions.

use super::reader::{Reader, Section};
use super::secret::SecretSource;
use crate::session::SigningKeys;

/// The section `token`.
#[derive(Clone, Debug, Default)]
pub struct TokenSettings {
    /// `token.keys`: the signing keys in PEM (PKCS #8, Ed25519 or P-256), of which the first signs; default one key derived from `jwt.secret`.
    pub keys: Option<SecretSource>,
}

impl Section for TokenSettings {
    fn read(&mut self, reader: &mut Reader) {
        reader.secret("token.keys", &mut self.keys, |keys| {
            SigningKeys::from_pem(keys.expose()).map(|_| ())
        });
    }
}
