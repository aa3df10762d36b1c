//! A store that does not answer: 503, never a lost log-in.

use cloakroom::Cloakroom;
use cloakroom::layer::{Options, SessionLayer};
use serde_json::json;

use crate::site::{Answer, Browser, Site};
use crate::support::chaos_proxy::ChaosProxy;
use crate::support::single_redis::shared_single_redis;
use crate::support::unique_prefix;
use crate::support::wait::{SOON, eventually};

fn assert_unavailable(answer: &Answer) {
    assert_eq!(answer.status, 503, "{}", answer.body);
    assert!(answer.headers.contains_key("retry-after"));
    assert!(
        answer.cookies().is_empty(),
        "no cookie is cleared or overwritten: {answer:?}"
    );
}

async fn until_it_answers(browser: &Browser) {
    eventually(SOON, "the store to answer again", async || {
        browser.clone().answer(json!([["user"], ["csrf_token"]])).await.status == 200
    })
    .await;
}

#[tokio::test]
async fn s48_an_outage_is_503_and_logs_nobody_out() {
    let redis = shared_single_redis().await;
    let proxy = ChaosProxy::start(redis.address());
    let cloakroom = Cloakroom::builder()
        .redis_url(format!("redis://{}", proxy.address()))
        .set("redis.prefix", unique_prefix())
        .open()
        .await
        .unwrap();
    let site = |options| Site::new(SessionLayer::new(cloakroom.sessions(), options).unwrap());
    let plain = site(Options::default());
    let eager = site(Options {
        rolling: true,
        save_uninitialized: true,
        ..Options::default()
    });
    let mut browser = plain.browser();
    browser.run(json!([["set", "a", 1], ["log_in", "dana", ["a"]]])).await;
    let mut leaving = plain.browser();
    leaving.run(json!([["log_in", "eve"]])).await;

    proxy.refuse_new(true);
    proxy.cut_all();
    // As long as memory may answer, it does.
    eventually(SOON, "memory to keep its promise", async || {
        browser.clone().answer(json!([["user"]])).await.status == 503
    })
    .await;
    for verbs in [
        json!([["user"]]),
        json!([["set", "a", 2]]),
        json!([["log_in", "dana"]]),
        json!([["rotate"]]),
    ] {
        assert_unavailable(&browser.clone().answer(verbs).await);
    }
    assert_unavailable(&leaving.clone().answer(json!([["log_out"]])).await);
    assert_unavailable(&plain.browser().answer(json!([["set", "a", 1]])).await);
    assert_unavailable(&plain.browser().answer(json!([["log_in", "eve"]])).await);
    let untouched = browser.clone().send("GET", "/plain", String::new()).await;
    assert_eq!(untouched.status, 200, "what needs no session goes on");
    let unasked = browser.at(&eager).send("GET", "/plain", String::new()).await;
    assert!(unasked.status == 200 && unasked.cookies().is_empty(), "{unasked:?}");

    proxy.clear();
    proxy.refuse_new(false);
    until_it_answers(&plain.browser()).await;
    until_it_answers(&browser).await;
    let seen = browser.run(json!([["user"], ["get", "a"]])).await;
    assert_eq!(seen, [json!("dana"), json!(1)], "nobody was logged out");
    cloakroom.close().await;
}

#[tokio::test]
async fn what_cannot_be_written_at_the_end_takes_the_answer_back() {
    let redis = shared_single_redis().await;
    let proxy = ChaosProxy::start(redis.address());
    let cloakroom = Cloakroom::builder()
        .redis_url(format!("redis://{}", proxy.address()))
        .set("redis.prefix", unique_prefix())
        .open()
        .await
        .unwrap();
    let site = Site::new(SessionLayer::new(cloakroom.sessions(), Options::default()).unwrap());
    let mut browser = site.browser();
    browser.run(json!([["set", "a", 1]])).await;
    browser.run(json!([["get", "a"]])).await;
    proxy.refuse_new(true);
    proxy.cut_all();
    // Read from memory, or not at all; to be written, and not.
    let answer = browser.clone().answer(json!([["set", "a", 2]])).await;
    assert_unavailable(&answer);
    cloakroom.close().await;
}
