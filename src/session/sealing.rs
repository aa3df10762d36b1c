use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::{cmac, hkdf};

use super::{Random, RandomError};

/// What sets the derivations of a key and of its id apart from each other and from any other use of the same secret
/// (RFC 5869, `info`).
const KEY_DERIVATION: &[u8] = b"cloakroom sealing key, XAES-256-GCM";
const ID_DERIVATION: &[u8] = b"cloakroom sealing key id";

const KEY_BYTES: usize = 32;
const ID_BYTES: usize = 4;
const NONCE_BYTES: usize = 24;
const TAG_BYTES: usize = 16;
const HEADER_BYTES: usize = 1 + ID_BYTES;

/// The ring of keys that seal what is kept where others could read or change it: the first key seals, all of them open.
///
/// The cipher is XAES-256-GCM (<https://c2sp.org/XAES-256-GCM>): AES-256-GCM under a key of its own for every message,
/// derived from a random nonce of 192 bits. So any number of servers may draw nonces at random, through any number of
/// restarts: two alike are not to be expected before 2^80 messages under a key, where the 96 bits of plain AES-GCM end
/// at 2^32 (NIST SP 800-38D, section 8.3), which a thousand writes a second reach in fifty days.
///
/// A sealed value is a byte that names this form ([`SealingKeys::FORM`]), four bytes that name the key, the nonce, and
/// the ciphertext with its tag. It opens only at the place that it was sealed for.
#[derive(Debug)]
pub struct SealingKeys {
    first: SealingKey,
    older: Vec<SealingKey>,
}

/// What a sealed value held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    /// The value.
    pub value: Vec<u8>,
    /// Whether the ring's first key had sealed it: otherwise it should be sealed anew.
    pub by_first: bool,
}

/// Why a sealed value does not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// It was never sealed, or part of it is missing.
    #[error("it is no sealed value")]
    Malformed,
    /// The key that sealed it is not in the ring.
    #[error("it is sealed under the key {key:08x}, which is not among the keys")]
    UnknownKey {
        /// What names the key.
        key: u32,
    },
    /// It was sealed for another place, or changed.
    #[error("it was sealed for another place, or changed since")]
    Forged,
}

impl SealingKeys {
    /// The shortest secret that a key is derived from, in bytes: as long as the key.
    pub const SHORTEST_SECRET: usize = KEY_BYTES;

    /// What every sealed value begins with: a byte that begins no JSON text.
    pub const FORM: u8 = 1;

    /// By how much a sealed value is longer than what it holds, in bytes.
    pub const OVERHEAD: usize = HEADER_BYTES + NONCE_BYTES + TAG_BYTES;

    /// The ring of the keys that are derived from these secrets, the same on every server that has them.
    pub fn new<'a>(first: &[u8], older: impl IntoIterator<Item = &'a [u8]>) -> Result<Self, RandomError> {
        Ok(Self {
            first: SealingKey::new(first)?,
            older: older.into_iter().map(SealingKey::new).collect::<Result<_, _>>()?,
        })
    }

    /// Seals a value for a place, which is told by any number of texts: whose it is, and what of theirs.
    pub fn seal(&self, random: &dyn Random, place: &[&str], value: &[u8]) -> Result<Vec<u8>, RandomError> {
        let mut nonce = [0; NONCE_BYTES];
        random.fill(&mut nonce)?;
        self.first.seal(&nonce, place, value).ok_or(RandomError)
    }

    /// Opens what was sealed for this place.
    pub fn open(&self, place: &[&str], sealed: &[u8]) -> Result<Opened, SealError> {
        let (id, nonce, sealed) = parts(sealed).ok_or(SealError::Malformed)?;
        let mut seen = false;
        // Two keys of a ring may have the same name by chance.
        for (index, key) in self.ring().enumerate().filter(|(_, key)| key.id == *id) {
            seen = true;
            if let Some(value) = key.open(nonce, place, sealed) {
                let by_first = index == 0;
                return Ok(Opened { value, by_first });
            }
        }
        let key = u32::from_be_bytes(*id);
        Err(if seen {
            SealError::Forged
        } else {
            SealError::UnknownKey { key }
        })
    }

    fn ring(&self) -> impl Iterator<Item = &SealingKey> {
        std::iter::once(&self.first).chain(&self.older)
    }
}

/// The parts of a sealed value: what names the key, the nonce, and the rest.
fn parts(sealed: &[u8]) -> Option<(&[u8; ID_BYTES], &[u8; NONCE_BYTES], &[u8])> {
    let (&form, rest) = sealed.split_first()?;
    let (id, rest) = rest.split_first_chunk()?;
    let (nonce, rest) = rest.split_first_chunk()?;
    (form == SealingKeys::FORM && rest.len() >= TAG_BYTES).then_some((id, nonce, rest))
}

