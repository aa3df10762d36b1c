//! How a script is called for one session, and what its answer means.

use super::{BucketCall, Done, RedisStore, Result, activity, codec};
use crate::session::clock_millis as millis;
use crate::session::{Activity, OperationId, SessionId, UserId};
use crate::store::{Ended, Lookup, Snapshot, StoreError, Touch};
use crate::telemetry::trace::context_words;

/// The keys that a script on one session declares: the session, the channels, the operation.
pub(super) struct SessionKeys {
    pub(super) session: String,
    pub(super) invalidations: String,
    pub(super) events: String,
}

impl RedisStore {
    pub(super) fn session_keys(&self, id: &SessionId) -> SessionKeys {
        let keys = &self.0.keys;
        let bucket = id.bucket();
        SessionKeys {
            session: keys.session(id),
            invalidations: keys.invalidations(bucket),
            events: keys.events(bucket),
        }
    }

    /// Runs a script on one session: the first arguments are the tag, with what the call is done for, and the id.
    pub(super) async fn on_session(
        &self,
        script: &super::Script,
        id: &SessionId,
        operation: Option<OperationId>,
        durable: bool,
        arguments: &[&[u8]],
    ) -> Result<(Done, String)> {
        let keys = self.session_keys(id);
        let text = id.text();
        let operation_key = operation.map(|operation| self.0.keys.operation(id.bucket(), operation));
        let mut tag = operation.map_or_else(|| text.as_str().to_owned(), |operation| operation.to_string());
        tag += &context_words();
        let mut declared = vec![
            keys.session.as_bytes(),
            keys.invalidations.as_bytes(),
            keys.events.as_bytes(),
        ];
        declared.extend(operation_key.as_ref().map(String::as_bytes));
        let arguments = [&[tag.as_bytes(), text.as_str().as_bytes()], arguments].concat();
        let call = BucketCall {
            script,
            bucket: id.bucket(),
            keys: &declared,
            arguments: &arguments,
            durable,
        };
        let done = self.run(call).await?;
        Ok((done, tag))
    }

    /// The session that an answer gives back under the id that it has now.
    pub(super) fn changed(&self, done: &Done, tag: &str) -> Result<Snapshot> {
        let (head, mut reply) = self.told(done, tag)?;
        let id = parse_id(reply.text()?)?;
        self.snapshot(done, &mut reply, id, &head)
    }

    /// As [`RedisStore::changed`], of a record that was written: it is kept anew where it is not kept as it should be.
    pub(super) async fn written(&self, done: &Done, tag: &str) -> Result<Snapshot> {
        let (head, mut reply) = self.told(done, tag)?;
        let id = parse_id(reply.text()?)?;
        let mut fields = reply.clone();
        let record = self.record(done, &mut reply, id, &head)?;
        if self.0.vault.is_on() && !self.0.vault.is_settled(&record.kept) {
            // It can be read as it is: so a failure is no failure of the change.
            if let Err(error) = self.reseal(&record, &codec::fields(&mut fields)?).await {
                tracing::debug!(%id, %error, "a record is left under an older key");
            }
        }
        Ok(record.snapshot)
    }

    pub(super) async fn look_up(&self, id: SessionId) -> Result<(Lookup, bool)> {
        let done = self.ask(id).await?;
        Ok((self.looked_up(&done, id.text().as_str())?, done.asked))
    }

    /// Asks for a session.
    pub(super) async fn ask(&self, id: SessionId) -> Result<Done> {
        let (text, key) = (id.text(), self.0.keys.session(&id));
        let arguments = [text.as_str().as_bytes(), text.as_str().as_bytes()];
        let call = BucketCall {
            script: &self.0.scripts.get,
            bucket: id.bucket(),
            keys: &[key.as_bytes()],
            arguments: &arguments,
            durable: false,
        };
        self.run(call).await
    }

    /// Follows the aliases of a half-moved slot one by one: neither of its sides need have both an alias and what the
    /// alias leads to.
    pub(super) async fn follow(&self, id: SessionId) -> Result<Lookup> {
        let (mut id, mut replayed) = (id, false);
        while let Some((target, is_over)) = self.alias(id).await? {
            (id, replayed) = (target, replayed || is_over);
            match self.look_up(id).await?.0 {
                Lookup::Found(snapshot) if replayed => {
                    let current = snapshot.session.id;
                    return Ok(Lookup::Replayed { current });
                }
                Lookup::Missing => {}
                found => return Ok(found),
            }
        }
        Ok(Lookup::Missing)
    }

