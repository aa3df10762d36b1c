use proptest::prelude::*;

use super::*;

const TEXT: &str = "a7AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

fn token() -> Token {
    TEXT.parse().unwrap()
}

fn seal(preset: CookiePreset, secrets: &[&str]) -> Seal {
    let secrets = CookieSecrets::new(secrets.iter().map(|secret| secret.as_bytes()));
    Seal::new(&CookieSettings {
        name: "sid".to_owned(),
        preset,
        secrets: Some(secrets),
        ..CookieSettings::default()
    })
}

const PRESETS: [CookiePreset; 2] = [CookiePreset::Default, CookiePreset::Express];

#[test]
fn p8_the_first_secret_signs_and_all_verify() {
    for preset in PRESETS {
        let before = seal(preset, &["old"]).close(&token());
        let after = seal(preset, &["new", "old"]);
        assert_eq!(after.open(&before).as_deref(), Some(TEXT), "nobody is logged out");
        assert_eq!(after.close(&token()), seal(preset, &["new"]).close(&token()));
        assert_eq!(seal(preset, &["new"]).open(&before), None, "the old secret is retired");
        assert_eq!(seal(preset, &[]).open(&before), None);
    }
}

#[test]
fn p8_a_ring_is_replaced_for_all_who_share_it() {
    let secrets = CookieSecrets::new([&b"old"[..]]);
    let seal = Seal::new(&CookieSettings {
        secrets: Some(secrets.clone()),
        ..CookieSettings::default()
    });
    let before = seal.close(&token());
    secrets.replace([&b"new"[..], b"old"]);
    assert!(seal.open(&before).is_some());
    assert_ne!(seal.close(&token()), before);
    secrets.replace([&b"new"[..]]);
    assert_eq!(seal.open(&before), None);
    assert!(!secrets.is_last());
    drop(seal);
    assert!(secrets.is_last());
    assert_eq!(format!("{secrets:?}"), "CookieSecrets(1)");
}

#[test]
fn s02_our_own_form_has_one_length_and_needs_no_escape() {
    let value = seal(CookiePreset::Default, &["secret"]).close(&token());
    assert_eq!(value.len(), Token::LENGTH + 1 + 43);
    assert!(
        value
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
    );
}

#[test]
fn the_express_form_is_that_of_cookie_signature() {
    // node -e 'require("cookie-signature").sign(token, "keyboard cat")'
    let seal = seal(CookiePreset::Express, &["keyboard cat"]);
    let written = seal.close(&token());
    assert_eq!(written, EXPRESS);
    let decoded = percent_decode_str(EXPRESS).decode_utf8().unwrap();
    for form in [EXPRESS, &decoded, &EXPRESS.replace("%3A", "%3a")] {
        assert_eq!(seal.open(form).as_deref(), Some(TEXT), "{form}");
    }
}

const EXPRESS: &str =
    "s%3Aa7AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA.8uRywN0ExFjJH0gFd%2Fuzzd1HHOjKj28%2FJGMDOiBsVI0";

#[test]
fn what_is_not_signed_or_signed_wrongly_is_refused() {
    for preset in PRESETS {
        let seal = seal(preset, &["secret"]);
        let value = seal.close(&token());
        let mut other = value.clone();
        other.replace_range(10..11, "B");
        let cut = &value[..value.len() - 1];
        let (unsigned, no_token) = (format!("s:{TEXT}"), format!(".{}", &value[46..]));
        for bad in [
            TEXT,
            &unsigned,
            &format!("{TEXT}."),
            cut,
            &other,
            &no_token,
            "",
            ".",
            "s:",
            "s%3A.",
            "%ff.%ff",
        ] {
            assert_eq!(seal.open(bad), None, "{preset:?}: {bad}");
        }
        assert!(seal.open(&format!("{value}A")).is_none());
        assert!(seal.open(&format!("{value}=")).is_none());
    }
    let [ours, express] = PRESETS.map(|preset| seal(preset, &["secret"]));
    assert_eq!(express.open(&ours.close(&token())), None);
    assert_eq!(ours.open(&express.close(&token())), None);
}

#[test]
fn a_signature_counts_only_under_its_cookies_name() {
    let [one, other] = ["one", "other"].map(|name| {
        Seal::new(&CookieSettings {
            name: name.to_owned(),
            secrets: Some(CookieSecrets::new([&b"secret"[..]])),
            ..CookieSettings::default()
        })
    });
    assert!(one.open(&one.close(&token())).is_some());
    assert_eq!(other.open(&one.close(&token())), None);
}

proptest! {
    #[test]
    fn s06_no_value_makes_the_seal_panic(value in "\\PC{0,80}|(s:|s%3A)?[A-Za-z0-9._%=-]{0,120}") {
        for preset in PRESETS {
            prop_assert!(seal(preset, &["secret"]).open(&value).is_none());
        }
    }
}
