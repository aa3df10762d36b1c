use std::fmt;

/// One of the 1,024 groups of sessions whose keys share a Redis hash tag, and so a slot.
///
/// The number of buckets is fixed for a deployment's life: it is part of every token and of every key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bucket(u16);

const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

impl Bucket {
    /// How many buckets there are.
    pub const COUNT: u16 = 1024;

    /// The bucket of this number, taken modulo [`Bucket::COUNT`].
    pub fn new(number: u16) -> Self {
        Self(number % Self::COUNT)
    }

    /// All buckets, in order.
    pub fn all() -> impl ExactSizeIterator<Item = Self> {
        (0..Self::COUNT).map(Self)
    }

    /// The bucket's number, below [`Bucket::COUNT`].
    pub fn number(self) -> u16 {
        self.0
    }

    /// The two base32 characters (`a-z2-7`) that stand for it in tokens, ids and keys.
    pub fn label(self) -> [u8; 2] {
        [ALPHABET[usize::from(self.0 >> 5)], ALPHABET[usize::from(self.0 & 31)]]
    }

    /// The bucket of a label, or nothing where it is none.
    pub fn from_label(label: [u8; 2]) -> Option<Self> {
        let digit = |byte: u8| match byte {
            b'a'..=b'z' => Some(u16::from(byte - b'a')),
            b'2'..=b'7' => Some(u16::from(byte - b'2') + 26),
            _ => None,
        };
        Some(Self(digit(label[0])? << 5 | digit(label[1])?))
    }
}

impl fmt::Display for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [first, second] = self.label();
        write!(f, "{}{}", char::from(first), char::from(second))
    }
}

impl fmt::Debug for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bucket({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_label_leads_back_to_its_bucket() {
        for bucket in Bucket::all() {
            assert_eq!(Bucket::from_label(bucket.label()), Some(bucket));
        }
        for label in [*b"A7", *b"a1", *b"a8", *b"{}", [0, 255]] {
            assert_eq!(Bucket::from_label(label), None);
        }
    }
}
