//! How sessions begin, change their token and end.

use cloakroom::layer::Options;
use serde_json::{Value, json};

use crate::site::{Browser, Site, places, replica};
use crate::support::unique_prefix;
use crate::support::wait::{SOON, eventually};

fn token(browser: &Browser) -> String {
    browser.jar.get("__Host-cloakroom").cloned().unwrap_or_default()
}

/// The browser as it was before: with the cookies that it had then.
async fn user_of(browser: &Browser) -> Value {
    browser.clone().ask(&["user"]).await
}

#[tokio::test]
async fn s08_s09_a_log_in_changes_the_token_and_keeps_only_what_it_names() {
    for place in places().await {
        let mut browser = place.site(Options::default()).browser();
        browser
            .run(json!([["set", "theme", "dark"], ["set", "return_to", "/evil"]]))
            .await;
        browser.run(json!([["add_to_cart", "hat", 1]])).await;
        let planted = browser.clone();
        let pending = json!([
            ["set", "lang", "de"],
            ["set", "junk", 1],
            ["log_in", "dana", ["theme", "cart", "lang"]]
        ]);
        browser.run(pending).await;
        assert_ne!(token(&browser), token(&planted), "{}", place.name);
        let data = browser.ask(&["record"]).await["data"].clone();
        let expected = json!({"theme": "dark", "cart": [{"product_id": "hat", "quantity": 1}], "lang": "de"});
        assert_eq!(data, expected, "{}", place.name);
        assert_eq!(
            browser.run(json!([["user"], ["is_reader"]])).await,
            [json!("dana"), json!(true)]
        );
        let old = planted.clone().run(json!([["user"], ["get", "theme"]])).await;
        assert_eq!(
            old,
            [Value::Null, Value::Null],
            "the planted token opens nothing: {}",
            place.name
        );
    }
}

#[tokio::test]
async fn a_log_in_without_a_session_begins_one_of_its_class() {
    for place in places().await {
        let mut browser = place.site(Options::default()).browser();
        let answer = browser
            .answer(json!([["set", "a", 1], ["log_in", "dana", ["a"], "remember_me"]]))
            .await;
        assert!(answer.cookies()[0].ends_with("Max-Age=7776000"), "{answer:?}");
        let record = browser.ask(&["record"]).await;
        assert_eq!(record["class"], "remember_me", "{}", place.name);
        assert_eq!(record["data"], json!({"a": 1}));
        assert!(record["authenticated_at"].is_string());
    }
}

#[tokio::test]
async fn s13_another_user_never_gets_the_former_ones_session() {
    for place in places().await {
        let mut browser = place.site(Options::default()).browser();
        browser
            .run(json!([["set", "secret", 1], ["log_in", "dana", ["secret"]]]))
            .await;
        let danas = browser.clone();
        browser
            .run(json!([["log_in", "eve", ["secret"]], ["get", "secret"]]))
            .await;
        assert_eq!(user_of(&browser).await, "eve", "{}", place.name);
        assert_eq!(browser.ask(&["get", "secret"]).await, Value::Null);
        assert_eq!(user_of(&danas).await, Value::Null, "it has ended");
    }
}

#[tokio::test]
async fn a_log_in_goes_through_though_the_session_ends_meanwhile() {
    for place in places().await {
        let site = place.site(Options::default());
        let mut browser = site.browser();
        browser.run(json!([["set", "a", 1]])).await;
        let before = browser.clone();
        let log_in = browser.run(json!([["get", "a"], ["pause"], ["log_in", "dana"]]));
        tokio::join!(log_in, while_it_pauses(&site, &before, json!([["destroy"]])));
        assert_eq!(user_of(&browser).await, "dana", "{}", place.name);
    }
}

/// Sends a request while another one has come to its pause, and lets that go on.
async fn while_it_pauses(site: &Site, browser: &Browser, verbs: Value) {
    site.pause.reached.notified().await;
    browser.clone().run(verbs).await;
    site.pause.over.notify_one();
}

