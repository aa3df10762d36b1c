use std::panic::resume_unwind;

use opentelemetry::context::FutureExt as _;
use tracing::Instrument as _;

/// The server stops before the work was done.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the server is stopping")]
pub(crate) struct Stopping;

/// Does what makes or ends sessions to its end, even if the caller stops waiting: a client that hangs up leaves nothing
/// half done.
pub(crate) async fn to_the_end<T: Send + 'static>(
    work: impl Future<Output = T> + Send + 'static,
) -> Result<T, Stopping> {
    match tokio::spawn(work.in_current_span().with_current_context()).await {
        Ok(outcome) => Ok(outcome),
        Err(error) if error.is_panic() => resume_unwind(error.into_panic()),
        Err(_) => Err(Stopping),
    }
}
