//! Settings whose features are not there yet: refused, so that nobody relies on what has no effect.

/// Key patterns (`*` stands for any one level) and what they will do. A feature that arrives deletes its line.
const NOT_YET: &[(&str, &str)] = &[("otlp", "traces are not exported in this version")];

/// Why `key` is refused for now, if it is; `x_file` counts as `x`.
pub(super) fn refusal(key: &str) -> Option<&'static str> {
    let plain = key.strip_suffix("_file").unwrap_or(key);
    NOT_YET
        .iter()
        .find(|(pattern, _)| covers(pattern, plain))
        .map(|(_, sentence)| *sentence)
}

fn covers(pattern: &str, key: &str) -> bool {
    let mut levels = key.split('.');
    pattern
        .split('.')
        .all(|wanted| levels.next().is_some_and(|level| wanted == "*" || wanted == level))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_cover_whole_levels() {
        for key in ["otlp.endpoint", "otlp.endpoint_file"] {
            assert!(refusal(key).is_some(), "{key}");
        }
        for key in [
            "session.classes.normal.idle",
            "http.timeout",
            "cookie.name",
            "tokens",
            "jwt.jwks_file",
            "http",
        ] {
            assert!(refusal(key).is_none(), "{key}");
        }
    }
}
