//! Each option, with the meaning that users of express-session know.

use std::sync::Arc;
use std::time::Duration;

use cloakroom::Cloakroom;
use cloakroom::layer::{Options, SessionLayer, Unset};
use cloakroom::session::{ManualClock, Timestamp};
use cloakroom::web::{Priority, SameSite, Secure};
use serde_json::{Value, json};

use crate::site::{Site, places};

#[tokio::test]
async fn s31_the_default_cookie_is_as_strict_as_browsers_allow() {
    for place in places().await {
        let mut browser = place.site(Options::default()).browser();
        let answer = browser.answer(json!([["set", "a", 1]])).await;
        let [cookie] = answer.cookies()[..] else {
            panic!("one cookie: {answer:?}")
        };
        let (pair, attributes) = cookie.split_once("; ").unwrap();
        let token = pair.strip_prefix("__Host-cloakroom=").unwrap();
        assert_eq!(token.len(), 45, "{}", place.name);
        assert_eq!(attributes, "Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=604800");
        assert!(!answer.body.contains(token), "s35: no token in a body");
    }
}

#[tokio::test]
async fn t3_every_attribute_of_the_cookie_can_be_set() {
    let cloakroom = Cloakroom::in_memory().await.unwrap();
    let mut options = Options::default().name("sid").max_age(Duration::from_secs(90));
    options.cookie.domain = Some("shop.example".to_owned());
    options.cookie.path = "/do".to_owned();
    options.cookie.same_site = SameSite::Strict;
    options.cookie.partitioned = true;
    options.cookie.priority = Some(Priority::High);
    options.cookie.http_only = false;
    let site = |options| Site::new(SessionLayer::new(cloakroom.sessions(), options).unwrap());
    let answer = site(options.clone()).browser().answer(json!([["set", "a", 1]])).await;
    let attributes = "Path=/do; Domain=shop.example; Secure; SameSite=Strict; Partitioned; Priority=High";
    assert!(
        answer.cookies()[0].ends_with(&format!("{attributes}; Max-Age=90")),
        "{answer:?}"
    );

    let answer = site(options.browser_lifetime())
        .browser()
        .answer(json!([["set", "a", 1]]))
        .await;
    assert!(
        answer.cookies()[0].ends_with(attributes),
        "it ends with the browser: {answer:?}"
    );
}

#[tokio::test]
async fn s33_options_that_browsers_would_refuse_are_refused_with_a_reason() {
    let cloakroom = Cloakroom::in_memory().await.unwrap();
    let refused = |options: Options| {
        let outcome = SessionLayer::new(cloakroom.sessions(), options);
        outcome.expect_err("must be refused").to_string()
    };
    let with = |change: fn(&mut Options)| {
        let mut options = Options::default();
        change(&mut options);
        options
    };
    for (options, named) in [
        (Options::default().secure(false), "__Host-"),
        (Options::default().secure(Secure::Auto), "__Host-"),
        (Options::default().name("a b"), "cookie.name"),
        (
            Options::default().name("sid").secrets(Vec::<&str>::new()),
            "cookie.secrets",
        ),
        (Options::express(Vec::<&str>::new()), "cookie.secrets"),
        (with(|options| options.class = Some("none".to_owned())), "remember_me"),
        (with(|options| options.cookie.path = "x".to_owned()), "cookie.path"),
    ] {
        let why = refused(options);
        assert!(why.contains(named), "{why}");
    }
}

#[tokio::test]
async fn t5_save_uninitialized_makes_a_session_for_everybody() {
    for place in places().await {
        let lazy = place.site(Options::default());
        let answer = lazy.browser().answer(json!([["get", "a"]])).await;
        assert!(
            answer.cookies().is_empty(),
            "nothing to keep, no session: {}",
            place.name
        );

        let eager = place.site(Options {
            save_uninitialized: true,
            ..Options::default()
        });
        let mut browser = eager.browser();
        let first = browser.send("GET", "/plain", String::new()).await;
        assert_eq!(first.cookies().len(), 1, "{}", place.name);
        let id = browser.ask(&["id"]).await;
        assert!(id.is_string());
        let second = browser.send("GET", "/plain", String::new()).await;
        assert!(second.cookies().is_empty(), "it has one now");
        assert_eq!(browser.ask(&["id"]).await, id);
    }
}

