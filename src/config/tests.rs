//! The layers, the sections and their rules together.

use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;

use proptest::prelude::*;

use super::*;

const SECRET: &str = "0123456789abcdef0123456789abcdef";

fn environment(variables: &[(&str, &str)]) -> Sources {
    let environment = variables
        .iter()
        .map(|(name, value)| (OsString::from(name), OsString::from(value)))
        .collect();
    Sources {
        environment,
        ..Sources::default()
    }
}

fn set(key: &str, value: &str) -> FlagValue {
    FlagValue {
        flag: "--set".to_owned(),
        key: key.to_owned(),
        values: vec![value.to_owned()],
    }
}

fn with_flags(pairs: &[(&str, &str)]) -> Sources {
    Sources {
        flags: pairs.iter().map(|(key, value)| set(key, value)).collect(),
        ..Sources::default()
    }
}

/// A settings file that lives as long as the directory.
fn file(content: &str) -> (tempfile::TempDir, Sources) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("cloakroom.toml");
    fs::write(&path, content).unwrap();
    (
        directory,
        Sources {
            config_flag: Some(path),
            ..Sources::default()
        },
    )
}

fn problems(sources: &Sources) -> Vec<String> {
    let error = Config::load(sources).expect_err("problems");
    error.problems.iter().map(ToString::to_string).collect()
}

/// The one problem of settings given by `--set`.
fn problem_of(pairs: &[(&str, &str)]) -> String {
    let mut all = problems(&with_flags(pairs));
    assert_eq!(all.len(), 1, "{all:?}");
    all.remove(0)
}

fn row<'a>(loaded: &'a Loaded, key: &str) -> &'a Row {
    loaded
        .rows
        .iter()
        .find(|row| row.key == key)
        .unwrap_or_else(|| panic!("no row {key}"))
}

#[test]
fn every_active_key_has_the_default_of_the_contract() {
    let loaded = Config::load(&Sources::default()).unwrap();
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let shown: Vec<(&str, String)> = loaded
        .rows
        .iter()
        .map(|row| {
            (
                row.key.as_str(),
                row.value
                    .as_ref()
                    .map_or("none".to_owned(), |value| value.to_string().replace('"', "")),
            )
        })
        .collect();
    let expected = [
        ("listen", "0.0.0.0:8080"),
        ("admin_listen", "0.0.0.0:9090"),
        ("server_id", host.as_str()),
        ("tls.cert_file", "none"),
        ("tls.key_file", "none"),
        ("redis.urls", "[]"),
        ("redis.prefix", "cloakroom"),
        ("redis.username", "none"),
        ("redis.password", "none"),
        ("redis.password_file", "none"),
        ("redis.ca_file", "none"),
        ("redis.connect_timeout", "1s"),
        ("redis.response_timeout", "1s"),
        ("redis.node_timeout", "none"),
        ("jwt.secret", "none"),
        ("jwt.secret_file", "none"),
        ("jwt.jwks_url", "none"),
        ("jwt.jwks_file", "none"),
        ("jwt.issuer", "none"),
        ("jwt.audience", "cloakroom"),
        ("session.classes.normal.idle", "1d"),
        ("session.classes.normal.absolute", "7d"),
        ("session.classes.remember_me.idle", "30d"),
        ("session.classes.remember_me.absolute", "90d"),
        ("session.classes.sensitive.idle", "15m"),
        ("session.classes.sensitive.absolute", "12h"),
        ("session.classes.temporary.idle", "5m"),
        ("session.classes.temporary.absolute", "1h"),
        ("session.max_bytes", "10KiB"),
        ("session.rotation_grace", "10s"),
        ("session.max_per_user", "none"),
        ("session.max_per_user_policy", "refuse"),
        ("migration.policy", "home_gone"),
        ("cookie.name", "__Host-cloakroom"),
        ("cookie.same_site", "lax"),
        ("cookie.domain", "none"),
        ("cookie.path", "/"),
        ("cookie.secure", "true"),
        ("cookie.partitioned", "false"),
        ("cookie.priority", "none"),
        ("cookie.browser_lifetime", "false"),
        ("http.trusted_proxies", "[]"),
        ("http.max_body", "64KiB"),
        ("http.timeout", "10s"),
        ("http.max_connections", "10000"),
        ("http.session_header", "true"),
        ("shutdown.drain", "20s"),
        ("log.format", "none"),
        ("log.level", "info"),
    ]
    .map(|(key, value)| (key, value.to_owned()));
    assert_eq!(shown, expected);
    assert!(
        loaded
            .rows
            .iter()
            .all(|row| row.origin == Origin::Default && !row.masked)
    );
}

