use std::borrow::Cow;
use std::collections::HashSet;
use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;

use aws_lc_rs::constant_time;
use parking_lot::Mutex;

use super::issue::fingerprint_hash;
use super::requests::{ClientIp, ClientTraits, InvalidReason};
use super::{Result, Sessions};
use crate::session::{JsonMap, SecurityChange, Session};
use crate::store::{Change, Snapshot};

/// The activity that a difference is recorded as.
const ACTIVITY: &str = "client_changed";
/// How many recorded differences are remembered, so that each is recorded once and not with each request.
const REMEMBERED: usize = 10_000;

/// What a difference from the client that logged in does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum BindingPolicy {
    /// Nothing.
    Ignore,
    /// It is recorded among the session's activities.
    #[default]
    Record,
    /// The user must have authenticated recently; it is recorded, and the session marked as suspicious.
    StepUp,
    /// The request is refused; it is recorded, and the session marked as suspicious.
    Refuse,
}

/// What sessions are bound to, and how.
#[derive(Debug, Clone, Copy, Default)]
pub struct Binding {
    /// To the address in the metadata `ip`.
    pub ip: BindingPolicy,
    /// To the browser in the metadata `user_agent`.
    pub user_agent: BindingPolicy,
    /// To the fingerprint given at creation.
    pub fingerprint: BindingPolicy,
}

impl Binding {
    /// Whether any difference can decide on an answer.
    pub fn decides(&self) -> bool {
        let policies = [self.ip, self.user_agent, self.fingerprint];
        policies.iter().any(|policy| policy.decides())
    }
}

impl BindingPolicy {
    fn decides(self) -> bool {
        matches!(self, Self::StepUp | Self::Refuse)
    }
}

/// One way in which a client differs from the one that logged in.
struct Difference {
    what: &'static str,
    policy: BindingPolicy,
    /// What is recorded of it; nothing of a fingerprint.
    seen: Option<String>,
}

/// Differences that were recorded lately.
#[derive(Default)]
pub(super) struct Recorded {
    hasher: RandomState,
    seen: Mutex<HashSet<u64>>,
}

impl Recorded {
    /// Whether this difference of this session is new here.
    fn is_new(&self, session: &Session, difference: &Difference) -> bool {
        let key = self.hasher.hash_one((session.id, difference.what, &difference.seen));
        let mut seen = self.seen.lock();
        if seen.len() >= REMEMBERED {
            seen.clear();
        }
        seen.insert(key)
    }
}

impl Sessions {
    /// Holds a client against the one that logged in; what is not known of either is not judged. Gives why the session
    /// is not for this client, if it is not.
    pub(super) async fn judge_client(
        &self,
        snapshot: &Snapshot,
        client: &ClientTraits<'_>,
    ) -> Result<Option<InvalidReason>> {
        let session = &snapshot.session;
        let differences = self.differences(session, client);
        for difference in &differences {
            if self.0.recorded.is_new(session, difference) {
                self.record_difference(session, difference).await;
            }
        }
        let any = |policy| differences.iter().any(|difference| difference.policy == policy);
        if any(BindingPolicy::Refuse) {
            return Ok(Some(InvalidReason::FingerprintMismatch));
        }
        let window = self.0.settings.recent_authentication;
        let is_recent = || {
            let proved = session.authenticated_at;
            proved.is_some_and(|at| snapshot.now.since(at) <= window)
        };
        Ok((any(BindingPolicy::StepUp) && !is_recent()).then_some(InvalidReason::ReauthenticationRequired))
    }

    /// Whether the client is, as far as can be told, the one that logged in.
    pub(super) fn is_same_client(&self, session: &Session, client: &ClientTraits<'_>) -> bool {
        self.differences(session, client).is_empty()
    }

    fn differences(&self, session: &Session, client: &ClientTraits<'_>) -> Vec<Difference> {
        let Binding {
            ip,
            user_agent,
            fingerprint,
        } = self.0.settings.binding;
        let mut differences = Vec::new();
        let mut differs = |what, policy, seen: String| {
            let seen = Some(seen.chars().take(MAX_NOTED_CHARS).collect());
            differences.push(Difference { what, policy, seen });
        };
        if ip != BindingPolicy::Ignore
            && let Some(seen) = client.ip
            && noted(session, "ip").is_some_and(|noted| !is_same_address(&noted, seen))
        {
            differs("ip", ip, seen.to_string());
        }
        if user_agent != BindingPolicy::Ignore
            && let Some(seen) = client.user_agent
            && noted(session, "user_agent").is_some_and(|noted| !is_same_text(&noted, seen))
        {
            differs("user_agent", user_agent, seen.to_owned());
        }
        if let (Some(given), Some(expected)) = (client.fingerprint, &session.fingerprint)
            && fingerprint != BindingPolicy::Ignore
            && constant_time::verify_slices_are_equal(fingerprint_hash(given).as_bytes(), expected.as_bytes()).is_err()
        {
            differences.push(Difference {
                what: "fingerprint",
                policy: fingerprint,
                seen: None,
            });
        }
        differences
    }

    /// A note that the store cannot take now is no reason to keep the answer back.
    async fn record_difference(&self, session: &Session, difference: &Difference) {
        let mut metadata = JsonMap::new();
        let mut note = |key: &str, value: &str| {
            if let Ok(value) = serde_json::value::to_raw_value(value) {
                metadata.insert(key, value);
            }
        };
        note("what", difference.what);
        if let Some(seen) = &difference.seen {
            note("seen", seen);
        }
        let recorded = self.record_activity(session.id, ACTIVITY.to_owned(), metadata).await;
        let marked = if difference.policy.decides() && !session.security.suspicious {
            let security = SecurityChange {
                suspicious: Some(true),
                ..SecurityChange::default()
            };
            let change = Change {
                security,
                ..Change::default()
            };
            self.change(session.id, change).await.map(|_| ())
        } else {
            Ok(())
        };
        if let Err(error) = recorded.and(marked) {
            tracing::debug!(session_id = %session.id, %error, "a changed client was not recorded");
        }
    }
}

/// As many characters of a user agent as metadata keeps.
const MAX_NOTED_CHARS: usize = 256;

/// What the application noted of the client at log-in. It is seldom copied, for it is asked for with almost every request.
fn noted<'a>(session: &'a Session, key: &str) -> Option<Cow<'a, str>> {
    let json = session.metadata.text(key)?;
    let plain = json.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
    match plain.filter(|text| !text.contains('\\')) {
        Some(text) => Some(Cow::Borrowed(text)),
        None => serde_json::from_str(json).ok().map(Cow::Owned),
    }
}

/// Addresses are the same however they are written.
fn is_same_address(noted: &str, seen: ClientIp<'_>) -> bool {
    let canonical = |text: &str| text.parse::<IpAddr>().ok().map(|address| address.to_canonical());
    match seen {
        ClientIp::Address(seen) => canonical(noted) == Some(seen.to_canonical()),
        ClientIp::Text(seen) => {
            is_same_text(noted, seen) || canonical(noted).is_some_and(|noted| canonical(seen) == Some(noted))
        }
    }
}

/// What is long was cut when it was noted.
fn is_same_text(noted: &str, seen: &str) -> bool {
    noted == seen || noted.chars().eq(seen.chars().take(MAX_NOTED_CHARS))
}
