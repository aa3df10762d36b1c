//! Many requests at a time on one session, on one replica and on two.

use cloakroom::Cloakroom;
use cloakroom::layer::{Options, SessionLayer};
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::site::{Browser, Site, places, replica};
use crate::support::unique_prefix;

const REQUESTS: usize = 100;

fn site(cloakroom: &Cloakroom) -> Site {
    Site::new(SessionLayer::new(cloakroom.sessions(), Options::default()).unwrap())
}

/// Memory alone, and two replicas over the cluster.
async fn crowds() -> Vec<(&'static str, Vec<Cloakroom>)> {
    let prefix = unique_prefix();
    let memory = Cloakroom::in_memory().await.unwrap();
    let cluster = vec![replica(&prefix, "one").await, replica(&prefix, "two").await];
    vec![("memory", vec![memory]), ("cluster", cluster)]
}

/// Runs the verbs in as many requests at a time, spread over the replicas.
async fn all_at_once(browser: &Browser, replicas: &[Cloakroom], verbs: impl Fn(usize) -> Value) -> Vec<Vec<Value>> {
    let sites: Vec<_> = replicas.iter().map(site).collect();
    let requests = (0..REQUESTS).map(|number| {
        let mut browser = browser.at(&sites[number % sites.len()]);
        let verbs = verbs(number);
        async move { browser.run(verbs).await }
    });
    join_all(requests).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_increments_are_exact() {
    for (name, replicas) in crowds().await {
        let mut browser = site(&replicas[0]).browser();
        browser.run(json!([["set", "a", 1]])).await;
        let sums = all_at_once(&browser, &replicas, |_| json!([["increment", "views", 1]])).await;
        let mut sums: Vec<_> = sums.iter().map(|results| results[0].as_u64().unwrap()).collect();
        sums.sort_unstable();
        assert!(
            sums.iter().copied().eq(1..=REQUESTS as u64),
            "{name}: each sum once, {sums:?}"
        );
        assert_eq!(
            browser.run(json!([["reload"], ["get", "views"]])).await[1],
            REQUESTS,
            "{name}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn requests_that_set_different_keys_lose_nothing() {
    for (name, replicas) in crowds().await {
        let mut browser = site(&replicas[0]).browser();
        browser.run(json!([["set", "kept", true], ["set", "removed", 1]])).await;
        let verbs = |number: usize| {
            let key = format!("k{number}");
            if number == 0 {
                json!([["get", "kept"], ["remove", "removed"]])
            } else {
                json!([["get", "kept"], ["set", key, number]])
            }
        };
        all_at_once(&browser, &replicas, verbs).await;
        let data = browser.run(json!([["reload"], ["record"]])).await[1]["data"].clone();
        let mut expected: serde_json::Map<_, _> = (1..REQUESTS).map(|n| (format!("k{n}"), json!(n))).collect();
        expected.insert("kept".to_owned(), json!(true));
        assert_eq!(data, Value::Object(expected), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_updates_of_one_value_all_count() {
    const WRITERS: usize = 8;
    for place in places().await {
        let site = site(&place.cloakroom);
        let mut browser = site.browser();
        browser.run(json!([["append", "log", "first"]])).await;
        let writers = (0..WRITERS).map(|number| {
            let mut browser = browser.clone();
            async move { browser.run(json!([["append", "log", number.to_string()]])).await }
        });
        join_all(writers).await;
        let log = browser.run(json!([["reload"], ["get", "log"]])).await.remove(1);
        let mut log: Vec<String> = serde_json::from_value(log).unwrap();
        assert_eq!(log.remove(0), "first");
        log.sort_unstable();
        let expected: Vec<_> = (0..WRITERS).map(|number| number.to_string()).collect();
        assert_eq!(log, expected, "{}", place.name);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn t23_the_cart_is_right_under_concurrent_adds() {
    for (name, replicas) in crowds().await {
        let mut browser = site(&replicas[0]).browser();
        browser.run(json!([["set", "a", 1]])).await;
        all_at_once(&browser, &replicas, |number| {
            json!([["add_to_cart", format!("p{}", number % 4), 1]])
        })
        .await;
        let cart = browser.run(json!([["reload"], ["cart"]])).await.remove(1);
        let quantities: Vec<_> = cart
            .as_array()
            .unwrap()
            .iter()
            .map(|line| line["quantity"].clone())
            .collect();
        assert_eq!(quantities, vec![json!(REQUESTS / 4); 4], "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn s21_a_crowd_of_writers_does_not_undo_a_log_out() {
    for (name, replicas) in crowds().await {
        let mut browser = site(&replicas[0]).browser();
        browser.run(json!([["log_in", "dana"]])).await;
        let before = browser.clone();
        let sites: Vec<_> = replicas.iter().map(site).collect();
        let writers = (0..REQUESTS).map(|number| {
            let mut browser = before.at(&sites[number % sites.len()]);
            let verbs = match number {
                50 => json!([["log_out"]]),
                odd if odd % 2 == 1 => json!([["user"], ["set", "a", odd]]),
                _ => json!([["user"], ["touch"]]),
            };
            // Those that come after the log-out find no session: some begin one of their own, which nobody asks for.
            async move { drop(browser.answer(verbs).await) }
        });
        join_all(writers).await;
        for site in &sites {
            let gone = before.at(site).run(json!([["user"], ["id"]])).await;
            assert_eq!(gone, [Value::Null, Value::Null], "{name}");
        }
    }
}
