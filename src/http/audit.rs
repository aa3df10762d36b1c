//! The audit log: who ended, rotated or moved what, a line each, beside the events that tell the same.

use super::extract::to_the_end;
use super::problem::ApiError;
use crate::session::{SessionId, UserId};
use crate::sessions::{Issued, Result};
use crate::telemetry::{Actor, Cause};

/// What was asked for.
#[derive(Debug, Clone, Default)]
pub(super) struct Deed {
    /// Its name, which is that of the operation in the API's description.
    pub(super) action: &'static str,
    /// The session that it concerns.
    pub(super) session_id: Option<SessionId>,
    /// The user whom it concerns.
    pub(super) user_id: Option<UserId>,
    /// The server that the session goes to.
    pub(super) server_id: Option<String>,
}

/// What an outcome says of itself in the audit log.
pub(super) trait Told {
    /// How many sessions ended.
    fn ended(&self) -> Option<u64> {
        None
    }

    /// The id that the session has now.
    fn new_id(&self) -> Option<SessionId> {
        None
    }
}

impl Told for () {}

impl Told for u64 {
    fn ended(&self) -> Option<u64> {
        Some(*self)
    }
}

impl Told for Issued {
    fn new_id(&self) -> Option<SessionId> {
        Some(self.session.id)
    }
}

impl<T> Told for std::sync::Arc<T> {}

/// Runs a deed to its end, whether or not its client waits, and writes it down. Its events name the cause.
pub(super) async fn audited<T: Told + Send + 'static>(
    cause: Cause,
    deed: Deed,
    work: impl Future<Output = Result<T>> + Send + 'static,
) -> std::result::Result<T, ApiError> {
    let noted = cause.clone();
    let work = cause.of(work);
    let done = to_the_end(async move {
        let outcome = work.await;
        write(&noted, &deed, &outcome);
        outcome
    });
    Ok(done.await??)
}

fn write<T: Told>(cause: &Cause, deed: &Deed, outcome: &Result<T>) {
    let (actor, subject) = match &cause.actor {
        Actor::Application { subject } => ("application", subject.as_deref()),
        Actor::Visitor => ("visitor", None),
    };
    let done = outcome.as_ref().ok();
    tracing::info!(
        target: "audit",
        action = deed.action,
        actor,
        subject,
        request_id = cause.request_id.as_deref(),
        session_id = deed.session_id.map(tracing::field::display),
        user_id = deed.user_id.as_ref().map(UserId::as_str),
        server_id = deed.server_id.as_deref(),
        ended = done.and_then(Told::ended),
        new_id = done.and_then(Told::new_id).map(tracing::field::display),
        outcome = if done.is_some() { "done" } else { "failed" },
        error = outcome.as_ref().err().map(tracing::field::display),
        "audit"
    );
}
