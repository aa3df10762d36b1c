//! The cookie that carries the token.

use super::problem::Checks;
use super::reader::{Reader, Section};
use super::secret::SecretRing;
use super::setting::{Choice, quote};

/// Longest name, so that name and value stay below the 4,096 bytes that browsers keep (RFC 6265bis, section 5.6).
const LONGEST_NAME: usize = 256;

/// Longest attribute value that browsers take (RFC 6265bis, section 5.6).
const LONGEST_ATTRIBUTE: usize = 1024;

/// The name that express-session gives its cookie.
const EXPRESS_NAME: &str = "connect.sid";

/// The form of the cookie's value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CookiePreset {
    /// `<token>` or `<token>.<mac>`.
    #[default]
    Default,
    /// As express-session and cookie-signature make it.
    Express,
}

impl Choice for CookiePreset {
    const CHOICES: &'static [(&'static str, Self)] = &[("default", Self::Default), ("express", Self::Express)];
}

/// The attribute `SameSite`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SameSite {
    /// Never sent from another site.
    Strict,
    /// Sent from another site with top-level navigations only.
    #[default]
    Lax,
    /// Sent from everywhere; browsers demand `Secure`.
    None,
}

impl Choice for SameSite {
    const CHOICES: &'static [(&'static str, Self)] =
        &[("strict", Self::Strict), ("lax", Self::Lax), ("none", Self::None)];
}

/// The attribute `Priority`, known to Chromium.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CookiePriority {
    /// Evicted first.
    Low,
    /// As if unset.
    Medium,
    /// Evicted last.
    High,
}

impl Choice for CookiePriority {
    const CHOICES: &'static [(&'static str, Self)] =
        &[("low", Self::Low), ("medium", Self::Medium), ("high", Self::High)];
}

/// The section `cookie`; `HttpOnly` is always set.
#[derive(Clone, Debug)]
pub struct CookieSettings {
    /// `cookie.name`: default `__Host-cloakroom`, or `connect.sid` with the preset `express`.
    pub name: String,
    /// `cookie.secrets`: the first signs, all verify; unsigned where unset.
    pub secrets: Option<SecretRing>,
    /// `cookie.preset`: default `default`.
    pub preset: CookiePreset,
    /// `cookie.same_site`: default `lax`.
    pub same_site: SameSite,
    /// `cookie.domain`: default none, which is this host only.
    pub domain: Option<String>,
    /// `cookie.path`: default `/`.
    pub path: String,
    /// `cookie.secure`: default true.
    pub secure: bool,
    /// `cookie.partitioned`: a jar for each top-level site; default false.
    pub partitioned: bool,
    /// `cookie.priority`: default none.
    pub priority: Option<CookiePriority>,
    /// `cookie.browser_lifetime`: no `Max-Age`: the cookie ends with the browser; default false.
    pub browser_lifetime: bool,
}

impl Default for CookieSettings {
    fn default() -> Self {
        Self {
            name: "__Host-cloakroom".to_owned(),
            secrets: None,
            preset: CookiePreset::Default,
            same_site: SameSite::Lax,
            domain: None,
            path: "/".to_owned(),
            secure: true,
            partitioned: false,
            priority: None,
            browser_lifetime: false,
        }
    }
}

impl Section for CookieSettings {
    fn read(&mut self, reader: &mut Reader) {
        reader.value("cookie.preset", &mut self.preset);
        if self.preset == CookiePreset::Express {
            EXPRESS_NAME.clone_into(&mut self.name);
        }
        reader.value("cookie.name", &mut self.name);
        reader.secret("cookie.secrets", &mut self.secrets, |_| Ok(()));
        reader.value("cookie.same_site", &mut self.same_site);
        reader.optional("cookie.domain", &mut self.domain);
        reader.value("cookie.path", &mut self.path);
        reader.value("cookie.secure", &mut self.secure);
        reader.value("cookie.partitioned", &mut self.partitioned);
        reader.optional("cookie.priority", &mut self.priority);
        reader.value("cookie.browser_lifetime", &mut self.browser_lifetime);
    }

    fn validate(&self, checks: &mut Checks) {
        self.validate_form(checks);
        self.validate_prefix(checks);
        if self.preset == CookiePreset::Express && self.secrets.is_none() {
            let what = "the preset express signs: set cookie.secrets or cookie.secrets_file";
            checks.fail_among(&["cookie.preset", "cookie.secrets"], what);
        }
        if self.same_site == SameSite::None && !self.secure {
            checks.fail_among(&["cookie.same_site", "cookie.secure"], "same_site none demands secure");
        }
        if self.partitioned && !self.secure {
            checks.fail_among(&["cookie.partitioned", "cookie.secure"], "partitioned demands secure");
        }
    }
}

impl CookieSettings {
    fn validate_form(&self, checks: &mut Checks) {
        if !is_token(&self.name) || self.name.len() > LONGEST_NAME {
            let what = "is not a cookie name: use letters, digits and !#$%&'*+-.^_`|~ (RFC 9110, token)";
            checks.fail("cookie.name", format!("{} {what}", quote(&self.name)));
        }
        if !is_path(&self.path) {
            let what = "is not a cookie path: begin with /, in ASCII without spaces, semicolons and control characters";
            checks.fail("cookie.path", format!("{} {what}", quote(&self.path)));
        }
        if let Some(domain) = &self.domain
            && !is_domain(domain)
        {
            let what = "is not a cookie domain: use a host name, such as example.com, without a dot in front";
            checks.fail("cookie.domain", format!("{} {what}", quote(domain)));
        }
    }

    /// The promises of the name prefixes, which browsers enforce by dropping the cookie (RFC 6265bis, section 4.1.3).
    fn validate_prefix(&self, checks: &mut Checks) {
        let name = self.name.to_ascii_lowercase();
        let (is_host, is_secure) = (name.starts_with("__host-"), name.starts_with("__secure-"));
        if (is_host || is_secure) && !self.secure {
            let what = format!("the name {} demands secure", quote(&self.name));
            checks.fail_among(&["cookie.secure", "cookie.name"], what);
        }
        if is_host && self.path != "/" {
            let what = format!("the name {} demands the path /", quote(&self.name));
            checks.fail_among(&["cookie.path", "cookie.name"], what);
        }
        if is_host && self.domain.is_some() {
            let what = format!(
                "the name {} allows no domain: choose a name without __Host-",
                quote(&self.name)
            );
            checks.fail_among(&["cookie.domain", "cookie.name"], what);
        }
    }
}

/// RFC 9110, section 5.6.2.
pub(super) fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c))
}

/// RFC 6265bis, section 4.1.1, `path-value`; a space would need quotes somewhere on its way.
fn is_path(text: &str) -> bool {
    text.starts_with('/') && text.len() <= LONGEST_ATTRIBUTE && text.chars().all(|c| c.is_ascii_graphic() && c != ';')
}

/// RFC 1123, section 2.1: labels of letters, digits and inner dashes; not a bare IP address, which browsers match as is.
fn is_domain(text: &str) -> bool {
    let is_label = |label: &str| {
        let is_allowed = |c: char| c.is_ascii_alphanumeric() || c == '-';
        (1..=63).contains(&label.len())
            && label.chars().all(is_allowed)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    text.len() <= 253 && text.split('.').all(is_label) && text.parse::<std::net::IpAddr>().is_err()
}
