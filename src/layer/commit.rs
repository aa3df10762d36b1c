use std::sync::atomic::Ordering;

use axum::http::header::{CACHE_CONTROL, SET_COOKIE, VARY};
use axum::http::{HeaderMap, HeaderValue, Response};

use super::backend::{Backend, Opened};
use super::client_side::ClientSide;
use super::error::Error;
use super::options::Unset;
use super::session::{Result, Session};
use super::state::{Held, Outgoing, State};
use super::visit::Presented;
use crate::session::REMEMBER_ME_CLASS;
use crate::web::{Life, Scheme, Secure};

const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
const COOKIE: HeaderValue = HeaderValue::from_static("Cookie");

/// The end of a request: what is pending is written before the response leaves, and the response gets its cookie.
impl Session {
    /// Finishes the session of a response where that takes no store, as with most requests; whether it did.
    pub(super) fn finish_at_once<R: Default>(&self, response: &mut Response<R>) -> bool {
        if !self.0.used.load(Ordering::Relaxed) {
            return !self.0.core.options.act_unasked();
        }
        let Ok(mut state) = self.0.state.try_lock() else {
            return false;
        };
        let is_saved = self.is_saved(&state);
        if is_saved {
            conclude(response, self.leave(&mut state));
        }
        is_saved
    }

    /// Finishes the session of a response. Where what the handler has set cannot be written, the response is not true:
    /// it becomes the error's, which also stands among its extensions.
    pub(super) async fn finish<R: Default>(&self, response: &mut Response<R>) {
        if !self.0.used.load(Ordering::Relaxed) {
            // The handler did not ask for the session: neither does its answer depend on it.
            if let Err(error) = self.looked_up().await {
                tracing::debug!(%error, "a session that nobody asked for was not looked up");
                return;
            }
        }
        let mut state = self.0.state.lock().await;
        let outcome = match self.settle(&mut state).await {
            Ok(()) => self.leave(&mut state),
            Err(error) => Err(error),
        };
        conclude(response, outcome);
    }

    /// Whether there is nothing to write.
    fn is_saved(&self, state: &State) -> bool {
        let options = &self.0.core.options;
        let holds_nothing_new = match state.held {
            Held::Unread | Held::Ended => true,
            Held::Nothing => !options.save_uninitialized && state.pending.is_empty(),
            Held::Open(_) => !options.resave && state.pending.is_empty(),
        };
        holds_nothing_new && !state.unset
    }

    /// The last that is done about a session before the response leaves: gives the response's cookies.
    fn leave(&self, state: &mut State) -> Result<Vec<HeaderValue>> {
        if state.outgoing == Outgoing::Nothing && !state.unset && self.renews_cookie(state) {
            state.outgoing = Outgoing::Issue;
        }
        state.sent = true;
        self.cookies(state)
    }

    async fn settle(&self, state: &mut State) -> Result<()> {
        let core = &*self.0.core;
        let options = &core.options;
        if state.refused {
            // The handler knows, and has answered accordingly.
            state.pending.clear();
        }
        if state.unset {
            state.pending.clear();
            if let (Unset::Destroy, Some(opened)) = (options.unset, state.opened().cloned()) {
                core.backend.end(&opened).await?;
                state.held = Held::Ended;
                state.outgoing = Outgoing::Clear;
            }
            return Ok(());
        }
        match state.held {
            Held::Unread | Held::Ended => {}
            Held::Nothing => {
                let has_values = state.pending.values().any(Option::is_some);
                if has_values || options.save_uninitialized {
                    state.begin(core, &self.0.visit).await?;
                }
            }
            Held::Open(_) => match self.write(state).await {
                // It ended while the request was under way: as if the request had come before the end.
                Err(Error::Ended) => tracing::debug!("a session ended before it was saved: it stays ended"),
                outcome => outcome?,
            },
        }
        Ok(())
    }

    async fn write(&self, state: &mut State) -> Result<()> {
        let core = &*self.0.core;
        state.flush(core).await?;
        if core.options.resave
            && !state.wrote
            && let Some(opened) = state.opened().cloned()
        {
            let touched = core.backend.touch(&opened).await;
            let touched = state.unless_ended(touched)?;
            state.hold(touched);
        }
        Ok(())
    }

