use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::{self, StreamExt as _};
use tokio::sync::mpsc;

use super::calls::flag;
use super::{BucketCall, RedisStore, Result, codec};
use crate::coherence::ConnectionId;
use crate::session::clock_millis as millis;
use crate::session::{
    Activity, Bucket, CartItem, JsonMap, Keyring, MAX_ACTIVITIES, OperationId, ServerId, SessionId, Timestamp, UserId,
};
use crate::store::{
    BucketCounts, Change, Created, End, Ended, Event, EventId, Filter, Increment, LimitPolicy, Lineage, Lookup,
    NewSession, Replay, Rotated, Rotation, SessionStore, Snapshot, Step, StoreError, Touch,
};
use crate::telemetry::trace::context_words;

/// How many commands of a batch are under way at a time.
const BATCH_CONCURRENCY: usize = 128;

#[async_trait]
impl SessionStore for RedisStore {
    fn keyring(&self) -> &Keyring {
        &self.0.keyring
    }

    async fn get(&self, id: SessionId) -> Result<Lookup> {
        match self.look_up(id).await? {
            (Lookup::Missing, true) => self.follow(id).await,
            (lookup, _) => Ok(lookup),
        }
    }

    async fn get_covered(&self, id: SessionId, connection: ConnectionId) -> Result<Lookup> {
        let node = self.0.lines.load().get(&connection).cloned();
        let node = node.ok_or_else(|| StoreError::Unavailable("its connection has ended".to_owned()))?;
        let key = self.0.keys.session(&id);
        let text = id.text();
        let call = BucketCall {
            script: &self.0.scripts.get,
            bucket: id.bucket(),
            keys: &[key.as_bytes()],
            arguments: &[text.as_str().as_bytes(), text.as_str().as_bytes()],
            durable: false,
        };
        let done = self.run_at(&node, call).await?;
        self.looked_up(&done, text.as_str())
    }

    async fn create(&self, new: NewSession, operation: OperationId) -> Result<Created> {
        let core = codec::core_of(&new)?;
        let user = new
            .user_id
            .as_ref()
            .map_or_else(|| "-".to_owned(), |user| self.0.keyring.user_hash(user));
        let idle = millis(new.timeouts.idle).to_string();
        let absolute = millis(new.timeouts.absolute).to_string();
        let bytes = crate::session::data_bytes(&new.data).to_string();
        let limit = new.limit.map_or(0, |limit| limit.max).to_string();
        let policy = match new.limit.map(|limit| limit.policy).unwrap_or_default() {
            LimitPolicy::Refuse => "refuse",
            LimitPolicy::EndOldest => "end_oldest",
            LimitPolicy::EndLeastRecentlyUsed => "end_least_recently_used",
        };
        let fields: Vec<_> = new.data.keys().map(|key| format!("d:{key}")).collect();
        let mut arguments: Vec<&[u8]> = vec![
            user.as_bytes(),
            new.class.as_str().as_bytes(),
            idle.as_bytes(),
            absolute.as_bytes(),
            bytes.as_bytes(),
            core.as_bytes(),
            new.server_id.as_str().as_bytes(),
            flag(new.authenticated && new.user_id.is_some()),
            limit.as_bytes(),
            policy.as_bytes(),
        ];
        for (field, value) in fields.iter().zip(new.data.values()) {
            arguments.push(field.as_bytes());
            arguments.push(value.get().as_bytes());
        }
        let script = &self.0.scripts.create;
        let (done, tag) = self
            .on_session(script, &new.id, Some(operation), new.durable, &arguments)
            .await?;
        let (head, mut reply) = self.told(&done, &tag)?;
        let snapshot = self.snapshot(&done, &mut reply, new.id, &head)?;
        Ok(Created {
            snapshot,
            ended: reply.parsed()?,
            durable: done.durable,
        })
    }

    async fn confirm(&self, id: SessionId, grace: Duration) -> Result<Snapshot> {
        let grace = millis(grace).to_string();
        let (done, tag) = self
            .on_session(&self.0.scripts.confirm, &id, None, false, &[grace.as_bytes()])
            .await?;
        self.changed(&done, &tag)
    }

    async fn change(&self, id: SessionId, change: Change, max_bytes: u64, operation: OperationId) -> Result<Snapshot> {
        let most = max_bytes.to_string();
        let versions = change.if_match.as_ref().map_or_else(String::new, |versions| {
            // A condition that no version can meet must not read as none.
            let listed = versions.iter().map(u64::to_string).collect::<Vec<_>>().join(" ");
            if listed.is_empty() { "-".to_owned() } else { listed }
        });
        let patch = codec::patch_of(&change)?;
        let field = |key: &crate::session::DataKey| format!("d:{}", key.as_str());
        let sets: Vec<_> = change
            .data
            .iter()
            .filter_map(|(key, value)| value.as_ref().map(|value| (field(key), value)))
            .collect();
        let removes: Vec<_> = change
            .data
            .iter()
            .filter(|(_, value)| value.is_none())
            .map(|(key, _)| field(key))
            .collect();
        let count = sets.len().to_string();
        let mut arguments = vec![most.as_bytes(), versions.as_bytes(), patch.as_bytes(), count.as_bytes()];
        for (field, value) in &sets {
            arguments.push(field.as_bytes());
            arguments.push(value.get().as_bytes());
        }
        arguments.extend(removes.iter().map(String::as_bytes));
        let (done, tag) = self
            .on_session(&self.0.scripts.change, &id, Some(operation), false, &arguments)
            .await?;
        self.changed(&done, &tag)
    }

