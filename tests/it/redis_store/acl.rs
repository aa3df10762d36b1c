//! The least that a Redis user must be allowed.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use cloakroom::store::redis::RedisStore;
use cloakroom::store::{Claim, Increment, NewSession, SessionStore, ValueStore as _};
use futures_util::FutureExt as _;

use super::calls::{Call, Scene, add, set};
use super::{make, new_session, operation, user};
use crate::support::audit::{audit, audit_single};
use crate::support::redis_cluster::{ClusterOptions, RedisCluster};
use crate::support::server::{Acl, ServerOptions};
use crate::support::single_redis::SingleRedis;
use crate::support::store::{connect, redis_options};
use crate::support::tls::TlsMaterial;

/// The commands that the store cannot work without, those of its scripts included: Redis checks them too.
pub(crate) const COMMANDS: &str = "+evalsha +eval +script|load +time +get +set +del +exists +rename \
    +hget +hgetall +hset +hsetnx +hmget +hdel +hexists +hkeys +hstrlen +hincrby +hincrbyfloat \
    +zadd +zrem +zrange +zrangebyscore +zrangebylex +zscore +zcard +zremrangebyscore \
    +lpush +ltrim +lrange +xadd +xrange +xinfo|stream +pexpire +pexpireat +pexpiretime +spublish +ssubscribe";

/// By which subscriptions are kept under watch.
pub(crate) const HEARTBEAT_COMMANDS: &str = "+eval_ro";

/// What is needed besides: in a cluster; for durable changes; and what is done without where it is refused: to learn of
/// failovers by more than addresses, and to check settings.
pub(crate) const CLUSTER_COMMANDS: &str = "+cluster|slots +asking";
pub(crate) const DURABLE_COMMANDS: &str = "+wait";
pub(crate) const OPTIONAL_COMMANDS: &str = "+info +config|get";

/// So long a stream of events must last for its watch to be seen working.
const TWO_HEARTBEATS: Duration = Duration::from_millis(2_100);

/// Nothing but the deployment's keys and channels.
fn least_rules(prefix: &str, commands: &[&str]) -> String {
    format!(
        "resetkeys ~{prefix}:* resetchannels &{prefix}:* -@all {}",
        commands.join(" ")
    )
}

fn acl(prefix: &str, commands: &[&str]) -> Acl {
    Acl {
        username: "cloakroom".to_owned(),
        password: "secret".to_owned(),
        rules: least_rules(prefix, commands),
    }
}

/// Everything that the store does, and a subscription.
async fn everything(store: &RedisStore) {
    for call in Call::ALL {
        let scene = Scene::new(store, call).await;
        let outcome = scene.run(store).await;
        assert!(outcome.is_ok(), "{call:?}: {outcome:?}");
    }
    let owner = user("somebody");
    let id = make(store, new_session(store, &owner)).await;
    let by = serde_json::Number::from_f64(0.5).unwrap();
    store.increment(id, Increment { by, ..add(1) }).await.unwrap();
    store.change(id, set("n", "7"), 10_000, operation()).await.unwrap();
    for _ in 0..2 {
        let claim = Claim {
            id: operation(),
            patience: Duration::from_secs(1),
        };
        store.value_or_claim("value", claim).await.unwrap();
        store
            .hold_value("value", "1", Duration::from_secs(1), claim.id)
            .await
            .unwrap();
        store.give_back("value", claim.id).await.unwrap();
    }
    store
        .count_up("count", Duration::from_secs(1), operation())
        .await
        .unwrap();
    store.forget_count("count", operation()).await.unwrap();
    store.user_activities(&owner).await.unwrap();
    let mut events = store.events().await.unwrap();
    store
        .create(new_session(store, &user("heard")), operation())
        .await
        .unwrap();
    assert!(events.recv().await.is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_least_rights_are_enough_on_an_encrypted_cluster() {
    let prefix = crate::support::unique_prefix();
    let all = [
        COMMANDS,
        HEARTBEAT_COMMANDS,
        CLUSTER_COMMANDS,
        DURABLE_COMMANDS,
        OPTIONAL_COMMANDS,
    ];
    let cluster = RedisCluster::start(ClusterOptions {
        server: ServerOptions {
            tls: Some(TlsMaterial::generate()),
            acl: Some(acl(&prefix, &all)),
            ..ServerOptions::default()
        },
        ..ClusterOptions::default()
    })
    .await;
    let mut options = redis_options(cluster.urls());
    options.prefix.clone_from(&prefix);
    options.ca_file = cluster.nodes()[0].ca_file();
    let store = connect(options.clone()).await;
    everything(&store).await;
    let new = NewSession {
        durable: true,
        ..new_session(&store, &user("durable"))
    };
    assert_eq!(store.create(new, operation()).await.unwrap().durable, Some(true));
    assert_eq!(store.node_timeout().await, Some(cluster.options.node_timeout));
    assert!(
        store
            .lineage()
            .await
            .unwrap()
            .of(cloakroom::session::Bucket::new(0))
            .is_some()
    );

    // Where a heartbeat is refused, the stream ends.
    let mut events = store.events().await.unwrap();
    let heard = tokio::time::timeout(TWO_HEARTBEATS, events.recv()).await;
    assert!(heard.is_err(), "the stream of events ended");

    // Managed Redis refuses INFO and CONFIG: the line of writes is told by its address, the settings stay unknown.
    for node in cluster.nodes() {
        node.command(&["ACL", "SETUSER", "cloakroom", "-info", "-config|get"])
            .await;
    }
    let store = connect(options).await;
    everything(&store).await;
    assert_eq!(store.node_timeout().await, None);
    assert!(
        store
            .lineage()
            .await
            .unwrap()
            .of(cloakroom::session::Bucket::new(0))
            .is_some()
    );
    audit(&cluster, &prefix).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn none_of_the_least_rights_can_be_spared() {
    let prefix = crate::support::unique_prefix();
    let redis = SingleRedis::start(ServerOptions {
        acl: Some(acl(&prefix, &[COMMANDS, CLUSTER_COMMANDS])),
        ..ServerOptions::default()
    })
    .await;
    let mut options = redis_options(vec![redis.url()]);
    options.prefix.clone_from(&prefix);
    let store = connect(options.clone()).await;
    everything(&store).await;
    audit_single(&redis, &prefix).await;
    // Each of these two stands in for the other: a script that was not loaded goes with its call.
    let either_will_do = ["+eval", "+script|load"];
    for rule in COMMANDS
        .split_whitespace()
        .filter(|rule| !either_will_do.contains(rule))
    {
        redis
            .command(&["ACL", "SETUSER", "cloakroom", &rule.replace('+', "-")])
            .await;
        let outcome = AssertUnwindSafe(everything(&store)).catch_unwind().await;
        assert!(outcome.is_err(), "nothing needs {rule}");
        redis.command(&["ACL", "SETUSER", "cloakroom", rule]).await;
    }
}
