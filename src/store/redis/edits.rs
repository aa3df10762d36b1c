//! Changes of one session. A script makes them by itself where it can. What is sealed it cannot read: then the session is
//! read first, and changed only if it is still the same.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::{Instant, timeout_at};

use super::calls::parse_id;
use super::codec::{self, Record};
use super::{Done, RedisStore, Result, activity, content};
use crate::session::{
    CartItem, DataKey, JsonMap, MAX_ACTIVITIES, OperationId, SealingKeys, Session, SessionId, Verdict,
};
use crate::store::edit::{apply, cart_with, incremented, to_json};
use crate::store::{Change, Increment, Lookup, Snapshot, StoreError};

/// What an operation's answer belongs to.
const ANSWER: &str = "o";

/// One try of a change.
struct Try<'a> {
    change: &'a Change,
    /// The versions allowed; any where there is none.
    versions: Option<&'a [u64]>,
    /// What is sealed together, where that changes.
    content: Option<Vec<u8>>,
    max_bytes: u64,
    operation: OperationId,
    /// What a second run answers; not empty.
    answer: &'a [u8],
}

/// How long a change that others overtake is tried again.
pub(super) struct Patience(Instant);

impl Patience {
    /// Fails once it is at an end.
    pub(super) fn check(&self) -> Result<()> {
        if Instant::now() < self.0 {
            Ok(())
        } else {
            Err(StoreError::Unavailable("the session kept changing".to_owned()))
        }
    }
}

impl RedisStore {
    pub(super) fn patience(&self) -> Patience {
        Patience(Instant::now() + self.0.router.dialer().options().deadline())
    }

    /// Values as they are kept, each in its field.
    pub(super) fn stored<'v>(
        &self,
        id: &SessionId,
        values: impl IntoIterator<Item = (String, &'v str)>,
    ) -> Result<Vec<(String, Cow<'v, [u8]>)>> {
        let id = id.text();
        let stored = |(field, value): (String, &'v str)| {
            let value = self.kept(&[id.as_str(), &field], value.as_bytes())?;
            Ok((field, value))
        };
        values.into_iter().map(stored).collect()
    }

