use axum::body::Bytes;
use axum::extract::FromRequestParts;
use axum::http::header::{IF_MATCH, IF_NONE_MATCH};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue};

use super::problem::ApiError;

/// The versions of which `If-Match` wants one; nothing where any will do.
///
/// It compares strongly (RFC 9110, section 13.1.1): a weak tag never matches, nor does one that we did not make.
pub(super) struct IfMatch(pub(super) Option<Vec<u64>>);

impl<S: Sync> FromRequestParts<S> for IfMatch {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, ApiError> {
        let Some(condition) = condition(&parts.headers, &IF_MATCH)? else {
            return Ok(Self(None));
        };
        Ok(Self(match condition {
            Condition::Any => None,
            Condition::Tags(tags) => Some(
                tags.into_iter()
                    .filter(|tag| !tag.weak)
                    .filter_map(|tag| tag.version)
                    .collect(),
            ),
        }))
    }
}

/// Whether `If-None-Match` says that the client has this version already.
pub(super) fn is_known(headers: &HeaderMap, version: u64) -> Result<bool, ApiError> {
    Ok(match condition(headers, &IF_NONE_MATCH)? {
        None => false,
        Some(Condition::Any) => true,
        Some(Condition::Tags(tags)) => tags.iter().any(|tag| tag.version == Some(version)),
    })
}

/// The entity tag of a version.
pub(super) fn etag(version: u64) -> HeaderValue {
    let mut tag = b"\"".to_vec();
    // Writes digits at once, where `format!` would go round by its machinery for each answer.
    let written = serde_json::to_writer(&mut tag, &version);
    tag.push(b'"');
    let tag = written
        .ok()
        .and_then(|()| HeaderValue::from_maybe_shared(Bytes::from(tag)).ok());
    tag.unwrap_or_else(|| HeaderValue::from_static("\"\""))
}

#[derive(Debug, PartialEq, Eq)]
enum Condition {
    Any,
    Tags(Vec<Tag>),
}

#[derive(Debug, PartialEq, Eq)]
struct Tag {
    weak: bool,
    /// Nothing where the tag is none that we made.
    version: Option<u64>,
}

fn condition(headers: &HeaderMap, name: &HeaderName) -> Result<Option<Condition>, ApiError> {
    let mut found = None;
    for value in headers.get_all(name) {
        let parsed = value.to_str().ok().and_then(parse);
        let malformed = || {
            let detail = format!("{name}: `*`, or entity tags such as \"3\" separated by commas");
            ApiError::InvalidRequest(detail)
        };
        match (&mut found, parsed.ok_or_else(malformed)?) {
            (None, condition) => found = Some(condition),
            (Some(Condition::Tags(all)), Condition::Tags(tags)) => all.extend(tags),
            (Some(_), _) => return Err(malformed()),
        }
    }
    Ok(found)
}

fn parse(text: &str) -> Option<Condition> {
    let mut rest = text.trim();
    if rest == "*" {
        return Some(Condition::Any);
    }
    let mut tags = Vec::new();
    loop {
        let strong = rest.strip_prefix("W/");
        let opened = strong.unwrap_or(rest).strip_prefix('"')?;
        let (opaque, after) = opened.split_once('"')?;
        tags.push(Tag {
            weak: strong.is_some(),
            version: version(opaque),
        });
        let after = after.trim_start();
        if after.is_empty() {
            return Some(Condition::Tags(tags));
        }
        rest = after.strip_prefix(',')?.trim_start();
    }
}

/// A version as we write it: `03` and `+3` are other tags.
fn version(opaque: &str) -> Option<u64> {
    opaque
        .parse()
        .ok()
        .filter(|version: &u64| version.to_string() == opaque)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tag(weak: bool, version: Option<u64>) -> Tag {
        Tag { weak, version }
    }

    #[test]
    fn entity_tags_are_read_as_the_rfc_has_them() {
        assert_eq!(parse("*"), Some(Condition::Any));
        assert_eq!(parse("\"3\""), Some(Condition::Tags(vec![tag(false, Some(3))])));
        assert_eq!(
            parse("W/\"3\" , \"a,b\",\"04\""),
            Some(Condition::Tags(vec![
                tag(true, Some(3)),
                tag(false, None),
                tag(false, None)
            ]))
        );
        for bad in ["", "3", "\"3", "\"3\",", "\"3\" \"4\"", "w/\"3\"", "*, \"3\""] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn several_header_lines_are_one_list() {
        let mut headers = HeaderMap::new();
        headers.append(IF_NONE_MATCH, HeaderValue::from_static("\"1\""));
        headers.append(IF_NONE_MATCH, HeaderValue::from_static("W/\"2\""));
        assert!(is_known(&headers, 2).unwrap());
        assert!(!is_known(&headers, 3).unwrap());
        headers.append(IF_NONE_MATCH, HeaderValue::from_static("*"));
        assert!(is_known(&headers, 2).is_err());
    }
}
