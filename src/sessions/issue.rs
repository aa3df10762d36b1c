use std::sync::Arc;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::requests::{CreateRequest, Freshness, Issued, RotateRequest};
use super::{Error, Result, Sessions, alive, alive_or_not_found};
use crate::session::{Bucket, Class, ClassName, JsonMap, Keyring, Session, SessionId, Token, UserId, data_bytes};
use crate::store::{End, EndReason, Lookup, NewSession, Rotation, Snapshot, StoreError};

/// How often a log-in starts again because its anonymous session changed under it.
const LOGIN_TRIES: usize = 5;

impl Sessions {
    /// Makes a session.
    pub async fn create(&self, request: CreateRequest) -> Result<Issued> {
        let (class, timeouts) = self.class(request.class.as_deref().unwrap_or(ClassName::DEFAULT))?;
        self.check_size(&request.data)?;
        let token = self.new_token(self.bucket_for(request.user_id.as_ref())?)?;
        let new = NewSession {
            id: token.id(),
            authenticated: request.user_id.is_some(),
            user_id: request.user_id,
            class,
            timeouts,
            data: request.data,
            roles: request.roles,
            permissions: request.permissions,
            metadata: request.metadata,
            fingerprint: request.fingerprint.as_deref().map(fingerprint_hash),
            server_id: self.0.settings.server_id.clone(),
            limit: self.0.settings.limit,
            kin: Vec::new(),
            durable: request.durable,
        };
        self.make(token, new).await
    }

    /// Gives a session a new token; with a user, logs that user in.
    pub async fn rotate(&self, id: SessionId, request: RotateRequest) -> Result<Issued> {
        let class = request.class.as_deref().map(|name| self.class(name)).transpose()?;
        if let Some(user) = request.user_id.clone() {
            return self.log_in(id, user, class, &request).await;
        }
        let rotation = |new_id| Rotation {
            new_id,
            class,
            login: false,
            keep: request.keep,
            roles: request.roles,
            permissions: request.permissions,
            authenticated: request.authenticated,
            durable: request.durable,
        };
        self.rotate_in_place(id, rotation, "rotation").await
    }

    /// A log-in: of an anonymous session, which moves to its user's bucket, or once more of the user's own.
    async fn log_in(
        &self,
        id: SessionId,
        user: UserId,
        class: Option<(ClassName, Class)>,
        request: &RotateRequest,
    ) -> Result<Issued> {
        for _ in 0..LOGIN_TRIES {
            let snapshot = self.strong(id).await?;
            match &snapshot.user_id {
                Some(own) if *own == user => {
                    let class = match class {
                        Some(class) => class,
                        None => self.class(snapshot.class.as_str())?,
                    };
                    let rotation = |new_id| Rotation {
                        new_id,
                        class: Some(class),
                        login: true,
                        keep: request.keep.clone(),
                        roles: request.roles.clone(),
                        permissions: request.permissions.clone(),
                        authenticated: request.authenticated,
                        durable: request.durable,
                    };
                    return self.rotate_in_place(id, rotation, "login").await;
                }
                Some(_) => return Err(Error::OtherUser),
                None => {}
            }
            if let Some(issued) = self.move_to_user(&snapshot, &user, class.clone(), request).await? {
                self.0.metrics.sessions_rotated.with_label_values(&["login"]).inc();
                return Ok(issued);
            }
        }
        Err(Error::Contended)
    }

    /// Makes the user's session out of an anonymous one, then retires that one if it has not changed meanwhile; nothing
    /// where it has. A crash between the two leaves a session that nobody can reach and that expires.
    async fn move_to_user(
        &self,
        anonymous: &Session,
        user: &UserId,
        class: Option<(ClassName, Class)>,
        request: &RotateRequest,
    ) -> Result<Option<Issued>> {
        let (class, timeouts) = match class {
            Some(class) => class,
            None => self.class(anonymous.class.as_str())?,
        };
        let token = self.new_token(self.0.store.keyring().bucket_of(user))?;
        let new = NewSession {
            id: token.id(),
            user_id: Some(user.clone()),
            class,
            timeouts,
            data: kept(&anonymous.data, request),
            roles: request.roles.clone().unwrap_or_else(|| anonymous.roles.clone()),
            permissions: request
                .permissions
                .clone()
                .unwrap_or_else(|| anonymous.permissions.clone()),
            metadata: anonymous.metadata.clone(),
            fingerprint: anonymous.fingerprint.clone(),
            server_id: self.0.settings.server_id.clone(),
            authenticated: request.authenticated,
            limit: self.0.settings.limit,
            kin: vec![anonymous.id],
            durable: request.durable,
        };
        let issued = self.make(token, new).await?;
        let retire = End {
            reason: EndReason::Login,
            if_version: Some(anonymous.version),
            durable: request.durable,
        };
        let retired = self.end_one(anonymous.id, retire).await;
        match retired {
            Ok(ended) if !ended.sessions.is_empty() => {
                let durable = issued.durable.map(|created| created && ended.durable.unwrap_or(false));
                Ok(Some(Issued { durable, ..issued }))
            }
            outcome => {
                self.undo(issued.session.id).await?;
                match outcome {
                    Ok(_) => Err(StoreError::NotFound.into()),
                    Err(StoreError::Conflict { .. }) => Ok(None),
                    Err(error) => Err(error.into()),
                }
            }
        }
    }

