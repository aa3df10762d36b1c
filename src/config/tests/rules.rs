//! Values that parse and yet cannot be used.

use super::*;

#[test]
fn classes_merge_with_the_four_and_may_be_added() {
    let (_directory, sources) = file(
        "[session.classes.normal]\nidle = \"1h\"\n[session.classes.kiosk]\nidle = \"2m\"\nabsolute = \"8h\"\n[session.classes.temporary]\n",
    );
    let classes = Config::load(&sources).unwrap().config.session.classes;
    assert_eq!(classes.len(), 5);
    assert_eq!(classes["normal"].idle, Period::from_hours(1));
    assert_eq!(classes["normal"].absolute, Period::from_days(7));
    assert_eq!(classes["kiosk"].absolute, Period::from_hours(8));
}

#[test]
fn classes_that_make_no_sense_are_refused() {
    let longer = problem_of(&[("session.classes.normal.idle", "8d")]);
    assert!(
        longer.ends_with("the idle timeout 8d of normal is longer than its absolute one 7d"),
        "{longer}"
    );
    let missing = problem_of(&[("session.classes.kiosk.idle", "1m")]);
    assert!(
        missing.ends_with("session.classes.kiosk.absolute: must be given, and more than 0"),
        "{missing}"
    );
    assert!(problem_of(&[("session.classes.normal.idle", "0")]).ends_with("more than 0"));
    for name in ["Kiosk", "1st", "a-b", "_a", &"a".repeat(33)] {
        let problem = problem_of(&[(&format!("session.classes.{name}.idle"), "1m")]);
        assert!(problem.contains("is not a class name"), "{problem}");
    }
}

#[test]
fn cookie_rules_of_browsers_are_kept() {
    for (pairs, rule) in [
        (&[("cookie.secure", "false")][..], "demands secure"),
        (&[("cookie.path", "/app")], "demands the path /"),
        (&[("cookie.domain", "example.com")], "allows no domain"),
        (
            &[("cookie.name", "__SECURE-sid"), ("cookie.secure", "false")],
            "demands secure",
        ),
        (
            &[
                ("cookie.name", "sid"),
                ("cookie.same_site", "none"),
                ("cookie.secure", "false"),
            ],
            "same_site none demands",
        ),
        (
            &[
                ("cookie.name", "sid"),
                ("cookie.partitioned", "true"),
                ("cookie.secure", "false"),
            ],
            "partitioned demands",
        ),
        (&[("cookie.name", "s id")], "is not a cookie name"),
        (&[("cookie.name", "sid;x")], "is not a cookie name"),
        (
            &[("cookie.name", "sid"), ("cookie.path", "app")],
            "is not a cookie path",
        ),
        (
            &[("cookie.name", "sid"), ("cookie.path", "/a;b")],
            "is not a cookie path",
        ),
        (
            &[("cookie.name", "sid"), ("cookie.domain", ".example.com")],
            "is not a cookie domain",
        ),
        (
            &[("cookie.name", "sid"), ("cookie.domain", "10.0.0.1")],
            "is not a cookie domain",
        ),
        (&[("cookie.preset", "express")], "set cookie.secrets"),
        (&[("cookie.secrets", "one,,two")], "is empty"),
        (&[("cookie.priority", "highest")], "is not one of low, medium, high"),
    ] {
        let problem = problem_of(pairs);
        assert!(problem.contains(rule), "{problem}");
    }
    let express = [("cookie.preset", "express"), ("cookie.secrets", "new,old")];
    assert_eq!(
        Config::load(&with_flags(&express)).unwrap().config.cookie.name,
        "connect.sid"
    );
    let fine = [
        ("cookie.name", "sid"),
        ("cookie.domain", "example.com"),
        ("cookie.path", "/app"),
        ("cookie.secure", "false"),
    ];
    assert!(Config::load(&with_flags(&fine)).is_ok());
}

#[test]
fn settings_that_contradict_each_other_are_refused() {
    for (pairs, rule) in [
        (
            &[("tls.cert_file", "/tls.crt")][..],
            "tls.cert_file: tls.cert_file and tls.key_file go together",
        ),
        (
            &[("tls.key_file", "/tls.key")],
            "tls.key_file: tls.cert_file and tls.key_file go together",
        ),
        (
            &[("listen", "127.0.0.1:9090")],
            "listen: both listeners would use port 9090",
        ),
        (&[("server_id", "a b")], "is not 1 to 253 letters"),
        (
            &[("redis.urls", "redis://a,rediss://b")],
            "mixes redis:// and rediss://",
        ),
        (
            &[("redis.urls", "redis://a"), ("redis.ca_file", "/ca")],
            "with rediss:// URLs only",
        ),
        (&[("redis.prefix", "a{b}")], "printable ASCII"),
        (
            &[("jwt.jwks_url", "ftp://example.com")],
            "is not an http:// or https:// URL",
        ),
        (
            &[("jwt.jwks_url", "https://id.example/jwks"), ("jwt.jwks_file", "/jwks")],
            "jwt.jwks_file: the keys come from one place: give jwt.jwks_url or jwt.jwks_file, not both",
        ),
        (&[("jwt.issuer", "")], "is empty"),
        (
            &[("kubernetes.service_accounts", "shop/web: sessions:read")],
            "set kubernetes.enabled = true too",
        ),
        (
            &[
                ("kubernetes.enabled", "true"),
                (
                    "kubernetes.service_accounts",
                    "shop/web: sessions:read, shop/web: sessions:write",
                ),
            ],
            "shop/web is there twice",
        ),
        (&[("kubernetes.namespace", "Shop")], "is not the name of a namespace"),
        (&[("kubernetes.service", "a.b")], "is not the name of a Service"),
        (&[("kubernetes.lease", "a_b")], "is not the name of a Lease"),
        (&[("log.level", "inof")], "\"inof\" is not a level"),
        (&[("http.max_connections", "0")], "from 1 to"),
    ] {
        let problem = problem_of(pairs);
        assert!(problem.contains(rule), "{problem}");
    }
    assert!(Config::load(&with_flags(&[("log.level", "warn,cloakroom::store=debug")])).is_ok());
    assert!(
        Config::load(&with_flags(&[
            ("listen", "127.0.0.1:0"),
            ("admin_listen", "127.0.0.1:0")
        ]))
        .is_ok()
    );
}

#[test]
fn a_bad_value_is_not_told_twice() {
    let all = problems(&with_flags(&[("cookie.secure", "no"), ("cookie.name", "__Host-a")]));
    assert_eq!(all, ["--set: cookie.secure: \"no\" is not one of true, false"]);
}

#[test]
fn without_authentication_only_loopback_is_served() {
    let serve = |pairs: &[(&str, &str)]| Config::load(&with_flags(pairs)).unwrap().config.validate_for_serve();
    let refusal = serve(&[]).unwrap_err().to_string();
    assert!(refusal.contains("0.0.0.0:8080 is not a loopback address"), "{refusal}");
    assert!(serve(&[("listen", "10.0.0.1:80")]).is_err());
    assert!(serve(&[("listen", "127.0.0.1:80")]).is_ok() && serve(&[("listen", "[::1]:80")]).is_ok());
    let accounts = [
        ("kubernetes.enabled", "true"),
        (
            "kubernetes.service_accounts",
            "shop/web: sessions:read, ops/cli: sessions:admin",
        ),
    ];
    assert!(serve(&accounts).is_ok() && serve(&accounts[..1]).is_err());
    assert!(serve(&[("jwt.secret", SECRET)]).is_ok() && serve(&[("jwt.jwks_url", "https://id.example/jwks")]).is_ok());
}