    /// Whether the client's cookie starts its `Max-Age` again: with every response, or as its session changed.
    fn renews_cookie(&self, state: &State) -> bool {
        let options = &self.0.core.options;
        let sliding = options.cookie.max_age.is_some() && !options.cookie.browser_lifetime;
        let came_by_cookie = !matches!(self.0.visit.presented, Presented::Header(_));
        came_by_cookie && (options.rolling || (sliding && state.wrote))
    }

    fn cookies(&self, state: &State) -> Result<Vec<HeaderValue>> {
        let lines = match (state.outgoing, state.opened()) {
            (Outgoing::Issue, Some(opened)) => self.issuing(opened)?,
            (Outgoing::Clear, _) => self.clearing(0),
            _ => Vec::new(),
        };
        if !lines.is_empty() && self.would_leak() {
            tracing::warn!("the session cookie is for TLS only and the client spoke plain HTTP: it was not set");
            return Ok(Vec::new());
        }
        Ok(lines
            .into_iter()
            .filter_map(|line| HeaderValue::from_str(&line).ok())
            .collect())
    }

    /// Whether a trusted proxy says that what is for TLS only would travel in the clear.
    fn would_leak(&self) -> bool {
        let is_secure = self.0.core.options.cookie.secure == Secure::Always;
        is_secure && self.0.visit.scheme == Some(Scheme::Http)
    }

    fn issuing(&self, opened: &Opened) -> Result<Vec<String>> {
        let (core, scheme) = (&*self.0.core, self.0.visit.scheme);
        let life = Life {
            now: opened.now,
            ends_at: opened.session.absolute_expires_at,
            outlives_browser: opened.session.class.as_str() == REMEMBER_ME_CLASS,
        };
        match &core.backend {
            Backend::Shared(_) => {
                let token = opened.token.as_ref();
                let cookie = token.map(|token| core.set_cookie.value(token, life, scheme));
                Ok(cookie.into_iter().collect())
            }
            Backend::ClientSide(client_side) => {
                let pieces = client_side.close(core.set_cookie.name(), opened)?;
                let carried = pieces
                    .iter()
                    .map(|(name, value)| core.set_cookie.carrying(name, value, life, scheme));
                let mut lines: Vec<_> = carried.collect();
                lines.extend(self.clearing(pieces.len()));
                Ok(lines)
            }
        }
    }

    /// What makes the client drop its cookies, but for the first `kept` pieces.
    fn clearing(&self, kept: usize) -> Vec<String> {
        let (set_cookie, scheme) = (&self.0.core.set_cookie, self.0.visit.scheme);
        let presented = match &self.0.visit.presented {
            Presented::Pieces(pieces) => pieces.len(),
            Presented::Refused | Presented::Cookie(_) => 1,
            Presented::Nothing | Presented::Header(_) => 0,
        };
        let names = ClientSide::leftovers(set_cookie.name(), presented, kept);
        names.map(|name| set_cookie.clearing(&name, scheme)).collect()
    }
}

/// Gives a response its cookies, or makes it that of the error.
fn conclude<R: Default>(response: &mut Response<R>, outcome: Result<Vec<HeaderValue>>) {
    match outcome {
        Ok(cookies) => adorn(response.headers_mut(), cookies),
        Err(error) => {
            tracing::warn!(%error, "a session was not saved");
            *response.body_mut() = R::default();
            error.head(response);
            response.extensions_mut().insert(std::sync::Arc::new(error));
        }
    }
}

/// What a response that depends on a session tells caches, and its cookies.
fn adorn(headers: &mut HeaderMap, cookies: Vec<HeaderValue>) {
    let keeps_to_itself = |value: &HeaderValue| {
        let value = value.to_str().unwrap_or_default();
        ["private", "no-store", "no-cache"]
            .iter()
            .any(|word| value.contains(word))
    };
    let sets_cookie = !cookies.is_empty();
    if sets_cookie || !headers.get(CACHE_CONTROL).is_some_and(keeps_to_itself) {
        headers.insert(CACHE_CONTROL, NO_STORE);
    }
    headers.append(VARY, COOKIE);
    for cookie in cookies {
        headers.append(SET_COOKIE, cookie);
    }
}
