//! A rotation. What is sealed is sealed for an id: so with encryption the session is read first, and sealed anew.

use std::borrow::Cow;

use super::calls::flag;
use super::codec::Record;
use super::{BucketCall, RedisStore, Result, content};
use crate::session::clock_millis as millis;
use crate::session::{OperationId, SessionId};
use crate::store::{Rotated, Rotation, StoreError};
use crate::telemetry::trace::context_words;

/// What a rotation writes anew of a record that was read.
#[derive(Default)]
struct Anew<'a> {
    /// The version that the record must have, where it was read.
    version: String,
    fields: Vec<(String, Cow<'a, [u8]>)>,
}

impl RedisStore {
    pub(super) async fn rotate_session(
        &self,
        id: SessionId,
        rotation: Rotation,
        operation: OperationId,
    ) -> Result<Rotated> {
        let rotation = Rotation {
            // A log-in drops the data that it does not name (S09).
            keep: rotation.keep.or_else(|| rotation.login.then(Vec::new)),
            ..rotation
        };
        let vault = &self.0.vault;
        let (mut id, patience) = (id, self.patience());
        let _turn = if vault.seals() {
            self.turn(&id, &patience).await
        } else {
            None
        };
        loop {
            let record = match self.settled_where_sealed(id).await {
                // The script tells whether it has run before.
                Err(StoreError::NotFound) => None,
                read => read?,
            };
            if let Some(record) = &record {
                id = record.snapshot.session.id;
            }
            let anew = record.as_ref().map(|record| self.sealed_anew(record, &rotation));
            let anew = anew.transpose()?.unwrap_or_default();
            if let Some(rotated) = self.try_rotation(id, &rotation, &anew, operation).await? {
                return Ok(rotated);
            }
            if !vault.seals() {
                id = self.settled(id).await?.snapshot.session.id;
            }
            patience.check()?;
        }
    }

    async fn settled_where_sealed(&self, id: SessionId) -> Result<Option<Record>> {
        if self.0.vault.seals() {
            Ok(Some(self.settled(id).await?))
        } else {
            Ok(None)
        }
    }

    /// The content of a session as it is after a rotation, sealed for its new id.
    fn sealed_anew<'a>(&self, record: &'a Record, rotation: &Rotation) -> Result<Anew<'a>> {
        let (session, new_id) = (&record.snapshot.session, &rotation.new_id);
        let is_kept = |key: &str| {
            let keep = rotation.keep.as_ref();
            keep.is_none_or(|keep| keep.iter().any(|kept| kept.as_str() == key))
        };
        let data = session.data.iter().filter(|(key, _)| is_kept(key));
        let mut fields = self.stored(new_id, data.map(|(key, value)| (format!("d:{key}"), value.get())))?;
        let mut after = (**session).clone();
        if let Some(roles) = &rotation.roles {
            after.roles.clone_from(roles);
        }
        if let Some(permissions) = &rotation.permissions {
            after.permissions.clone_from(permissions);
        }
        let content = content::sealed_content(&after, &record.kept, new_id, &self.0.vault)?;
        fields.push((content::SEALED.to_owned(), Cow::Owned(content)));
        let version = session.version.to_string();
        Ok(Anew { version, fields })
    }

    /// Runs the script once; nothing where the record must be read first.
    async fn try_rotation(
        &self,
        id: SessionId,
        rotation: &Rotation,
        anew: &Anew<'_>,
        operation: OperationId,
    ) -> Result<Option<Rotated>> {
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

        let vault = &self.0.vault;
        let tag = format!("{operation}{}", context_words());
        let (old, new) = (id.text(), rotation.new_id.text());
        let (class, timeouts) = match &rotation.class {
            Some((name, class)) => (name.as_str(), Some(class)),
            None => ("", None),
        };
        let idle = timeouts.map_or(0, |class| millis(class.idle)).to_string();
        let absolute = timeouts.map_or(0, |class| millis(class.absolute)).to_string();
        let list = |values: &Option<Vec<String>>| {
            let readable = values.as_ref().filter(|_| !vault.seals());
            readable.map_or_else(String::new, |values| {
                serde_json::Value::from(values.clone()).to_string()
            })
        };
        let (roles, permissions) = (list(&rotation.roles), list(&rotation.permissions));
        let keep = &rotation.keep;
        let kept: Vec<_> = keep.iter().flatten().map(|key| format!("d:{}", key.as_str())).collect();
        let (seal, count) = (vault.overhead().to_string(), anew.fields.len().to_string());
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
            seal.as_bytes(),
            anew.version.as_bytes(),
            count.as_bytes(),
        ];
        for (field, value) in &anew.fields {
            arguments.extend([field.as_bytes(), value]);
        }
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
        if self.must_read_first(&done, &tag)? {
            return Ok(None);
        }
        Ok(Some(Rotated {
            snapshot: self.changed(&done, &tag)?,
            durable: done.durable,
        }))
    }
}
