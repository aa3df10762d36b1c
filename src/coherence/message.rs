//! The invalidation message: what a script publishes on its bucket's channel (W1).
//!
//! Text, fields parted by one space: `1 <kind> [<version> <id>…] [<key>=<value>…]`. The leading `1` is the format.
//! Kinds: `c` changed, `e` ended, `r` rotated, and `b`, the whole bucket, which names no ids.
//! Trailing `key=value` fields are for later additions: unknown ones are passed over.

use std::fmt;
use std::str::FromStr;

/// The one format that this release writes and reads.
pub const FORMAT: &str = "1";

/// What happened to the sessions that a message names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Their state changed.
    Changed,
    /// They ended: nothing may be answered for them any more (W3).
    Ended,
    /// They got a new id, or an old id began or ceased to lead to one. Not an end.
    Rotated,
    /// Too many to name: every session of the bucket.
    Bucket,
}

impl Kind {
    /// The letter that stands for the kind in a message.
    pub const fn letter(self) -> &'static str {
        match self {
            Self::Changed => "c",
            Self::Ended => "e",
            Self::Rotated => "r",
            Self::Bucket => "b",
        }
    }

    /// The name of the kind in metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Changed => "changed",
            Self::Ended => "ended",
            Self::Rotated => "rotated",
            Self::Bucket => "bucket",
        }
    }

    fn from_letter(letter: &str) -> Option<Self> {
        [Self::Changed, Self::Ended, Self::Rotated, Self::Bucket]
            .into_iter()
            .find(|kind| kind.letter() == letter)
    }
}

/// Why a message cannot be understood; to the connection that brought it, this is L3: its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Not UTF-8.
    #[error("invalidation message is not UTF-8")]
    NotText,
    /// Another format than [`FORMAT`].
    #[error("invalidation message has an unknown format, only format 1 is understood")]
    Format,
    /// A kind other than `c`, `e`, `r`, `b`.
    #[error("invalidation message has an unknown kind, allowed are c, e, r and b")]
    Kind,
    /// A version that is missing or no unsigned number.
    #[error("invalidation message has no numeric version")]
    Version,
    /// No id, or one that is not an id.
    #[error("invalidation message names no id or a malformed one")]
    Id,
}

/// A message that was understood: every id in it parses as the `K` it was checked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    kind: Kind,
    version: u64,
    ids: &'a str,
    extensions: &'a str,
}

impl<'a> Message<'a> {
    /// Reads a message and checks that each of its ids is a `K`.
    pub fn parse<K: FromStr>(payload: &'a [u8]) -> Result<Self, Malformed> {
        let text = str::from_utf8(payload).map_err(|_| Malformed::NotText)?;
        let (body, extensions) = split_extensions(text);
        let (format, rest) = split_field(body);
        if format != FORMAT {
            return Err(Malformed::Format);
        }
        let (letter, rest) = split_field(rest);
        let kind = Kind::from_letter(letter).ok_or(Malformed::Kind)?;
        if kind == Kind::Bucket {
            return Ok(Self {
                kind,
                version: 0,
                ids: "",
                extensions,
            });
        }
        let (version, ids) = split_field(rest);
        let version = version.parse().map_err(|_| Malformed::Version)?;
        if ids.is_empty() || ids.split(' ').any(|id| id.parse::<K>().is_err()) {
            return Err(Malformed::Id);
        }
        Ok(Self {
            kind,
            version,
            ids,
            extensions,
        })
    }

    /// What happened.
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// The version that the change made; for logs only: an invalidation is never skipped because of it (F1).
    pub const fn version(&self) -> u64 {
        self.version
    }

    /// The ids named, in the message's order.
    pub fn ids<K: FromStr>(&self) -> impl Iterator<Item = K> + use<'a, K> {
        self.ids.split(' ').filter_map(|id| id.parse().ok())
    }

    /// The value of an extension field such as `traceparent`, if the message has it.
    pub fn extension(&self, key: &str) -> Option<&'a str> {
        self.extensions
            .split(' ')
            .filter_map(|field| field.split_once('='))
            .find(|(name, _)| *name == key)
            .map(|(_, value)| value)
    }
}

/// Writes the message that a script would publish; `ids` are ignored for [`Kind::Bucket`].
pub fn encode<K: fmt::Display>(kind: Kind, version: u64, ids: &[K]) -> String {
    let head = format!("{FORMAT} {}", kind.letter());
    if kind == Kind::Bucket {
        return head;
    }
    ids.iter()
        .fold(format!("{head} {version}"), |text, id| format!("{text} {id}"))
}

fn split_field(text: &str) -> (&str, &str) {
    text.split_once(' ').unwrap_or((text, ""))
}

/// Ids are base64url without padding, so the first `=` belongs to an extension field.
fn split_extensions(text: &str) -> (&str, &str) {
    let Some(equals) = text.find('=') else {
        return (text, "");
    };
    text[..equals]
        .rfind(' ')
        .map_or((text, ""), |space| (&text[..space], &text[space + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn each_kind_survives_the_wire() {
        for kind in [Kind::Changed, Kind::Ended, Kind::Rotated] {
            let text = encode(kind, 7, &[41_u32, 42]);
            let message = Message::parse::<u32>(text.as_bytes()).unwrap();
            assert_eq!((message.kind(), message.version()), (kind, 7));
            assert_eq!(message.ids::<u32>().collect::<Vec<_>>(), [41, 42]);
        }
        let bucket = encode::<u32>(Kind::Bucket, 7, &[]);
        assert_eq!(bucket, "1 b");
        assert_eq!(Message::parse::<u32>(bucket.as_bytes()).unwrap().kind(), Kind::Bucket);
    }

    #[test]
    fn later_fields_are_passed_over() {
        let message = Message::parse::<u32>(b"1 e 3 5 6 traceparent=00-ab-cd-01 new=x=y").unwrap();
        assert_eq!(message.ids::<u32>().collect::<Vec<_>>(), [5, 6]);
        assert_eq!(message.extension("traceparent"), Some("00-ab-cd-01"));
        assert_eq!(message.extension("new"), Some("x=y"));
        assert_eq!(message.extension("other"), None);
        assert_eq!(
            Message::parse::<u32>(b"1 b traceparent=00").unwrap().kind(),
            Kind::Bucket
        );
    }

    #[test]
    fn what_is_not_understood_is_said() {
        let cases: [(&[u8], Malformed); 9] = [
            (b"\xff", Malformed::NotText),
            (b"", Malformed::Format),
            (b"2 c 7 1", Malformed::Format),
            (b"1 x 7 1", Malformed::Kind),
            (b"1 c", Malformed::Version),
            (b"1 c seven 1", Malformed::Version),
            (b"1 c 7", Malformed::Id),
            (b"1 c 7 1  2", Malformed::Id),
            (b"1 e 7 one", Malformed::Id),
        ];
        for (payload, expected) in cases {
            assert_eq!(Message::parse::<u32>(payload), Err(expected), "{payload:?}");
        }
    }

    proptest! {
        #[test]
        fn no_payload_panics(payload in prop::collection::vec(any::<u8>(), 0..80)) {
            let _ = Message::parse::<u32>(&payload);
        }

        #[test]
        fn no_near_miss_panics(text in "1 [cerb]( [0-9]{0,3}| [a-z]=[a-z ]*){0,4}") {
            let _ = Message::parse::<u32>(text.as_bytes());
        }
    }
}
