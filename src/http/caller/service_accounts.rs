use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use quick_cache::sync::Cache;
use serde::Deserialize;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::jwt::Refusal;
use super::remembered::hash;
use super::scope::Scope;
use crate::cluster::kubernetes::TokenReviewer;
use crate::session::{Clock, Monotonic, Timestamp};

/// How long an accepted token is accepted without asking again: a revoked one is refused that soon.
const ACCEPTED_FOR: Duration = Duration::from_secs(10);
/// How long a refused token is refused without asking again.
const REFUSED_FOR: Duration = Duration::from_secs(5);
/// How long an API server that did not answer is not asked about the same token again.
const UNANSWERED_FOR: Duration = Duration::from_secs(1);
/// How many tokens are remembered; those that are used the least make room.
const TOKENS: usize = 10_000;
/// How many reviews may be under way: whoever sends made-up tokens cannot press the API server beyond that.
const REVIEWS: usize = 32;
/// How long a request waits for its turn and the API server's answer.
const PATIENCE: Duration = Duration::from_secs(4);

/// What the name of every service account begins with, as a user and as the subject of its tokens.
const USER_PREFIX: &str = "system:serviceaccount:";

/// Judges the tokens of service accounts by asking Kubernetes, and remembers its answers for seconds.
pub struct ServiceAccounts {
    /// What each may do, by its user name.
    granted: HashMap<String, Scope>,
    reviewer: Arc<dyn TokenReviewer>,
    clock: Arc<dyn Clock>,
    /// By the hash of the token: the token itself is not kept. Requests with the same token wait for one review.
    verdicts: Cache<[u8; 32], Verdict>,
    reviews: Semaphore,
    /// Whether the last review failed: one log line a change, not one a token.
    failing: AtomicBool,
}

#[derive(Debug, Clone, Copy)]
struct Verdict {
    outcome: Result<Scope, Refusal>,
    until: Monotonic,
}

/// What a token says of itself; whether that is true is for Kubernetes to say.
#[derive(Deserialize)]
struct Claims {
    sub: String,
    /// Seconds since the epoch.
    exp: Option<f64>,
}

impl Claims {
    fn of(token: &str) -> Option<Self> {
        jsonwebtoken::dangerous::insecure_decode_claims(token).ok()
    }
}

impl ServiceAccounts {
    /// Accepts these accounts, by namespace and name.
    pub fn new(
        accounts: impl IntoIterator<Item = (String, String, Scope)>,
        reviewer: Arc<dyn TokenReviewer>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let granted = accounts.into_iter();
        Self {
            granted: granted
                .map(|(namespace, name, scope)| (format!("{USER_PREFIX}{namespace}:{name}"), scope))
                .collect(),
            reviewer,
            clock,
            verdicts: Cache::new(TOKENS),
            reviews: Semaphore::new(REVIEWS),
            failing: AtomicBool::new(false),
        }
    }

    /// Whether a token says that it is one of a service account: then no other kind of verification is asked.
    pub(super) fn is_theirs(token: &str) -> bool {
        Claims::of(token).is_some_and(|claims| claims.sub.starts_with(USER_PREFIX))
    }

    /// What a token's bearer may do, where Kubernetes has said so in the last seconds.
    pub(super) fn recall(&self, token: &str) -> Option<Scope> {
        let verdict = self.verdicts.get(&hash(token))?;
        verdict.outcome.ok().filter(|_| self.counts(&verdict))
    }

    /// What a token's bearer may do.
    pub(super) async fn authenticate(&self, token: &str) -> Result<Scope, Refusal> {
        let claims = Claims::of(token).ok_or(Refusal::Malformed)?;
        // Kubernetes is not asked about accounts that may do nothing here.
        let Some(scope) = self.granted.get(&claims.sub) else {
            return Err(Refusal::Account);
        };
        let key = hash(token);
        self.verdicts.remove_if(&key, |verdict| !self.counts(verdict));
        match self.verdicts.get_value_or_guard_async(&key).await {
            Ok(verdict) => verdict.outcome,
            Err(guard) => {
                let verdict = self.review(token, &claims, *scope).await;
                let _ = guard.insert(verdict);
                verdict.outcome
            }
        }
    }

    async fn review(&self, token: &str, claims: &Claims, scope: Scope) -> Verdict {
        let reviewed = timeout(PATIENCE, async {
            // It is never closed.
            let _turn = self.reviews.acquire().await;
            self.reviewer.review(token).await
        });
        let reviewed = reviewed
            .await
            .map_err(|_| "too many tokens wait to be judged".to_owned());
        let outcome = match reviewed.and_then(|answer| answer.map_err(|error| error.to_string())) {
            Ok(user) => {
                if self.failing.swap(false, Ordering::Relaxed) {
                    tracing::info!("tokens of service accounts can be judged again");
                }
                let is_theirs = user.is_some_and(|user| user == claims.sub);
                is_theirs.then_some(scope).ok_or(Refusal::Account)
            }
            Err(error) => {
                if !self.failing.swap(true, Ordering::Relaxed) {
                    tracing::warn!(%error, "tokens of service accounts cannot be judged: answering 503");
                }
                Err(Refusal::Unjudged)
            }
        };
        let remembered = match outcome {
            Ok(_) => ACCEPTED_FOR.min(self.remaining(claims)),
            Err(Refusal::Unjudged) => UNANSWERED_FOR,
            Err(_) => REFUSED_FOR,
        };
        Verdict {
            outcome,
            until: self.clock.monotonic().after(remembered),
        }
    }

    fn counts(&self, verdict: &Verdict) -> bool {
        self.clock.monotonic() < verdict.until
    }

