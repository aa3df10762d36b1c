use std::time::Duration;

use ipnet::IpNet;

use super::token_keys::TokenKeys;
use crate::telemetry::Traces;
use crate::web::CookieSettings;

/// What a deployment decides about the traffic listener's surface.
#[derive(Debug, Clone)]
pub struct HttpSettings {
    /// The largest request body, in bytes.
    pub max_body: usize,
    /// The most bytes that the names and values of a request's headers may have together.
    pub max_header_bytes: usize,
    /// How long a request may take until its answer begins; the stream of events is exempt.
    pub timeout: Duration,
    /// How many requests may be answered at a time; more are refused at once.
    pub max_concurrent: usize,
    /// Whether `Authorization: Session <token>` is a credential beside the cookie.
    pub session_header: bool,
    /// The networks whose `X-Forwarded-*` headers are believed (S43); none by default.
    pub trusted_proxies: Vec<IpNet>,
    /// The origins whose pages may call from a browser (S41); none by default.
    pub cors_origins: Vec<String>,
    /// How long ago a user may have proved who they are to list and end their other sessions.
    pub recent_authentication: Duration,
    /// How many invalid tokens a minute a client may try; zero: any number. It counts only clients that a trusted proxy
    /// names, and never applications.
    pub throttle: u32,
    /// For how long a gateway may reuse an answer of forward auth, at most; zero: not at all.
    pub cache_for: Duration,
    /// The URLs to which forward auth may send navigations without a session (S47); none by default.
    pub return_urls: Vec<String>,
    /// What signs the JWTs of sessions; without it there are none.
    pub token_keys: Option<TokenKeys>,
    /// The session cookie.
    pub cookie: CookieSettings,
    /// What requests are traced by; not at all by default.
    pub traces: Traces,
}

impl Default for HttpSettings {
    fn default() -> Self {
        Self {
            max_body: 64 * 1024,
            max_header_bytes: 16 * 1024,
            timeout: Duration::from_secs(10),
            max_concurrent: 10_000,
            session_header: true,
            trusted_proxies: Vec::new(),
            cors_origins: Vec::new(),
            throttle: 60,
            cache_for: Duration::ZERO,
            return_urls: Vec::new(),
            token_keys: None,
            recent_authentication: Duration::from_mins(10),
            cookie: CookieSettings::default(),
            traces: Traces::off(),
        }
    }
}
