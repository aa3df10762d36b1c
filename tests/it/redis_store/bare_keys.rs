//! Keys whose time to live somebody took away.

use std::time::Duration;

use cloakroom::store::SessionStore as _;

use super::{make, new_session, sessions, user};
use crate::support::single_redis::shared_single_redis;
use crate::support::store::{connect, redis_options};

#[tokio::test]
async fn n05_the_sweep_finds_keys_without_a_time_to_live_and_gives_them_one() {
    let server = shared_single_redis().await;
    let options = redis_options(vec![server.url()]);
    let prefix = options.prefix.clone();
    let store = connect(options).await;
    let owner = user("alice");
    let id = make(&store, new_session(&store, &owner)).await;
    let sessions = sessions(&store, Duration::from_mins(1));
    sessions.sweep().await.unwrap();
    let metrics = sessions.metrics();
    assert_eq!(metrics.keys_without_ttl.get(), 0);
    assert!(metrics.keys_audited.get() >= 5, "{}", metrics.keys_audited.get());

    let base = format!("{prefix}:{{{}}}:", id.bucket());
    let keys = ["h", "u", "n", "x:normal", &format!("s:{id}")].map(|key| format!("{base}{key}"));
    for key in &keys {
        let persisted: i64 = server.ask(&["PERSIST", key]).await;
        assert_eq!(persisted, 1, "{key}");
    }
    let step = store.sweep(id.bucket(), 200).await.unwrap();
    let mut found = step.keys_without_ttl;
    let mut expected = keys.to_vec();
    found.sort();
    expected.sort();
    assert_eq!(found, expected);
    for key in &keys {
        let left: i64 = server.ask(&["PTTL", key]).await;
        assert!(left > 0, "{key}: {left}");
        let _: i64 = server.ask(&["PERSIST", key]).await;
    }
    sessions.sweep().await.unwrap();
    assert_eq!(metrics.keys_without_ttl.get(), 5);
    sessions.sweep().await.unwrap();
    assert_eq!(metrics.keys_without_ttl.get(), 5, "what was mended is not found again");
}
