use serde_json::value::RawValue;

use super::backend::{Fields, Judge, Opened};
use super::error::Error;
use super::session::Core;
use super::visit::Visit;

/// What a request has made of its session so far.
#[derive(Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(super) struct State {
    pub(super) held: Held,
    /// What is to be written: only keys that the request changed.
    pub(super) pending: Fields,
    pub(super) outgoing: Outgoing,
    /// Whether anything was written.
    pub(super) wrote: bool,
    /// Whether the handler was told that what is pending cannot be written.
    pub(super) refused: bool,
    /// Whether the handler let go of the session.
    pub(super) unset: bool,
    /// Whether the response's head is made, so that no cookie can be set any more.
    pub(super) sent: bool,
}

/// The session as far as it is known.
#[derive(Default)]
pub(super) enum Held {
    /// Nobody has asked for it.
    #[default]
    Unread,
    /// There is none: one begins with the first value that is set.
    Nothing,
    Open(Opened),
    /// It ended in this request, or meanwhile in another.
    Ended,
}

/// What the response says of the cookie.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outgoing {
    #[default]
    Nothing,
    /// The session's token, or all of it where the client holds it.
    Issue,
    /// That it is over.
    Clear,
}

impl State {
    /// Looks the session up, unless that was done.
    pub(super) async fn look_up(&mut self, core: &Core, visit: &Visit, judge: Judge) -> Result<(), Error> {
        if !matches!(self.held, Held::Unread) {
            return Ok(());
        }
        let is_trusted = visit.may_come_from(core.options.cross_site);
        let csrf_token = visit.csrf_token().filter(|_| !is_trusted);
        if !is_trusted && csrf_token.is_none() {
            return Err(Error::CrossSite);
        }
        let found = core.backend.find(visit, &core.set_cookie, judge).await?;
        if let Some(given) = csrf_token
            && !found
                .as_ref()
                .is_some_and(|opened| core.backend.verify_csrf(opened, given))
        {
            return Err(Error::CrossSite);
        }
        self.held = match found {
            Some(opened) => self.adopt(opened),
            None => Held::Nothing,
        };
        Ok(())
    }

    fn adopt(&mut self, opened: Opened) -> Held {
        if opened.stale {
            self.outgoing = Outgoing::Issue;
        }
        Held::Open(opened)
    }

    /// Takes over what a change brought.
    pub(super) fn hold(&mut self, opened: Opened) {
        self.held = self.adopt(opened);
    }

    pub(super) fn opened(&self) -> Option<&Opened> {
        match &self.held {
            Held::Open(opened) => Some(opened),
            Held::Unread | Held::Nothing | Held::Ended => None,
        }
    }

    /// A value as the request sees it: what it has set itself goes first.
    pub(super) fn value(&self, key: &str) -> Option<&RawValue> {
        let own = self.pending.iter().find(|(pending, _)| pending.as_str() == key);
        match own {
            Some((_, value)) => value.as_deref(),
            None => self.opened()?.session.data.get(key),
        }
    }

    /// Writes what is pending, where there is a session.
    pub(super) async fn flush(&mut self, core: &Core) -> Result<(), Error> {
        let Held::Open(opened) = &self.held else { return Ok(()) };
        if self.pending.is_empty() {
            return Ok(());
        }
        let changed = core.backend.change(opened, self.pending.clone()).await;
        self.refused = changed.is_err();
        let changed = self.unless_ended(changed)?;
        self.pending.clear();
        self.wrote = true;
        self.hold(changed);
        Ok(())
    }

    /// Makes a session of what is pending, where there is none.
    pub(super) async fn begin(&mut self, core: &Core, visit: &Visit) -> Result<(), Error> {
        if !matches!(self.held, Held::Nothing) {
            return Ok(());
        }
        if self.sent {
            return Err(Error::Late);
        }
        let class = core.options.class.as_deref();
        let made = core.backend.create(class, self.pending.clone(), visit).await;
        self.refused = made.is_err();
        let made = made?;
        self.pending.clear();
        self.held = Held::Open(made);
        self.outgoing = Outgoing::Issue;
        Ok(())
    }

    /// A session that turns out to have ended stays so in this request.
    pub(super) fn unless_ended<T>(&mut self, outcome: Result<T, Error>) -> Result<T, Error> {
        if matches!(outcome, Err(Error::Ended)) {
            self.held = Held::Ended;
            self.pending.clear();
        }
        outcome
    }
}
