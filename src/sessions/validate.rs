use std::sync::Arc;

use super::requests::{ClientTraits, InvalidReason, Presented, ValidSession, Validation};
use super::{Result, Sessions};
use crate::session::{SessionId, Token, Verdict};
use crate::store::{End, EndReason, Lookup, Snapshot};

impl Sessions {
    /// Judges a token, and where it is a use of the session, notes it.
    pub async fn validate(&self, presented: Presented<'_>) -> Result<Validation> {
        let validation = self.judge(presented).await?;
        match &validation {
            Validation::Valid(_) => self.0.found_valid.inc(),
            Validation::Invalid(reason) => self.0.metrics.validations.with_label_values(&[reason.as_str()]).inc(),
        }
        Ok(validation)
    }

    /// As [`Sessions::validate`] for the token of a session in memory that nothing is to be said against and that is fit
    /// for what the caller wants, and notes the use; nothing where it takes more than memory to tell.
    pub fn validate_held(
        &self,
        token: &str,
        client: &ClientTraits<'_>,
        is_fit: impl FnOnce(&ValidSession) -> bool,
    ) -> Option<ValidSession> {
        let token = token.parse::<Token>().ok()?;
        let id = token.id();
        let (snapshot, vouched_until) = self.held(&id)?;
        if snapshot.session.unconfirmed || !self.is_same_client(&snapshot.session, client) {
            return None;
        }
        let valid = ValidSession {
            session: Arc::clone(&snapshot.session),
            token,
            presented: id,
            now: snapshot.now,
            vouched_until,
            stale: None,
        };
        if !is_fit(&valid) {
            return None;
        }
        self.note_use(&snapshot);
        self.0.found_valid.inc();
        Some(valid)
    }

    async fn judge(&self, presented: Presented<'_>) -> Result<Validation> {
        let Ok(token) = presented.token.parse::<Token>() else {
            return Ok(Validation::Invalid(InvalidReason::SessionNotFound));
        };
        let id = token.id();
        let vouched = self.read_vouched(id, presented.freshness).await?;
        let snapshot = match vouched.lookup {
            Lookup::Found(snapshot) => snapshot,
            Lookup::Replayed { current } => {
                self.end_family(id, current).await?;
                return Ok(Validation::Invalid(InvalidReason::SessionNotFound));
            }
            Lookup::Missing => return Ok(Validation::Invalid(InvalidReason::SessionNotFound)),
        };
        if snapshot.session.verdict(snapshot.now) == Verdict::Expired {
            return Ok(Validation::Invalid(InvalidReason::SessionExpired));
        }
        if presented
            .csrf_token
            .is_some_and(|given| !self.proves_page([id, snapshot.session.id], given))
        {
            return Ok(Validation::Invalid(InvalidReason::CsrfMismatch));
        }
        if let Some(reason) = self.judge_client(&snapshot, &presented.client).await? {
            return Ok(Validation::Invalid(reason));
        }
        let snapshot = match vouched.stale {
            None => self.confirm_first_use(id, snapshot).await,
            Some(_) => snapshot,
        };
        if presented.touch {
            self.note_use(&snapshot);
        }
        Ok(Validation::Valid(ValidSession {
            session: snapshot.session,
            token,
            presented: id,
            now: snapshot.now,
            vouched_until: vouched.until,
            stale: vouched.stale,
        }))
    }

    /// The CSRF token that goes with a session.
    pub fn csrf_token(&self, id: &SessionId) -> String {
        self.0.store.keyring().csrf_token(id)
    }

    /// Compares a CSRF token with that of a session, in constant time.
    pub fn verify_csrf(&self, id: &SessionId, given: &str) -> bool {
        self.0.store.keyring().verify_csrf(id, given)
    }

    /// Compares a CSRF token with those of a session under the id that was presented and the one that it has now: within
    /// the grace of a rotation, a page made with the former token goes on working, and so does its CSRF token.
    pub(crate) fn proves_page(&self, ids: [SessionId; 2], given: &str) -> bool {
        ids.iter().any(|id| self.verify_csrf(id, given))
    }

    /// The first use of a rotated session's new token starts the grace of the former one. Where the store cannot take
    /// the note, the grace starts with a later use.
    async fn confirm_first_use(&self, presented: SessionId, snapshot: Snapshot) -> Snapshot {
        if !snapshot.session.unconfirmed || snapshot.session.id != presented {
            return snapshot;
        }
        let confirming = self.0.store.confirm(presented, self.0.settings.rotation_grace);
        match self.changing(presented, confirming).await {
            Ok(confirmed) => confirmed,
            Err(error) => {
                tracing::debug!(session_id = %presented, %error, "the first use of a rotated token was not noted");
                snapshot
            }
        }
    }

    /// A retired token came back: whoever holds it or its successor stole it, so the session ends (S12).
    async fn end_family(&self, retired: SessionId, current: SessionId) -> Result<()> {
        tracing::warn!(session_id = %current, retired_id = %retired, "a retired token was used again: ending the session");
        self.0.metrics.theft_detected.inc();
        let end = End {
            reason: EndReason::Theft,
            if_version: None,
            durable: false,
        };
        self.end_one(current, end).await?;
        Ok(())
    }
}
