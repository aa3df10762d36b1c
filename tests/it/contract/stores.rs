//! The stores that the contract suite runs against: a constructor each, named as the store's tests are.

use std::sync::Arc;

use cloakroom::session::{ManualClock, SystemRandom, Timestamp};
use cloakroom::store::MemoryStore;
use cloakroom::store::redis::{PlainRecords, RedisOptions};

use super::fixture::Fixture;
use crate::support::redis_cluster::shared_cluster;
use crate::support::single_redis::shared_single_redis;
use crate::support::store::{connect, encryption, redis_options, redis_store};

/// The embedded store, its time driven by the test.
pub(crate) async fn memory() -> Fixture {
    let clock = ManualClock::new(Timestamp::from_millis(1_763_779_845_007));
    let store = MemoryStore::new(Arc::new(clock.clone()), Arc::new(SystemRandom)).unwrap();
    Fixture::with_manual_clock(Arc::new(store), clock)
}

/// A real Redis Cluster, shared with other tests; the key prefix is this test's own.
pub(crate) async fn redis_cluster() -> Fixture {
    Fixture::with_clock_of_its_own(Arc::new(redis_store(shared_cluster().await.urls()).await))
}

/// A real single Redis, shared likewise.
pub(crate) async fn single_redis() -> Fixture {
    Fixture::with_clock_of_its_own(Arc::new(redis_store(vec![shared_single_redis().await.url()]).await))
}

/// A real Redis Cluster where what users put into sessions is sealed.
pub(crate) async fn sealed_redis_cluster() -> Fixture {
    let options = RedisOptions {
        encryption: encryption(&["present", "former"], PlainRecords::Refuse),
        ..redis_options(shared_cluster().await.urls())
    };
    Fixture::with_clock_of_its_own(Arc::new(connect(options).await))
}
