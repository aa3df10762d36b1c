use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::{self, StreamExt as _};
use tokio::sync::mpsc;

use super::calls::flag;
use super::{BucketCall, RedisStore, Result, content};
use crate::coherence::ConnectionId;
use crate::session::clock_millis as millis;
use crate::session::{
    Activity, Bucket, CartItem, JsonMap, Keyring, OperationId, ServerId, SessionId, Timestamp, UserId,
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
        let core = content::core_of(&new, &self.0.vault)?;
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
        let data = new.data.iter().map(|(key, value)| (format!("d:{key}"), value.get()));
        let fields = self.stored(&new.id, data)?;
        let mut arguments: Vec<&[u8]> = vec![
            user.as_bytes(),
            new.class.as_str().as_bytes(),
            idle.as_bytes(),
            absolute.as_bytes(),
            bytes.as_bytes(),
            core.readable.as_bytes(),
            new.server_id.as_str().as_bytes(),
            flag(new.authenticated && new.user_id.is_some()),
            limit.as_bytes(),
            policy.as_bytes(),
        ];
        if let Some(sealed) = &core.sealed {
            arguments.extend([content::SEALED.as_bytes(), sealed]);
        }
        for (field, value) in &fields {
            arguments.extend([field.as_bytes(), value]);
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
        self.written(&done, &tag).await
    }

    async fn change(&self, id: SessionId, change: Change, max_bytes: u64, operation: OperationId) -> Result<Snapshot> {
        self.change_session(id, change, max_bytes, operation).await
    }

    async fn increment(&self, id: SessionId, increment: Increment) -> Result<serde_json::Number> {
        self.increment_value(id, increment).await
    }

    async fn add_to_cart(
        &self,
        id: SessionId,
        item: CartItem,
        max_bytes: u64,
        operation: OperationId,
    ) -> Result<Vec<CartItem>> {
        self.add_cart_line(id, item, max_bytes, operation).await
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
        self.written(&done, &tag).await
    }

    async fn rotate(&self, id: SessionId, rotation: Rotation, operation: OperationId) -> Result<Rotated> {
        self.rotate_session(id, rotation, operation).await
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
        let (done, hash) = self.on_user(&self.0.scripts.sessions_of, user).await?;
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
        self.add_activity(id, &action, &metadata, operation).await
    }

    async fn activities(&self, id: SessionId) -> Result<Vec<Activity>> {
        let script = &self.0.scripts.activities;
        let (done, tag) = self.on_session(script, &id, None, false, &[]).await?;
        self.listed_activities(&done, &tag, id)
    }

    async fn user_activities(&self, user: &UserId) -> Result<Vec<Activity>> {
        self.ends_of(user).await
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
