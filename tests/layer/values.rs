//! What is put into sessions and read from them.

use cloakroom::layer::Options;
use serde_json::{Value, json};

use crate::site::places;

#[tokio::test]
async fn values_of_every_type_come_back_in_later_requests() {
    for place in places().await {
        let mut browser = place.site(Options::default()).browser();
        let values =
            json!({"a": [1, 2.5, {"b": null}], "text": "ünï \"x\"", "number": 12_345_678_901_234_u64, "no": false});
        for (key, value) in values.as_object().unwrap() {
            browser.run(json!([["set", key, value]])).await;
        }
        for (key, value) in values.as_object().unwrap() {
            assert_eq!(browser.ask(&["get", key]).await, *value, "{} {key}", place.name);
        }
        assert_eq!(browser.ask(&["get", "missing"]).await, Value::Null);
    }
}

#[tokio::test]
async fn a_request_sees_what_it_has_set_before_it_is_written() {
    for place in places().await {
        let mut browser = place.site(Options::default()).browser();
        let seen = browser
            .run(json!([
                ["set", "a", 1],
                ["get", "a"],
                ["set", "a", 2],
                ["get", "a"],
                ["remove", "a"],
                ["get", "a"],
                ["set", "b", 3],
                ["remove", "missing"]
            ]))
            .await;
        assert_eq!(
            json!(seen),
            json!([null, 1, null, 2, 2, null, null, null]),
            "{}",
            place.name
        );
        assert_eq!(browser.ask(&["get", "b"]).await, 3);
        assert_eq!(browser.ask(&["get", "a"]).await, Value::Null);
    }
}

#[tokio::test]
async fn a_removed_value_stays_removed() {
    for place in places().await {
        let mut browser = place.site(Options::default()).browser();
        browser.run(json!([["set", "a", 1], ["set", "b", 2]])).await;
        assert_eq!(browser.ask(&["remove", "a"]).await, 1, "{}", place.name);
        assert_eq!(
            browser.run(json!([["get", "a"], ["get", "b"]])).await,
            [Value::Null, json!(2)]
        );
    }
}

#[tokio::test]
async fn increments_count_from_zero_and_with_what_is_pending() {
    for place in places().await {
        let mut browser = place.site(Options::default()).browser();
        let first = browser
            .run(json!([["increment", "views", 1], ["increment", "views", 2]]))
            .await;
        assert_eq!(json!(first), json!([1, 3]), "{}", place.name);
        let later = browser
            .run(json!([
                ["set", "views", 10],
                ["increment", "views", -4],
                ["get", "views"],
                ["set", "x", 1]
            ]))
            .await;
        assert_eq!(json!(later), json!([null, 6, 6, null]));
        assert_eq!(
            browser.run(json!([["get", "views"], ["get", "x"]])).await,
            [json!(6), json!(1)]
        );
    }
}

#[tokio::test]
async fn what_cannot_be_counted_or_read_is_told_and_changes_nothing() {
    for place in places().await {
        let mut browser = place.site(Options::default()).browser();
        browser
            .run(json!([["set", "text", "x"], ["set", "most", i64::MAX]]))
            .await;
        for key in ["text", "most"] {
            let answer = browser.answer(json!([["increment", key, 1]])).await;
            answer.problem(409, "not_a_number");
        }
        let answer = browser.answer(json!([["set", "cart", "x"], ["cart"]])).await;
        answer.problem(409, "not_a_cart");
        let long = "k".repeat(257);
        for key in ["", "a\nb", &long] {
            browser
                .answer(json!([["set", key, 1]]))
                .await
                .problem(400, "invalid_request");
        }
        let kept = browser.run(json!([["get", "text"], ["get", "most"]])).await;
        assert_eq!(kept, [json!("x"), json!(i64::MAX)], "{}", place.name);
    }
}

#[tokio::test]
async fn s53_a_session_that_would_grow_too_large_is_refused_and_stays_as_it_was() {
    for place in places().await {
        let mut browser = place.site(Options::default()).browser();
        browser.run(json!([["set", "a", 1]])).await;
        let answer = browser
            .answer(json!([["set", "a", 2], ["set", "big", "x".repeat(20_000)]]))
            .await;
        assert_eq!(answer.status, 413, "{}", place.name);
        let answer = browser
            .answer(json!([["set", "big", "x".repeat(20_000)], ["save"]]))
            .await;
        answer.problem(413, "session_too_large");
        assert_eq!(
            browser.run(json!([["get", "a"], ["get", "big"]])).await,
            [json!(1), Value::Null]
        );
    }
}

#[tokio::test]
async fn t23_the_cart_raises_the_quantity_of_what_is_there() {
    for place in places().await {
        let mut browser = place.site(Options::default()).browser();
        assert_eq!(browser.ask(&["cart"]).await, json!([]), "{}", place.name);
        browser
            .run(json!([["add_to_cart", "hat", 1], ["add_to_cart", "coat", 2]]))
            .await;
        let cart = browser.run(json!([["add_to_cart", "hat", 2], ["cart"]])).await;
        let expected = json!([{"product_id": "hat", "quantity": 3}, {"product_id": "coat", "quantity": 2}]);
        assert_eq!(cart, [expected.clone(), expected]);
        let refused = browser.answer(json!([["add_to_cart", "hat", 0]])).await;
        refused.problem(400, "invalid_request");
    }
}

#[tokio::test]
async fn a_request_that_only_reads_writes_nothing() {
    for place in places().await {
        let mut browser = place.site(Options::default()).browser();
        browser.run(json!([["set", "a", 1]])).await;
        let version = async |browser: &mut crate::site::Browser| browser.ask(&["record"]).await["version"].clone();
        let before = version(&mut browser).await;
        let answer = browser.answer(json!([["get", "a"], ["user"], ["id"]])).await;
        assert!(answer.cookies().is_empty());
        assert_eq!(version(&mut browser).await, before, "{}", place.name);
        browser.run(json!([["set", "a", 2], ["set", "b", 3]])).await;
        let once = before.as_u64().unwrap() + 1;
        assert_eq!(
            version(&mut browser).await,
            once,
            "two keys, one change: {}",
            place.name
        );
    }
}