    async fn increment(&self, id: SessionId, increment: Increment) -> Result<serde_json::Number> {
        let most = increment.max_bytes.to_string();
        let field = format!("d:{}", increment.key.as_str());
        let by = increment.by.to_string();
        let arguments = [most.as_bytes(), field.as_bytes(), by.as_bytes()];
        let script = &self.0.scripts.increment;
        let (done, tag) = self
            .on_session(script, &id, Some(increment.operation), false, &arguments)
            .await?;
        let (_, mut reply) = self.told(&done, &tag)?;
        let sum = reply.text()?;
        serde_json::from_str(sum).map_err(|error| StoreError::Corrupt(format!("sum `{sum}`: {error}")))
    }

    async fn add_to_cart(
        &self,
        id: SessionId,
        item: CartItem,
        max_bytes: u64,
        operation: OperationId,
    ) -> Result<Vec<CartItem>> {
        let (most, quantity) = (max_bytes.to_string(), item.quantity.to_string());
        let most_of_one = CartItem::MAX_QUANTITY.to_string();
        let arguments = [
            most.as_bytes(),
            item.product_id.as_bytes(),
            quantity.as_bytes(),
            most_of_one.as_bytes(),
        ];
        let (done, tag) = self
            .on_session(&self.0.scripts.cart, &id, Some(operation), false, &arguments)
            .await?;
        let (_, mut reply) = self.told(&done, &tag)?;
        serde_json::from_str(reply.text()?).map_err(|_| StoreError::NotACart)
    }

    async fn touch(&self, touch: Touch) -> Result<Snapshot> {
        let (done, tag) = self.touch_with(&touch, true).await?;
        self.changed(&done, &tag)
    }

    async fn touch_all(&self, touches: Vec<Touch>) -> Vec<Result<bool>> {
        stream::iter(touches)
            .map(|touch| async move {
                let (done, tag) = self.touch_with(&touch, false).await?;
                match self.told(&done, &tag) {
                    Ok(_) => Ok(true),
                    Err(StoreError::NotFound) => Ok(false),
                    Err(error) => Err(error),
                }
            })
            .buffered(BATCH_CONCURRENCY)
            .collect()
            .await
    }

    async fn migrate(&self, id: SessionId, to: ServerId) -> Result<Snapshot> {
        let arguments = [to.as_str().as_bytes()];
        let (done, tag) = self
            .on_session(&self.0.scripts.migrate, &id, None, false, &arguments)
            .await?;
        self.changed(&done, &tag)
    }

    async fn rotate(&self, id: SessionId, rotation: Rotation, operation: OperationId) -> Result<Rotated> {
        let keys = self.session_keys(&id);
        let operation_key = self.0.keys.operation(id.bucket(), operation);
        let new_key = self.0.keys.session(&rotation.new_id);
        let declared = [
            &keys.session,
            &keys.invalidations,
            &keys.events,
            &operation_key,
            &new_key,
        ];
        let declared: Vec<_> = declared.iter().map(|key| key.as_bytes()).collect();

        let tag = format!("{operation}{}", context_words());
        let (old, new) = (id.text(), rotation.new_id.text());
        let (class, timeouts) = match &rotation.class {
            Some((name, class)) => (name.as_str(), Some(class)),
            None => ("", None),
        };
        let idle = timeouts.map_or(0, |class| millis(class.idle)).to_string();
        let absolute = timeouts.map_or(0, |class| millis(class.absolute)).to_string();
        let list = |values: &Option<Vec<String>>| {
            values.as_ref().map_or_else(String::new, |values| {
                serde_json::Value::from(values.clone()).to_string()
            })
        };
        let (roles, permissions) = (list(&rotation.roles), list(&rotation.permissions));
        // A log-in drops the data that it does not name (S09).
        let keep = if rotation.login {
            Some(rotation.keep.unwrap_or_default())
        } else {
            rotation.keep
        };
        let kept: Vec<_> = keep.iter().flatten().map(|key| format!("d:{}", key.as_str())).collect();
        let mut arguments: Vec<&[u8]> = vec![
            tag.as_bytes(),
            old.as_str().as_bytes(),
            new.as_str().as_bytes(),
            flag(rotation.login),
            class.as_bytes(),
            idle.as_bytes(),
            absolute.as_bytes(),
            flag(rotation.authenticated),
            roles.as_bytes(),
            permissions.as_bytes(),
            flag(keep.is_some()),
        ];
        arguments.extend(kept.iter().map(String::as_bytes));
        let done = self
            .run(BucketCall {
                script: &self.0.scripts.rotate,
                bucket: id.bucket(),
                keys: &declared,
                arguments: &arguments,
                durable: rotation.durable,
            })
            .await?;
        Ok(Rotated {
            snapshot: self.changed(&done, &tag)?,
            durable: done.durable,
        })
    }

