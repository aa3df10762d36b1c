//! How one value is read from a file, the environment or a flag, and shown again.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;

use ipnet::IpNet;
use toml::Value;

use super::units::{ByteSize, Period};

/// A value as its source gave it.
#[derive(Clone, PartialEq)]
pub(super) enum Raw {
    /// Text of the environment or of a flag: numbers, switches and comma separated lists are read from it.
    Text(String),
    /// The values of a flag that was given several times.
    Texts(Vec<String>),
    /// A typed value of the settings file.
    Toml(Value),
}

/// A type that a setting can have.
pub(super) trait Setting: Sized {
    /// Reads the text form; the error is a sentence that says what is allowed.
    fn from_text(text: &str) -> Result<Self, String>;

    /// Reads a typed value of the settings file.
    fn from_toml(value: &Value) -> Result<Self, String> {
        match value {
            Value::String(text) => Self::from_text(text),
            other => Err(format!("is {}: write it as a string", kind(other))),
        }
    }

    /// Reads whatever the source gave.
    fn from_raw(raw: &Raw) -> Result<Self, String> {
        match raw {
            Raw::Text(text) => Self::from_text(text),
            Raw::Toml(value) => Self::from_toml(value),
            Raw::Texts(texts) => match texts.as_slice() {
                [text] => Self::from_text(text),
                _ => Err("takes one value only".to_owned()),
            },
        }
    }

    /// The value as a settings file would have it.
    fn show(&self) -> Value;

    /// Whether [`Setting::show`] left out something secret.
    fn is_masked(&self) -> bool {
        false
    }
}

/// A setting with a fixed set of words.
pub(super) trait Choice: Copy + PartialEq + 'static {
    /// Every word with its meaning.
    const CHOICES: &'static [(&'static str, Self)];

    /// The word of this choice.
    fn word(self) -> &'static str {
        Self::CHOICES
            .iter()
            .find(|(_, choice)| *choice == self)
            .map_or("", |(word, _)| word)
    }
}

impl<T: Choice> Setting for T {
    fn from_text(text: &str) -> Result<Self, String> {
        let found = T::CHOICES.iter().find(|(word, _)| *word == text);
        let words = || T::CHOICES.iter().map(|(word, _)| *word).collect::<Vec<_>>().join(", ");
        found
            .map(|(_, choice)| *choice)
            .ok_or_else(|| format!("{} is not one of {}", quote(text), words()))
    }

    fn show(&self) -> Value {
        Value::String(self.word().to_owned())
    }
}

/// A value in quotes for a message, cut where it is long.
pub(super) fn quote(text: &str) -> String {
    const LONGEST: usize = 64;
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{:?}…", &text[..end]),
        None => format!("{text:?}"),
    }
}

/// What a value of the settings file is, for a message.
pub(super) fn kind(value: &Value) -> &'static str {
    match value {
        Value::String(_) => "a string",
        Value::Integer(_) => "an integer",
        Value::Float(_) => "a number with a fraction",
        Value::Boolean(_) => "a boolean",
        Value::Datetime(_) => "a date",
        Value::Array(_) => "a list",
        Value::Table(_) => "a table",
    }
}

impl Setting for String {
    fn from_text(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("is empty: give a value, or leave the setting out".to_owned());
        }
        if text.chars().any(char::is_control) {
            return Err(format!("{} has control characters", quote(text)));
        }
        Ok(text.to_owned())
    }

    fn show(&self) -> Value {
        Value::String(self.clone())
    }
}

impl Setting for PathBuf {
    fn from_text(text: &str) -> Result<Self, String> {
        String::from_text(text).map(Self::from)
    }

    fn show(&self) -> Value {
        Value::String(self.display().to_string())
    }
}

impl Setting for bool {
    fn from_text(text: &str) -> Result<Self, String> {
        text.parse()
            .map_err(|_| format!("{} is not one of true, false", quote(text)))
    }

    fn from_toml(value: &Value) -> Result<Self, String> {
        value
            .as_bool()
            .ok_or_else(|| format!("is {}: write true or false without quotes", kind(value)))
    }

    fn show(&self) -> Value {
        Value::Boolean(*self)
    }
}

impl Setting for u32 {
    fn from_text(text: &str) -> Result<Self, String> {
        text.parse()
            .map_err(|_| format!("{} is not a whole number from 0 to {}", quote(text), Self::MAX))
    }

    fn from_toml(value: &Value) -> Result<Self, String> {
        let number = value
            .as_integer()
            .ok_or_else(|| format!("is {}: write a whole number without quotes", kind(value)))?;
        Self::from_text(&number.to_string())
    }

    fn show(&self) -> Value {
        Value::Integer((*self).into())
    }
}

impl Setting for NonZeroU32 {
    fn from_text(text: &str) -> Result<Self, String> {
        text.parse()
            .map_err(|_| format!("{} is not a whole number from 1 to {}", quote(text), Self::MAX))
    }

    fn from_toml(value: &Value) -> Result<Self, String> {
        let number = value
            .as_integer()
            .ok_or_else(|| format!("is {}: write a whole number without quotes", kind(value)))?;
        Self::from_text(&number.to_string())
    }

    fn show(&self) -> Value {
        Value::Integer(self.get().into())
    }
}

