//! Encryption of session data at rest.

use super::reader::{Reader, Section};
use super::secret::SecretRing;

/// The section `encryption`.
#[derive(Clone, Debug, Default)]
pub struct EncryptionSettings {
    /// `encryption.keys`: the first seals, all open; off where unset.
    pub keys: Option<SecretRing>,
}

impl Section for EncryptionSettings {
    fn read(&mut self, reader: &mut Reader) {
        reader.secret("encryption.keys", &mut self.keys, |_| Ok(()));
    }
}