#[test]
fn keys_to_come_have_the_default_of_the_contract() {
    let config = Config::default();
    let coherence = &config.coherence;
    assert_eq!(coherence.staleness_bound, Period::from_secs(1));
    assert_eq!(coherence.heartbeat, Period::from_millis(250));
    assert_eq!(coherence.max_entries.get(), 100_000);
    assert_eq!(coherence.max_bytes.to_string(), "64MiB");
    assert_eq!(coherence.max_age, Period::from_secs(60));
    assert_eq!(config.session.recent_authentication, Period::from_mins(10));
    assert!(config.session.classes.values().all(|class| class.serve_stale.is_none()));
    assert_eq!(config.http.throttle, 60);
    assert!(config.http.cors_origins.is_empty() && config.auth.return_urls.is_empty());
    assert_eq!(config.auth.cache_for, Period::ZERO);
    assert_eq!(config.binding.ip, BindingPolicy::Record);
    assert_eq!(config.cookie.preset, CookiePreset::Default);
    assert!(config.cookie.secrets.is_none() && config.encryption.keys.is_none() && config.token.keys.is_none());
    assert_eq!(
        config.otlp,
        OtlpSettings {
            endpoint: None,
            protocol: None,
            sample: None
        }
    );
}

#[test]
fn each_layer_overrides_the_one_below_key_by_key() {
    let (_directory, mut sources) = file(
        "[session]\nmax_bytes = 2048\nrotation_grace = \"20s\"\nmax_per_user = 5\n[http]\nsession_header = false\n",
    );
    sources.environment = environment(&[
        ("CLOAKROOM_SESSION__ROTATION_GRACE", "30s"),
        ("CLOAKROOM_SESSION__MAX_PER_USER", "6"),
        ("CLOAKROOM_HTTP__TRUSTED_PROXIES", "10.0.0.0/8, fd00::/8"),
        ("CLOAKROOM_SESSION__CLASSES__REMEMBER_ME__IDLE", "20d"),
        ("HOME", "/root"),
    ])
    .environment;
    sources.flags = vec![set("session.max_per_user", "7")];
    let loaded = Config::load(&sources).unwrap();
    let config = &loaded.config;
    assert_eq!(config.session.max_bytes, ByteSize::from_bytes(2048));
    assert_eq!(config.session.rotation_grace, Period::from_secs(30));
    assert_eq!(config.session.max_per_user.unwrap().get(), 7);
    assert_eq!(config.http.trusted_proxies.len(), 2);
    assert!(!config.http.session_header);
    assert_eq!(config.session.classes["remember_me"].idle, Period::from_days(20));
    assert_eq!(config.session.classes["remember_me"].absolute, Period::from_days(90));

    let origin = |key| row(&loaded, key).origin.to_string();
    assert!(origin("session.max_bytes").ends_with("/cloakroom.toml"));
    assert_eq!(origin("session.rotation_grace"), "CLOAKROOM_SESSION__ROTATION_GRACE");
    assert_eq!(origin("session.max_per_user"), "--set");
    assert_eq!(origin("http.timeout"), "default");
}

