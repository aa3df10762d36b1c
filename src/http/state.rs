use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use prometheus::IntCounter;
use tokio::sync::watch;

use super::caller::CallerAuth;
use super::settings::HttpSettings;
use super::throttle::Throttle;
use crate::sessions::Sessions;
use crate::web::SetCookie;

/// What the handlers share. Cheap to clone.
#[derive(Clone)]
pub struct ApiState(Arc<Inner>);

struct Inner {
    sessions: Sessions,
    callers: CallerAuth,
    settings: HttpSettings,
    set_cookie: SetCookie,
    throttle: Throttle,
    draining: watch::Receiver<bool>,
    description: OnceLock<Bytes>,
    counters: Counters,
}

/// Found beforehand: what every request counts looks no label up.
pub(super) struct Counters {
    /// Callers that were accepted.
    pub(super) accepted: IntCounter,
}

impl ApiState {
    /// Ties the façade to what the listener was told. `draining` turns true when the server is about to stop.
    pub fn new(
        sessions: Sessions,
        callers: CallerAuth,
        settings: HttpSettings,
        draining: watch::Receiver<bool>,
    ) -> Self {
        let set_cookie = SetCookie::new(&settings.cookie);
        let accepted = sessions.metrics().callers.with_label_values(&["accepted"]);
        Self(Arc::new(Inner {
            sessions,
            callers,
            throttle: Throttle::new(settings.throttle),
            settings,
            set_cookie,
            draining,
            description: OnceLock::new(),
            counters: Counters { accepted },
        }))
    }

    pub(super) fn sessions(&self) -> &Sessions {
        &self.0.sessions
    }

    pub(super) fn callers(&self) -> &CallerAuth {
        &self.0.callers
    }

    pub(super) fn counters(&self) -> &Counters {
        &self.0.counters
    }

    pub(super) fn settings(&self) -> &HttpSettings {
        &self.0.settings
    }

    pub(super) fn set_cookie(&self) -> &SetCookie {
        &self.0.set_cookie
    }

    pub(super) fn throttle(&self) -> &Throttle {
        &self.0.throttle
    }

    pub(super) fn draining(&self) -> watch::Receiver<bool> {
        self.0.draining.clone()
    }

    /// The API's description as JSON, made once.
    pub(super) fn description(&self, make: impl FnOnce() -> Bytes) -> Bytes {
        self.0.description.get_or_init(make).clone()
    }
}
