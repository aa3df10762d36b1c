use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::client_side::{self, ClientSide};
use super::error::Error;
use super::login::LogIn;
use super::visit::{Presented, Visit};
use crate::session::{DataKey, Json, JsonMap, Session, SessionId, Timestamp, Token};
use crate::sessions::{
    ClientTraits, Consistency, CreateRequest, Freshness, InvalidReason, Issued, Presented as PresentedToken,
    RotateRequest, Sessions, Stopping, ValidSession, Validation, to_the_end,
};
use crate::store::Change;
use crate::web::SetCookie;

/// Data keys to set or to remove.
pub(super) type Fields = BTreeMap<DataKey, Option<Json>>;

/// Where an application's sessions are.
pub(super) enum Backend {
    /// In a store that all replicas share.
    Shared(Sessions),
    /// In the clients' cookies.
    ClientSide(ClientSide),
}

/// A session that a request has opened.
#[derive(Clone)]
pub(super) struct Opened {
    pub(super) session: Arc<Session>,
    /// The id that the client's token stands for: another than the session's within the grace of a rotation.
    pub(super) presented: SessionId,
    /// The time at which it was read, by the clock that its deadlines are of.
    pub(super) now: Timestamp,
    /// What opens it; nothing where that is another than the client presented.
    pub(super) token: Option<Token>,
    /// Whether the client must be given it anew, for it alone holds it.
    pub(super) stale: bool,
}

/// Whether the client is held against the one that logged in.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Judge {
    Client,
    /// Whoever holds the token may end its session, or log in once more.
    Nobody,
}

impl Backend {
    /// The session that the request's credential opens. What is malformed is refused before the store is asked.
    pub(super) async fn find(&self, visit: &Visit, cookie: &SetCookie, judge: Judge) -> Result<Option<Opened>, Error> {
        match (self, &visit.presented) {
            (Self::ClientSide(client_side), Presented::Pieces(pieces)) => Ok(client_side.open(cookie.name(), pieces)),
            (_, Presented::Nothing) | (Self::ClientSide(_), _) => Ok(None),
            (Self::Shared(sessions), Presented::Cookie(value)) => match cookie.seal().open(value) {
                Some(token) => validated(sessions, &token, visit, judge).await,
                None => Ok(refused(sessions)),
            },
            (Self::Shared(sessions), Presented::Header(token)) => validated(sessions, token, visit, judge).await,
            (Self::Shared(sessions), _) => Ok(refused(sessions)),
        }
    }

    pub(super) async fn create(&self, class: Option<&str>, data: Fields, visit: &Visit) -> Result<Opened, Error> {
        let data = only_set(data);
        match self {
            Self::ClientSide(client_side) => client_side.create(class, data),
            Self::Shared(sessions) => {
                let request = CreateRequest {
                    class: class.map(str::to_owned),
                    data,
                    metadata: visit.metadata(),
                    fingerprint: visit.fingerprint().map(str::to_owned),
                    ..CreateRequest::default()
                };
                Ok(issued(sessions.create(request).await?))
            }
        }
    }

    pub(super) async fn change(&self, opened: &Opened, fields: Fields) -> Result<Opened, Error> {
        self.change_if(opened, fields, None).await
    }

    /// As [`Backend::change`], where the session has this version.
    pub(super) async fn change_if(
        &self,
        opened: &Opened,
        fields: Fields,
        version: Option<u64>,
    ) -> Result<Opened, Error> {
        match self {
            Self::ClientSide(_) => Ok(client_side::changed(opened, fields)),
            Self::Shared(sessions) => {
                let change = Change {
                    data: fields,
                    if_match: version.map(|version| vec![version]),
                    ..Change::default()
                };
                let session = sessions.change(opened.session.id, change).await?;
                Ok(with_session(opened, session))
            }
        }
    }

    /// The session as it is now.
    pub(super) async fn reload(&self, opened: &Opened) -> Result<Opened, Error> {
        let Self::Shared(sessions) = self else {
            return Ok(opened.clone());
        };
        let strong = Freshness {
            consistency: Consistency::Strong,
            ..Freshness::default()
        };
        let session = sessions.get(opened.session.id, strong).await?.ok_or(Error::Ended)?;
        Ok(with_session(opened, session))
    }

    pub(super) async fn touch(&self, opened: &Opened) -> Result<Opened, Error> {
        match self {
            Self::ClientSide(_) => Ok(Opened {
                stale: true,
                ..opened.clone()
            }),
            Self::Shared(sessions) => Ok(with_session(opened, sessions.touch(opened.session.id).await?)),
        }
    }

    pub(super) async fn end(&self, opened: &Opened) -> Result<(), Error> {
        if let Self::Shared(sessions) = self {
            let (sessions, id) = (sessions.clone(), opened.session.id);
            to_the_end(async move { sessions.end(id, false).await }).await??;
        }
        Ok(())
    }

    pub(super) async fn rotate(&self, opened: &Opened) -> Result<Opened, Error> {
        match self {
            Self::ClientSide(client_side) => client_side.rotate(opened),
            Self::Shared(sessions) => {
                let (sessions, id) = (sessions.clone(), opened.session.id);
                let rotated = to_the_end(async move { sessions.rotate(id, RotateRequest::default()).await });
                Ok(issued(rotated.await??))
            }
        }
    }

