use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::{Error, Freshness, Result, Sessions};
use crate::session::{Activity, CartItem, DataKey, Json, JsonMap, OperationId, ServerId, Session, SessionId, UserId};
use crate::store::{Change, Increment, Snapshot, StoreError, Touch};

impl Sessions {
    /// Changes a session and gives it as it is then.
    pub async fn change(&self, id: SessionId, change: Change) -> Result<Arc<Session>> {
        let operation = self.operation()?;
        let changing = self.0.store.change(id, change, self.0.settings.max_bytes, operation);
        let snapshot = self.changing(id, changing).await?;
        Ok(self.changed(snapshot))
    }

    /// A value of a session's data; nothing where the session has no such key.
    pub async fn value(&self, id: SessionId, key: &DataKey, freshness: Freshness) -> Result<Option<Json>> {
        let session = self.get(id, freshness).await?.ok_or(StoreError::NotFound)?;
        Ok(session.data.get(key.as_str()).map(ToOwned::to_owned))
    }

    /// Sets a value, or removes it where there is none.
    pub async fn set_value(
        &self,
        id: SessionId,
        key: DataKey,
        value: Option<Json>,
        if_match: Option<Vec<u64>>,
    ) -> Result<Arc<Session>> {
        let change = Change {
            data: BTreeMap::from([(key, value)]),
            if_match,
            ..Change::default()
        };
        self.change(id, change).await
    }

    /// Adds to a number of a session's data and gives the sum.
    pub async fn increment(&self, id: SessionId, key: DataKey, by: serde_json::Number) -> Result<serde_json::Number> {
        let operation = self.operation()?;
        let increment = Increment {
            key,
            by,
            max_bytes: self.0.settings.max_bytes,
            operation,
        };
        self.changing(id, self.0.store.increment(id, increment)).await
    }

    /// Adds a line to a session's cart and gives the cart.
    pub async fn add_to_cart(&self, id: SessionId, item: CartItem) -> Result<Vec<CartItem>> {
        let operation = self.operation()?;
        self.changing(
            id,
            self.0.store.add_to_cart(id, item, self.0.settings.max_bytes, operation),
        )
        .await
    }

    /// A session's cart, empty where nothing was added yet.
    pub async fn cart(&self, id: SessionId, freshness: Freshness) -> Result<Vec<CartItem>> {
        let session = self.get(id, freshness).await?.ok_or(StoreError::NotFound)?;
        match session.data.get(CartItem::DATA_KEY) {
            Some(cart) => serde_json::from_str(cart.get()).map_err(|_| StoreError::NotACart.into()),
            None => Ok(Vec::new()),
        }
    }

    /// Records a use at once.
    pub async fn touch(&self, id: SessionId) -> Result<Arc<Session>> {
        let touch = Touch {
            id,
            age: Duration::ZERO,
            migrate: None,
        };
        // A touch publishes nothing, but here the new deadline is known.
        let snapshot = self.changing(id, self.0.store.touch(touch)).await?;
        self.0.metrics.touches.with_label_values(&["recorded"]).inc();
        Ok(self.changed(snapshot))
    }

    /// Homes a session at another server of the fleet.
    pub async fn migrate(&self, id: SessionId, to: &str) -> Result<Arc<Session>> {
        let view = self.view();
        let members = view.members.unwrap_or_default();
        let known = ServerId::new(to).ok().filter(|server| members.contains(server));
        let Some(server) = known else {
            let known: Vec<_> = members.0.iter().map(|member| member.server_id.as_str()).collect();
            return Err(Error::UnknownServer {
                server: to.to_owned(),
                known: known.join(", "),
            });
        };
        let snapshot = self.changing(id, self.0.store.migrate(id, server)).await?;
        self.0.metrics.sessions_migrated.with_label_values(&["request"]).inc();
        Ok(self.changed(snapshot))
    }

    /// Adds to a session's activities and gives them, newest first.
    pub async fn record_activity(&self, id: SessionId, action: String, metadata: JsonMap) -> Result<Vec<Activity>> {
        let operation = self.operation()?;
        Ok(self.0.store.record_activity(id, action, metadata, operation).await?)
    }

    /// A session's activities, newest first.
    pub async fn activities(&self, id: SessionId) -> Result<Vec<Activity>> {
        Ok(self.0.store.activities(id).await?)
    }

    /// How sessions of a user ended in the last 24 hours, newest first: a session's own activities go with it.
    pub async fn user_activities(&self, user: &UserId) -> Result<Vec<Activity>> {
        Ok(self.0.store.user_activities(user).await?)
    }

    /// What was changed, perhaps under a former id: memory holds it under the present one (rules A and W2).
    fn changed(&self, snapshot: Snapshot) -> Arc<Session> {
        self.drop_own(&snapshot.session.id);
        snapshot.session
    }

    /// Rule W2: this server changed the session.
    pub(super) fn drop_own(&self, id: &SessionId) {
        if let Some(cache) = &self.0.cache {
            cache.drop_own(id);
        }
    }

    pub(super) fn operation(&self) -> Result<OperationId> {
        Ok(OperationId::generate(&*self.0.random)?)
    }
}
