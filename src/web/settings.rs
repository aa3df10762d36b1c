use std::time::Duration;

use super::seal::CookieSecrets;

/// The name and the attributes of the session cookie (S31).
#[derive(Debug, Clone)]
pub struct CookieSettings {
    /// Its name; the prefix `__Host-` makes browsers enforce the attributes.
    pub name: String,
    /// The form of its value.
    pub preset: CookiePreset,
    /// What signs it; unsigned where there is none.
    pub secrets: Option<CookieSecrets>,
    /// When browsers send it along with cross-site requests.
    pub same_site: SameSite,
    /// The domain whose hosts share it; only the issuing host where there is none.
    pub domain: Option<String>,
    /// The path below which it is sent.
    pub path: String,
    /// Whether it is sent by TLS only.
    pub secure: Secure,
    /// Whether it is kept from the pages' scripts, as it should be.
    pub http_only: bool,
    /// Whether browsers keep one for each embedding site (CHIPS).
    pub partitioned: bool,
    /// Which cookies a full browser drops first.
    pub priority: Option<Priority>,
    /// Whether it ends with the browser: no `Max-Age`.
    pub browser_lifetime: bool,
    /// The longest `Max-Age`; without one, the cookie lasts as long as its session may.
    pub max_age: Option<Duration>,
}

impl Default for CookieSettings {
    fn default() -> Self {
        Self {
            name: "__Host-cloakroom".to_owned(),
            preset: CookiePreset::Default,
            secrets: None,
            same_site: SameSite::Lax,
            domain: None,
            path: "/".to_owned(),
            secure: Secure::Always,
            http_only: true,
            partitioned: false,
            priority: None,
            browser_lifetime: false,
            max_age: None,
        }
    }
}

/// The form of the cookie's value.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum CookiePreset {
    /// `<token>`, or `<token>.<mac>` where it is signed.
    #[default]
    Default,
    /// `s:<token>.<signature>`, percent-encoded, as express-session and cookie-signature make it; always signed.
    Express,
}

/// The attribute `Secure`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Secure {
    /// Always there: the cookie is sent by TLS only.
    #[default]
    Always,
    /// Never there.
    Never,
    /// There where the client spoke TLS, by this server's own listener or by the word of a trusted proxy.
    Auto,
}

impl From<bool> for Secure {
    fn from(secure: bool) -> Self {
        if secure { Self::Always } else { Self::Never }
    }
}

/// The attribute `SameSite`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SameSite {
    /// Never with cross-site requests.
    Strict,
    /// Only with cross-site navigations.
    Lax,
    /// Always.
    None,
}

impl SameSite {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Strict => "Strict",
            Self::Lax => "Lax",
            Self::None => "None",
        }
    }
}

/// The attribute `Priority`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Priority {
    /// Dropped first.
    Low,
    /// In between.
    Medium,
    /// Dropped last.
    High,
}

impl Priority {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Low => "Low",
            Self::Medium => "Medium",
            Self::High => "High",
        }
    }
}

impl CookieSettings {
    /// Checks that browsers will accept the cookie with these attributes (S33, RFC 6265bis sections 4.1 and 5.7). The
    /// error says which setting is wrong and what is allowed.
    pub fn check(&self) -> Result<(), String> {
        let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        if self.name.is_empty() || self.name.len() > 128 || !self.name.bytes().all(is_token) {
            return Err("cookie.name: 1 to 128 letters, digits and any of !#$%&'*+-.^_`|~".to_owned());
        }
        let is_path_byte = |byte: u8| (0x20..0x7f).contains(&byte) && byte != b';';
        if !self.path.starts_with('/') || self.path.len() > 1024 || !self.path.bytes().all(is_path_byte) {
            return Err("cookie.path: begins with '/', printable ASCII without ';'".to_owned());
        }
        let is_domain_byte = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.';
        if let Some(domain) = &self.domain
            && (domain.is_empty() || domain.len() > 253 || !domain.bytes().all(is_domain_byte))
        {
            return Err("cookie.domain: a host name of at most 253 letters, digits, '-' and '.'".to_owned());
        }
        self.check_prefix()?;
        if self.preset == CookiePreset::Express && self.secrets.is_none() {
            return Err("cookie.preset: express needs cookie.secrets".to_owned());
        }
        let is_always_secure = self.secure == Secure::Always;
        if !is_always_secure && self.same_site == SameSite::None {
            return Err("cookie.same_site: none is allowed only with cookie.secure = true".to_owned());
        }
        if !is_always_secure && self.partitioned {
            return Err("cookie.partitioned: allowed only with cookie.secure = true".to_owned());
        }
        Ok(())
    }

    fn check_prefix(&self) -> Result<(), String> {
        let is_always_secure = self.secure == Secure::Always;
        let has_prefix = |prefix: &str| {
            let start = self.name.get(..prefix.len());
            start.is_some_and(|start| start.eq_ignore_ascii_case(prefix))
        };
        if has_prefix("__Host-") && !(is_always_secure && self.path == "/" && self.domain.is_none()) {
            return Err(
                "cookie.name: the prefix __Host- needs cookie.secure = true, cookie.path = \"/\" and no \
                        cookie.domain"
                    .to_owned(),
            );
        }
        if has_prefix("__Secure-") && !is_always_secure {
            return Err("cookie.name: the prefix __Secure- needs cookie.secure = true".to_owned());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s31_the_default_cookie_is_as_strict_as_browsers_allow() {
        let cookie = CookieSettings::default();
        assert!(cookie.check().is_ok());
        assert!(cookie.secure == Secure::Always && cookie.http_only && cookie.domain.is_none() && cookie.path == "/");
    }

    #[test]
    fn s33_what_browsers_would_refuse_is_refused_at_the_start() {
        let with = |change: fn(&mut CookieSettings)| {
            let mut cookie = CookieSettings {
                name: "sid".to_owned(),
                ..CookieSettings::default()
            };
            change(&mut cookie);
            cookie.check()
        };
        assert!(with(|_| ()).is_ok());
        assert!(with(|cookie| cookie.preset = CookiePreset::Express).is_err());
        assert!(with(|cookie| cookie.name = "a b".to_owned()).is_err());
        assert!(with(|cookie| cookie.name = String::new()).is_err());
        assert!(with(|cookie| cookie.path = "x".to_owned()).is_err());
        assert!(with(|cookie| cookie.path = "/;Domain=x".to_owned()).is_err());
        assert!(with(|cookie| cookie.domain = Some("a b".to_owned())).is_err());
        assert!(with(|cookie| cookie.domain = Some("example.org".to_owned())).is_ok());
        assert!(
            with(|cookie| {
                cookie.name = "__Host-x".to_owned();
                cookie.domain = Some("example.org".to_owned());
            })
            .is_err()
        );
        assert!(
            with(|cookie| {
                cookie.name = "__host-x".to_owned();
                cookie.secure = Secure::Never;
            })
            .is_err()
        );
        assert!(
            with(|cookie| {
                cookie.secure = Secure::Never;
                cookie.same_site = SameSite::None;
            })
            .is_err()
        );
    }
}
