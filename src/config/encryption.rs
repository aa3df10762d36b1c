//! Encryption of what users put into sessions, at rest.

use super::problem::Checks;
use super::reader::{Reader, Section};
use super::secret::{Secret, SecretRing};
use super::setting::Choice;
use crate::session::SealingKeys;

/// What becomes of records that are not sealed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PlainRecords {
    /// They are what is written: the keys only open.
    Write,
    /// They are read, and sealed when they are next written.
    #[default]
    Read,
    /// They are refused.
    Refuse,
}

impl Choice for PlainRecords {
    const CHOICES: &'static [(&'static str, Self)] =
        &[("write", Self::Write), ("read", Self::Read), ("refuse", Self::Refuse)];
}

/// The section `encryption`.
#[derive(Clone, Debug, Default)]
pub struct EncryptionSettings {
    /// `encryption.keys`: the first seals, all open; off where unset.
    pub keys: Option<SecretRing>,
    /// `encryption.plain`: default `read`.
    pub plain: PlainRecords,
}

impl Section for EncryptionSettings {
    fn read(&mut self, reader: &mut Reader) {
        reader.secret("encryption.keys", &mut self.keys, |ring| long_enough(ring));
        reader.value("encryption.plain", &mut self.plain);
    }

    fn validate(&self, checks: &mut Checks) {
        if self.keys.is_none() && self.plain != PlainRecords::default() {
            let what = "needs keys: set encryption.keys or encryption.keys_file";
            checks.fail("encryption.plain", what);
        }
    }
}

fn long_enough(ring: &[Secret]) -> Result<(), String> {
    let shortest = SealingKeys::SHORTEST_SECRET;
    match ring.iter().position(|key| key.expose().len() < shortest) {
        None => Ok(()),
        Some(index) => Err(format!(
            "key {} is shorter than {shortest} bytes: make one with `openssl rand -base64 {shortest}`",
            index + 1
        )),
    }
}