    /// Where an alias leads, and whether its grace is over.
    pub(super) async fn alias(&self, id: SessionId) -> Result<Option<(SessionId, bool)>> {
        let (text, key) = (id.text(), self.0.keys.alias(&id));
        let call = BucketCall {
            script: &self.0.scripts.alias,
            bucket: id.bucket(),
            keys: &[key.as_bytes()],
            arguments: &[text.as_str().as_bytes()],
            durable: false,
        };
        let done = self.run(call).await?;
        let (head, mut reply) = self.open(&done, text.as_str())?;
        match head.status {
            "ok" => Ok(Some((parse_id(reply.text()?)?, reply.flag()?))),
            _ => Ok(None),
        }
    }

    pub(super) fn looked_up(&self, done: &Done, tag: &str) -> Result<Lookup> {
        let (head, mut reply) = self.open(done, tag)?;
        match head.status {
            "found" => {
                let found = parse_id(reply.text()?)?;
                Ok(Lookup::Found(self.snapshot(done, &mut reply, found, &head)?))
            }
            "replayed" => Ok(Lookup::Replayed {
                current: parse_id(reply.text()?)?,
            }),
            _ => Ok(Lookup::Missing),
        }
    }

    pub(super) async fn touch_with(&self, touch: &Touch, give_back: bool) -> Result<(Done, String)> {
        let age = millis(touch.age).to_string();
        let (from, to) = match &touch.migrate {
            Some((from, to)) => (from.as_str(), to.as_str()),
            None => ("", ""),
        };
        let arguments = [age.as_bytes(), from.as_bytes(), to.as_bytes(), flag(give_back)];
        self.on_session(&self.0.scripts.touch, &touch.id, None, false, &arguments)
            .await
    }

    /// Runs a script on one user, whose hash is the tag.
    pub(super) async fn on_user(&self, script: &super::Script, user: &UserId) -> Result<(Done, String)> {
        let (bucket, hash) = (self.0.keyring.bucket_of(user), self.0.keyring.user_hash(user));
        let keys = &self.0.keys;
        // With the channels declared, a half-moved slot answers TRYAGAIN rather than the part of the list that it has.
        let declared = [keys.users(bucket), keys.invalidations(bucket), keys.events(bucket)];
        let declared: Vec<_> = declared.iter().map(String::as_bytes).collect();
        let call = BucketCall {
            script,
            bucket,
            keys: &declared,
            arguments: &[hash.as_bytes(), hash.as_bytes()],
            durable: false,
        };
        Ok((self.run(call).await?, hash))
    }

    /// How sessions of a user ended, newest first.
    pub(super) async fn ends_of(&self, user: &UserId) -> Result<Vec<Activity>> {
        let (done, tag) = self.on_user(&self.0.scripts.user_activities, user).await?;
        let (_, mut reply) = self.told(&done, &tag)?;
        let ends: Result<Vec<_>> = reply.texts()?.into_iter().map(activity::read_end).collect();
        ends.map_err(|error| self.distrust(&done, error))
    }

    /// The activities in an answer, as the scripts wrote them.
    pub(super) fn listed_activities(&self, done: &Done, tag: &str, id: SessionId) -> Result<Vec<Activity>> {
        let (_, mut reply) = self.told(done, tag)?;
        let texts = reply.texts()?;
        let (current, core, sealed) = (parse_id(reply.text()?)?, reply.text()?, reply.bytes()?);
        let read = || {
            let origin = codec::origin_of(current, core, sealed, &self.0.vault)?;
            texts
                .iter()
                .map(|text| activity::read(text, &origin, &self.0.vault))
                .collect::<Result<Vec<_>>>()
        };
        read().map_err(|error| {
            let error = codec::at_session(id, error);
            self.distrust(done, error)
        })
    }

    pub(super) fn ended(&self, done: &Done, tag: &str) -> Result<Ended> {
        let (_, mut reply) = self.told(done, tag)?;
        let sessions: Vec<SessionId> = reply.parsed()?;
        let durable = done.durable.map(|reached| reached || sessions.is_empty());
        Ok(Ended {
            sessions,
            kin: reply.parsed()?,
            durable,
        })
    }
}

pub(super) fn flag(set: bool) -> &'static [u8] {
    if set { b"1" } else { b"0" }
}

pub(super) fn parse_id(text: &str) -> Result<SessionId> {
    text.parse()
        .map_err(|_| StoreError::Corrupt(format!("session id `{text}`")))
}
