//! What reads bytes that others wrote, each as a function that a fuzzer can call: beside not panicking, each must agree
//! with itself (what is printed reads back as the same) and with what it promises.
//!
//! There for `fuzz/`, behind the feature `fuzzing`, and for this crate's own tests, which run the seeds. Nothing of it is
//! part of the library's interface.

use crate::coherence::message::{self, Kind, Message};
use crate::session::{SealingKeys, SessionId, SystemRandom, Token};
use crate::store::EventId;

/// A reader of foreign bytes with what it promises.
pub type Target = fn(&[u8]);

/// Every target by its name.
pub const TARGETS: [(&str, Target); 19] = [
    ("cookie", crate::web::fuzzing::cookie),
    ("signed_cookie", crate::web::fuzzing::signed_cookie),
    ("authorization", crate::web::fuzzing::authorization),
    ("forwarded", crate::web::fuzzing::forwarded),
    ("origin", crate::web::fuzzing::origin),
    ("token", token),
    ("sealed", sealed),
    ("caller", crate::http::caller::fuzzing::caller),
    ("claims", crate::http::caller::fuzzing::claims),
    ("key_set", crate::http::caller::fuzzing::key_set),
    ("gateway", crate::http::fuzzing::gateway),
    ("body", crate::http::fuzzing::body),
    ("condition", crate::http::fuzzing::condition),
    ("invalidation", invalidation),
    ("event_id", event_id),
    ("event", crate::store::redis::fuzzing::event),
    ("record", crate::store::redis::fuzzing::record),
    ("settings", crate::config::fuzzing::settings),
    ("variables", crate::config::fuzzing::variables),
];

/// Tokens, session ids and cursors (which are ids): one text for each value, and no text is both.
fn token(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let (token, id) = (text.parse::<Token>(), text.parse::<SessionId>());
    assert!(token.is_err() || id.is_err(), "a token and an id in one");
    if let Ok(token) = token {
        assert_eq!(token.expose(), text);
        assert_eq!(token.id().bucket(), token.bucket());
        assert!(!format!("{token:?}").contains(&text[2..]), "a token shows itself");
        assert_ne!(token.id().to_string()[2..], text[2..24], "an id tells of its token");
    }
    if let Ok(id) = id {
        assert_eq!(id.to_string(), text);
        assert_eq!(id.bucket().to_string(), text[..2]);
    }
}

/// Sealed values: nothing opens but what was sealed, at its own place.
fn sealed(bytes: &[u8]) {
    const PLACE: [&str; 2] = ["session", "field"];
    let Ok(keys) = SealingKeys::new(&[7; 32], [&[8; 32][..]]) else {
        return;
    };
    assert!(
        keys.open(&PLACE, bytes).is_err(),
        "bytes that nobody sealed were opened"
    );
    let Ok(sealed) = keys.seal(&SystemRandom, &PLACE, bytes) else {
        return;
    };
    let opened = keys.open(&PLACE, &sealed);
    assert!(opened.is_ok_and(|opened| opened.value == bytes && opened.by_first));
    assert!(
        keys.open(&["session", "other"], &sealed).is_err(),
        "opened at another place"
    );
    let mut changed = sealed;
    let at = bytes.iter().fold(0_usize, |sum, byte| sum + usize::from(*byte)) % changed.len();
    changed[at] ^= 1;
    assert!(keys.open(&PLACE, &changed).is_err(), "what was changed was opened");
}

/// Invalidations: what is understood is understood again when it is written anew.
fn invalidation(bytes: &[u8]) {
    let Ok(message) = Message::parse::<SessionId>(bytes) else {
        return;
    };
    let ids: Vec<SessionId> = message.ids().collect();
    assert_eq!(
        ids.is_empty(),
        message.kind() == Kind::Bucket,
        "a message that names nobody"
    );
    let written = message::encode(message.kind(), message.version(), &ids);
    let again = Message::parse::<SessionId>(written.as_bytes());
    assert!(again.is_ok_and(|again| {
        (again.kind(), again.version()) == (message.kind(), message.version()) && again.ids::<SessionId>().eq(ids)
    }));
    // Later releases may add fields: they change nothing.
    let extended = [bytes, b" later=1"].concat();
    let extended = Message::parse::<SessionId>(&extended);
    assert!(extended.is_ok_and(|extended| extended.kind() == message.kind()));
}

/// `Last-Event-ID`: one text for each place in the streams, but for leading zeros and signs.
fn event_id(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(id) = text.parse::<EventId>() else { return };
    assert_eq!(id.to_string().parse::<EventId>().ok(), Some(id));
    assert!(id.to_string().len() <= text.len(), "{text} became longer");
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::*;

    fn seeds(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(target);
        let files = std::fs::read_dir(&directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
        let mut seeds: Vec<_> = files
            .map(|file| file.unwrap().path())
            .map(|path| (path.clone(), std::fs::read(path).unwrap()))
            .collect();
        seeds.sort();
        seeds
    }

    /// The next number of a generator that is random enough to tear texts apart (Marsaglia, "Xorshift RNGs").
    fn next(state: &mut u64) -> usize {
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        usize::try_from(*state >> 16).unwrap()
    }

    /// A seed with something changed, cut, doubled or taken from another.
    fn torn(seed: &[u8], other: &[u8], state: &mut u64) -> Vec<u8> {
        let mut bytes = seed.to_vec();
        for _ in 0..=next(state) % 4 {
            let at = next(state) % (bytes.len() + 1);
            let to = (at + next(state) % 8).min(bytes.len());
            let from = next(state) % (other.len() + 1);
            match next(state) % 5 {
                0 if at < bytes.len() => bytes[at] = u8::try_from(next(state) % 256).unwrap(),
                1 => drop(bytes.drain(at..to)),
                2 => bytes.insert(at, b"\0 ;=,-:\"{}%.\n\xff"[next(state) % 14]),
                3 => drop(bytes.splice(at..to, other[from..].iter().take(16).copied())),
                _ => drop(bytes.splice(at..at, seed.iter().take(to).copied())),
            }
        }
        bytes
    }

    #[test]
    fn every_target_keeps_its_promises_on_its_seeds_and_near_them() {
        for (name, target) in TARGETS {
            let seeds = seeds(name);
            assert!(seeds.len() >= 2, "{name} has {} seeds", seeds.len());
            let mut state = 0x9e37_79b9_7f4a_7c15;
            for (_, seed) in &seeds {
                target(seed);
            }
            for round in 0..500 {
                let (_, seed) = &seeds[round % seeds.len()];
                let (_, other) = &seeds[next(&mut state) % seeds.len()];
                target(&torn(seed, other, &mut state));
            }
        }
    }

    #[test]
    fn every_directory_of_seeds_is_that_of_a_target() {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds");
        for entry in std::fs::read_dir(directory).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            assert!(TARGETS.iter().any(|(target, _)| *target == name), "{name}");
        }
    }
}
