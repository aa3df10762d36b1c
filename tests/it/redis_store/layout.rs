//! The layout record: shared by all servers, kept, and never silently another.

use std::sync::Arc;

use cloakroom::session::SystemRandom;
use cloakroom::store::redis::RedisStore;
use cloakroom::store::{SessionStore, StoreError};
use cloakroom::telemetry::Metrics;
use futures_util::future::join_all;

use super::{make, new_session, user};
use crate::support::server::ServerOptions;
use crate::support::single_redis::SingleRedis;
use crate::support::store::{connect, redis_options};

#[tokio::test]
async fn servers_that_start_at_once_share_the_bucket_key() {
    let redis = SingleRedis::start(ServerOptions::default()).await;
    let options = redis_options(vec![redis.url()]);
    let stores = join_all((0..8).map(|_| connect(options.clone()))).await;
    let owner = user("owner");
    for store in &stores {
        make(store, new_session(store, &owner)).await;
    }
    for store in &stores {
        assert_eq!(store.sessions_of(&owner).await.unwrap().len(), stores.len());
    }
    let elsewhere = connect(redis_options(vec![redis.url()])).await;
    assert_ne!(
        elsewhere.keyring().user_hash(&owner),
        stores[0].keyring().user_hash(&owner)
    );
}

#[tokio::test]
async fn a_flushed_store_gets_its_record_back() {
    let redis = SingleRedis::start(ServerOptions::default()).await;
    let options = redis_options(vec![redis.url()]);
    let meta = format!("{}:meta", options.prefix);
    let store = connect(options.clone()).await;
    let key: String = redis.ask(&["HGET", &meta, "bucket_key"]).await;
    redis.command(&["FLUSHALL"]).await;
    redis.command(&["SCRIPT", "FLUSH"]).await;
    store.ping().await.unwrap();
    assert_eq!(redis.ask::<String>(&["HGET", &meta, "bucket_key"]).await, key);
    // Scripts that were forgotten are sent again.
    make(&store, new_session(&store, &user("owner"))).await;
    let later = connect(options).await;
    assert_eq!(later.sessions_of(&user("owner")).await.unwrap().len(), 1);

    // A stranger's record in its place: not what this server works by.
    redis.command(&["HSET", &meta, "bucket_key", &"A".repeat(43)]).await;
    let error = store.ping().await.unwrap_err();
    assert!(
        matches!(&error, StoreError::Corrupt(text) if text.contains("restart")),
        "{error}"
    );
}

#[tokio::test]
async fn another_layout_is_refused_at_the_start() {
    let redis = SingleRedis::start(ServerOptions::default()).await;
    for (field, value, said) in [
        ("layout", "2", "its layout is 2, this version's is 1"),
        ("buckets", "16", "its number of buckets is 16, this version's is 1024"),
        ("bucket_key", "?", "malformed"),
    ] {
        let options = redis_options(vec![redis.url()]);
        let meta = format!("{}:meta", options.prefix);
        drop(connect(options.clone()).await);
        redis.command(&["HSET", &meta, field, value]).await;
        let refused = RedisStore::connect(options, Arc::new(SystemRandom), Metrics::new().unwrap()).await;
        let Err(StoreError::Corrupt(error)) = refused else {
            panic!("{field} {value} was accepted")
        };
        assert!(error.contains(&meta) && error.contains(said), "{error}");
    }
}
