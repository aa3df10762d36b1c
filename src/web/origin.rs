use axum::http::header::ORIGIN;
use axum::http::{HeaderMap, HeaderName};

use super::client::{Client, Scheme, only};

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Whose page sent a request, as far as its headers tell (S36).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// One of our own.
    Own,
    /// Another.
    Other,
    /// Nothing tells: the user themselves, or no browser.
    Unknown,
}

impl Origin {
    /// By `Sec-Fetch-Site`, which pages cannot set; by `Origin` only where a browser is too old for it.
    pub(crate) fn of(headers: &HeaderMap, client: &Client) -> Self {
        if headers.contains_key(SEC_FETCH_SITE) {
            return match only(headers, &SEC_FETCH_SITE) {
                Some("same-origin") => Self::Own,
                Some("none") => Self::Unknown,
                _ => Self::Other,
            };
        }
        if !headers.contains_key(ORIGIN) {
            return Self::Unknown;
        }
        let origin = only(headers, &ORIGIN);
        if origin.is_some_and(|origin| is_own(origin, client)) {
            Self::Own
        } else {
            Self::Other
        }
    }
}

fn is_own(origin: &str, client: &Client) -> bool {
    let (scheme, authority) = match origin.split_once("://") {
        Some(("https", authority)) => (Scheme::Https, authority),
        Some(("http", authority)) => (Scheme::Http, authority),
        _ => return false,
    };
    let is_own_host = client.authority.as_deref().is_some_and(|own| {
        without_default_port(own, scheme).eq_ignore_ascii_case(without_default_port(authority, scheme))
    });
    is_own_host && client.scheme.is_none_or(|own| own == scheme)
}

fn without_default_port(authority: &str, scheme: Scheme) -> &str {
    let port = match scheme {
        Scheme::Http => ":80",
        Scheme::Https => ":443",
    };
    authority.strip_suffix(port).unwrap_or(authority)
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn judged(headers: &[(&'static str, &str)]) -> Origin {
        let client = Client {
            address: None,
            scheme: None,
            authority: Some("shop.example:443".to_owned()),
        };
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_str(value).unwrap());
        }
        Origin::of(&map, &client)
    }

    #[test]
    fn s36_a_browser_says_whose_page_it_was() {
        assert_eq!(judged(&[]), Origin::Unknown);
        assert_eq!(judged(&[("sec-fetch-site", "same-origin")]), Origin::Own);
        assert_eq!(judged(&[("sec-fetch-site", "none")]), Origin::Unknown);
        for other in ["same-site", "cross-site", "", "x"] {
            assert_eq!(judged(&[("sec-fetch-site", other)]), Origin::Other, "{other}");
        }
        let twice = [("sec-fetch-site", "same-origin"), ("sec-fetch-site", "same-origin")];
        assert_eq!(judged(&twice), Origin::Other);
        let overruled = [("sec-fetch-site", "cross-site"), ("origin", "https://shop.example")];
        assert_eq!(judged(&overruled), Origin::Other);
    }

    #[test]
    fn s36_an_older_one_names_the_origin() {
        assert_eq!(judged(&[("origin", "https://shop.example")]), Origin::Own);
        for other in [
            "null",
            "https://evil.example",
            "shop.example",
            "https://shop.example:444",
            "",
        ] {
            assert_eq!(judged(&[("origin", other)]), Origin::Other, "{other}");
        }
    }
}
