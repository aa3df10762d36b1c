//! Sessions that the client alone holds.

use std::sync::Arc;
use std::time::Duration;

use cloakroom::layer::{ClientSide, Options, SessionLayer, Unset};
use cloakroom::session::{ManualClock, Timestamp};
use serde_json::{Value, json};

use crate::site::{Browser, Site};

const OLD: &str = "an old secret of thirty-two bytes";
const NEW: &str = "a new secret of thirty-two bytes!";
const NAME: &str = "__Host-cloakroom";

fn store(secrets: &[&str]) -> ClientSide {
    ClientSide::new(secrets).unwrap()
}

fn site(client_side: ClientSide, options: Options) -> Site {
    Site::new(SessionLayer::client_side(client_side, options).unwrap())
}

fn plain() -> Site {
    site(store(&[NEW]), Options::default())
}

fn now() -> ManualClock {
    ManualClock::new(Timestamp::from_millis(1_000_000_000_000))
}

async fn user_of(browser: &Browser) -> Value {
    browser.clone().ask(&["user"]).await
}

#[tokio::test]
async fn t26_the_whole_session_is_in_the_cookie() {
    let mut browser = plain().browser();
    browser
        .run(json!([["set", "a", {"b": [1]}], ["increment", "n", 2], ["log_in", "dana", ["a", "n"]]]))
        .await;
    browser
        .run(json!([
            ["append", "log", "x"],
            ["add_to_cart", "hat", 2],
            ["increment", "n", 1]
        ]))
        .await;
    // Another server, with nothing in common but the secret.
    let mut elsewhere = browser.at(&plain());
    let record = elsewhere.ask(&["record"]).await;
    let data = json!({"a": {"b": [1]}, "n": 3, "log": ["x"], "cart": [{"product_id": "hat", "quantity": 2}]});
    assert_eq!(
        (&record["data"], &record["user_id"], &record["roles"]),
        (&data, &json!("dana"), &json!(["reader"]))
    );
    assert!(record["authenticated_at"].is_string());
    assert!(
        elsewhere.answer(json!([["get", "a"]])).await.cookies().is_empty(),
        "nothing changed, nothing set"
    );
}

#[tokio::test]
async fn what_is_sealed_is_not_read_nor_changed_nor_moved() {
    let mut browser = plain().browser();
    browser
        .run(json!([["set", "secret", "plaintext"], ["log_in", "dana", ["secret"]]]))
        .await;
    let sealed = browser.jar[NAME].clone();
    assert!(!sealed.contains("plaintext") && !sealed.contains("dana"));
    for at in (0..sealed.len()).step_by(7) {
        let mut changed = sealed.clone().into_bytes();
        changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
        browser.jar.insert(NAME.to_owned(), String::from_utf8(changed).unwrap());
        let answer = browser.clone().answer(json!([["user"], ["get", "secret"]])).await;
        assert_eq!(answer.results(), [Value::Null, Value::Null], "byte {at}");
    }
    for cut in [0, 1, 40, sealed.len() - 1] {
        browser.jar.insert(NAME.to_owned(), sealed[..cut].to_owned());
        assert_eq!(user_of(&browser).await, Value::Null, "the first {cut} bytes");
    }
    let mut other = site(store(&[NEW]), Options::default().name("other")).browser();
    other.jar.insert("other".to_owned(), sealed);
    assert_eq!(user_of(&other).await, Value::Null, "the cookie of another name");
}

#[tokio::test]
async fn s52_no_two_cookies_are_sealed_alike() {
    let mut browser = plain().browser();
    let mut seen = std::collections::HashSet::new();
    for _ in 0..200 {
        browser.run(json!([["set", "a", 1]])).await;
        assert!(seen.insert(browser.jar[NAME][..40].to_owned()), "a nonce came twice");
    }
}

#[tokio::test]
async fn t26_the_first_secret_seals_and_all_open() {
    let mut browser = site(store(&[OLD]), Options::default()).browser();
    browser.run(json!([["log_in", "dana"]])).await;
    let mut rotated = browser.at(&site(store(&[NEW, OLD]), Options::default()));
    let answer = rotated.answer(json!([["user"]])).await;
    assert_eq!(answer.results(), ["dana"]);
    assert_eq!(answer.cookies().len(), 1, "sealed anew by the first");
    assert_eq!(user_of(&rotated.at(&plain())).await, "dana");
    assert_eq!(
        user_of(&browser.at(&plain())).await,
        Value::Null,
        "the old secret is retired"
    );
    let refusal = ClientSide::new(["too short"]).unwrap_err().to_string();
    assert!(
        refusal.contains("32 bytes") && !refusal.contains("too short"),
        "{refusal}"
    );
    ClientSide::new(Vec::<&str>::new()).unwrap_err();
}

