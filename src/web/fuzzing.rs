//! Targets of `crate::fuzzing`: what browsers and proxies send.

use std::net::{IpAddr, SocketAddr};

use axum::extract::ConnectInfo;
use axum::http::header::{AUTHORIZATION, COOKIE, HOST, ORIGIN};
use axum::http::{Extensions, HeaderMap, HeaderName, HeaderValue, Uri};

use super::client::{Client, address, scheme};
use super::cookie::{CookieCredential, SetCookie, find};
use super::credential::Carried;
use super::origin::Origin;
use super::{CookiePreset, CookieSecrets, CookieSettings};
use crate::session::Token;

const NAME: &str = "__Host-cloakroom";

/// Header lines of one name: a line each.
fn lines(name: &HeaderName, bytes: &[u8]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in bytes.split(|byte| *byte == b'\n').take(8) {
        if let Ok(value) = HeaderValue::from_bytes(line) {
            headers.append(name, value);
        }
    }
    headers
}

/// Header lines such as `host: shop.example`.
fn named_lines(bytes: &[u8]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in bytes.split(|byte| *byte == b'\n').take(16) {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else {
            continue;
        };
        let name = HeaderName::from_bytes(&line[..colon]);
        let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii());
        if let (Ok(name), Ok(value)) = (name, value) {
            headers.append(name, value);
        }
    }
    headers
}

/// The cookie is found if it is there once and well formed; a second one, anywhere, makes it refused (S06, S32).
pub(crate) fn cookie(bytes: &[u8]) {
    let headers = lines(&COOKIE, bytes);
    let found = find(&headers, NAME);
    if let CookieCredential::Value(value) = found {
        assert!(
            !value.is_empty()
                && value
                    .bytes()
                    .all(|byte| byte.is_ascii_graphic() && !b"\",;\\".contains(&byte))
        );
        assert!(NAME.len() + value.len() <= super::cookie::MAX_COOKIE_BYTES);
        let all: Vec<u8> = headers
            .get_all(COOKIE)
            .iter()
            .flat_map(|line| line.as_bytes().to_vec())
            .collect();
        let text = [NAME.as_bytes(), value.as_bytes()].concat();
        let stripped: Vec<u8> = all
            .iter()
            .copied()
            .filter(|byte| !byte.is_ascii_whitespace() && *byte != b'=')
            .collect();
        let wanted: Vec<u8> = text.iter().copied().filter(|byte| *byte != b'=').collect();
        assert!(
            stripped.windows(wanted.len()).any(|window| window == wanted),
            "it was never sent"
        );
    }
    let with = |pair: &str| {
        let mut more = headers.clone();
        more.append(
            COOKIE,
            HeaderValue::from_str(pair).unwrap_or(HeaderValue::from_static("")),
        );
        more
    };
    // Another cookie changes nothing; another of the name refuses all.
    assert_eq!(find(&with("other=1; __Host-cloakroomx=2"), NAME), found);
    for second in ["__Host-cloakroom=x", "__HOST-cloakroom=x", "__Host-cloakroom"] {
        let refused = CookieCredential::Refused;
        let only = found == CookieCredential::None && second == "__Host-cloakroom=x";
        assert_eq!(find(&with(second), NAME) == refused, !only, "{second}");
    }
    // What is refused carries nothing that could be looked up.
    let carried = Carried::of(&headers, NAME, true);
    match found {
        CookieCredential::None => assert_eq!(carried, Carried::None),
        CookieCredential::Value(value) => assert_eq!(carried, Carried::Cookie(value)),
        CookieCredential::Refused => assert_eq!(carried, Carried::Refused),
    }
}

fn signing(preset: CookiePreset) -> SetCookie {
    SetCookie::new(&CookieSettings {
        preset,
        secrets: Some(CookieSecrets::new([&[1; 32][..], &[2; 32][..]])),
        ..CookieSettings::default()
    })
}

/// Of signed cookies nothing opens but what we signed.
pub(crate) fn signed_cookie(bytes: &[u8]) {
    let Ok(value) = std::str::from_utf8(bytes) else { return };
    for preset in [CookiePreset::Default, CookiePreset::Express] {
        let set_cookie = signing(preset);
        let seal = set_cookie.seal();
        if let Some(opened) = seal.open(value) {
            // Whoever guesses a signature of 256 bits may keep it.
            assert!(opened.parse::<Token>().is_err(), "a forged cookie opened: {value}");
        }
        let shown = seal.open_or_bare(value);
        assert!(shown.is_empty() || shown.len() == Token::LENGTH || seal.open(value).is_some());
        if let Ok(token) = value.parse::<Token>() {
            let closed = seal.close(&token);
            assert_eq!(seal.open(&closed).as_deref(), Some(value));
            let other = signing(match preset {
                CookiePreset::Default => CookiePreset::Express,
                CookiePreset::Express => CookiePreset::Default,
            });
            assert_eq!(other.seal().open(&closed), None, "one form is taken for the other");
        }
    }
}

