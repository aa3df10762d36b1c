use std::time::Duration;

use ipnet::IpNet;

use crate::config::Config;
use crate::runtime::for_cookie;
use crate::web::{CookiePreset, CookieSecrets, CookieSettings, Secure};

/// What an application decides about its sessions; the names and meanings are those of express-session.
///
/// ```
/// use std::time::Duration;
/// use cloakroom::layer::{Options, Unset};
///
/// let options = Options {
///     rolling: true,
///     unset: Unset::Destroy,
///     ..Options::default().name("sid").max_age(Duration::from_hours(1))
/// };
/// assert!(options.check().is_ok());
/// ```
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "the switches that express-session has")]
pub struct Options {
    /// The session cookie: its name, its secrets, and every attribute.
    pub cookie: CookieSettings,
    /// Whether a session is made and stored also where the application has put nothing into it.
    pub save_uninitialized: bool,
    /// Whether each request's use is recorded in the store at once, and not only every tenth of the idle time. Never are
    /// values written back that were only read: so that nothing which another request wrote is undone.
    pub resave: bool,
    /// Whether the cookie is set anew with every response, so that its `Max-Age` starts again.
    pub rolling: bool,
    /// What [`unset`](super::Session::unset) does.
    pub unset: Unset,
    /// The networks of the proxies in front, whose `X-Forwarded-Proto` and `X-Forwarded-For` are believed; none by
    /// default. It is `proxy` in express-session, and `trust proxy` in Express.
    pub trusted_proxies: Vec<IpNet>,
    /// The name of the class that new sessions have, which sets how long they last; `normal` where there is none.
    pub class: Option<String>,
    /// What is done with unsafe requests that pages of other sites send.
    pub cross_site: CrossSite,
    /// Whether clients without cookies may send `Authorization: Session <token>`.
    pub session_header: bool,
}

/// What becomes of a session that a handler unsets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Unset {
    /// It stays as it was before the request: what the request changed is dropped.
    #[default]
    Keep,
    /// It ends with the response.
    Destroy,
}

/// What is done with a session that an unsafe request of another site asks for (`POST` and the like, by `Sec-Fetch-Site`
/// or, in older browsers, `Origin`). A request with the session's CSRF token in `X-CSRF-Token` is always our own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum CrossSite {
    /// It is refused where a browser says that another site's page sent the request. Programs that are no browsers say
    /// nothing, and pass.
    #[default]
    Refuse,
    /// It is refused but where a browser says that one of our own pages sent the request.
    Strict,
    /// It is served: only for applications that check every form's CSRF token themselves.
    Allow,
}

/// Options that contradict each other, or that browsers would not accept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidOptions(pub(super) String);

impl Default for Options {
    /// An unsigned cookie `__Host-cloakroom` (its token is 256 random bits, which need no signature) that only TLS
    /// carries, a session only for who has something to keep, and no writing without a change.
    fn default() -> Self {
        Self {
            cookie: CookieSettings::default(),
            save_uninitialized: false,
            resave: false,
            rolling: false,
            unset: Unset::default(),
            trusted_proxies: Vec::new(),
            class: None,
            cross_site: CrossSite::default(),
            session_header: true,
        }
    }
}

impl Options {
    /// Cookies in the form of express-session: `connect.sid=s:<token>.<signature>`, which Express applications with the
    /// same secrets verify, as theirs are verified here. The first secret signs, all verify. `Secure` is decided by how
    /// the client spoke. The rest is what express-session recommends: `resave` and `save_uninitialized` off.
    pub fn express<S: AsRef<[u8]>>(secrets: impl IntoIterator<Item = S>) -> Self {
        let mut options = Self::default()
            .name("connect.sid")
            .secrets(secrets)
            .secure(Secure::Auto);
        options.cookie.preset = CookiePreset::Express;
        options
    }

    /// The cookie and the trusted proxies of the program's settings (`cookie.*`, `http.trusted_proxies`,
    /// `http.session_header`): so that an application and a `cloakroom serve` beside it have one cookie. To be called
    /// within a runtime: secrets that are kept in files are followed.
    pub fn from_config(config: &Config) -> Self {
        Self {
            cookie: for_cookie(&config.cookie),
            trusted_proxies: config.http.trusted_proxies.clone(),
            session_header: config.http.session_header,
            ..Self::default()
        }
    }

    /// The cookie's name. The prefix `__Host-` makes browsers enforce its attributes.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.cookie.name = name.into();
        self
    }

    /// The secrets that sign the cookie: the first signs, all verify. To rotate them, put the new one first and remove the
    /// old one when the cookies that it signed have ended.
    pub fn secrets<S: AsRef<[u8]>>(mut self, secrets: impl IntoIterator<Item = S>) -> Self {
        let secrets: Vec<S> = secrets.into_iter().collect();
        self.cookie.secrets = Some(CookieSecrets::new(secrets.iter().map(AsRef::as_ref)));
        self
    }

    /// Whether the cookie is for TLS only.
    pub fn secure(mut self, secure: impl Into<Secure>) -> Self {
        self.cookie.secure = secure.into();
        self
    }

    /// The cookie's longest `Max-Age`. It starts again when the session changes, and with [`Options::rolling`] with every
    /// response. How long the session itself lasts is decided by its class.
    pub fn max_age(mut self, max_age: Duration) -> Self {
        self.cookie.max_age = Some(max_age);
        self
    }

    /// A cookie that ends with the browser (no `Max-Age`), but for sessions of the class `remember_me`: a log-in decides
    /// by [`LogIn::class`](super::LogIn::class) whether it is remembered.
    pub fn browser_lifetime(mut self) -> Self {
        self.cookie.browser_lifetime = true;
        self
    }

    /// For development over plain HTTP: a cookie `cloakroom` without `Secure`. Never in production.
    pub fn insecure(self) -> Self {
        self.name("cloakroom").secure(Secure::Never)
    }

    /// Whether a session that nobody asked for is looked up all the same when the response leaves.
    pub(super) fn act_unasked(&self) -> bool {
        self.rolling || self.resave || self.save_uninitialized
    }

    /// Checks that the options go together and that browsers will accept the cookie; the error says which is wrong and
    /// what is allowed.
    pub fn check(&self) -> Result<(), InvalidOptions> {
        self.cookie.check().map_err(InvalidOptions)?;
        if self.cookie.secrets.as_ref().is_some_and(CookieSecrets::is_empty) {
            return Err(InvalidOptions(
                "cookie.secrets: at least one, none of them empty".to_owned(),
            ));
        }
        Ok(())
    }
}