struct SealingKey {
    id: [u8; ID_BYTES],
    key: cmac::Key,
}

impl SealingKey {
    fn new(secret: &[u8]) -> Result<Self, RandomError> {
        let derived = hkdf::Salt::new(hkdf::HKDF_SHA256, &[]).extract(secret);
        let fill = |info: &[u8], out: &mut [u8]| {
            let info = [info];
            let bytes = derived.expand(&info, Length(out.len())).map_err(|_| RandomError)?;
            bytes.fill(out).map_err(|_| RandomError)
        };
        let (mut key, mut id) = ([0; KEY_BYTES], [0; ID_BYTES]);
        fill(KEY_DERIVATION, &mut key)?;
        fill(ID_DERIVATION, &mut id)?;
        let key = cmac::Key::new(cmac::AES_256, &key).map_err(|_| RandomError)?;
        Ok(Self { id, key })
    }

    /// The key of one message, and what is left of its nonce.
    fn of_message(&self, nonce: &[u8; NONCE_BYTES]) -> Option<(LessSafeKey, Nonce)> {
        let (salt, rest) = nonce.split_at(NONCE_BYTES - NONCE_LEN);
        let mut key = [0; KEY_BYTES];
        for (counter, half) in (1..).zip(key.chunks_exact_mut(KEY_BYTES / 2)) {
            let mut block = [0, counter, b'X', 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
            block[4..].copy_from_slice(salt);
            half.copy_from_slice(cmac::sign(&self.key, &block).ok()?.as_ref());
        }
        let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &key).ok()?);
        Some((key, Nonce::try_assume_unique_for_key(rest).ok()?))
    }

    fn seal(&self, nonce: &[u8; NONCE_BYTES], place: &[&str], value: &[u8]) -> Option<Vec<u8>> {
        let (key, rest_of_nonce) = self.of_message(nonce)?;
        let mut sealed = Vec::with_capacity(value.len() + SealingKeys::OVERHEAD);
        sealed.push(SealingKeys::FORM);
        sealed.extend_from_slice(&self.id);
        sealed.extend_from_slice(nonce);
        let text = sealed.len();
        sealed.extend_from_slice(value);
        let aad = Aad::from(additional_data(place));
        let tag = key.seal_in_place_separate_tag(rest_of_nonce, aad, &mut sealed[text..]);
        sealed.extend_from_slice(tag.ok()?.as_ref());
        Some(sealed)
    }

    fn open(&self, nonce: &[u8; NONCE_BYTES], place: &[&str], sealed: &[u8]) -> Option<Vec<u8>> {
        let (key, rest_of_nonce) = self.of_message(nonce)?;
        let mut value = sealed.to_vec();
        let aad = Aad::from(additional_data(place));
        let length = key.open_in_place(rest_of_nonce, aad, &mut value).ok()?.len();
        value.truncate(length);
        Some(value)
    }
}

impl std::fmt::Debug for SealingKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SealingKey({:08x})", u32::from_be_bytes(self.id))
    }
}

/// The texts of a place, each behind its length, so that no two places read alike.
fn additional_data(place: &[&str]) -> Vec<u8> {
    let mut data = Vec::with_capacity(place.iter().map(|text| 8 + text.len()).sum());
    for text in place {
        data.extend_from_slice(&(text.len() as u64).to_be_bytes());
        data.extend_from_slice(text.as_bytes());
    }
    data
}

/// So many bytes to be derived.
struct Length(usize);