#[test]
fn the_environment_may_name_the_file_and_the_flag_wins() {
    let (directory, sources) = file("server_id = \"from-flag\"\n");
    let other = directory.path().join("other.toml");
    fs::write(&other, "server_id = \"from-env\"\n").unwrap();
    let mut by_name = environment(&[("CLOAKROOM_CONFIG", other.to_str().unwrap())]);
    assert_eq!(Config::load(&by_name).unwrap().config.server.server_id, "from-env");
    by_name.config_flag = sources.config_flag;
    assert_eq!(Config::load(&by_name).unwrap().config.server.server_id, "from-flag");
}

#[test]
fn a_file_that_cannot_be_read_is_blamed_on_who_named_it() {
    let missing = PathBuf::from("/nonexistent/cloakroom.toml");
    let sources = Sources {
        config_flag: Some(missing),
        ..Sources::default()
    };
    let all = problems(&sources);
    assert!(
        all[0].starts_with("--config: cannot read /nonexistent/cloakroom.toml: "),
        "{all:?}"
    );
    let all = problems(&environment(&[("CLOAKROOM_CONFIG", "/nonexistent/x")]));
    assert!(
        all[0].starts_with("CLOAKROOM_CONFIG: cannot read /nonexistent/x: "),
        "{all:?}"
    );
}

#[test]
fn a_broken_file_is_told_by_line_and_without_its_text() {
    let (_directory, sources) = file("listen = \"127.0.0.1:1\"\n[jwt]\nsecret = \"hunter2\n");
    let all = problems(&sources);
    assert!(all[0].contains("cloakroom.toml: is not TOML: line 3: "), "{all:?}");
    assert!(!all[0].contains("hunter2"), "{all:?}");
}

#[test]
fn all_problems_are_told_together_with_source_and_key() {
    let (directory, mut sources) = file("listn = \"127.0.0.1:80\"\n[session]\nmax_bytes = \"10 kB\"\n[htpp]\n");
    sources.environment = environment(&[
        ("CLOAKROOM_SESSION__MAX_PER_USER", "many"),
        ("CLOAKROOM_SESION__MAX_BYTES", "1"),
    ])
    .environment;
    sources.flags = vec![set("http.timeout", "0"), set("migration.policy", "sometimes")];
    let path = directory.path().join("cloakroom.toml").display().to_string();
    let mut all = problems(&sources);
    all.sort();
    let expected = [
        format!("{path}: htpp: is not a setting; known are, or begin with, "),
        format!("{path}: listn: is not a setting; did you mean listen?"),
        format!("{path}: session.max_bytes: \"10 kB\" is not a size: use whole bytes, or a number with KiB"),
        "--set: http.timeout: must be more than 0".to_owned(),
        "--set: migration.policy: \"sometimes\" is not one of home_gone, always, never".to_owned(),
        "CLOAKROOM_SESION__MAX_BYTES: sesion.max_bytes: is not a setting; did you mean CLOAKROOM_SESSION__MAX_BYTES?"
            .to_owned(),
        "CLOAKROOM_SESSION__MAX_PER_USER: session.max_per_user: \"many\" is not a whole number from 1 to 4294967295"
            .to_owned(),
    ];
    assert_eq!(all.len(), expected.len(), "{all:#?}");
    for expected in expected {
        assert!(
            all.iter().any(|problem| problem.starts_with(&expected)),
            "{expected}\nin {all:#?}"
        );
    }
}

