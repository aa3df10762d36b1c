use std::fmt;
use std::sync::Arc;

use serde::Serialize;

/// A name that breaks its rule; the message says what the rule is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidName(pub &'static str);

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $rule:literal, $check:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks a text against the rule.
            pub fn new(text: &str) -> Result<Self, InvalidName> {
                let check: fn(&str) -> bool = $check;
                if check(text) { Ok(Self(text.into())) } else { Err(InvalidName($rule)) }
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({:?})"), self.as_str())
            }
        }
    };
}

name!(
    /// The application's name for a user: 1 to 256 bytes of UTF-8 without control characters.
    UserId,
    "a user id is 1 to 256 bytes of UTF-8 without control characters",
    |text| (1..=256).contains(&text.len()) && !text.chars().any(char::is_control)
);

name!(
    /// A replica: a pod's name or another host name, 1 to 253 letters, digits, `.`, `-`, `_` and `:`.
    ServerId,
    "a server id is 1 to 253 letters, digits, '.', '-', '_' and ':'",
    |text| {
        (1..=253).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b':'))
    }
);

name!(
    /// The name of a value in a session's data: 1 to 256 bytes of UTF-8 without control characters.
    DataKey,
    "a data key is 1 to 256 bytes of UTF-8 without control characters",
    |text| (1..=256).contains(&text.len()) && !text.chars().any(char::is_control)
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_ids_take_every_printable_kind_and_no_control_character() {
        for good in ["a", "alice@example.org", "a/b", "{a7}", "ü 🦀 x", &"x".repeat(256)] {
            assert_eq!(UserId::new(good).map(|id| id.as_str().to_owned()).as_deref(), Ok(good));
        }
        for bad in ["", "a\nb", "a\0", "\u{7f}", "\u{85}", &"x".repeat(257)] {
            assert!(UserId::new(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn server_ids_are_host_names() {
        assert!(ServerId::new("cloakroom-7d9f8c6b5-abcde").is_ok());
        assert!(ServerId::new("a b").is_err());
        assert!(ServerId::new("").is_err());
    }
}