#[tokio::test]
async fn t5_rolling_sets_the_cookie_with_every_response() {
    for place in places().await {
        let plain = place.site(Options::default());
        let rolling = place.site(Options {
            rolling: true,
            ..Options::default()
        });
        let mut browser = plain.browser();
        browser.run(json!([["set", "a", 1]])).await;
        let before = browser.jar.clone();
        assert!(browser.answer(json!([["get", "a"]])).await.cookies().is_empty());
        let mut browser = browser.at(&rolling);
        for path in ["/do", "/plain"] {
            let answer = browser.send("POST", path, "[]".to_owned()).await;
            assert_eq!(answer.cookies().len(), 1, "{path} {}", place.name);
        }
        assert_eq!(browser.jar, before, "the same token");
        let stranger = rolling.browser().send("GET", "/plain", String::new()).await;
        assert!(stranger.cookies().is_empty(), "no session, no cookie");
    }
}

#[tokio::test]
async fn a_cookie_with_an_age_of_its_own_starts_again_when_the_session_changes() {
    for place in places().await {
        let mut browser = place.site(Options::default().max_age(Duration::from_mins(1))).browser();
        browser.run(json!([["set", "a", 1]])).await;
        assert!(browser.answer(json!([["get", "a"]])).await.cookies().is_empty());
        let changed = browser.answer(json!([["increment", "b", 1]])).await;
        assert!(
            changed.cookies()[0].ends_with("Max-Age=60"),
            "{} {changed:?}",
            place.name
        );
    }
}

#[tokio::test]
async fn t5_resave_records_each_use_and_never_writes_what_was_only_read() {
    for place in places().await {
        let mut browser = place.site(Options::default()).browser();
        browser.run(json!([["set", "a", 1]])).await;
        let resaving = place.site(Options {
            resave: true,
            ..Options::default()
        });
        let record = async |browser: &mut crate::site::Browser| browser.ask(&["record"]).await;
        let before = record(&mut browser).await;
        tokio::time::sleep(Duration::from_millis(5)).await;
        browser.at(&resaving).send("GET", "/plain", String::new()).await;
        let after = record(&mut browser).await;
        assert!(
            after["last_activity_at"].as_str() > before["last_activity_at"].as_str(),
            "{}",
            place.name
        );
        assert_eq!(after["version"], before["version"], "nothing was written over");
    }
}

#[tokio::test]
async fn t5_unset_keeps_or_destroys() {
    for place in places().await {
        let keeping = place.site(Options::default());
        let destroying = place.site(Options {
            unset: Unset::Destroy,
            ..Options::default()
        });
        let mut browser = keeping.browser();
        browser.run(json!([["set", "a", 1]])).await;
        browser.run(json!([["set", "a", 2], ["unset"]])).await;
        assert_eq!(
            browser.ask(&["get", "a"]).await,
            1,
            "what was changed is dropped: {}",
            place.name
        );
        let answer = browser.at(&destroying).answer(json!([["unset"]])).await;
        assert!(answer.cookies()[0].ends_with("Max-Age=0"), "{answer:?}");
        assert_eq!(browser.ask(&["get", "a"]).await, Value::Null, "{}", place.name);
    }
}

#[tokio::test]
async fn t6_secure_follows_what_a_trusted_proxy_says() {
    let cloakroom = Cloakroom::in_memory().await.unwrap();
    let site = |trusted: &str, secure: Secure| {
        let options = Options {
            trusted_proxies: vec![trusted.parse().unwrap()],
            ..Options::default().name("sid").secure(secure)
        };
        Site::new(SessionLayer::new(cloakroom.sessions(), options).unwrap())
    };
    let cookies = async |site: &Site, proto: &str| {
        let mut browser = site.browser().from("10.0.0.1:1").with("x-forwarded-proto", proto);
        let answer = browser.answer(json!([["set", "a", 1]])).await;
        answer
            .cookies()
            .iter()
            .map(|cookie| cookie.contains("Secure"))
            .collect::<Vec<_>>()
    };
    let behind = site("10.0.0.0/8", Secure::Auto);
    assert_eq!(cookies(&behind, "https").await, [true]);
    assert_eq!(cookies(&behind, "http").await, [false]);
    let elsewhere = site("192.0.2.0/24", Secure::Auto);
    assert_eq!(
        cookies(&elsewhere, "https").await,
        [false],
        "s43: that proxy is not trusted"
    );
    let strict = site("10.0.0.0/8", Secure::Always);
    assert_eq!(cookies(&strict, "https").await, [true]);
    assert_eq!(
        cookies(&strict, "http").await,
        [false; 0],
        "it would travel in the clear"
    );
    assert_eq!(
        cookies(&site("192.0.2.0/24", Secure::Always), "http").await,
        [true],
        "who says so is not trusted"
    );
}

