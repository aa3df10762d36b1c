use std::fmt::Write as _;

use std::time::Duration;

use axum::http::HeaderMap;
use axum::http::header::COOKIE;

use super::client::Scheme;
use super::seal::Seal;
use super::settings::{CookieSettings, Secure};
use crate::session::{Timestamp, Token};

/// The longest name and value of a cookie together that browsers keep (RFC 6265bis, section 5.6).
pub(crate) const MAX_COOKIE_BYTES: usize = 4096;
/// The longest life that browsers grant (RFC 6265bis, section 5.5): 400 days.
const MAX_AGE: Duration = Duration::from_hours(400 * 24);

/// Writes `Set-Cookie`, with what never changes made once.
pub(crate) struct SetCookie {
    name: String,
    seal: Seal,
    secure: Secure,
    with_secure: String,
    without_secure: String,
    browser_lifetime: bool,
    longest: Duration,
}

/// How long a cookie lasts: from a time of the store's clock to another.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Life {
    pub(crate) now: Timestamp,
    pub(crate) ends_at: Timestamp,
    /// Whether it does so even where cookies end with the browser: the user wants to be remembered.
    pub(crate) outlives_browser: bool,
}

impl SetCookie {
    pub(crate) fn new(settings: &CookieSettings) -> Self {
        Self {
            name: settings.name.clone(),
            seal: Seal::new(settings),
            secure: settings.secure,
            with_secure: attributes(settings, true),
            without_secure: attributes(settings, false),
            browser_lifetime: settings.browser_lifetime,
            longest: settings.max_age.unwrap_or(MAX_AGE).min(MAX_AGE),
        }
    }

    /// The cookie's name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The header's value for a token that ends at a time of the store's clock (S18); `scheme` is how the client spoke.
    pub(crate) fn value(&self, token: &Token, life: Life, scheme: Option<Scheme>) -> String {
        self.carrying(&self.name, &self.seal.close(token), life, scheme)
    }

    /// As [`SetCookie::value`], for a cookie of another name and value with the same attributes.
    pub(crate) fn carrying(&self, name: &str, value: &str, life: Life, scheme: Option<Scheme>) -> String {
        let mut header = format!("{name}={value}{}", self.attributes(scheme));
        if !self.browser_lifetime || life.outlives_browser {
            let max_age = life.ends_at.since(life.now).min(self.longest).as_secs();
            let _ = write!(header, "; Max-Age={max_age}");
        }
        header
    }

    /// The header's value that makes browsers drop the cookie: of the same name, path and domain (S30).
    pub(crate) fn cleared(&self, scheme: Option<Scheme>) -> String {
        self.clearing(&self.name, scheme)
    }

    /// As [`SetCookie::cleared`], for a cookie of another name.
    pub(crate) fn clearing(&self, name: &str, scheme: Option<Scheme>) -> String {
        format!("{name}={}; Max-Age=0", self.attributes(scheme))
    }

    /// How the token stands in the cookie's value.
    pub(crate) fn seal(&self) -> &Seal {
        &self.seal
    }

    fn attributes(&self, scheme: Option<Scheme>) -> &str {
        let is_secure = match self.secure {
            Secure::Always => true,
            Secure::Never => false,
            Secure::Auto => scheme == Some(Scheme::Https),
        };
        if is_secure {
            &self.with_secure
        } else {
            &self.without_secure
        }
    }
}

fn attributes(settings: &CookieSettings, secure: bool) -> String {
    let mut attributes = format!("; Path={}", settings.path);
    if let Some(domain) = &settings.domain {
        let _ = write!(attributes, "; Domain={domain}");
    }
    if secure {
        attributes.push_str("; Secure");
    }
    if settings.http_only {
        attributes.push_str("; HttpOnly");
    }
    let _ = write!(attributes, "; SameSite={}", settings.same_site.as_str());
    if settings.partitioned {
        attributes.push_str("; Partitioned");
    }
    if let Some(priority) = settings.priority {
        let _ = write!(attributes, "; Priority={}", priority.as_str());
    }
    attributes
}

/// What the request's cookies say about the session.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum CookieCredential<'a> {
    /// Nothing.
    None,
    /// One value, not yet judged.
    Value(&'a str),
    /// Something that no browser sends of itself: two of the name, another case of it, a huge or odd value (S06, S32).
    Refused,
}

/// Finds the session cookie among all that the request carries.
pub(crate) fn find<'a>(headers: &'a HeaderMap, name: &str) -> CookieCredential<'a> {
    let mut found = CookieCredential::None;
    for line in headers.get_all(COOKIE) {
        let mut rest = Some(line.as_bytes());
        while let Some(pairs) = rest {
            let (pair, others) = split_once(pairs, b';');
            rest = others;
            let pair = pair.trim_ascii();
            if !is_begun_alike(pair, name) {
                continue;
            }
            let (given, value) = split_once(pair, b'=');
            let (given, value) = (given.trim_ascii_end(), value.unwrap_or_default().trim_ascii_start());
            if !given.eq_ignore_ascii_case(name.as_bytes()) {
                continue;
            }
            let is_alone = given == name.as_bytes() && found == CookieCredential::None;
            let is_short = given.len() + value.len() <= MAX_COOKIE_BYTES;
            found = match std::str::from_utf8(value) {
                Ok(value) if is_alone && is_short && is_cookie_value(value) => CookieCredential::Value(value),
                _ => return CookieCredential::Refused,
            };
        }
    }
    found
}

