use serde_json::Number;

use super::bucket::State;
use super::operations::Answer;
use crate::session::{CartItem, Json, OperationId, SessionId};
use crate::store::edit::{apply, cart_with, check_size, incremented, to_json};
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
        let sum = incremented(&before, increment)?;
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
        let cart = cart_with(&before, item)?;
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