#[tokio::test]
async fn t6_the_clients_address_is_noted_as_the_proxy_tells_it() {
    for place in places().await {
        let options = Options {
            trusted_proxies: vec!["10.0.0.0/8".parse().unwrap()],
            ..Options::default()
        };
        let browser = place.site(options).browser().from("10.0.0.1:1");
        let mut browser = browser
            .with("x-forwarded-for", "198.51.100.7, 203.0.113.9")
            .with("user-agent", "Firefox");
        let record = browser.run(json!([["log_in", "dana"], ["record"]])).await.remove(1);
        assert_eq!(
            record["metadata"],
            json!({"ip": "203.0.113.9", "user_agent": "Firefox"}),
            "{}",
            place.name
        );
    }
}

#[tokio::test]
async fn t4_the_first_secret_signs_and_all_verify() {
    for place in places().await {
        let with = |secrets: &[&'static str]| place.site(Options::default().secrets(secrets.to_vec()));
        let mut browser = with(&["old"]).browser();
        browser.run(json!([["set", "a", 1]])).await;
        let mut rotated = browser.at(&with(&["new", "old"]));
        assert_eq!(
            rotated.ask(&["get", "a"]).await,
            1,
            "nobody is logged out: {}",
            place.name
        );
        assert_eq!(browser.at(&with(&["new"])).ask(&["get", "a"]).await, Value::Null);
        let bare = browser.jar["__Host-cloakroom"].split('.').next().unwrap().to_owned();
        browser.jar.insert("__Host-cloakroom".to_owned(), bare);
        assert_eq!(browser.ask(&["get", "a"]).await, Value::Null, "unsigned");
    }
}

#[tokio::test]
async fn t10_clients_without_cookies_send_the_header_and_never_both() {
    for place in places().await {
        let site = place.site(Options::default());
        let mut first = site.browser();
        let made = first.run(json!([["log_in", "dana"], ["issued_token"]])).await;
        let token = made[1].as_str().unwrap();
        let header = format!("Session {token}");
        let mut app = site.browser().with("authorization", &header);
        let answer = app.answer(json!([["user"], ["issued_token"]])).await;
        assert_eq!(answer.results(), [json!("dana"), Value::Null], "{}", place.name);
        assert!(answer.cookies().is_empty());
        let mut both = first.with("authorization", &header);
        assert_eq!(both.ask(&["user"]).await, Value::Null, "s05: one transport");
        let without = place.site(Options {
            session_header: false,
            ..Options::default()
        });
        assert_eq!(app.at(&without).ask(&["user"]).await, Value::Null);
        let in_url = site
            .browser()
            .send("POST", &format!("/do?token={token}"), json!([["user"]]).to_string())
            .await;
        assert_eq!(in_url.results(), [Value::Null], "never in the URL");
    }
}

#[tokio::test]
async fn s34_what_depended_on_a_session_is_kept_out_of_caches() {
    for place in places().await {
        let mut browser = place.site(Options::default()).browser();
        let touched = browser.answer(json!([["get", "a"]])).await;
        assert_eq!(
            (&touched.headers["cache-control"], &touched.headers["vary"]),
            (&"no-store".parse().unwrap(), &"Cookie".parse().unwrap())
        );
        let untouched = browser.send("GET", "/plain", String::new()).await;
        assert!(!untouched.headers.contains_key("cache-control") && !untouched.headers.contains_key("vary"));
    }
}

#[tokio::test]
async fn t2_the_class_decides_how_long_the_session_lasts() {
    const HOUR: Duration = Duration::from_hours(1);
    let clock = ManualClock::new(Timestamp::from_millis(1_000_000_000_000));
    let cloakroom = Cloakroom::builder()
        .clock(Arc::new(clock.clone()))
        .open()
        .await
        .unwrap();
    let options = Options {
        class: Some("sensitive".to_owned()),
        ..Options::default()
    };
    let site = Site::new(SessionLayer::new(cloakroom.sessions(), options).unwrap());
    let mut browser = site.browser();
    let answer = browser.answer(json!([["set", "a", 1]])).await;
    assert!(answer.cookies()[0].ends_with("Max-Age=43200"), "{answer:?}");
    clock.advance(HOUR / 5);
    browser.run(json!([["touch"]])).await;
    clock.advance(HOUR / 5);
    assert_eq!(browser.ask(&["get", "a"]).await, 1, "its use was recorded");
    clock.advance(HOUR / 2);
    assert_eq!(
        browser.ask(&["get", "a"]).await,
        Value::Null,
        "idle for longer than 15 minutes"
    );
}
