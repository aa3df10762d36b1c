//! Values of the application over a cluster: computed once for all replicas, whatever befalls Redis meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use cloakroom::session::SystemRandom;
use cloakroom::store::redis::{RedisOptions, RedisStore};
use cloakroom::store::{Claim, Held, ValueStore};
use cloakroom::values::Values;
use futures_util::future::join_all;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::{operation, proxied, shaken};
use crate::support::audit::audit;
use crate::support::redis_cluster::RedisCluster;
use crate::support::slot_move::SlotMove;
use crate::support::store::{connect, redis_options};
use crate::support::wait::{SOON, eventually};

/// How long the others wait for who computes a value and does not come back.
const PATIENCE: Duration = Duration::from_secs(10);
const LONG: Duration = Duration::from_mins(10);

/// Servers of one deployment, and how often they computed.
struct Replicas {
    prefix: String,
    stores: Vec<RedisStore>,
    values: Vec<Values>,
    computed: Arc<AtomicU64>,
}

impl Replicas {
    async fn of(cluster: &RedisCluster) -> Self {
        Self::with(redis_options(cluster.urls())).await
    }

    async fn with(options: RedisOptions) -> Self {
        let stores = join_all((0..3).map(|_| connect(options.clone()))).await;
        let values = stores
            .iter()
            .map(|store| Values::new(Arc::new(store.clone()), Arc::new(SystemRandom)));
        Self {
            values: values.collect(),
            prefix: options.prefix,
            stores,
            computed: Arc::default(),
        }
    }

    /// A value by one replica, which is computed as `computed`.
    async fn ask(&self, replica: usize, name: &str, ttl: Duration, computed: &str) -> String {
        let compute = async || {
            self.computed.fetch_add(1, Ordering::Relaxed);
            computed.to_owned()
        };
        self.values[replica].get_or_compute(name, ttl, compute).await
    }

    fn computed(&self) -> u64 {
        self.computed.load(Ordering::Relaxed)
    }