/// Whether a pair may have this name, by its first byte: most pairs of most requests are other cookies.
fn is_begun_alike(pair: &[u8], name: &str) -> bool {
    match (pair.first(), name.as_bytes().first()) {
        (Some(given), Some(wanted)) => given.eq_ignore_ascii_case(wanted),
        _ => false,
    }
}

/// What stands before and after a byte; all and nothing where it does not occur.
fn split_once(bytes: &[u8], byte: u8) -> (&[u8], Option<&[u8]>) {
    match memchr::memchr(byte, bytes) {
        Some(at) => (&bytes[..at], Some(&bytes[at + 1..])),
        None => (bytes, None),
    }
}

/// Whether the request carries the session cookie, once.
pub(crate) fn carries_cookie(headers: &HeaderMap, name: &str) -> bool {
    matches!(find(headers, name), CookieCredential::Value(_))
}

fn is_cookie_value(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| COOKIE_OCTETS[usize::from(byte)])
}

/// RFC 6265bis, section 4.1.1: `cookie-octet`.
const COOKIE_OCTETS: [bool; 256] = {
    let mut octets = [false; 256];
    let mut byte = 0x21_u8;
    while byte <= 0x7e {
        octets[byte as usize] = !matches!(byte, b'"' | b',' | b';' | b'\\');
        byte += 1;
    }
    octets
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::{Bucket, SystemRandom};
    use axum::http::HeaderValue;
    use proptest::prelude::*;

    const NAME: &str = "__Host-cloakroom";

    fn cookies(lines: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(COOKIE, HeaderValue::from_bytes(line.as_bytes()).unwrap());
        }
        headers
    }

    #[test]
    fn s06_the_cookie_is_found_among_others_or_refused() {
        let value = CookieCredential::Value("abc");
        assert_eq!(find(&cookies(&["__Host-cloakroom=abc"]), NAME), value);
        assert_eq!(find(&cookies(&["a=1; __Host-cloakroom=abc;b=ü"]), NAME), value);
        assert_eq!(find(&cookies(&["a=1", "__Host-cloakroom=abc"]), NAME), value);
        assert_eq!(
            find(&cookies(&["a=1; x__Host-cloakroom=abc; __Host-cloakroomx=1"]), NAME),
            CookieCredential::None
        );
        assert_eq!(find(&cookies(&[]), NAME), CookieCredential::None);
        let huge = format!("__Host-cloakroom={}", "x".repeat(MAX_COOKIE_BYTES));
        for bad in [
            "__Host-cloakroom=a; __Host-cloakroom=b",
            "__Host-cloakroom=a; __Host-cloakroom=a",
            "__Host-cloakroom=",
            "__Host-cloakroom",
            "__Host-cloakroom=\"a\"",
            "__Host-cloakroom=a b",
            "__Host-cloakroom=ü",
            &huge,
        ] {
            assert_eq!(find(&cookies(&[bad]), NAME), CookieCredential::Refused, "{bad}");
        }
        let twice = cookies(&["__Host-cloakroom=a", "__Host-cloakroom=b"]);
        assert_eq!(find(&twice, NAME), CookieCredential::Refused);
    }

    #[test]
    fn s32_another_case_of_the_name_is_refused() {
        for bad in [
            "__host-cloakroom=abc",
            "__HOST-CLOAKROOM=abc",
            "__Host-cloakroom=abc; __host-cloakroom=abc",
        ] {
            assert_eq!(find(&cookies(&[bad]), NAME), CookieCredential::Refused, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn s06_no_cookie_header_makes_the_parser_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            if let Ok(value) = HeaderValue::from_bytes(&bytes) {
                let mut headers = HeaderMap::new();
                headers.append(COOKIE, value);
                let _ = find(&headers, NAME);
                let _ = find(&headers, "a");
            }
        }

        #[test]
        fn s06_our_cookie_is_found_whatever_stands_around_it(
            before in "[a-z=; ]{0,40}",
            after in "[a-z=; ]{0,40}",
            value in "[A-Za-z0-9_-]{1,60}",
        ) {
            let headers = cookies(&[&format!("{before};{NAME}={value};{after}")]);
            prop_assert_eq!(find(&headers, NAME), CookieCredential::Value(&value));
        }
    }

    #[test]
    fn s18_s31_the_cookie_is_strict_and_ends_with_its_session() {
        let token = Token::generate(Bucket::new(7), &SystemRandom).unwrap();
        let now = Timestamp::from_millis(1_000_000);
        let secret = token.expose();
        let value = |settings: &CookieSettings, seconds: u64| {
            let ends_at = Timestamp::from_millis(1_000_000 + seconds * 1000 + 999);
            let life = Life {
                now,
                ends_at,
                outlives_browser: false,
            };
            SetCookie::new(settings).value(&token, life, None)
        };
        let strict = CookieSettings::default();
        assert_eq!(
            value(&strict, 60),
            format!("__Host-cloakroom={secret}; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=60")
        );
        assert!(value(&strict, 500 * 86_400).ends_with("; Max-Age=34560000"));
        let own = CookieSettings {
            name: "sid".to_owned(),
            domain: Some("example.org".to_owned()),
            partitioned: true,
            priority: Some(super::super::settings::Priority::High),
            browser_lifetime: true,
            ..strict
        };
        assert_eq!(
            value(&own, 60),
            format!(
                "sid={secret}; Path=/; Domain=example.org; Secure; HttpOnly; SameSite=Lax; Partitioned; Priority=High"
            )
        );
    }
}
