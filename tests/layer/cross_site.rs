//! Unsafe requests that pages of other sites send.

use cloakroom::layer::{CrossSite, Options};
use serde_json::{Value, json};

use crate::site::places;

fn options(cross_site: CrossSite) -> Options {
    Options {
        cross_site,
        ..Options::default()
    }
}

#[tokio::test]
async fn s36_pages_of_other_sites_cannot_use_the_session() {
    for place in places().await {
        let site = place.site(Options::default());
        let mut browser = site.browser();
        browser.run(json!([["log_in", "dana"]])).await;
        let write = json!([["set", "a", 1]]).to_string();
        for (name, value) in [
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-site", "same-site"),
            ("origin", "https://evil.example"),
            ("origin", "null"),
        ] {
            let mut other = browser.clone().with(name, value);
            let refused = other.send("POST", "/do", write.clone()).await;
            refused.problem(403, "csrf_mismatch");
            let unused = other.send("POST", "/plain", String::new()).await;
            assert_eq!(unused.status, 200, "nobody asks for the session: {}", place.name);
            let read = other.send("GET", "/do", json!([["user"]]).to_string()).await;
            assert_eq!(read.results(), ["dana"], "a link leads to a page with its session");
        }
        for (name, value) in [
            ("sec-fetch-site", "same-origin"),
            ("sec-fetch-site", "none"),
            ("origin", "https://shop.example"),
        ] {
            let own = browser
                .clone()
                .with(name, value)
                .send("POST", "/do", write.clone())
                .await;
            assert_eq!(own.status, 200, "{name}: {value} {}", place.name);
        }
    }
}

#[tokio::test]
async fn s40_no_session_is_made_by_a_post_of_another_site() {
    for place in places().await {
        let mut stranger = place
            .site(Options::default())
            .browser()
            .with("sec-fetch-site", "cross-site");
        let answer = stranger.answer(json!([["log_in", "eve"]])).await;
        answer.problem(403, "csrf_mismatch");
        assert!(answer.cookies().is_empty(), "{}", place.name);
    }
}

#[tokio::test]
async fn s37_the_csrf_token_of_the_session_proves_that_the_page_is_ours() {
    for place in places().await {
        let site = place.site(options(CrossSite::Strict));
        let lenient = place.site(options(CrossSite::Allow));
        let mut browser = lenient.browser();
        browser.run(json!([["log_in", "dana"]])).await;
        let csrf = browser.ask(&["csrf_token"]).await;
        let csrf = csrf.as_str().unwrap().to_owned();
        let mut browser = browser.at(&site);
        browser.answer(json!([["user"]])).await.problem(403, "csrf_mismatch");
        let mut with_token = browser.clone().with("x-csrf-token", &csrf);
        assert_eq!(with_token.ask(&["user"]).await, "dana", "{}", place.name);
        let wrong = browser.clone().with("x-csrf-token", &csrf.replace(|_: char| true, "A"));
        wrong
            .clone()
            .answer(json!([["user"]]))
            .await
            .problem(403, "csrf_mismatch");
        let mut stranger = site.browser().with("x-csrf-token", &csrf);
        stranger.answer(json!([["user"]])).await.problem(403, "csrf_mismatch");

        let mut browser = browser.at(&lenient);
        assert_eq!(browser.ask(&["verify_csrf", &csrf]).await, true);
        assert_eq!(browser.ask(&["verify_csrf", "x"]).await, false);
        browser.run(json!([["rotate"]])).await;
        let renewed = browser.ask(&["csrf_token"]).await;
        assert_ne!(renewed, csrf, "new with each token: {}", place.name);
        browser.run(json!([["log_in", "dana"]])).await;
        assert_eq!(browser.ask(&["verify_csrf", &csrf]).await, false);
    }
}

#[tokio::test]
async fn a_form_for_strangers_begins_a_session_for_its_token() {
    for place in places().await {
        let mut browser = place.site(Options::default()).browser();
        let answer = browser.answer(json!([["csrf_token"]])).await;
        assert_eq!(answer.cookies().len(), 1, "{}", place.name);
        let token = answer.results()[0].as_str().unwrap().to_owned();
        let seen = browser.run(json!([["verify_csrf", token], ["user"]])).await;
        assert_eq!(seen, [json!(true), Value::Null]);
    }
}