    async fn keys(&self, cluster: &RedisCluster, kind: &str) -> Vec<String> {
        cluster.keys(&format!("{}:{{*}}:{kind}:*", self.prefix)).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t27_one_of_all_replicas_computes_a_value_and_all_have_it_until_it_expires() {
    let cluster = shaken().await;
    let replicas = Replicas::of(&cluster).await;
    let slowly = async |replica: usize| {
        let compute = async || {
            tokio::time::sleep(Duration::from_millis(300)).await;
            replicas.computed.fetch_add(1, Ordering::Relaxed)
        };
        replicas.values[replica].get_or_compute("report", LONG, compute).await
    };
    let told = join_all((0..60).map(|number| slowly(number % 3))).await;
    assert_eq!(told, [0; 60], "all have what the one computed");
    assert_eq!(replicas.computed(), 1);
    let [key] = &replicas.keys(&cluster, "v").await[..] else {
        panic!("one value is held")
    };
    assert!(
        replicas.keys(&cluster, "w").await.is_empty(),
        "the claim was given back"
    );
    assert!(
        !key.contains("report"),
        "what applications call a value never forms a key (S50): {key}"
    );
    let left: u64 = cluster.primary_of_key(key).await.ask(&["PTTL", key]).await;
    assert!((1..=600_000).contains(&left), "{left} ms");
    audit(&cluster, &replicas.prefix).await;

    let short = Duration::from_millis(400);
    assert_eq!(replicas.ask(0, "rate", short, "first").await, "first");
    eventually(SOON, "the value to expire", async || {
        replicas.ask(1, "rate", short, "second").await == "second"
    })
    .await;
    assert_eq!(
        replicas.ask(2, "other", LONG, "other").await,
        "other",
        "each name is a value of its own"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t27_a_value_survives_the_failover_of_its_primary() {
    let cluster = shaken().await;
    let replicas = Replicas::of(&cluster).await;
    assert_eq!(replicas.ask(0, "report", LONG, "first").await, "first");
    let [key] = &replicas.keys(&cluster, "v").await[..] else {
        panic!("one value is held")
    };
    let primary = cluster.primary_of_key(key).await;
    let follower = cluster.replicas_of(primary).await[0];
    eventually(SOON, "the replica to be in step", async || {
        follower.info("master_repl_offset").await == primary.info("master_repl_offset").await
    })
    .await;
    primary.kill();
    // Nobody is refused meanwhile: it is computed, and not held.
    assert_eq!(
        replicas.ask(1, "report", LONG, "while it is away").await,
        "while it is away"
    );
    eventually(SOON, "the value to be had again", async || {
        replicas.ask(1, "report", LONG, "while it is away").await == "first"
    })
    .await;
    assert_eq!(replicas.ask(2, "new", LONG, "new").await, "new");
    primary.restart().await;
    cluster.wait_until_healthy().await;
    let before = replicas.computed();
    for replica in 0..3 {
        assert_eq!(replicas.ask(replica, "report", LONG, "anew").await, "first");
        assert_eq!(replicas.ask(replica, "new", LONG, "anew").await, "new");
    }
    assert_eq!(replicas.computed(), before);
    audit(&cluster, &replicas.prefix).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t27_values_go_on_while_their_slot_moves() {
    let cluster = shaken().await;
    let mut options = redis_options(cluster.urls());
    options.response_timeout = Duration::from_millis(500);
    options.connect_timeout = Duration::from_millis(500);
    let replicas = Replicas::with(options).await;
    assert_eq!(replicas.ask(0, "report", LONG, "first").await, "first");
    let [key] = &replicas.keys(&cluster, "v").await[..] else {
        panic!("one value is held")
    };
    let slot = cluster.slot_of(key).await;
    let source = cluster.primary_of_slot(slot).await;
    let target = cluster.another_primary(source).await;

    let replicas = Arc::new(replicas);
    let (stop, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let mut load = JoinSet::new();
    for replica in 0..3 {
        let (replicas, stop, asked) = (Arc::clone(&replicas), Arc::clone(&stop), Arc::clone(&asked));
        load.spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                // Half-moved, Redis may not tell; then it is computed: as the same.
                assert_eq!(replicas.ask(replica, "report", LONG, "first").await, "first");
                asked.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    let goes_on = async |when: &str| {
        let before = asked.load(Ordering::Relaxed);
        eventually(SOON, when, async || asked.load(Ordering::Relaxed) > before + 6).await;
    };
    goes_on("values before the move").await;
    let moving = SlotMove::begin(&cluster, slot, target).await;
    goes_on("values while nothing has moved").await;
    moving.migrate(std::slice::from_ref(key)).await;
    goes_on("values while theirs has moved").await;
    moving.finish().await;
    goes_on("values after the move").await;
    stop.store(true, Ordering::Relaxed);
    load.join_all().await;
    let before = replicas.computed();
    assert_eq!(replicas.ask(1, "report", LONG, "anew").await, "first");
    assert_eq!(replicas.computed(), before, "it moved along");
    audit(&cluster, &replicas.prefix).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t27_an_outage_costs_a_computation_for_all_who_wait() {
    let cluster = proxied().await;
    let replicas = Replicas::of(&cluster).await;
    assert_eq!(replicas.ask(0, "report", LONG, "held").await, "held");
    for node in cluster.nodes() {
        node.proxy().hold(true);
    }
    let started = Instant::now();
    let told = join_all((0..50).map(|_| replicas.ask(0, "report", LONG, "computed"))).await;
    let took = started.elapsed();
    for node in cluster.nodes() {
        node.proxy().clear();
    }
    assert!(told.iter().all(|value| value == "computed"));
    // A look that gets no answer takes 3 s: not each in its turn.
    assert!(took < Duration::from_secs(15), "50 who wait took {took:?}");
    assert_eq!(replicas.computed(), 2);
    eventually(SOON, "the held value to be had again", async || {
        replicas.ask(0, "report", LONG, "computed").await == "held"
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t27_a_value_that_is_too_long_to_be_held_keeps_nobody_waiting() {
    const LONGEST: usize = 1024 * 1024;

    let cluster = shaken().await;
    let replicas = Replicas::of(&cluster).await;
    // With its two quotation marks.
    let (fits, too_long) = ("x".repeat(LONGEST - 2), "x".repeat(LONGEST - 1));
    let started = Instant::now();
    for replica in 0..3 {
        assert_eq!(
            replicas.ask(replica, "too long", LONG, &too_long).await.len(),
            LONGEST - 1
        );
    }
    assert_eq!(replicas.computed(), 3, "each for itself");
    assert!(
        started.elapsed() < PATIENCE,
        "they waited for each other: {:?}",
        started.elapsed()
    );
    assert!(replicas.keys(&cluster, "[vw]").await.is_empty());
    for replica in 0..3 {
        assert_eq!(replicas.ask(replica, "fits", LONG, &fits).await.len(), LONGEST - 2);
    }
    assert_eq!(replicas.computed(), 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t27_nobody_waits_for_a_computation_that_was_given_up() {
    let cluster = shaken().await;
    let replicas = Replicas::of(&cluster).await;
    let hangs = replicas.values[0].get_or_compute("report", LONG, std::future::pending::<String>);
    let given_up = tokio::time::timeout(Duration::from_millis(500), hangs).await;
    assert!(given_up.is_err(), "its visitor has left");
    let started = Instant::now();
    assert_eq!(replicas.ask(1, "report", LONG, "by another").await, "by another");
    assert!(
        started.elapsed() < PATIENCE / 2,
        "another waited for {:?}",
        started.elapsed()
    );

    // A server that died cannot give back: its claim ends by itself.
    let claim = Claim {
        id: operation(),
        patience: Duration::from_millis(300),
    };
    let claimed = replicas.stores[0].value_or_claim("rate", claim).await.unwrap();
    assert_eq!(claimed, Held::Claimed);
    let claim = Claim {
        id: operation(),
        ..claim
    };
    let awaited = replicas.stores[1].value_or_claim("rate", claim).await.unwrap();
    assert_eq!(awaited, Held::Awaited);
    // What is not one's own is not given back.
    replicas.stores[1].give_back("rate", claim.id).await.unwrap();
    assert_eq!(replicas.ask(2, "rate", LONG, "by the third").await, "by the third");
    assert!(replicas.keys(&cluster, "w").await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t27_a_look_or_a_value_that_is_sent_twice_counts_once() {
    let cluster = proxied().await;
    let replicas = Replicas::of(&cluster).await;
    let cut = || {
        for node in cluster.nodes() {
            node.proxy().cut_before_reply(format!("{}:", replicas.prefix), 1);
        }
    };
    let before = cluster.requests_hit();
    let started = Instant::now();
    cut();
    // The look's answer is lost; and then that of what was computed.
    let compute = async || {
        replicas.computed.fetch_add(1, Ordering::Relaxed);
        cut();
        "once".to_owned()
    };
    let value = replicas.values[0].get_or_compute("report", LONG, compute).await;
    for node in cluster.nodes() {
        node.proxy().clear();
    }
    assert!(cluster.requests_hit() >= before + 2, "nothing was cut");
    assert_eq!(value, "once");
    assert_eq!(replicas.ask(1, "report", LONG, "again").await, "once");
    assert!(
        started.elapsed() < PATIENCE,
        "it waited for its own claim: {:?}",
        started.elapsed()
    );
    assert_eq!(replicas.computed(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t27_a_value_of_another_type_is_computed_and_takes_its_place() {
    let cluster = shaken().await;
    let replicas = Replicas::of(&cluster).await;
    assert_eq!(replicas.ask(0, "report", LONG, "text").await, "text");
    let number = async |computed: u64| {
        replicas.values[1]
            .get_or_compute("report", LONG, async || computed)
            .await
    };
    assert_eq!(number(7).await, 7);
    assert_eq!(number(8).await, 7, "it is held");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t27_counts_are_those_of_all_replicas_together_within_their_window() {
    let cluster = shaken().await;
    let replicas = Replicas::of(&cluster).await;
    let count = async |replica: usize, name: &str, window| replicas.values[replica].count(name, window).await.unwrap();
    let mut counted: Vec<_> = join_all((0..60).map(|number| count(number % 3, "tries", LONG)))
        .await
        .into_iter()
        .map(|count| count.times)
        .collect();
    counted.sort_unstable();
    assert_eq!(counted, (1..=60).collect::<Vec<u64>>(), "each tells another number");
    let one_more = count(0, "tries", Duration::from_secs(1)).await;
    assert_eq!(one_more.times, 61);
    let minutes = Duration::from_mins(9)..=LONG;
    assert!(
        minutes.contains(&one_more.ends_in),
        "the window is that of the first: {one_more:?}"
    );
    assert_eq!(count(1, "other tries", LONG).await.times, 1);
    replicas.values[2].forget_count("tries").await.unwrap();
    assert_eq!(count(1, "tries", LONG).await.times, 1);
    let short = Duration::from_millis(200);
    count(0, "short", short).await;
    eventually(SOON, "the window to end", async || {
        count(1, "short", short).await.times == 1
    })
    .await;
    let keys = replicas.keys(&cluster, "k").await;
    assert!(
        !keys.is_empty() && keys.iter().all(|key| !key.contains("tries")),
        "{keys:?}"
    );
    audit(&cluster, &replicas.prefix).await;
}
