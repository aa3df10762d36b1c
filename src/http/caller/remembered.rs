use std::sync::atomic::{AtomicU64, Ordering};

use aws_lc_rs::digest;
use quick_cache::sync::Cache;

use super::scope::Scope;
use crate::session::Timestamp;

/// How many tokens are remembered; those that are used the least make room.
const TOKENS: usize = 10_000;

/// Tokens that were verified not long ago, by their hash: the token itself is not kept.
///
/// What is remembered goes with the keys by which it was verified: it is worth nothing from the moment on at which other
/// keys are set.
pub(super) struct Remembered {
    tokens: Cache<[u8; 32], Verified>,
    keys: AtomicU64,
}

#[derive(Clone, Copy)]
struct Verified {
    scope: Scope,
    until: Timestamp,
    keys: Keys,
}

/// Which keys a token was verified by.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Keys(u64);

impl Remembered {
    pub(super) fn new() -> Self {
        Self {
            tokens: Cache::new(TOKENS),
            keys: AtomicU64::new(0),
        }
    }

    /// The keys at this moment. To be asked *before* they are used: else a token could outlive the keys that it was
    /// verified by.
    pub(super) fn keys(&self) -> Keys {
        Keys(self.keys.load(Ordering::Acquire))
    }

    /// Forgets everything. To be called *after* other keys were set.
    pub(super) fn forget(&self) {
        self.keys.fetch_add(1, Ordering::AcqRel);
        self.tokens.clear();
    }

    /// Remembers that a token was verified, until it expires.
    pub(super) fn insert(&self, token: &str, scope: Scope, until: Timestamp, keys: Keys) {
        self.tokens.insert(hash(token), Verified { scope, until, keys });
    }

    /// What a token's bearer may do, where that is remembered.
    pub(super) fn get(&self, token: &str, now: Timestamp) -> Option<Scope> {
        let verified = self.tokens.get(&hash(token))?;
        (verified.keys == self.keys() && now < verified.until).then_some(verified.scope)
    }
}

/// What stands for a token where it must not be kept.
pub(super) fn hash(token: &str) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest::digest(&digest::SHA256, token.as_bytes()).as_ref());
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    #[test]
    fn a_token_is_remembered_until_it_expires_and_no_longer_than_its_keys() {
        let remembered = Remembered::new();
        let keys = remembered.keys();
        remembered.insert("one", Scope::Read, at(1_000), keys);
        assert_eq!(remembered.get("one", at(999)), Some(Scope::Read));
        assert_eq!(remembered.get("one", at(1_000)), None);
        assert_eq!(remembered.get("another", at(0)), None);
        remembered.forget();
        assert_eq!(remembered.get("one", at(0)), None);
        // Judged by the keys of before, and remembered late.
        remembered.insert("one", Scope::Read, at(1_000), keys);
        assert_eq!(remembered.get("one", at(0)), None);
    }

    #[test]
    fn no_more_tokens_are_remembered_than_there_is_room_for() {
        let remembered = Remembered::new();
        for number in 0..3 * TOKENS {
            remembered.insert(&number.to_string(), Scope::Read, at(1_000), remembered.keys());
        }
        let held = remembered.tokens.len();
        assert!((TOKENS / 2..=TOKENS).contains(&held), "{held} tokens");
    }
}
