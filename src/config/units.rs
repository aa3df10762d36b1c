//! Durations and byte sizes as people write them.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Units of a [`Period`], largest first, with their length in milliseconds.
const PERIOD_UNITS: [(&str, u64); 5] = [
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

/// Units of a [`ByteSize`], largest first, with their number of bytes.
const SIZE_UNITS: [(&str, u64); 5] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("B", 1),
];

/// A span of time in whole milliseconds, written `250ms`, `10s`, `24h`, `30d` or `1h30m`; at most [`Period::MAX`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Period {
    millis: u64,
}

impl Period {
    /// No time at all, written `0` or `0s`.
    pub const ZERO: Self = Self { millis: 0 };

    /// A hundred years of 365 days: more than any use of a setting, and no overflow when added to a date.
    pub const MAX: Self = Self::from_days(36_500);

    /// A span of milliseconds; more than [`Period::MAX`] is cut to it.
    pub const fn from_millis(millis: u64) -> Self {
        const LIMIT: u64 = 36_500 * 86_400_000;
        Self {
            millis: if millis > LIMIT { LIMIT } else { millis },
        }
    }

    /// A span of seconds; more than [`Period::MAX`] is cut to it.
    pub const fn from_secs(seconds: u64) -> Self {
        Self::from_millis(seconds.saturating_mul(1_000))
    }

    /// A span of minutes; more than [`Period::MAX`] is cut to it.
    pub const fn from_mins(minutes: u64) -> Self {
        Self::from_millis(minutes.saturating_mul(60_000))
    }

    /// A span of hours; more than [`Period::MAX`] is cut to it.
    pub const fn from_hours(hours: u64) -> Self {
        Self::from_millis(hours.saturating_mul(3_600_000))
    }

    /// A span of days of 24 hours; more than [`Period::MAX`] is cut to it.
    pub const fn from_days(days: u64) -> Self {
        Self::from_millis(days.saturating_mul(86_400_000))
    }

    /// The span in milliseconds.
    pub const fn as_millis(self) -> u64 {
        self.millis
    }

    /// The span as the standard library has it.
    pub const fn get(self) -> Duration {
        Duration::from_millis(self.millis)
    }

    /// Whether the span is nothing.
    pub const fn is_zero(self) -> bool {
        self.millis == 0
    }
}

impl From<Period> for Duration {
    fn from(period: Period) -> Self {
        period.get()
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_zero() {
            return f.write_str("0s");
        }
        let mut rest = self.millis;
        for (unit, length) in PERIOD_UNITS {
            if rest >= length {
                write!(f, "{}{unit}", rest / length)?;
                rest %= length;
            }
        }
        Ok(())
    }
}

/// The text was no duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PeriodError {
    /// The form is wrong.
    #[error(
        "is not a duration: use whole numbers with the units d, h, m, s, ms, such as 250ms, 10s, 24h, 30d or 1h30m"
    )]
    Form,
    /// More than [`Period::MAX`].
    #[error("is too long a duration: at most {}", Period::MAX)]
    TooLong,
}

impl FromStr for Period {
    type Err = PeriodError;

    fn from_str(text: &str) -> Result<Self, PeriodError> {
        if text == "0" {
            return Ok(Self::ZERO);
        }
        if text.is_empty() {
            return Err(PeriodError::Form);
        }
        let mut rest = text;
        let mut millis: u64 = 0;
        let mut shorter_than = u64::MAX;
        while !rest.is_empty() {
            let (number, after_number) = split_number(rest);
            let (unit, after_unit) = after_number.split_at(
                after_number
                    .find(|c: char| c.is_ascii_digit())
                    .unwrap_or(after_number.len()),
            );
            let length = unit_length(&PERIOD_UNITS, unit).ok_or(PeriodError::Form)?;
            if number.is_empty() || length >= shorter_than {
                return Err(PeriodError::Form);
            }
            let part = number.parse::<u64>().ok().and_then(|count| count.checked_mul(length));
            millis = part
                .and_then(|part| millis.checked_add(part))
                .ok_or(PeriodError::TooLong)?;
            shorter_than = length;
            rest = after_unit;
        }
        if millis > Self::MAX.millis {
            Err(PeriodError::TooLong)
        } else {
            Ok(Self { millis })
        }
    }
}

/// A number of bytes, written `10240`, `64KiB`, `64MiB`; powers of 1,024 only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize(u64);

impl ByteSize {
    /// A number of bytes.
    pub const fn from_bytes(bytes: u64) -> Self {
        Self(bytes)
    }

    /// The number of bytes.
    pub const fn bytes(self) -> u64 {
        self.0
    }

