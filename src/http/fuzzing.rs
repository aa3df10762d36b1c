//! Targets of `crate::fuzzing`: requests.

use axum::extract::Query;
use axum::http::header::IF_NONE_MATCH;
use axum::http::{HeaderMap, HeaderValue, Method, Uri};
use serde_json::Value;

use super::conditional;
use super::extract::{MAX_DEPTH, nesting};
use super::forward::{Requirements, listed_url, required_by_header};
use super::question::{Asked, PlainQuestion};
use super::v1::fuzzing::BODIES;

const METHODS: [&str; 2] = ["x-forwarded-method", "x-original-method"];
const LISTED: [&str; 2] = ["https://login.example/in", "https://login.example/fixed?a=1"];

/// What a gateway says of the request that it asks about: safe only where nobody says otherwise, and a redirect only to
/// the list (S45, S47). The first line is the method by which it asks, then come headers.
pub(crate) fn gateway(bytes: &[u8]) {
    let mut headers = HeaderMap::new();
    let mut lines = bytes.split(|byte| *byte == b'\n');
    let own = lines
        .next()
        .and_then(|line| Method::from_bytes(line).ok())
        .unwrap_or(Method::GET);
    for (index, line) in lines.take(6).enumerate() {
        let name = METHODS.get(index % 3).copied().unwrap_or("x-auth-require");
        if let Ok(value) = HeaderValue::from_bytes(line) {
            headers.append(name, value);
        }
    }
    let asked = Asked::by_headers(&headers, &own);
    if matches!(asked, Asked::Get | Asked::Safe) {
        for value in METHODS.iter().flat_map(|name| headers.get_all(*name)) {
            let method = Method::from_bytes(value.as_bytes());
            assert!(
                method.is_ok_and(|method| method.is_safe()),
                "an unsafe method passes for a safe one"
            );
        }
        assert!(own.is_safe(), "an unsafe method passes for a safe one");
    }
    let required = headers.get_all("x-auth-require").iter().count();
    if required_by_header(&headers).is_ok() {
        assert!(required <= 1, "two lines of requirements");
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        sign_in(text);
        plain_question(text);
    }
}

/// What the short way takes for a plain question means the same to the long way.
fn plain_question(query: &str) {
    let Ok(uri) = format!("/auth?{query}").parse::<Uri>() else {
        return;
    };
    let Some(plain) = PlainQuestion::of(uri.query()) else {
        return;
    };
    let long = Query::<Requirements>::try_from_uri(&uri);
    assert!(
        long.is_ok_and(|Query(long)| plain.agrees_with(&long)),
        "the two ways read {uri} differently"
    );
}

fn sign_in(url: &str) {
    let listed = LISTED.map(str::to_owned);
    let Some(location) = listed_url(&listed, url) else {
        return;
    };
    let Ok(location) = location.to_str() else { return };
    let base = location.split('?').next().unwrap_or_default();
    assert!(
        base == "https://login.example/in" || location == LISTED[1],
        "a redirect to {location}"
    );
    assert!(listed_url(&listed, location).is_some(), "{location} is not taken again");
    assert!(listed_url(&[], url).is_none(), "a redirect that nobody listed");
}

/// JSON bodies: what is accepted is an object, no deeper than allowed, read alike by another reader, and no field of it is
/// passed over.
pub(crate) fn body(bytes: &[u8]) {
    for (name, accepts) in BODIES {
        if !accepts(bytes) {
            continue;
        }
        assert!(nesting(bytes) <= MAX_DEPTH, "{name}: too deep a body was accepted");
        let value = serde_json::from_slice::<Value>(bytes);
        let Ok(Value::Object(mut fields)) = value else {
            // Data is kept as it was written: numbers that no double holds, and escapes of half a character.
            let text = value.err().map(|error| error.to_string()).unwrap_or_default();
            let is_known = text.contains("number out of range") || text.contains("surrogate");
            assert!(is_known, "{name}: no object was accepted: {text}");
            continue;
        };
        fields.insert("no such field".to_owned(), Value::Null);
        let more = Value::Object(fields).to_string();
        assert!(!accepts(more.as_bytes()), "{name}: an unknown field was passed over");
        let array = [b"[", bytes, b"]"].concat();
        assert!(!accepts(&array), "{name}: an array was accepted");
    }
}

/// `If-None-Match`: what we write is read as the version that it is, and as no other.
pub(crate) fn condition(bytes: &[u8]) {
    let mut headers = HeaderMap::new();
    for line in bytes.split(|byte| *byte == b'\n').take(4) {
        if let Ok(value) = HeaderValue::from_bytes(line) {
            headers.append(IF_NONE_MATCH, value);
        }
    }
    let Ok(known) = conditional::is_known(&headers, 7) else {
        return;
    };
    let mentions = |text: &str| {
        headers
            .get_all(IF_NONE_MATCH)
            .iter()
            .any(|line| line.to_str().is_ok_and(|line| line.contains(text)))
    };
    assert!(
        !known || mentions("\"7\"") || mentions("*"),
        "a version that nobody named"
    );
    if mentions("*") && !mentions("\"") {
        assert!(known);
        return;
    }
    headers.append(IF_NONE_MATCH, conditional::etag(7));
    assert!(
        conditional::is_known(&headers, 7).unwrap_or(true),
        "our own tag is not known"
    );
}
