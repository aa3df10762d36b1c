//! Waiting for a condition, never for a length of time.

use std::time::Duration;

use tokio::time::Instant;

/// How long a condition that should come true soon may take on a busy machine.
pub(crate) const SOON: Duration = Duration::from_secs(20);

const PAUSE: Duration = Duration::from_millis(10);

/// What a condition answers: nothing yet, or the value that the caller waits for.
pub(crate) trait Outcome {
    type Value;

    fn settled(self) -> Option<Self::Value>;
}

impl Outcome for bool {
    type Value = ();

    fn settled(self) -> Option<()> {
        self.then_some(())
    }
}

impl<T> Outcome for Option<T> {
    type Value = T;

    fn settled(self) -> Option<T> {
        self
    }
}

/// Asks `condition` again and again until it holds (`true` or `Some`), and panics with `what` after `limit`.
///
/// An attempt that hangs counts against the limit too.
pub(crate) async fn eventually<O: Outcome>(
    limit: Duration,
    what: &str,
    mut condition: impl AsyncFnMut() -> O,
) -> O::Value {
    let deadline = Instant::now() + limit;
    loop {
        let attempt = tokio::time::timeout_at(deadline, condition()).await;
        if let Some(value) = attempt.ok().and_then(Outcome::settled) {
            return value;
        }
        assert!(Instant::now() < deadline, "after {limit:?} still waiting for: {what}");
        tokio::time::sleep(PAUSE).await;
    }
}