#[tokio::test]
async fn s21_a_request_under_way_does_not_undo_a_log_out() {
    // As in express-session#632, connect-redis#328 and CVE-2023-20862.
    for place in places().await {
        let site = place.site(Options::default());
        for (late, status) in [
            (json!(["set", "a", 1]), 200),
            (json!(["increment", "a", 1]), 401),
            (json!(["append", "a", "x"]), 401),
            (json!(["add_to_cart", "hat", 1]), 401),
            (json!(["touch"]), 401),
            (json!(["reload"]), 401),
            (json!(["rotate"]), 401),
        ] {
            let mut browser = site.browser();
            browser.run(json!([["log_in", "dana"]])).await;
            let before = browser.clone();
            let mut under_way = browser.clone();
            let request = under_way.answer(json!([["user"], ["pause"], late]));
            let log_out = json!([["log_out"]]);
            let (answer, ()) = tokio::join!(request, while_it_pauses(&site, &before, log_out));
            assert_eq!(answer.status, status, "{late} {}", place.name);
            assert!(answer.cookies().is_empty(), "{late}: {answer:?}");
            assert_eq!(user_of(&before).await, Value::Null, "{late} {}", place.name);
        }
    }
}

#[tokio::test]
async fn s30_a_log_out_ends_the_session_and_clears_the_cookie() {
    for place in places().await {
        let mut browser = place.site(Options::default()).browser();
        browser.run(json!([["log_in", "dana"]])).await;
        let before = browser.clone();
        let answer = browser.answer(json!([["log_out"], ["get", "a"], ["user"]])).await;
        assert_eq!(answer.results(), [Value::Null, Value::Null, Value::Null]);
        let cleared = "__Host-cloakroom=; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=0";
        assert_eq!(answer.cookies(), [cleared], "{}", place.name);
        assert_eq!(user_of(&before).await, Value::Null, "{}", place.name);
        before.clone().run(json!([["log_out"]])).await;
    }
}

#[tokio::test]
async fn s21_nothing_brings_a_destroyed_session_back() {
    for place in places().await {
        let mut browser = place.site(Options::default()).browser();
        browser.run(json!([["log_in", "dana"]])).await;
        let before = browser.clone();
        browser
            .answer(json!([["destroy"], ["set", "a", 1]]))
            .await
            .problem(401, "session_not_found");
        let mut browser = before.clone();
        browser.run(json!([["get", "x"], ["destroy"]])).await;
        for verbs in [
            json!([["set", "a", 1]]),
            json!([["increment", "a", 1]]),
            json!([["touch"]]),
            json!([["rotate"]]),
            json!([["save"]]),
        ] {
            let mut late = before.clone();
            late.answer(verbs.clone()).await;
            assert_eq!(user_of(&before).await, Value::Null, "{verbs} {}", place.name);
            assert_eq!(user_of(&late).await, Value::Null, "{verbs} {}", place.name);
        }
    }
}

#[tokio::test]
async fn regenerate_begins_an_empty_session_with_another_token() {
    for place in places().await {
        let mut browser = place.site(Options::default()).browser();
        browser.run(json!([["set", "a", 1], ["log_in", "dana", ["a"]]])).await;
        let before = browser.clone();
        browser.run(json!([["regenerate"], ["set", "b", 2]])).await;
        let seen = browser.run(json!([["user"], ["get", "a"], ["get", "b"]])).await;
        assert_eq!(seen, [Value::Null, Value::Null, json!(2)], "{}", place.name);
        assert_ne!(token(&browser), token(&before));
        assert_eq!(user_of(&before).await, Value::Null, "the old one has ended");
        let answer = browser.answer(json!([["regenerate"]])).await;
        assert!(
            answer.cookies()[0].ends_with("Max-Age=0"),
            "nothing in it, nothing kept: {answer:?}"
        );
    }
}

#[tokio::test]
async fn rotate_keeps_the_session_and_the_old_token_for_a_moment() {
    for place in places().await {
        let mut browser = place.site(Options::default()).browser();
        browser.run(json!([["set", "a", 1], ["log_in", "dana", ["a"]]])).await;
        let mut parallel = browser.clone();
        browser.run(json!([["set", "b", 2], ["rotate"]])).await;
        assert_ne!(token(&browser), token(&parallel), "{}", place.name);
        let seen = json!([["user"], ["get", "a"], ["get", "b"]]);
        let expected = [json!("dana"), json!(1), json!(2)];
        assert_eq!(browser.run(seen.clone()).await, expected);
        let answer = parallel.answer(seen).await;
        assert_eq!(answer.results(), expected, "a request under way is not logged out");
        assert!(answer.cookies().is_empty());
    }
}