    /// Gives a session to a user, with a new token; `former` is the one that the client has.
    pub(super) async fn log_in(
        &self,
        former: Option<&Opened>,
        pending: Fields,
        log_in: &LogIn,
        visit: &Visit,
        class: Option<&str>,
    ) -> Result<Opened, Error> {
        let sessions = match self {
            Self::ClientSide(client_side) => return client_side.log_in(former, pending, log_in, class),
            Self::Shared(sessions) => sessions.clone(),
        };
        let user = log_in.user_id()?;
        let is_others = |opened: &&Opened| opened.session.user_id.as_ref().is_some_and(|own| *own != user);
        let Some(former) = former else {
            let kept = pending.into_iter().filter(|(key, _)| log_in.keeps(key.as_str()));
            let request = CreateRequest {
                user_id: Some(user),
                class: log_in.class.clone().or_else(|| class.map(str::to_owned)),
                data: only_set(kept.collect()),
                roles: log_in.roles.clone(),
                permissions: log_in.permissions.clone(),
                metadata: visit.metadata(),
                fingerprint: visit.fingerprint().map(str::to_owned),
                durable: log_in.durable,
            };
            return Ok(issued(
                to_the_end(async move { sessions.create(request).await }).await??,
            ));
        };
        if is_others(&former) {
            self.end(former).await?;
            return Box::pin(self.log_in(None, Fields::new(), log_in, visit, class)).await;
        }
        let kept_pending: Fields = pending
            .into_iter()
            .filter(|(key, _)| log_in.keeps(key.as_str()))
            .collect();
        let named = former.session.data.keys().map(Cow::into_owned);
        let keep = log_in.kept_of(named.chain(kept_pending.keys().map(DataKey::to_string)))?;
        let id = former.session.id;
        if !kept_pending.is_empty() {
            self.change(former, kept_pending).await?;
        }
        let request = RotateRequest {
            user_id: Some(user),
            class: log_in.class.clone(),
            roles: Some(log_in.roles.clone()),
            permissions: Some(log_in.permissions.clone()),
            keep: Some(keep),
            authenticated: true,
            durable: log_in.durable,
        };
        Ok(issued(
            to_the_end(async move { sessions.rotate(id, request).await }).await??,
        ))
    }

    pub(super) fn csrf_token(&self, opened: &Opened) -> String {
        match self {
            Self::ClientSide(_) => ClientSide::csrf_token(opened),
            Self::Shared(sessions) => sessions.csrf_token(&opened.session.id),
        }
    }

    /// In constant time; a page that was made before a rotation goes on working within its grace.
    pub(super) fn verify_csrf(&self, opened: &Opened, given: &str) -> bool {
        match self {
            Self::ClientSide(_) => ClientSide::verify_csrf(opened, given),
            Self::Shared(sessions) => sessions.proves_page([opened.session.id, opened.presented], given),
        }
    }
}

/// By memory where that can tell, else by the store.
async fn validated(sessions: &Sessions, token: &str, visit: &Visit, judge: Judge) -> Result<Option<Opened>, Error> {
    let client = match judge {
        Judge::Client => visit.traits(),
        Judge::Nobody => ClientTraits::default(),
    };
    if let Some(valid) = sessions.validate_held(token, &client, |_| true) {
        return Ok(Some(opened(valid)));
    }
    let presented = PresentedToken {
        token,
        csrf_token: None,
        client,
        touch: judge == Judge::Client,
        freshness: Freshness::default(),
    };
    match sessions.validate(presented).await? {
        Validation::Valid(valid) => Ok(Some(opened(valid))),
        Validation::Invalid(InvalidReason::FingerprintMismatch) => Err(Error::OtherClient),
        Validation::Invalid(InvalidReason::ReauthenticationRequired) => Err(Error::ReauthenticationRequired),
        Validation::Invalid(InvalidReason::SessionNotFound) => Ok(refused(sessions)),
        Validation::Invalid(InvalidReason::SessionExpired | InvalidReason::CsrfMismatch) => Ok(None),
    }
}

/// A credential that opens nothing: many of them are guesses.
fn refused(sessions: &Sessions) -> Option<Opened> {
    sessions.metrics().invalid_tokens.with_label_values(&["visitor"]).inc();
    None
}

fn opened(valid: ValidSession) -> Opened {
    let is_present = valid.presented == valid.session.id;
    Opened {
        token: is_present.then_some(valid.token),
        presented: valid.presented,
        session: valid.session,
        now: valid.now,
        stale: false,
    }
}

fn issued(issued: Issued) -> Opened {
    Opened {
        presented: issued.session.id,
        session: issued.session,
        now: issued.now,
        token: Some(issued.token),
        stale: true,
    }
}

fn with_session(opened: &Opened, session: Arc<Session>) -> Opened {
    Opened {
        session,
        ..opened.clone()
    }
}

fn only_set(fields: Fields) -> JsonMap {
    let set = fields
        .into_iter()
        .filter_map(|(key, value)| Some((key.as_str().to_owned(), value?)));
    set.collect()
}

impl From<Stopping> for Error {
    fn from(stopping: Stopping) -> Self {
        Self::Unavailable(stopping.to_string())
    }
}