#[test]
fn unknown_keys_are_told_from_near_ones() {
    assert_eq!(
        problem_of(&[("redis.url", "")]),
        "--set: redis.url: is not a setting; did you mean redis.urls?"
    );
    assert!(problem_of(&[("http.colour", "1")]).contains("known are http.trusted_proxies, http.max_body"));
    assert!(problem_of(&[("session", "1")]).ends_with("is a section, not a value"));
    assert!(problem_of(&[("listen.port", "1")]).ends_with("listen has no levels below it"));
    assert!(problem_of(&[("session.classes.normal", "1h")]).ends_with("is a section, not a value"));
    assert!(problem_of(&[("jwt.secret.file", "x")]).contains("jwt.secret has no levels below it"));
    assert!(problem_of(&[("", "x")]).contains("is not a setting"));
    let all = problems(&environment(&[
        ("CLOAKROOM_REDIS_URLS", "redis://h"),
        ("CLOAKROOM_Listen", "x"),
    ]));
    assert!(
        all.iter()
            .any(|problem| problem.ends_with("did you mean CLOAKROOM_REDIS__URLS?")),
        "{all:?}"
    );
    assert!(
        all.iter()
            .any(|problem| problem.ends_with("did you mean CLOAKROOM_LISTEN?")),
        "{all:?}"
    );
}

#[test]
fn a_file_must_be_typed_and_its_keys_plain() {
    let (_directory, sources) = file("listen = 8080\n\"http.timeout\" = \"5s\"\n[cookie]\nsecure = \"false\"\n");
    let all = problems(&sources).join("\n");
    assert!(all.contains("listen: is an integer: write it as a string"), "{all}");
    assert!(
        all.contains("http.timeout: is not a setting: write the levels of a key without quotes"),
        "{all}"
    );
    assert!(
        all.contains("cookie.secure: is a string: write true or false without quotes"),
        "{all}"
    );
}

#[test]
fn names_that_kubernetes_injects_are_passed_over() {
    let loaded = Config::load(&environment(&[
        ("CLOAKROOM_PORT", "tcp://10.96.0.1:8080"),
        ("CLOAKROOM_PORT_8080_TCP_ADDR", "10.96.0.1"),
        ("CLOAKROOM_SERVICE_HOST", "10.96.0.1"),
        ("CLOAKROOM_SERVICE_PORT_HTTP", "8080"),
        ("CLOAKROOM_REDIS_SERVICE_HOST", "10.96.0.2"),
        ("CLOAKROOM_REDIS_PORT_6379_TCP", "tcp://10.96.0.2:6379"),
        ("CLOAKROOM_TOKEN", "eyJ"),
    ]));
    assert!(loaded.unwrap().rows.iter().all(|row| row.origin == Origin::Default));
}

#[test]
fn features_to_come_are_refused_by_name() {
    let refused = [
        "token.keys",
        "token.keys_file",
        "encryption.keys",
        "binding.ip",
        "auth.cache_for",
        "auth.return_urls",
        "otlp.endpoint",
        "http.cors_origins",
        "http.throttle",
        "session.recent_authentication",
        "session.classes.normal.serve_stale",
        "coherence.heartbeat",
        "cookie.secrets",
        "cookie.preset",
    ];
    for key in refused {
        let problem = problem_of(&[(key, "1")]);
        assert!(
            problem.starts_with(&format!("--set: {key}: is not supported yet: ")),
            "{problem}"
        );
    }
}

#[test]
fn a_secret_comes_as_value_or_file_and_never_shows() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("secret");
    let path_text = path.to_str().unwrap();
    fs::write(&path, format!("{SECRET}\n")).unwrap();
    let by_file = Config::load(&environment(&[("CLOAKROOM_JWT__SECRET_FILE", path_text)])).unwrap();
    assert_eq!(by_file.config.jwt.secret.as_ref().unwrap().value().expose(), SECRET);
    assert_eq!(row(&by_file, "jwt.secret").value, Some("********".into()));
    assert_eq!(
        row(&by_file, "jwt.secret_file").origin.to_string(),
        "CLOAKROOM_JWT__SECRET_FILE"
    );

    let url = "redis://app:hunter2@redis:6379";
    let by_value = Config::load(&environment(&[
        ("CLOAKROOM_JWT__SECRET", SECRET),
        ("CLOAKROOM_REDIS__URLS", url),
    ]))
    .unwrap();
    assert!(row(&by_value, "jwt.secret").masked && row(&by_value, "redis.urls").masked);
    for text in [format!("{by_value:?}"), format!("{by_file:?}")] {
        assert!(!text.contains(SECRET) && !text.contains("hunter2"), "{text}");
    }

    let both = [
        ("CLOAKROOM_JWT__SECRET_FILE", path_text),
        ("CLOAKROOM_JWT__SECRET", SECRET),
    ];
    let both = problems(&environment(&both));
    assert_eq!(
        both,
        [
            "CLOAKROOM_JWT__SECRET_FILE: jwt.secret_file: is given beside jwt.secret (by CLOAKROOM_JWT__SECRET): give one of the two"
        ]
    );
}