impl Setting for f64 {
    fn from_text(text: &str) -> Result<Self, String> {
        let number = text.parse().ok().filter(|number: &Self| number.is_finite());
        number.ok_or_else(|| format!("{} is not a number", quote(text)))
    }

    fn from_toml(value: &Value) -> Result<Self, String> {
        match value {
            Value::Float(number) => Ok(*number),
            Value::Integer(number) => Self::from_text(&number.to_string()),
            other => Err(format!("is {}: write a number without quotes", kind(other))),
        }
    }

    fn show(&self) -> Value {
        Value::Float(*self)
    }
}

impl Setting for SocketAddr {
    fn from_text(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| {
            format!(
                "{} is not a socket address: use an IP address and a port, such as 0.0.0.0:8080 or [::1]:8080",
                quote(text)
            )
        })
    }

    fn show(&self) -> Value {
        Value::String(self.to_string())
    }
}

impl Setting for IpNet {
    fn from_text(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| {
            format!(
                "{} is not a network: use CIDR, such as 10.0.0.0/8 or 192.0.2.1/32",
                quote(text)
            )
        })
    }

    fn show(&self) -> Value {
        Value::String(self.to_string())
    }
}

impl Setting for Period {
    fn from_text(text: &str) -> Result<Self, String> {
        text.parse().map_err(|error| format!("{} {error}", quote(text)))
    }

    /// Nothing is the one duration that needs no unit.
    fn from_toml(value: &Value) -> Result<Self, String> {
        match value {
            Value::String(text) => Self::from_text(text),
            Value::Integer(number) => Self::from_text(&number.to_string()),
            other => Err(format!("is {}: write a string, such as \"10s\"", kind(other))),
        }
    }

    fn show(&self) -> Value {
        Value::String(self.to_string())
    }
}

impl Setting for ByteSize {
    fn from_text(text: &str) -> Result<Self, String> {
        text.parse().map_err(|error| format!("{} {error}", quote(text)))
    }

    fn from_toml(value: &Value) -> Result<Self, String> {
        match value {
            Value::String(text) => Self::from_text(text),
            Value::Integer(number) => Self::from_text(&number.to_string()),
            other => Err(format!(
                "is {}: write whole bytes, or a string such as \"64KiB\"",
                kind(other)
            )),
        }
    }

    fn show(&self) -> Value {
        Value::String(self.to_string())
    }
}

impl<T: Setting> Setting for Vec<T> {
    fn from_text(text: &str) -> Result<Self, String> {
        if text.trim().is_empty() {
            return Ok(Self::new());
        }
        text.split(',').map(|item| T::from_text(item.trim())).collect()
    }

    fn from_toml(value: &Value) -> Result<Self, String> {
        let items = value
            .as_array()
            .ok_or_else(|| format!("is {}: write a list, such as [\"…\", \"…\"]", kind(value)))?;
        items.iter().map(T::from_toml).collect()
    }

    fn from_raw(raw: &Raw) -> Result<Self, String> {
        match raw {
            Raw::Text(text) => Self::from_text(text),
            Raw::Texts(texts) => texts.iter().map(|text| T::from_text(text)).collect(),
            Raw::Toml(value) => Self::from_toml(value),
        }
    }

    fn show(&self) -> Value {
        Value::Array(self.iter().map(T::show).collect())
    }

    fn is_masked(&self) -> bool {
        self.iter().any(T::is_masked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn refusal<T: Setting>(value: impl Into<Value>) -> String {
        T::from_toml(&value.into()).err().expect("refused")
    }

    #[test]
    fn a_file_must_have_the_right_type() {
        assert_eq!(
            refusal::<bool>("true"),
            "is a string: write true or false without quotes"
        );
        assert_eq!(refusal::<u32>("5"), "is a string: write a whole number without quotes");
        assert_eq!(refusal::<String>(5), "is an integer: write it as a string");
        assert!(refusal::<Period>(5).contains("\"5\" is not a duration"));
        assert!(refusal::<Vec<IpNet>>("10.0.0.0/8").starts_with("is a string: write a list"));
        assert!(refusal::<u32>(-1).contains("from 0 to"));
        assert!(refusal::<NonZeroU32>(0).contains("from 1 to"));
    }

    #[test]
    fn text_lists_are_split_at_commas() {
        let networks = Vec::<IpNet>::from_text("10.0.0.0/8, fd00::/8").unwrap();
        assert_eq!(networks.len(), 2);
        assert_eq!(Vec::<IpNet>::from_text(""), Ok(vec![]));
        assert!(Vec::<IpNet>::from_text("10.0.0.0/8,,").is_err());
    }

    #[test]
    fn long_values_are_cut_in_messages() {
        let message = bool::from_text(&"é".repeat(500)).unwrap_err();
        assert!(message.chars().count() < 100, "{message}");
    }

    proptest! {
        #[test]
        fn no_text_panics(text: String) {
            let raw = Raw::Text(text);
            let _ = Vec::<String>::from_raw(&raw);
            let _ = SocketAddr::from_raw(&raw);
            let _ = Vec::<IpNet>::from_raw(&raw);
            let _ = u32::from_raw(&raw);
            let _ = f64::from_raw(&raw);
            let _ = Vec::<Period>::from_raw(&raw);
        }
    }
}