#[tokio::test]
async fn t26_the_expiry_is_inside_the_seal() {
    const MINUTE: Duration = Duration::from_mins(1);
    let clock = now();
    let options = Options {
        class: Some("sensitive".to_owned()),
        ..Options::default()
    };
    let site = site(store(&[NEW]).clock(Arc::new(clock.clone())), options);
    let mut browser = site.browser();
    let answer = browser.answer(json!([["log_in", "dana"]])).await;
    assert!(answer.cookies()[0].ends_with("Max-Age=43200"), "{answer:?}");
    let kept = browser.clone();
    // Uses slide the idle deadline, up to the absolute one.
    for _ in 0..71 {
        clock.advance(10 * MINUTE);
        assert_eq!(browser.ask(&["user"]).await, "dana");
    }
    assert_eq!(user_of(&kept).await, Value::Null, "a copy that was not used is idle");
    clock.advance(10 * MINUTE);
    assert_eq!(
        browser.ask(&["user"]).await,
        Value::Null,
        "twelve hours, whatever the use"
    );
}

#[tokio::test]
async fn t26_a_large_session_is_split_and_a_too_large_one_refused() {
    let mut browser = plain().browser();
    // Random letters of JSON text do not compress: neither do we.
    let answer = browser.answer(json!([["set", "big", "x".repeat(4_000)]])).await;
    let names: Vec<_> = browser.jar.keys().cloned().collect();
    assert_eq!(names, [NAME.to_owned(), format!("{NAME}.1")]);
    for cookie in answer.cookies() {
        let pair = cookie.split(';').next().unwrap();
        assert!(pair.len() <= 4_096, "{}", pair.len());
        assert!(
            cookie.contains("; Secure; HttpOnly; SameSite=Lax"),
            "s31: on every cookie"
        );
    }
    assert_eq!(browser.ask(&["get", "big"]).await, "x".repeat(4_000));

    let refused = browser.answer(json!([["set", "big", "x".repeat(7_000)]])).await;
    assert_eq!(refused.status, 413);
    assert!(refused.cookies().is_empty());
    assert_eq!(browser.ask(&["get", "big"]).await, "x".repeat(4_000), "as it was");
    let wider = browser.at(&site(store(&[NEW]).max_cookies(4), Options::default()));
    wider.clone().run(json!([["set", "big", "x".repeat(7_000)]])).await;

    let mut half = browser.clone();
    half.jar.remove(&format!("{NAME}.1"));
    assert_eq!(half.ask(&["get", "big"]).await, Value::Null);
    browser.run(json!([["set", "big", "small"]])).await;
    assert_eq!(browser.jar.len(), 1, "the piece that is left over is cleared");
    browser.run(json!([["set", "big", "x".repeat(4_000)]])).await;
    browser.run(json!([["log_out"]])).await;
    assert!(browser.jar.is_empty(), "all pieces are cleared: {:?}", browser.jar);
}

#[tokio::test]
async fn the_verbs_work_without_a_store() {
    let mut browser = plain().browser();
    browser.run(json!([["set", "a", 1], ["log_in", "dana", ["a"]]])).await;
    let csrf = browser.ask(&["csrf_token"]).await;
    browser.run(json!([["rotate"]])).await;
    assert_eq!(
        browser.run(json!([["user"], ["get", "a"]])).await,
        [json!("dana"), json!(1)]
    );
    assert_eq!(
        browser.ask(&["verify_csrf", csrf.as_str().unwrap()]).await,
        false,
        "new with each token"
    );
    let seen = browser
        .run(json!([["set", "a", 2], ["reload"], ["get", "a"], ["touch"], ["save"]]))
        .await;
    assert_eq!(seen[2], 1);
    browser.run(json!([["log_in", "eve"]])).await;
    assert_eq!(
        browser.run(json!([["user"], ["get", "a"]])).await,
        [json!("eve"), Value::Null]
    );
    browser.run(json!([["regenerate"], ["set", "b", 1]])).await;
    assert_eq!(
        browser.run(json!([["user"], ["get", "b"]])).await,
        [Value::Null, json!(1)]
    );
    browser.run(json!([["set", "b", 2], ["unset"]])).await;
    assert_eq!(browser.ask(&["get", "b"]).await, 1);
    let destroying = site(
        store(&[NEW]),
        Options {
            unset: Unset::Destroy,
            ..Options::default()
        },
    );
    let mut browser = browser.at(&destroying);
    browser.run(json!([["unset"]])).await;
    assert!(browser.jar.is_empty());
}

#[tokio::test]
async fn secrets_that_sign_are_refused_where_the_seal_does_that() {
    let refusal = SessionLayer::client_side(store(&[NEW]), Options::express(["x"])).unwrap_err();
    assert!(refusal.to_string().contains("cookie.secrets"), "{refusal}");
}
