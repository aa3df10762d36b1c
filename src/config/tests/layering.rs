//! The layers over each other, and what is said about keys that are wrong.

use std::path::PathBuf;

use proptest::prelude::*;

use super::*;

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
        ("CLOAKROOM_URL", "http://127.0.0.1:8080"),
    ]));
    assert!(loaded.unwrap().rows.iter().all(|row| row.origin == Origin::Default));
}

#[test]
fn a_secret_comes_as_value_or_file_and_never_shows() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("secret");
    let path_text = path.to_str().unwrap();
    fs::write(&path, format!("{SECRET}\n")).unwrap();
    let by_file = Config::load(&environment(&[("CLOAKROOM_JWT__SECRET_FILE", path_text)])).unwrap();
    assert_eq!(by_file.config.jwt.secret.as_ref().unwrap().value()[0].expose(), SECRET);
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
