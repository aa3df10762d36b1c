use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::extract::FromRequestParts;
use axum::http::Request;
use axum::http::request::Parts;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::{RawValue, to_raw_value};
use tokio::sync::{Mutex, MutexGuard};

use super::backend::{Backend, Judge};
use super::error::Error;
use super::options::Options;
use super::state::{Held, State};
use super::visit::Visit;
use crate::session::{CartItem, DataKey, Json, Session as Record, SessionId, UserId};
use crate::web::SetCookie;

/// How often an update starts again because the session changed under it.
const UPDATE_TRIES: usize = 16;

/// The outcome of what a session is asked for.
pub type Result<T> = std::result::Result<T, Error>;

/// A request's session: an axum extractor, and in other applications a request extension.
///
/// It is looked up when it is first asked for something, in this server's memory where that can tell. What is set is
/// written when the response is made, in one round trip, and only the keys that were set: two requests at a time do not
/// undo each other. A request that sets nothing writes nothing.
///
/// ```
/// use cloakroom::layer::{Error, Session};
///
/// async fn page(session: Session) -> Result<String, Error> {
///     let views = session.increment("views", 1).await?;
///     let theme: String = session.get("theme").await?.unwrap_or_else(|| "light".to_owned());
///     Ok(format!("{views} views of the {theme} page"))
/// }
/// # let _ = page;
/// ```
///
/// Cheap to clone; the clones are one session.
#[derive(Clone)]
pub struct Session(pub(super) Arc<Shared>);

/// What the clones of a request's session share.
pub(super) struct Shared {
    pub(super) core: Arc<Core>,
    pub(super) visit: Visit,
    /// Whether anybody has asked it for something.
    pub(super) used: AtomicBool,
    pub(super) state: Mutex<State>,
}

/// What all sessions of a layer share.
pub(super) struct Core {
    pub(super) backend: Backend,
    pub(super) options: Options,
    pub(super) set_cookie: SetCookie,
}

impl Session {
    /// The session of a request that has just come in.
    pub(super) fn of<B>(request: &Request<B>, core: &Arc<Core>) -> Self {
        Self(Arc::new(Shared {
            visit: Visit::of(request, &core.backend, &core.options),
            core: Arc::clone(core),
            used: AtomicBool::new(false),
            state: Mutex::default(),
        }))
    }