    async fn rotate_in_place(
        &self,
        id: SessionId,
        rotation: impl FnOnce(SessionId) -> Rotation,
        kind: &str,
    ) -> Result<Issued> {
        let token = self.new_token(id.bucket())?;
        let operation = self.operation()?;
        let rotated = self
            .changing(id, self.0.store.rotate(id, rotation(token.id()), operation))
            .await?;
        self.0.metrics.sessions_rotated.with_label_values(&[kind]).inc();
        Ok(self.issued(token, rotated.snapshot, rotated.durable))
    }

    async fn make(&self, token: Token, new: NewSession) -> Result<Issued> {
        let operation = self.operation()?;
        let seen = self.0.redo.lineage();
        let class = new.class.clone();
        let created = self.0.store.create(new, operation).await?;
        self.0
            .metrics
            .sessions_created
            .with_label_values(&[class.as_str()])
            .inc();
        if !created.ended.is_empty() {
            let ended = created.ended.len() as u64;
            self.0
                .metrics
                .sessions_ended
                .with_label_values(&[EndReason::Limit.as_str()])
                .inc_by(ended);
            self.remember_ends(created.ended, EndReason::Limit, &seen);
        }
        Ok(self.issued(token, created.snapshot, created.durable))
    }

    fn issued(&self, token: Token, snapshot: Snapshot, durable: Option<bool>) -> Issued {
        let csrf_token = self.0.store.keyring().csrf_token(&token.id());
        Issued {
            token,
            csrf_token,
            session: snapshot.session,
            now: snapshot.now,
            durable,
        }
    }

    /// A live session straight from the store.
    async fn strong(&self, id: SessionId) -> Result<Arc<Session>> {
        let freshness = Freshness {
            consistency: super::Consistency::Strong,
            min_version: None,
            accept_stale: false,
        };
        match self.read(id, freshness).await? {
            Lookup::Found(snapshot) => alive_or_not_found(alive(snapshot)),
            Lookup::Replayed { .. } | Lookup::Missing => Err(StoreError::NotFound.into()),
        }
    }

    fn new_token(&self, bucket: Bucket) -> Result<Token> {
        Ok(Token::generate(bucket, &*self.0.random)?)
    }

    fn bucket_for(&self, user: Option<&UserId>) -> Result<Bucket> {
        match user {
            Some(user) => Ok(self.0.store.keyring().bucket_of(user)),
            None => Ok(Keyring::random_bucket(&*self.0.random)?),
        }
    }

    fn class(&self, name: &str) -> Result<(ClassName, Class)> {
        let classes = &self.0.settings.classes;
        classes.get(name).ok_or_else(|| Error::UnknownClass {
            class: name.to_owned(),
            known: classes.names().collect::<Vec<_>>().join(", "),
        })
    }

    fn check_size(&self, data: &JsonMap) -> Result<()> {
        let (bytes, limit) = (data_bytes(data), self.0.settings.max_bytes);
        if bytes > limit {
            Err(StoreError::TooLarge { bytes, limit }.into())
        } else {
            Ok(())
        }
    }
}

/// What a log-in keeps of the data: what it names, and nothing where it names nothing (S09).
fn kept(data: &JsonMap, request: &RotateRequest) -> JsonMap {
    let keep = request.keep.as_deref().unwrap_or_default();
    let named = |key: &str| keep.iter().any(|kept| kept.as_str() == key);
    data.iter()
        .filter(|(key, _)| named(key))
        .map(|(key, value)| (key, value.to_owned()))
        .collect()
}

/// Only a hash of a fingerprint is stored.
pub(super) fn fingerprint_hash(fingerprint: &str) -> String {
    URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, fingerprint.as_bytes()))
}
