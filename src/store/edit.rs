//! What a change makes of a session, for stores that change a copy.

use serde_json::Number;
use serde_json::value::RawValue;

use super::{Change, Increment, Result, StoreError};
use crate::session::{CartItem, Json, Session, data_bytes};

/// Applies a change to a copy; whether it sets or removes anything.
pub(super) fn apply(change: Change, session: &mut Session) -> bool {
    let mut changed = !change.security.is_empty() || change.roles.is_some() || change.permissions.is_some();
    change.security.apply(&mut session.security);
    if let Some(roles) = change.roles {
        session.roles = roles;
    }
    if let Some(permissions) = change.permissions {
        session.permissions = permissions;
    }
    for (key, value) in change.data {
        changed |= match value {
            Some(value) => {
                session.data.insert(key.as_str(), value);
                true
            }
            None => session.data.remove(key.as_str()).is_some(),
        };
    }
    for (key, value) in change.metadata {
        changed |= match value {
            Some(value) => {
                session.metadata.insert(key, value);
                true
            }
            None => session.metadata.remove(&key).is_some(),
        };
    }
    changed
}

/// Weighs a changed copy. What already was too large, since the limit was lowered, may shrink.
pub(super) fn check_size(after: &mut Session, limit: u64) -> Result<()> {
    let before = std::mem::replace(&mut after.data_bytes, data_bytes(&after.data));
    let bytes = after.data_bytes;
    if bytes > limit && bytes > before {
        return Err(StoreError::TooLarge { bytes, limit });
    }
    Ok(())
}

/// The sum of a session's number and what is added to it.
pub(super) fn incremented(session: &Session, increment: &Increment) -> Result<Number> {
    let present = session.data.get(increment.key.as_str()).map_or("0", |json| json.get());
    sum(present, &increment.by).ok_or(StoreError::NotANumber)
}

/// A session's cart with one more line.
pub(super) fn cart_with(session: &Session, item: CartItem) -> Result<Vec<CartItem>> {
    let mut cart: Vec<CartItem> = match session.data.get(CartItem::DATA_KEY) {
        Some(json) => serde_json::from_str(json.get()).map_err(|_| StoreError::NotACart)?,
        None => Vec::new(),
    };
    item.add_to(&mut cart);
    Ok(cart)
}

/// The sum of a JSON number and another, or nothing where it cannot be told: integers are added exactly.
fn sum(present: &str, by: &Number) -> Option<Number> {
    let by = by.to_string();
    if is_integer(present) && is_integer(&by) {
        let (present, by): (i64, i64) = (present.parse().ok()?, by.parse().ok()?);
        return present.checked_add(by).map(Number::from);
    }
    Number::from_f64(float(present)? + float(&by)?)
}

fn is_integer(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-')
}

/// The value of a JSON number; of an integer only where it has 64 bits.
fn float(text: &str) -> Option<f64> {
    let number: Number = serde_json::from_str(text).ok()?;
    if is_integer(text) && !number.is_i64() {
        return None;
    }
    number.as_f64()
}

/// A value as JSON.
pub(super) fn to_json(value: &impl serde::Serialize) -> Result<Json> {
    serde_json::to_string(value)
        .and_then(RawValue::from_string)
        .map_err(|error| StoreError::Corrupt(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum_of(present: &str, by: &str) -> Option<String> {
        sum(present, &by.parse().unwrap()).map(|sum| sum.to_string())
    }

    #[test]
    fn integers_stay_exact_within_64_bits() {
        assert_eq!(
            sum_of("9223372036854775806", "1").as_deref(),
            Some("9223372036854775807")
        );
        assert_eq!(sum_of("9223372036854775807", "1"), None);
        assert_eq!(sum_of("-9223372036854775808", "-1"), None);
        assert_eq!(sum_of("0", "18446744073709551615"), None);
        assert_eq!(sum_of("12345678901234567890123", "1"), None, "its digits would be lost");
    }

    #[test]
    fn floats_are_added_as_floats() {
        assert_eq!(sum_of("1", "0.5").as_deref(), Some("1.5"));
        assert_eq!(sum_of("1e308", "1e308"), None);
        for text in ["\"1\"", "null", "[1]", "true"] {
            assert_eq!(sum_of(text, "1"), None, "{text}");
        }
    }
}
