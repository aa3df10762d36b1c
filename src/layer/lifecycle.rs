use super::backend::Judge;
use super::error::Error;
use super::login::LogIn;
use super::session::{Result, Session};
use super::state::{Held, Outgoing};

/// How a session begins, changes its token and ends.
impl Session {
    /// Logs a user in, whose password or the like the application has just checked: a new token for a session of that
    /// user, so that whoever knows the old one has nothing (session fixation). Of the data only what [`LogIn::keep`]
    /// names stays.
    ///
    /// ```
    /// use cloakroom::layer::{Error, LogIn, Session};
    ///
    /// async fn log_in(session: Session) -> Result<(), Error> {
    ///     session.log_in(LogIn::user("dana").roles(["editor"]).keep(["cart"])).await
    /// }
    /// # let _ = log_in;
    /// ```
    pub async fn log_in(&self, log_in: impl Into<LogIn>) -> Result<()> {
        let log_in = log_in.into();
        log_in.user_id()?;
        let mut state = self.locked().await;
        let (core, visit) = (&*self.0.core, &self.0.visit);
        match state.look_up(core, visit, Judge::Client).await {
            Err(Error::OtherClient | Error::ReauthenticationRequired) => {
                // Another client than the one that logged in: its session ends, and this one begins anew.
                state.look_up(core, visit, Judge::Nobody).await?;
                if let Some(opened) = state.opened() {
                    core.backend.end(opened).await?;
                }
                state.held = Held::Nothing;
            }
            outcome => outcome?,
        }
        if state.sent {
            return Err(Error::Late);
        }
        let (former, pending) = (state.opened().cloned(), state.pending.clone());
        let class = core.options.class.as_deref();
        let log_in_from = |former, pending| core.backend.log_in(former, pending, &log_in, visit, class);
        let logged_in = match log_in_from(former.as_ref(), pending.clone()).await {
            // It ended meanwhile: no reason to turn away a user who has just proved who they are.
            Err(Error::Ended) if former.is_some() => log_in_from(None, pending).await?,
            outcome => outcome?,
        };
        state.pending.clear();
        state.unset = false;
        state.held = Held::Open(logged_in);
        state.outgoing = Outgoing::Issue;
        Ok(())
    }

    /// Logs the user out: [`Session::destroy`] by the name that readers look for.
    pub async fn log_out(&self) -> Result<()> {
        self.destroy().await
    }

    /// Ends the session now, for every replica, and has the browser drop the cookie. Nothing that is under way brings it
    /// back. Where the store cannot confirm it, it answers [`Error::Unavailable`], and the end is repeated until it is
    /// done.
    pub async fn destroy(&self) -> Result<()> {
        let mut state = self.locked().await;
        let core = &*self.0.core;
        state.look_up(core, &self.0.visit, Judge::Nobody).await?;
        if let Some(opened) = state.opened() {
            core.backend.end(opened).await?;
        }
        state.pending.clear();
        state.held = Held::Ended;
        state.outgoing = Outgoing::Clear;
        Ok(())
    }

    /// Ends the session and begins an empty one with another token, which is stored when a value is set. It is what
    /// express-session calls `regenerate`. For a log-in there is [`Session::log_in`].
    pub async fn regenerate(&self) -> Result<()> {
        self.destroy().await?;
        let mut state = self.locked().await;
        state.held = Held::Nothing;
        Ok(())
    }

    /// Gives the session another token and keeps all else, as at a change of privileges. The old token goes on working
    /// until a few seconds after the new one's first use, so that requests under way are not logged out; used later it is
    /// taken for stolen, and the session ends.
    pub async fn rotate(&self) -> Result<()> {
        let mut state = self.looked_up().await?;
        let core = &*self.0.core;
        state.flush(core).await?;
        let Some(opened) = state.opened().cloned() else {
            return Ok(());
        };
        if state.sent {
            return Err(Error::Late);
        }
        let rotated = core.backend.rotate(&opened).await;
        let rotated = state.unless_ended(rotated)?;
        state.held = Held::Open(rotated);
        state.outgoing = Outgoing::Issue;
        Ok(())
    }

    /// Writes what is pending now; where there is no session yet, one begins, be it empty. Afterwards all of it is in the
    /// store. [`Error::Ended`] where the session has ended meanwhile: then nothing was written.
    pub async fn save(&self) -> Result<()> {
        let mut state = self.looked_up().await?;
        if matches!(state.held, Held::Ended) {
            return Err(Error::Ended);
        }
        state.begin(&self.0.core, &self.0.visit).await?;
        state.flush(&self.0.core).await
    }

    /// Drops what is pending and reads the session from the store. [`Error::Ended`] where it has ended.
    pub async fn reload(&self) -> Result<()> {
        let mut state = self.looked_up().await?;
        state.pending.clear();
        if matches!(state.held, Held::Ended) {
            return Err(Error::Ended);
        }
        let Some(opened) = state.opened().cloned() else {
            return Ok(());
        };
        let present = self.0.core.backend.reload(&opened).await;
        let present = state.unless_ended(present)?;
        state.hold(present);
        Ok(())
    }

    /// Records the use of the session in the store now. Every look at it counts as a use anyway, and is recorded about
    /// every tenth of the idle time, at most a minute later.
    pub async fn touch(&self) -> Result<()> {
        let mut state = self.looked_up().await?;
        let Some(opened) = state.opened().cloned() else {
            return Ok(());
        };
        let touched = self.0.core.backend.touch(&opened).await;
        let touched = state.unless_ended(touched)?;
        state.hold(touched);
        state.wrote = true;
        Ok(())
    }

    /// Lets go of the session, as `req.session = null` does in Express: what the request changed is dropped, and with
    /// [`Unset::Destroy`](super::Unset::Destroy) the session ends with the response.
    pub async fn unset(&self) -> Result<()> {
        let mut state = self.looked_up().await?;
        state.pending.clear();
        state.unset = true;
        Ok(())
    }

    /// The token that this request's response gives the client in the cookie; nothing where it gives none. For clients
    /// without cookies, which send it as `Authorization: Session <token>`: never for a page, whose scripts could read it.
    pub async fn issued_token(&self) -> Result<Option<String>> {
        let state = self.looked_up().await?;
        let token = state.opened().and_then(|opened| opened.token.as_ref());
        Ok(token
            .filter(|_| state.outgoing == Outgoing::Issue)
            .map(crate::session::Token::expose))
    }
}