    async fn end(&self, id: SessionId, end: End) -> Result<Ended> {
        let version = end.if_version.map_or_else(String::new, |version| version.to_string());
        let arguments = [
            end.reason.as_str().as_bytes(),
            end.reason.event().as_str().as_bytes(),
            version.as_bytes(),
        ];
        // A second run must answer what the first one did: the log of ends is kept by that.
        let operation = Some(OperationId::generate(&*self.0.random)?);
        let (done, tag) = self
            .on_session(&self.0.scripts.end, &id, operation, end.durable, &arguments)
            .await?;
        self.ended(&done, &tag)
    }

    async fn end_user(
        &self,
        user: &UserId,
        except: Option<SessionId>,
        durable: bool,
        operation: OperationId,
    ) -> Result<Ended> {
        let bucket = self.0.keyring.bucket_of(user);
        let keys = &self.0.keys;
        let declared = [
            keys.users(bucket),
            keys.invalidations(bucket),
            keys.events(bucket),
            keys.operation(bucket, operation),
        ];
        let declared: Vec<_> = declared.iter().map(String::as_bytes).collect();
        let tag = format!("{operation}{}", context_words());
        let except = except.map(|id| id.to_string()).unwrap_or_default();
        let hash = self.0.keyring.user_hash(user);
        let arguments = [tag.as_bytes(), hash.as_bytes(), except.as_bytes()];
        let script = &self.0.scripts.end_user;
        let done = self
            .run(BucketCall {
                script,
                bucket,
                keys: &declared,
                arguments: &arguments,
                durable,
            })
            .await?;
        self.ended(&done, &tag)
    }

    async fn sessions_of(&self, user: &UserId) -> Result<Vec<Snapshot>> {
        let bucket = self.0.keyring.bucket_of(user);
        let hash = self.0.keyring.user_hash(user);
        let keys = &self.0.keys;
        // With the channels declared, a half-moved slot answers TRYAGAIN rather than the part of the list that it has.
        let declared = [keys.users(bucket), keys.invalidations(bucket), keys.events(bucket)];
        let declared: Vec<_> = declared.iter().map(String::as_bytes).collect();
        let call = BucketCall {
            script: &self.0.scripts.sessions_of,
            bucket,
            keys: &declared,
            arguments: &[hash.as_bytes(), hash.as_bytes()],
            durable: false,
        };
        let done = self.run(call).await?;
        let snapshots = self.snapshots(&done, &hash)?;
        if snapshots
            .iter()
            .any(|snapshot| snapshot.session.user_id.as_ref() != Some(user))
        {
            return Err(self.distrust(&done, StoreError::Mismatch));
        }
        Ok(snapshots)
    }

    async fn record_activity(
        &self,
        id: SessionId,
        action: String,
        metadata: JsonMap,
        operation: OperationId,
    ) -> Result<Vec<Activity>> {
        let action = serde_json::Value::from(action).to_string();
        let metadata = serde_json::to_string(&metadata).map_err(|error| StoreError::Corrupt(error.to_string()))?;
        let most = MAX_ACTIVITIES.to_string();
        let arguments = [action.as_bytes(), metadata.as_bytes(), most.as_bytes()];
        let script = &self.0.scripts.record_activity;
        let (done, tag) = self.on_session(script, &id, Some(operation), false, &arguments).await?;
        self.listed_activities(&done, &tag, id)
    }

    async fn activities(&self, id: SessionId) -> Result<Vec<Activity>> {
        let script = &self.0.scripts.activities;
        let (done, tag) = self.on_session(script, &id, None, false, &[]).await?;
        self.listed_activities(&done, &tag, id)
    }

    async fn end_bucket(&self, bucket: Bucket, before: Option<Timestamp>, limit: u32) -> Result<Step> {
        self.end_some(bucket, before, limit).await
    }

    async fn sweep(&self, bucket: Bucket, limit: u32) -> Result<Step> {
        self.sweep_some(bucket, limit).await
    }

    async fn count(&self, bucket: Bucket) -> Result<BucketCounts> {
        self.count_bucket(bucket).await
    }

    async fn page(
        &self,
        bucket: Bucket,
        after: Option<SessionId>,
        limit: u32,
        filter: &Filter,
    ) -> Result<Vec<Snapshot>> {
        self.page_of(bucket, after, limit, filter).await
    }

    async fn events_since(&self, bucket: Bucket, since: EventId) -> Result<Replay> {
        self.replay(bucket, since).await
    }

    async fn events(&self) -> Result<mpsc::Receiver<Event>> {
        self.subscribe_to_events().await
    }

    async fn bookmark(&self, reader: &str, at: Option<EventId>) -> Result<Option<EventId>> {
        self.keep_bookmark(reader, at).await
    }

    async fn lineage(&self) -> Result<Lineage> {
        self.read_lineage().await
    }

    async fn ping(&self) -> Result<Timestamp> {
        super::layout::check(&self.0).await
    }
}