#[test]
fn secrets_that_cannot_serve_are_refused_without_being_told() {
    let problem = problem_of(&[("jwt.secret", "hunter2")]);
    assert_eq!(
        problem,
        "--set: jwt.secret: is too short: 7 bytes, at least 32 are needed"
    );
    assert!(problem_of(&[("jwt.secret", "")]).ends_with("jwt.secret: is empty"));
    assert!(problem_of(&[("redis.password_file", "/nonexistent/p")]).contains("cannot read /nonexistent/p: "));
    let (_directory, sources) = file("[jwt]\nsecret = 12345678901234567\n");
    assert!(problems(&sources)[0].ends_with("jwt.secret: is an integer: write it as a string"));
}

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
        (&[("cookie.priority", "highest")], "is not one of low, medium, high"),
    ] {
        let problem = problem_of(pairs);
        assert!(problem.contains(rule), "{problem}");
    }
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
        (&[("jwt.issuer", "")], "is empty"),
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
fn repeated_flags_make_a_list() {
    let urls = vec!["redis://a:1".to_owned(), "redis://b:2".to_owned()];
    let flag = FlagValue {
        flag: "--redis-url".to_owned(),
        key: "redis.urls".to_owned(),
        values: urls,
    };
    let loaded = Config::load(&Sources {
        flags: vec![flag],
        ..Sources::default()
    })
    .unwrap();
    assert_eq!(loaded.config.redis.urls.len(), 2);
    assert_eq!(row(&loaded, "redis.urls").origin.to_string(), "--redis-url");
}

#[test]
fn without_authentication_only_loopback_is_served() {
    let serve = |pairs: &[(&str, &str)]| Config::load(&with_flags(pairs)).unwrap().config.validate_for_serve();
    let refusal = serve(&[]).unwrap_err().to_string();
    assert!(refusal.contains("0.0.0.0:8080 is not a loopback address"), "{refusal}");
    assert!(serve(&[("listen", "10.0.0.1:80")]).is_err());
    assert!(serve(&[("listen", "127.0.0.1:80")]).is_ok() && serve(&[("listen", "[::1]:80")]).is_ok());
    assert!(serve(&[("jwt.secret", SECRET)]).is_ok() && serve(&[("jwt.jwks_url", "https://id.example/jwks")]).is_ok());
}

proptest! {
    #[test]
    fn no_settings_panic(
        name in "(LISTEN|SESSION__CLASSES__[A-Z_.]{0,9}|COOKIE__[A-Z]{0,6}|REDIS__URLS|[A-Z_]{0,12}|\\PC{0,12})",
        value in "\\PC{0,40}",
        text in "(\\[?[a-z.]{0,12}\\]?( = [\"0-9a-z]{0,8})?\n){0,4}|\\PC{0,60}",
    ) {
        let (_directory, mut sources) = file(&text);
        sources.environment = vec![(format!("CLOAKROOM_{name}").into(), value.clone().into())];
        sources.flags = vec![set(&name.to_lowercase(), &value)];
        let _ = Config::load(&sources).map_err(|error| error.to_string());
    }
}
