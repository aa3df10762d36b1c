//! S07: how secrets are compared.

use serde_json::json;

use crate::support::api::{Api, path_of};

/// Where secrets are compared, and by what: a comparison that stops at the first difference would tell how much of a
/// guess is right.
#[test]
fn s07_secrets_are_compared_in_constant_time() {
    let source = |path: &str| {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
        let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let end = text.find("#[cfg(test)]").unwrap_or(text.len());
        text[..end].to_owned()
    };
    let body_of = |path: &str, function: &str| {
        let text = source(path);
        let start = text
            .find(&format!("fn {function}("))
            .unwrap_or_else(|| panic!("{path}: no {function}"));
        let rest = &text[start..];
        rest[..rest.find("\n    }\n").unwrap()].to_owned()
    };
    for (path, function, compares_by) in [
        (
            "src/session/keyring.rs",
            "verify_csrf",
            "constant_time::verify_slices_are_equal(",
        ),
        (
            "src/sessions/binding.rs",
            "differences",
            "constant_time::verify_slices_are_equal(",
        ),
        ("src/web/seal.rs", "verify", "constant_time::verify_slices_are_equal("),
    ] {
        let body = body_of(path, function);
        assert!(
            body.contains(compares_by),
            "{path}: {function} compares otherwise:\n{body}"
        );
    }
    // And nowhere else: a CSRF token, a fingerprint's hash or a signature beside `==`.
    for path in [
        "src/session/keyring.rs",
        "src/sessions/binding.rs",
        "src/web/seal.rs",
        "src/http/visitor.rs",
    ] {
        for line in source(path)
            .lines()
            .filter(|line| line.contains("==") || line.contains("!="))
        {
            let line = line.trim();
            let secret = ["csrf_token", "fingerprint_hash", "signature", "secret", "expose("];
            assert!(
                line.starts_with("//") || !secret.iter().any(|name| line.contains(name)),
                "{path}: {line}"
            );
        }
    }
}

#[tokio::test]
async fn s07_one_wrong_character_anywhere_is_as_wrong_as_all() {
    let api = Api::new();
    let made = api.create(json!({"user_id": "alice"})).await;
    let path = format!("{}/csrf/verify", path_of(&made));
    let csrf = made["csrf_token"].as_str().unwrap();
    let verify = async |given: &str| api.post(&path, json!({"csrf_token": given})).await.expect(200)["valid"] == true;
    assert!(verify(csrf).await);
    for place in 0..csrf.len() {
        let other = if &csrf[place..=place] == "A" { "B" } else { "A" };
        let wrong = format!("{}{other}{}", &csrf[..place], &csrf[place + 1..]);
        assert!(!verify(&wrong).await, "{place}");
        assert!(!verify(&csrf[..place]).await, "a prefix of {place}");
    }
    assert!(!verify(&format!("{csrf}A")).await);
}