    /// How long a token says that it is still good for.
    fn remaining(&self, claims: &Claims) -> Duration {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a cast to an integer ends at its limits"
        )]
        let end = claims.exp.map(|exp| Timestamp::from_millis((exp * 1000.0) as u64));
        end.map_or(Duration::MAX, |end| end.since(self.clock.now()))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use async_trait::async_trait;
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use parking_lot::Mutex;

    use super::*;
    use crate::cluster::{FleetError, Result as Reviewed};
    use crate::session::ManualClock;

    const NOW: u64 = 1_700_000_000;
    const WEB: &str = "system:serviceaccount:shop:web";

    #[derive(Clone, Copy)]
    enum Says {
        User(&'static str),
        Nobody,
        Nothing,
    }

    /// Answers the same to everybody, and counts how often it is asked.
    struct Kubernetes {
        answer: Mutex<Says>,
        asked: AtomicUsize,
    }

    #[async_trait]
    impl TokenReviewer for Kubernetes {
        async fn review(&self, _: &str) -> Reviewed<Option<String>> {
            self.asked.fetch_add(1, Ordering::SeqCst);
            tokio::task::yield_now().await;
            match *self.answer.lock() {
                Says::User(name) => Ok(Some(name.to_owned())),
                Says::Nobody => Ok(None),
                Says::Nothing => Err(FleetError::Kubernetes("away".to_owned())),
            }
        }
    }

    impl Kubernetes {
        fn says(&self, answer: Says) {
            *self.answer.lock() = answer;
        }

        fn asked(&self) -> usize {
            self.asked.load(Ordering::SeqCst)
        }
    }

    fn judge() -> (ServiceAccounts, Arc<Kubernetes>, ManualClock) {
        let kubernetes = Arc::new(Kubernetes {
            answer: Mutex::new(Says::User(WEB)),
            asked: AtomicUsize::new(0),
        });
        let clock = ManualClock::new(Timestamp::from_millis(NOW * 1000));
        let accounts = [("shop".to_owned(), "web".to_owned(), Scope::Write)];
        let judge = ServiceAccounts::new(accounts, kubernetes.clone(), Arc::new(clock.clone()));
        (judge, kubernetes, clock)
    }

    fn token(sub: &str, exp: u64) -> String {
        let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
        let claims = format!(r#"{{"sub": "{sub}", "exp": {exp}}}"#);
        format!("{}.{}.{}", part(r#"{"alg":"RS256"}"#), part(&claims), part("signature"))
    }

    #[tokio::test]
    async fn an_accepted_token_is_remembered_for_seconds_and_then_asked_about_again() {
        let (judge, kubernetes, clock) = judge();
        let token = token(WEB, NOW + 3600);
        assert!(ServiceAccounts::is_theirs(&token));
        assert_eq!(judge.recall(&token), None);
        for _ in 0..3 {
            assert_eq!(judge.authenticate(&token).await, Ok(Scope::Write));
        }
        assert_eq!((kubernetes.asked(), judge.recall(&token)), (1, Some(Scope::Write)));
        kubernetes.says(Says::Nobody);
        clock.advance(ACCEPTED_FOR);
        assert_eq!(judge.recall(&token), None);
        assert_eq!(judge.authenticate(&token).await, Err(Refusal::Account));
        assert_eq!(judge.authenticate(&token).await, Err(Refusal::Account));
        assert_eq!(kubernetes.asked(), 2);
    }

    #[tokio::test]
    async fn a_token_is_not_remembered_beyond_its_end() {
        let (judge, kubernetes, clock) = judge();
        let token = token(WEB, NOW + 3);
        assert_eq!(judge.authenticate(&token).await, Ok(Scope::Write));
        kubernetes.says(Says::Nobody);
        clock.advance(Duration::from_secs(3));
        assert_eq!(judge.authenticate(&token).await, Err(Refusal::Account));
    }

    #[tokio::test]
    async fn an_api_server_that_is_away_is_no_refusal_and_is_not_pressed() {
        let (judge, kubernetes, clock) = judge();
        kubernetes.says(Says::Nothing);
        let token = token(WEB, NOW + 3600);
        for _ in 0..3 {
            assert_eq!(judge.authenticate(&token).await, Err(Refusal::Unjudged));
        }
        assert_eq!(kubernetes.asked(), 1);
        kubernetes.says(Says::User(WEB));
        clock.advance(UNANSWERED_FOR);
        assert_eq!(judge.authenticate(&token).await, Ok(Scope::Write));
    }

    #[tokio::test]
    async fn requests_with_the_same_token_wait_for_one_review() {
        let (judge, kubernetes, _) = judge();
        let token = token(WEB, NOW + 3600);
        let all = futures_util::future::join_all((0..100).map(|_| judge.authenticate(&token))).await;
        assert!(all.iter().all(|outcome| *outcome == Ok(Scope::Write)));
        assert_eq!(kubernetes.asked(), 1);
    }

    #[tokio::test]
    async fn accounts_that_may_do_nothing_here_are_not_asked_about() {
        let (judge, kubernetes, _) = judge();
        let other = token("system:serviceaccount:shop:other", NOW + 3600);
        assert_eq!(judge.authenticate(&other).await, Err(Refusal::Account));
        assert_eq!(kubernetes.asked(), 0);
        // One that claims to be another than Kubernetes says.
        kubernetes.says(Says::User("system:serviceaccount:shop:other"));
        assert_eq!(judge.authenticate(&token(WEB, NOW + 3600)).await, Err(Refusal::Account));
        assert!(!ServiceAccounts::is_theirs("opaque") && !ServiceAccounts::is_theirs(&token("alice", NOW)));
    }
}