/// `Authorization`: at most one token, of the scheme `Session` alone (S05).
pub(crate) fn authorization(bytes: &[u8]) {
    let headers = lines(&AUTHORIZATION, bytes);
    let ours = |value: &&HeaderValue| {
        let scheme = value.as_bytes().split(|byte| *byte == b' ').next().unwrap_or_default();
        scheme.eq_ignore_ascii_case(b"session")
    };
    let count = headers.get_all(AUTHORIZATION).iter().filter(ours).count();
    let carried = Carried::of(&headers, NAME, true);
    match count {
        0 => assert_eq!(carried, Carried::None),
        1 => assert!(matches!(carried, Carried::Header(_) | Carried::Refused)),
        _ => assert_eq!(carried, Carried::Refused),
    }
    assert_eq!(
        Carried::of(&headers, NAME, false),
        Carried::None,
        "it is taken though it is not enabled"
    );
    let mut both = headers.clone();
    both.insert(COOKIE, HeaderValue::from_static("__Host-cloakroom=x"));
    let expected = if count == 0 {
        Carried::Cookie("x")
    } else {
        Carried::Refused
    };
    assert_eq!(Carried::of(&both, NAME, true), expected, "two credentials at a time");
}

fn peer(text: &str) -> Extensions {
    let mut extensions = Extensions::new();
    if let Ok(peer) = text.parse::<SocketAddr>() {
        extensions.insert(ConnectInfo(peer));
    }
    extensions
}

/// `X-Forwarded-*`: believed of a trusted peer alone; the client is one that it names, and no proxy unless all are (S43).
pub(crate) fn forwarded(bytes: &[u8]) {
    let headers = named_lines(bytes);
    let uri = Uri::from_static("/auth");
    let trusted = ["10.0.0.0/8", "fd00::/8"].map(str::parse::<ipnet::IpNet>);
    let trusted: Vec<_> = trusted.into_iter().flatten().collect();
    let (near, far) = (peer("10.0.0.1:9"), peer("192.0.2.1:9"));
    for nobody in [(&far, trusted.as_slice()), (&near, &[])] {
        assert_eq!(address(nobody.0, &headers, nobody.1), None, "a stranger is believed");
        assert_eq!(scheme(nobody.0, &headers, nobody.1), None);
        let mut bare = headers.clone();
        for name in ["x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "forwarded"] {
            bare.remove(name);
        }
        let of = |headers: &HeaderMap| Client::of(nobody.0, headers, &uri, nobody.1);
        assert_eq!(of(&headers), of(&bare), "a stranger's word counts");
    }
    let client = Client::of(&near, &headers, &uri, &trusted);
    assert_eq!(client.address, address(&near, &headers, &trusted));
    assert_eq!(client.scheme, scheme(&near, &headers, &trusted));
    if let Some(found) = client.address {
        assert_eq!(found, found.to_canonical(), "an address has one form");
        let is_proxy = |address: &IpAddr| trusted.iter().any(|network| network.contains(address));
        let named: Vec<_> = headers
            .get_all("x-forwarded-for")
            .iter()
            .filter_map(|line| line.to_str().ok())
            .collect();
        assert!(!named.is_empty(), "nobody named it");
        // Whatever a client claims before the last hop that is no proxy changes nothing.
        if !is_proxy(&found) {
            let mut claimed = HeaderMap::new();
            let line = format!("203.0.113.99, {}", named.join(","));
            if let Ok(line) = HeaderValue::from_str(&line) {
                claimed.insert("x-forwarded-for", line);
                assert_eq!(address(&near, &claimed, &trusted), Some(found));
            }
        }
    }
}

/// `Sec-Fetch-Site` and `Origin`: our own only by the one word, or by the very host that was asked (S36).
pub(crate) fn origin(bytes: &[u8]) {
    let headers = named_lines(bytes);
    let client = Client::of(&Extensions::new(), &headers, &Uri::from_static("/session"), &[]);
    if Origin::of(&headers, &client) != Origin::Own {
        return;
    }
    let all = |name: HeaderName| {
        headers
            .get_all(name)
            .iter()
            .map(HeaderValue::as_bytes)
            .collect::<Vec<_>>()
    };
    let fetch_site = all(HeaderName::from_static("sec-fetch-site"));
    if !fetch_site.is_empty() {
        assert_eq!(fetch_site, [b"same-origin"]);
        return;
    }
    let (origin, host) = (all(ORIGIN), all(HOST));
    assert!(origin.len() == 1 && host.len() == 1, "one origin and one host");
    let (origin, host) = (origin[0].to_ascii_lowercase(), host[0].to_ascii_lowercase());
    let tail = origin
        .strip_prefix(b"https://")
        .or_else(|| origin.strip_prefix(b"http://"));
    let bare = |authority: &[u8]| {
        let end = authority
            .strip_suffix(b":443")
            .or_else(|| authority.strip_suffix(b":80"));
        end.unwrap_or(authority).to_vec()
    };
    assert!(
        tail.is_some_and(|tail| bare(tail) == bare(&host)),
        "another site's origin"
    );
}