    /// The number of bytes as a length in memory; what does not fit is cut to the largest length.
    pub fn as_len(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exact = SIZE_UNITS
            .iter()
            .find(|(_, length)| self.0 >= *length && self.0.is_multiple_of(*length));
        match exact {
            Some((unit, length)) if *length > 1 => write!(f, "{}{unit}", self.0 / length),
            _ => write!(f, "{}", self.0),
        }
    }
}

/// The text was no number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is not a size: use whole bytes, or a number with KiB, MiB, GiB or TiB, such as 10240, 64KiB or 64MiB")]
pub struct ByteSizeError;

impl FromStr for ByteSize {
    type Err = ByteSizeError;

    fn from_str(text: &str) -> Result<Self, ByteSizeError> {
        let (number, unit) = split_number(text);
        let length = if unit.is_empty() {
            1
        } else {
            unit_length(&SIZE_UNITS, unit).ok_or(ByteSizeError)?
        };
        let count: u64 = number.parse().map_err(|_| ByteSizeError)?;
        count.checked_mul(length).map(Self).ok_or(ByteSizeError)
    }
}

/// Splits off the ASCII digits at the front.
fn split_number(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
}

fn unit_length(units: &[(&str, u64)], wanted: &str) -> Option<u64> {
    units
        .iter()
        .find(|(unit, _)| *unit == wanted)
        .map(|(_, length)| *length)
}

impl Serialize for Period {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Period {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse()
            .map_err(|error| de::Error::custom(format_args!("{text:?} {error}")))
    }
}

impl Serialize for ByteSize {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse()
            .map_err(|error| de::Error::custom(format_args!("{text:?} {error}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn periods_are_read_as_people_write_them() {
        for (text, millis) in [
            ("0", 0),
            ("0s", 0),
            ("250ms", 250),
            ("10s", 10_000),
            ("5m", 300_000),
            ("24h", 86_400_000),
            ("30d", 2_592_000_000),
            ("1h30m", 5_400_000),
            ("1d2h3m4s5ms", 93_784_005),
        ] {
            assert_eq!(text.parse(), Ok(Period::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn periods_of_another_form_are_refused() {
        for text in [
            "", "10", "s", "-1s", "1.5h", "10 s", "10S", "1m1h", "1s1s", "1w", "10sec", "1h30", "٣s", "+1s",
        ] {
            assert_eq!(text.parse::<Period>(), Err(PeriodError::Form), "{text:?}");
        }
        for text in ["36501d", "99999999999999999999s", "18446744073709551615d"] {
            assert_eq!(text.parse::<Period>(), Err(PeriodError::TooLong), "{text}");
        }
        assert_eq!("36500d".parse(), Ok(Period::MAX));
    }

    #[test]
    fn sizes_are_read_in_powers_of_1024() {
        for (text, bytes) in [
            ("0", 0),
            ("10240", 10_240),
            ("512B", 512),
            ("64KiB", 65_536),
            ("64MiB", 67_108_864),
        ] {
            assert_eq!(text.parse(), Ok(ByteSize::from_bytes(bytes)), "{text}");
        }
        for text in [
            "",
            "KiB",
            "64KB",
            "64k",
            "64 KiB",
            "-1",
            "1.5MiB",
            "18446744073709551615KiB",
            "+1",
        ] {
            assert_eq!(text.parse::<ByteSize>(), Err(ByteSizeError), "{text:?}");
        }
        assert_eq!(ByteSize::from_bytes(10_240).to_string(), "10KiB");
        assert_eq!(ByteSize::from_bytes(1_500).to_string(), "1500");
    }

    #[test]
    fn json_holds_the_written_form() {
        let period: Period = serde_json::from_str("\"60s\"").unwrap();
        assert_eq!(serde_json::to_string(&period).unwrap(), "\"1m\"");
        let error = serde_json::from_str::<Period>("\"soon\"").unwrap_err().to_string();
        assert!(error.contains("\"soon\" is not a duration"), "{error}");
        assert_eq!(
            serde_json::from_str::<ByteSize>("\"1KiB\"").unwrap(),
            ByteSize::from_bytes(1024)
        );
        assert_eq!(serde_json::to_string(&ByteSize::from_bytes(2048)).unwrap(), "\"2KiB\"");
    }

    proptest! {
        #[test]
        fn a_period_survives_its_own_text(millis in 0..=Period::MAX.as_millis()) {
            let period = Period::from_millis(millis);
            prop_assert_eq!(period.to_string().parse(), Ok(period));
        }

        #[test]
        fn a_size_survives_its_own_text(bytes: u64) {
            let size = ByteSize::from_bytes(bytes);
            prop_assert_eq!(size.to_string().parse(), Ok(size));
        }

        #[test]
        fn no_text_panics(text in "\\PC*|[0-9dhmsKiB]{0,40}") {
            let _ = text.parse::<Period>();
            let _ = text.parse::<ByteSize>();
        }
    }
}
