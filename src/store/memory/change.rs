use serde_json::Number;
use serde_json::value::RawValue;

use super::bucket::State;
use super::operations::Answer;
use crate::session::{CartItem, Json, OperationId, Session, SessionId, data_bytes};
use crate::store::{Change, EventKind, Increment, Result, Snapshot, StoreError};

impl State {
    pub(super) fn change(
        &mut self,
        id: SessionId,
        change: Change,
        max_bytes: u64,
        operation: OperationId,
    ) -> Result<Snapshot> {
        let id = self.live(id)?;
        if self.operations.answer(operation).is_some() {
            return self.snapshot(id);
        }
        let before = self.snapshot(id)?;
        let current = before.session.version;
        if change
            .if_match
            .as_ref()
            .is_some_and(|versions| !versions.contains(&current))
        {
            return Err(StoreError::Conflict { current });
        }
        let mut after = (*before.session).clone();
        let snapshot = if apply(change, &mut after) {
            check_size(&mut after, max_bytes)?;
            self.update_visibly(id, EventKind::Changed, |session| *session = after)?
        } else {
            before
        };
        self.operations.remember(self.now, operation, Answer::Changed);
        Ok(snapshot)
    }

    pub(super) fn increment(&mut self, id: SessionId, increment: &Increment) -> Result<Number> {
        let id = self.live(id)?;
        if let Some(Answer::Incremented(sum)) = self.operations.answer(increment.operation) {
            return Ok(sum);
        }
        let before = self.snapshot(id)?.session;
        let present = before.data.get(increment.key.as_str()).map_or("0", |json| json.get());
        let sum = add(present, &increment.by).ok_or(StoreError::NotANumber)?;
        self.set_value(id, increment.key.as_str(), to_json(&sum)?, increment.max_bytes)?;
        let answer = Answer::Incremented(sum.clone());
        self.operations.remember(self.now, increment.operation, answer);
        Ok(sum)
    }

    pub(super) fn add_to_cart(
        &mut self,
        id: SessionId,
        item: CartItem,
        max_bytes: u64,
        operation: OperationId,
    ) -> Result<Vec<CartItem>> {
        let id = self.live(id)?;
        if let Some(Answer::Cart(cart)) = self.operations.answer(operation) {
            return Ok(cart);
        }
        let before = self.snapshot(id)?.session;
        let mut cart: Vec<CartItem> = match before.data.get(CartItem::DATA_KEY) {
            Some(json) => serde_json::from_str(json.get()).map_err(|_| StoreError::NotACart)?,
            None => Vec::new(),
        };
        item.add_to(&mut cart);
        self.set_value(id, CartItem::DATA_KEY, to_json(&cart)?, max_bytes)?;
        self.operations
            .remember(self.now, operation, Answer::Cart(cart.clone()));
        Ok(cart)
    }

    fn set_value(&mut self, id: SessionId, key: &str, value: Json, max_bytes: u64) -> Result<Snapshot> {
        let mut after = (*self.snapshot(id)?.session).clone();
        after.data.insert(key, value);
        check_size(&mut after, max_bytes)?;
        self.update_visibly(id, EventKind::Changed, |session| *session = after)
    }
}

/// Applies a change to a copy; whether it sets or removes anything.
fn apply(change: Change, session: &mut Session) -> bool {
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
fn check_size(after: &mut Session, limit: u64) -> Result<()> {
    let before = std::mem::replace(&mut after.data_bytes, data_bytes(&after.data));
    let bytes = after.data_bytes;
    if bytes > limit && bytes > before {
        return Err(StoreError::TooLarge { bytes, limit });
    }
    Ok(())
}

/// The sum of a JSON number and another, or nothing where it cannot be told: integers are added exactly.
fn add(present: &str, by: &Number) -> Option<Number> {
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

fn to_json(value: &impl serde::Serialize) -> Result<Json> {
    serde_json::to_string(value)
        .and_then(RawValue::from_string)
        .map_err(|error| StoreError::Corrupt(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(present: &str, by: &str) -> Option<String> {
        add(present, &by.parse().unwrap()).map(|sum| sum.to_string())
    }

    #[test]
    fn integers_stay_exact_within_64_bits() {
        assert_eq!(sum("9223372036854775806", "1").as_deref(), Some("9223372036854775807"));
        assert_eq!(sum("9223372036854775807", "1"), None);
        assert_eq!(sum("-9223372036854775808", "-1"), None);
        assert_eq!(sum("0", "18446744073709551615"), None);
        assert_eq!(sum("12345678901234567890123", "1"), None, "its digits would be lost");
    }

    #[test]
    fn floats_are_added_as_floats() {
        assert_eq!(sum("1", "0.5").as_deref(), Some("1.5"));
        assert_eq!(sum("1e308", "1e308"), None);
        for text in ["\"1\"", "null", "[1]", "true"] {
            assert_eq!(sum(text, "1"), None, "{text}");
        }
    }
}