#[tokio::test]
async fn rolling_never_puts_a_retired_token_over_the_new_one() {
    for place in places().await {
        let site = place.site(Options {
            rolling: true,
            ..Options::default()
        });
        let mut browser = site.browser();
        browser.run(json!([["log_in", "dana"]])).await;
        let mut parallel = browser.clone();
        browser.run(json!([["rotate"]])).await;
        let answer = parallel.answer(json!([["user"]])).await;
        assert_eq!(answer.results(), ["dana"], "{}", place.name);
        assert!(answer.cookies().is_empty(), "{answer:?}");
    }
}

#[tokio::test]
async fn save_writes_at_once_and_reload_drops_what_is_pending() {
    for place in places().await {
        let site = place.site(Options::default());
        let mut browser = site.browser();
        browser.run(json!([["set", "a", 1], ["save"]])).await;
        let seen = browser
            .run(json!([
                ["set", "a", 2],
                ["save"],
                ["set", "a", 3],
                ["reload"],
                ["get", "a"]
            ]))
            .await;
        assert_eq!(seen[4], 2, "{}", place.name);
        assert_eq!(browser.ask(&["get", "a"]).await, 2);
        let mut empty = site.browser();
        empty.run(json!([["save"]])).await;
        assert_eq!(empty.jar.len(), 1, "an empty session, because it was asked for");
    }
}

#[tokio::test]
async fn touch_records_the_use_now() {
    for place in places().await {
        let mut browser = place.site(Options::default()).browser();
        browser.run(json!([["set", "a", 1]])).await;
        let before = browser.ask(&["record"]).await;
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        browser.run(json!([["touch"]])).await;
        let after = browser.ask(&["record"]).await;
        assert!(
            after["expires_at"].as_str() > before["expires_at"].as_str(),
            "{}",
            place.name
        );
        assert_eq!(after["version"], before["version"]);
    }
}

#[tokio::test]
async fn s03_a_token_that_was_never_issued_is_not_adopted() {
    for place in places().await {
        let mut browser = place.site(Options::default()).browser();
        let planted = format!("aa{}", "A".repeat(43));
        browser.jar.insert("__Host-cloakroom".to_owned(), planted.clone());
        let answer = browser.answer(json!([["id"]])).await;
        assert_eq!(answer.results(), [Value::Null], "{}", place.name);
        assert!(answer.cookies().is_empty(), "nothing is written for it");
        browser.run(json!([["set", "a", 1]])).await;
        assert_ne!(token(&browser), planted);
    }
}

#[tokio::test]
async fn t1_s20_replicas_share_sessions_and_log_outs() {
    let prefix = unique_prefix();
    let (one, two) = (replica(&prefix, "one").await, replica(&prefix, "two").await);
    let site = |cloakroom: &cloakroom::Cloakroom| {
        let layer = cloakroom::layer::SessionLayer::new(cloakroom.sessions(), Options::default());
        crate::site::Site::new(layer.unwrap())
    };
    let (first, second) = (site(&one), site(&two));
    let mut browser = first.browser();
    browser.run(json!([["log_in", "dana"]])).await;
    browser.run(json!([["set", "a", 1]])).await;
    assert_eq!(browser.at(&second).ask(&["get", "a"]).await, 1);
    eventually(SOON, "memory to be covered", async || one.is_ready() && two.is_ready()).await;
    assert_eq!(browser.ask(&["user"]).await, "dana");
    browser.at(&second).run(json!([["log_out"]])).await;
    // The bound is a second; the message takes milliseconds.
    eventually(SOON, "the log-out on the first", async || {
        browser.clone().ask(&["user"]).await == Value::Null
    })
    .await;
    one.close().await;
    two.close().await;
}