impl hkdf::KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::{ProptestConfig, any, proptest};

    use super::*;
    use crate::session::SystemRandom;

    const PLACE: [&str; 2] = ["a7session", "d:theme"];

    fn ring(secrets: &[&str]) -> SealingKeys {
        let (first, older) = secrets.split_first().unwrap();
        SealingKeys::new(first.as_bytes(), older.iter().map(|secret| secret.as_bytes())).unwrap()
    }

    fn sealed(keys: &SealingKeys) -> Vec<u8> {
        keys.seal(&SystemRandom, &PLACE, b"\"dark\"").unwrap()
    }

    #[test]
    fn s52_the_cipher_is_that_of_the_specification() {
        // The two test vectors of c2sp.org/XAES-256-GCM. The second has additional data of another form than ours, which
        // only the tag depends on.
        const NONCE: &[u8; NONCE_BYTES] = b"ABCDEFGHIJKLMNOPQRSTUVWX";
        let vectors = [
            (0x01, "ce546ef63c9cc60765923609b33a9a1974e96e52daf2fcf7075e2271"),
            (0x03, "986ec1832593df5443a17943"),
        ];
        for (byte, expected) in vectors {
            let key = SealingKey {
                id: [0; ID_BYTES],
                key: cmac::Key::new(cmac::AES_256, &[byte; KEY_BYTES]).unwrap(),
            };
            let sealed = key.seal(NONCE, &[], b"XAES-256-GCM").unwrap();
            let sealed = &sealed[HEADER_BYTES + NONCE_BYTES..];
            let hex: Vec<_> = sealed.iter().map(|byte| format!("{byte:02x}")).collect();
            assert!(hex.concat().starts_with(expected), "{}", hex.concat());
            assert_eq!(key.open(NONCE, &[], sealed).unwrap(), b"XAES-256-GCM");
        }
    }

    #[test]
    fn s52_no_two_seals_share_a_nonce_whichever_server_makes_them() {
        let mut nonces = HashSet::new();
        for _server in 0..10 {
            let keys = ring(&["0123456789abcdef0123456789abcdef"]);
            for _ in 0..1_000 {
                let sealed = sealed(&keys);
                assert!(nonces.insert(sealed[HEADER_BYTES..HEADER_BYTES + NONCE_BYTES].to_vec()));
            }
        }
    }

    #[test]
    fn s01_a_failing_generator_seals_nothing() {
        struct Broken;
        impl Random for Broken {
            fn fill(&self, _: &mut [u8]) -> Result<(), RandomError> {
                Err(RandomError)
            }
        }
        let keys = ring(&["0123456789abcdef0123456789abcdef"]);
        assert!(keys.seal(&Broken, &PLACE, b"1").is_err());
    }

    #[test]
    fn the_first_key_seals_and_all_open_until_they_are_removed() {
        let (old, new) = ("old 56789abcdef0123456789abcdef--", "new 56789abcdef0123456789abcdef--");
        let before = sealed(&ring(&[old]));
        // The new key is made known first, then it seals, then the old one goes.
        let known = ring(&[old, new]);
        let rotated = ring(&[new, old]);
        let after = sealed(&rotated);
        assert!(known.open(&PLACE, &before).unwrap().by_first && !known.open(&PLACE, &after).unwrap().by_first);
        assert!(!rotated.open(&PLACE, &before).unwrap().by_first && rotated.open(&PLACE, &after).unwrap().by_first);
        let removed = ring(&[new]);
        assert_eq!(removed.open(&PLACE, &after).unwrap().value, b"\"dark\"");
        let error = removed.open(&PLACE, &before).unwrap_err();
        assert!(matches!(error, SealError::UnknownKey { .. }));
        let name = format!("{:?}", ring(&[old]).first).replace("SealingKey", "");
        assert!(
            error.to_string().contains(name.trim_matches(['(', ')'])),
            "{error} {name}"
        );
        assert!(!format!("{rotated:?}").contains("789abc"));
    }

    #[test]
    fn a_sealed_value_opens_at_its_own_place_only() {
        let keys = ring(&["0123456789abcdef0123456789abcdef"]);
        let sealed = sealed(&keys);
        let others: [&[&str]; 5] = [
            &["a7another", "d:theme"],
            &["a7session", "d:them"],
            &["a7sessio", "nd:theme"],
            &["a7sessiond:theme"],
            &["a7session", "d:theme", ""],
        ];
        for place in others {
            assert_eq!(keys.open(place, &sealed), Err(SealError::Forged), "{place:?}");
        }
    }

    #[test]
    fn what_was_changed_or_cut_does_not_open() {
        let keys = ring(&["0123456789abcdef0123456789abcdef"]);
        let sealed = sealed(&keys);
        for at in 0..sealed.len() {
            for bit in 0..8 {
                let mut changed = sealed.clone();
                changed[at] ^= 1 << bit;
                assert!(keys.open(&PLACE, &changed).is_err(), "byte {at}, bit {bit}");
            }
            assert!(keys.open(&PLACE, &sealed[..at]).is_err(), "the first {at} bytes");
        }
        assert_eq!(keys.open(&PLACE, b"{\"theme\":\"dark\"}"), Err(SealError::Malformed));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn whatever_is_sealed_opens_again(value in any::<Vec<u8>>(), owner in any::<String>(), field in any::<String>()) {
            let keys = ring(&["0123456789abcdef0123456789abcdef"]);
            let place = [owner.as_str(), field.as_str()];
            let sealed = keys.seal(&SystemRandom, &place, &value).unwrap();
            assert_eq!(sealed.len(), value.len() + SealingKeys::OVERHEAD);
            assert_eq!(keys.open(&place, &sealed), Ok(Opened { value, by_first: true }));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in any::<Vec<u8>>()) {
            let keys = ring(&["0123456789abcdef0123456789abcdef"]);
            assert!(keys.open(&PLACE, &bytes).is_err());
        }
    }
}