    /// A value as it is kept.
    pub(super) fn kept<'v>(&self, place: &[&str], value: &'v [u8]) -> Result<Cow<'v, [u8]>> {
        if self.0.vault.seals() {
            Ok(Cow::Owned(self.0.vault.seal(place, value)?))
        } else {
            Ok(Cow::Borrowed(value))
        }
    }

    pub(super) async fn change_session(
        &self,
        id: SessionId,
        change: Change,
        max_bytes: u64,
        operation: OperationId,
    ) -> Result<Snapshot> {
        let (mut id, patience) = (id, self.patience());
        let reads_first = self.0.vault.seals() && has_content(&change);
        let _turn = if reads_first {
            self.turn(&id, &patience).await
        } else {
            None
        };
        let mut record = None;
        loop {
            if reads_first {
                let settled = self.settled(id).await?;
                id = settled.snapshot.session.id;
                record = Some(settled);
            }
            let current = record.as_ref().map(|record| [record.snapshot.session.version]);
            let wanted = change.if_match.as_deref();
            let is_wanted = |version: &u64| wanted.is_none_or(|wanted| wanted.contains(version));
            // A condition of the caller's that cannot hold is left to the script: it may have run before.
            let own = current.as_ref().filter(|[version]| is_wanted(version));
            let tried = Try {
                change: &change,
                versions: own.map_or(wanted, |own| Some(own)),
                content: record
                    .as_ref()
                    .map(|record| self.changed_content(&change, record))
                    .transpose()?
                    .flatten(),
                max_bytes,
                operation,
                answer: b"ok",
            };
            match self.try_change(id, tried).await {
                Ok(Some((done, tag))) => return self.written(&done, &tag).await,
                Ok(None) if !reads_first => id = self.settled(id).await?.snapshot.session.id,
                Ok(None) => {}
                Err(StoreError::Conflict { current }) if own.is_some() && is_wanted(&current) => {}
                Err(error) => return Err(error),
            }
            patience.check()?;
        }
    }

    /// What is sealed together after a change; nothing where that changes nothing of it.
    fn changed_content(&self, change: &Change, record: &Record) -> Result<Option<Vec<u8>>> {
        let mut after = (*record.snapshot.session).clone();
        let change = Change {
            data: BTreeMap::new(),
            ..change.clone()
        };
        if apply(change, &mut after) {
            content::sealed_content(&after, &record.kept, &after.id, &self.0.vault).map(Some)
        } else {
            Ok(None)
        }
    }

    /// Runs the script once; nothing where the record must be read first.
    async fn try_change(&self, id: SessionId, tried: Try<'_>) -> Result<Option<(Done, String)>> {
        let change = tried.change;
        let vault = &self.0.vault;
        let most = tried.max_bytes.to_string();
        let versions = tried.versions.map_or_else(String::new, |versions| {
            // A condition that no version can meet must not read as none.
            let listed = versions.iter().map(u64::to_string).collect::<Vec<_>>().join(" ");
            if listed.is_empty() { "-".to_owned() } else { listed }
        });
        let patch = if vault.seals() {
            String::new()
        } else {
            content::patch_of(change)?
        };
        let field = |key: &DataKey| format!("d:{}", key.as_str());
        let sets = change
            .data
            .iter()
            .filter_map(|(key, value)| Some((field(key), value.as_ref()?.get())));
        let mut sets = self.stored(&id, sets)?;
        sets.extend(
            tried
                .content
                .map(|content| (content::SEALED.to_owned(), Cow::Owned(content))),
        );
        let removes = change.data.iter().filter(|(_, value)| value.is_none());
        let removes: Vec<_> = removes.map(|(key, _)| field(key)).collect();
        let (seal, count) = (vault.overhead().to_string(), sets.len().to_string());
        let mut arguments = vec![
            most.as_bytes(),
            versions.as_bytes(),
            patch.as_bytes(),
            seal.as_bytes(),
            tried.answer,
            count.as_bytes(),
        ];
        for (field, value) in &sets {
            arguments.extend([field.as_bytes(), value]);
        }
        arguments.extend(removes.iter().map(String::as_bytes));
        let (done, tag) = self
            .on_session(&self.0.scripts.change, &id, Some(tried.operation), false, &arguments)
            .await?;
        if self.must_read_first(&done, &tag)? {
            return Ok(None);
        }
        self.told(&done, &tag)?;
        Ok(Some((done, tag)))
    }

    /// Whether a script did nothing because the record is kept otherwise than was assumed. Without keys that is an error.
    pub(super) fn must_read_first(&self, done: &Done, tag: &str) -> Result<bool> {
        Ok(self.0.vault.is_on() && self.open(done, tag)?.0.status == "again")
    }

    pub(super) async fn increment_value(&self, id: SessionId, increment: Increment) -> Result<serde_json::Number> {
        if self.0.vault.is_on() {
            let (most, operation) = (increment.max_bytes, increment.operation);
            let sum = |session: &Session| incremented(session, &increment);
            return self.edit(id, &increment.key, most, operation, sum).await;
        }
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

    pub(super) async fn add_cart_line(
        &self,
        id: SessionId,
        item: CartItem,
        max_bytes: u64,
        operation: OperationId,
    ) -> Result<Vec<CartItem>> {
        if self.0.vault.is_on() {
            let key = DataKey::new(CartItem::DATA_KEY).map_err(|rule| StoreError::Corrupt(rule.to_string()))?;
            let cart = |session: &Session| cart_with(session, item.clone());
            return self.edit(id, &key, max_bytes, operation, cart).await;
        }
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

    /// Sets a value that is made from the session as it is, if it is still the same then, and gives it.
    async fn edit<T: Serialize + DeserializeOwned>(
        &self,
        id: SessionId,
        key: &DataKey,
        max_bytes: u64,
        operation: OperationId,
        make: impl Fn(&Session) -> Result<T>,
    ) -> Result<T> {
        let patience = self.patience();
        let _turn = self.turn(&id, &patience).await;
        let place = operation.to_string();
        let place = [place.as_str(), ANSWER];
        loop {
            let session = self.settled(id).await?.snapshot.session;
            let value = make(&session)?;
            let json = to_json(&value)?;
            let answer = self.kept(&place, json.get().as_bytes())?;
            let change = Change {
                data: BTreeMap::from([(key.clone(), Some(json.clone()))]),
                ..Change::default()
            };
            let tried = Try {
                change: &change,
                versions: Some(&[session.version]),
                content: None,
                max_bytes,
                operation,
                answer: &answer,
            };
            match self.try_change(session.id, tried).await {
                Ok(Some((done, tag))) => {
                    let (_, mut reply) = self.told(&done, &tag)?;
                    reply.text()?;
                    codec::fields(&mut reply)?;
                    return match reply.bytes()? {
                        first if first == &*answer => Ok(value),
                        // The change was made before, by another try of this operation.
                        former => self.former_answer(&place, former),
                    };
                }
                Ok(None) | Err(StoreError::Conflict { .. }) => patience.check()?,
                Err(error) => return Err(error),
            }
        }
    }

    fn former_answer<T: DeserializeOwned>(&self, place: &[&str], answer: &[u8]) -> Result<T> {
        let json = if answer.first() == Some(&SealingKeys::FORM) {
            Cow::Owned(self.0.vault.open(place, answer)?.value)
        } else {
            Cow::Borrowed(answer)
        };
        serde_json::from_slice(&json).map_err(|error| StoreError::Corrupt(format!("an operation's answer: {error}")))
    }

    pub(super) async fn add_activity(
        &self,
        id: SessionId,
        action: &str,
        metadata: &JsonMap,
        operation: OperationId,
    ) -> Result<Vec<crate::session::Activity>> {
        let mut origin = String::new();
        if self.0.vault.seals() {
            let record = self.settled(id).await?;
            origin = record.kept.origin_of(&record.snapshot.session);
        }
        let members = activity::members(action, metadata, &origin, &self.0.vault)?;
        let most = MAX_ACTIVITIES.to_string();
        let arguments = [members.as_bytes(), most.as_bytes()];
        let script = &self.0.scripts.record_activity;
        let (done, tag) = self.on_session(script, &id, Some(operation), false, &arguments).await?;
        self.listed_activities(&done, &tag, id)
    }

    /// Waits until no other change of this server's is at work on the session, but not for long.
    pub(super) async fn turn(&self, id: &SessionId, patience: &Patience) -> Option<tokio::sync::MutexGuard<'_, ()>> {
        timeout_at(patience.0, self.0.vault.turn(id).lock()).await.ok()
    }

    /// A live session's record, after it was made to be kept as this server keeps records.
    pub(super) async fn settled(&self, id: SessionId) -> Result<Record> {
        let (mut id, patience) = (id, self.patience());
        loop {
            let done = self.ask(id).await?;
            let (head, mut reply) = self.open(&done, id.text().as_str())?;
            if head.status == "found" {
                let found = parse_id(reply.text()?)?;
                let mut fields = reply.clone();
                let record = self.record(&done, &mut reply, found, &head)?;
                if record.snapshot.session.verdict(head.now) != Verdict::Alive {
                    return Err(StoreError::NotFound);
                }
                let is_settled = self.0.vault.is_settled(&record.kept);
                if is_settled || self.reseal(&record, &codec::fields(&mut fields)?).await? {
                    return Ok(record);
                }
            } else if done.asked && head.status == "missing" {
                // In a half-moved slot.
                match self.follow(id).await? {
                    Lookup::Found(snapshot) => id = snapshot.session.id,
                    _ => return Err(StoreError::NotFound),
                }
            } else {
                return Err(StoreError::NotFound);
            }
            patience.check()?;
        }
    }

    /// Keeps a record as this server keeps records, if it is still the same. Whether it was.
    pub(super) async fn reseal(&self, record: &Record, fields: &[(&str, &[u8])]) -> Result<bool> {
        let (session, vault) = (&record.snapshot.session, &self.0.vault);
        let readable = fields.iter().find(|(name, _)| *name == "c").map(|(_, value)| *value);
        let readable = std::str::from_utf8(readable.unwrap_or_default()).unwrap_or_default();
        let core = content::core_of_session(readable, session, &record.kept, &session.id, vault)?;
        let data = session.data.iter();
        let mut anew = self.stored(&session.id, data.map(|(key, value)| (format!("d:{key}"), value.get())))?;
        anew.push(("c".to_owned(), Cow::Owned(core.readable.into_bytes())));
        anew.push((content::SEALED.to_owned(), Cow::Owned(core.sealed.unwrap_or_default())));
        let version = session.version.to_string();
        let mut arguments = vec![version.as_bytes()];
        for (name, value) in &anew {
            let old = fields.iter().find(|(field, _)| field == name);
            arguments.extend([name.as_bytes(), old.map_or(&b""[..], |(_, old)| old), value]);
        }
        let script = &self.0.scripts.reseal;
        let (done, tag) = self.on_session(script, &session.id, None, false, &arguments).await?;
        if self.must_read_first(&done, &tag)? {
            return Ok(false);
        }
        self.told(&done, &tag)?;
        self.0.metrics.records_resealed.inc();
        Ok(true)
    }
}

/// Whether a change concerns what is sealed together.
fn has_content(change: &Change) -> bool {
    let lists = change.roles.is_some() || change.permissions.is_some();
    lists || !change.metadata.is_empty() || !change.security.is_empty()
}