    /// The state, with the session looked up.
    pub(super) async fn looked_up(&self) -> Result<MutexGuard<'_, State>> {
        let mut state = self.locked().await;
        state.look_up(&self.0.core, &self.0.visit, Judge::Client).await?;
        Ok(state)
    }

    pub(super) async fn locked(&self) -> MutexGuard<'_, State> {
        self.0.used.store(true, Ordering::Relaxed);
        match self.0.state.try_lock() {
            Ok(state) => state,
            Err(_) => self.0.state.lock().await,
        }
    }

    /// A value, or nothing where the session has none of this name.
    pub async fn get<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>> {
        let state = self.looked_up().await?;
        state.value(key).map(|json| decoded(key, json)).transpose()
    }

    /// Sets a value. A session begins with the first one.
    pub async fn set<T: Serialize>(&self, key: &str, value: T) -> Result<()> {
        let json = encoded(key, &value)?;
        self.put(key, Some(json)).await
    }

    /// Removes a value, and gives what it was.
    pub async fn remove<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>> {
        let former = self.get(key).await?;
        if former.is_some() {
            self.put(key, None).await?;
        }
        Ok(former)
    }

    async fn put(&self, key: &str, value: Option<Json>) -> Result<()> {
        let name = DataKey::new(key)?;
        let mut state = self.looked_up().await?;
        let is_client_side = matches!(self.0.core.backend, Backend::ClientSide(_));
        match state.held {
            Held::Ended => return Err(Error::Ended),
            Held::Nothing if state.sent => return Err(Error::Late),
            Held::Open(_) if state.sent && is_client_side => return Err(Error::Late),
            Held::Unread | Held::Nothing | Held::Open(_) => {}
        }
        state.pending.insert(name, value);
        state.refused = false;
        Ok(())
    }

    /// Adds to an integer and gives the sum; a key that is missing counts as 0. However many requests do so at the same
    /// time, on whichever replicas: each counts once.
    pub async fn increment(&self, key: &str, by: i64) -> Result<i64> {
        let name = DataKey::new(key)?;
        let mut state = self.looked_up().await?;
        if let (Backend::Shared(sessions), Held::Open(_)) = (&self.0.core.backend, &state.held) {
            if state.pending.contains_key(&name) {
                state.flush(&self.0.core).await?;
            }
            let Some(opened) = state.opened().cloned() else {
                return Err(Error::Ended);
            };
            let outcome = sessions.increment(opened.session.id, name, by.into()).await;
            let outcome = outcome.map_err(|error| not_a_number(key, error));
            let sum = state.unless_ended(outcome)?;
            let json = encoded(key, &sum)?;
            state.note_written(key, json);
            return sum.as_i64().ok_or_else(|| Error::NotANumber(key.to_owned()));
        }
        let present = state.value(key).map(|json| decoded::<i64>(key, json));
        let present = present.transpose().map_err(|_| Error::NotANumber(key.to_owned()))?;
        let sum = present.unwrap_or_default().checked_add(by);
        let sum = sum.ok_or_else(|| Error::NotANumber(key.to_owned()))?;
        drop(state);
        self.set(key, sum).await?;
        Ok(sum)
    }

    /// Changes a value depending on what it is, and gives what it became. Where another request changes the session at
    /// the same time, the change is made again from what that left. What was pending is written along with it.
    pub async fn update<T, F>(&self, key: &str, mut change: F) -> Result<T>
    where
        T: Serialize + DeserializeOwned,
        F: FnMut(Option<T>) -> T,
    {
        let name = DataKey::new(key)?;
        let mut state = self.looked_up().await?;
        for _ in 0..UPDATE_TRIES {
            let present = state.value(key).map(|json| decoded(key, json)).transpose()?;
            let value = change(present);
            let json = encoded(key, &value)?;
            let (Backend::Shared(_), Some(opened)) = (&self.0.core.backend, state.opened().cloned()) else {
                drop(state);
                self.put(key, Some(json)).await?;
                return Ok(value);
            };
            let mut fields = state.pending.clone();
            fields.insert(name.clone(), Some(json));
            let version = opened.session.version;
            match self.0.core.backend.change_if(&opened, fields, Some(version)).await {
                Err(Error::Contended) => {
                    let present = self.0.core.backend.reload(&opened).await;
                    let present = state.unless_ended(present)?;
                    state.hold(present);
                }
                outcome => {
                    let changed = state.unless_ended(outcome)?;
                    state.pending.clear();
                    state.wrote = true;
                    state.hold(changed);
                    return Ok(value);
                }
            }
        }
        Err(Error::Contended)
    }

    /// Puts a product into the cart, the list in the data key `cart`, and gives the cart: a product that is there already
    /// gets more of it. Right under any number of requests at a time.
    pub async fn add_to_cart(&self, product_id: impl Into<String>, quantity: u64) -> Result<Vec<CartItem>> {
        let item = CartItem {
            product_id: product_id.into(),
            quantity,
        };
        item.check()
            .map_err(|(field, rule)| Error::Invalid(format!("{field}: {rule}")))?;
        let mut state = self.looked_up().await?;
        if let (Backend::Shared(sessions), Held::Open(_)) = (&self.0.core.backend, &state.held) {
            state.flush(&self.0.core).await?;
            let Some(opened) = state.opened().cloned() else {
                return Err(Error::Ended);
            };
            let outcome = sessions.add_to_cart(opened.session.id, item).await.map_err(Error::from);
            let cart = state.unless_ended(outcome)?;
            let json = encoded(CartItem::DATA_KEY, &cart)?;
            state.note_written(CartItem::DATA_KEY, json);
            return Ok(cart);
        }
        drop(state);
        let mut cart = self.cart().await?;
        item.add_to(&mut cart);
        self.set(CartItem::DATA_KEY, &cart).await?;
        Ok(cart)
    }

    /// The cart; empty where nothing was put into it yet.
    pub async fn cart(&self) -> Result<Vec<CartItem>> {
        let cart = self.get(CartItem::DATA_KEY).await;
        let cart = cart.map_err(|error| match error {
            Error::Decode { .. } => Error::NotACart,
            error => error,
        })?;
        Ok(cart.unwrap_or_default())
    }

    /// The public handle of the session, safe to list and to log; nothing where there is none yet.
    pub async fn id(&self) -> Result<Option<SessionId>> {
        Ok(self.looked_up().await?.opened().map(|opened| opened.session.id))
    }

    /// Who is logged in.
    pub async fn user_id(&self) -> Result<Option<UserId>> {
        let state = self.looked_up().await?;
        Ok(state.opened().and_then(|opened| opened.session.user_id.clone()))
    }

    /// The client's address as a trusted proxy names it ([`Options::trusted_proxies`]); nothing where there is none, for
    /// what an unknown proxy says is no address, and its own is that of all its clients.
    pub fn client_address(&self) -> Option<IpAddr> {
        self.0.visit.client_address()
    }

    /// Whether the user has this role.
    pub async fn has_role(&self, role: &str) -> Result<bool> {
        let state = self.looked_up().await?;
        let has = |record: &Record| record.roles.iter().any(|own| own == role);
        Ok(state.opened().is_some_and(|opened| has(&opened.session)))
    }

    /// The whole session as it was read or last written, without what is pending; nothing where there is none yet.
    pub async fn record(&self) -> Result<Option<Arc<Record>>> {
        let state = self.looked_up().await?;
        Ok(state.opened().map(|opened| Arc::clone(&opened.session)))
    }

    /// The CSRF token for this session's pages: for a hidden field of every form, or the header `X-CSRF-Token`. It changes
    /// with the session's token. Where there is no session yet, one begins.
    pub async fn csrf_token(&self) -> Result<String> {
        let mut state = self.looked_up().await?;
        state.begin(&self.0.core, &self.0.visit).await?;
        let opened = state.opened().ok_or(Error::Ended)?;
        Ok(self.0.core.backend.csrf_token(opened))
    }

    /// Whether a form brought this session's CSRF token; compared in constant time.
    pub async fn verify_csrf(&self, given: &str) -> Result<bool> {
        let state = self.looked_up().await?;
        let opened = state.opened();
        Ok(opened.is_some_and(|opened| self.0.core.backend.verify_csrf(opened, given)))
    }
}

impl State {
    /// The store has written a value: it is part of the session that is held, too.
    fn note_written(&mut self, key: &str, json: Json) {
        self.wrote = true;
        if let Held::Open(opened) = &mut self.held {
            Arc::make_mut(&mut opened.session).data.insert(key, json);
        }
    }
}

fn encoded<T: Serialize + ?Sized>(key: &str, value: &T) -> Result<Json> {
    to_raw_value(value).map_err(|source| Error::Encode {
        key: key.to_owned(),
        source,
    })
}

fn decoded<T: DeserializeOwned>(key: &str, json: &RawValue) -> Result<T> {
    serde_json::from_str(json.get()).map_err(|source| Error::Decode {
        key: key.to_owned(),
        source,
    })
}

fn not_a_number(key: &str, error: crate::sessions::Error) -> Error {
    use crate::store::StoreError;

    match error {
        crate::sessions::Error::Store(StoreError::NotANumber) => Error::NotANumber(key.to_owned()),
        error => error.into(),
    }
}

impl<S: Sync> FromRequestParts<S> for Session {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> std::result::Result<Self, Error> {
        parts.extensions.get::<Self>().cloned().ok_or(Error::NoLayer)
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Session")
    }
}
