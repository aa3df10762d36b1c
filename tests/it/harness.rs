//! The fixture itself: a test that stands on it fails for its own reasons only.

use std::path::Path;
use std::time::Duration;

use crate::support::chaos_proxy::ChaosProxy;
use crate::support::monitor::MonitoredCommand;
use crate::support::process::Program;
use crate::support::redis_cluster::{ClusterOptions, RedisCluster, shared_cluster};
use crate::support::server::{Acl, ServerBinary, ServerOptions};
use crate::support::single_redis::SingleRedis;
use crate::support::slot_move::SlotMove;
use crate::support::tls::TlsMaterial;
use crate::support::unique_prefix;
use crate::support::wait::{SOON, eventually};

#[tokio::test]
async fn cluster_forms_with_three_primaries_and_a_replica_each() {
    let cluster = shared_cluster().await;
    assert_eq!(cluster.primaries().await.len(), 3);
    for primary in cluster.primaries().await {
        assert_eq!(cluster.replicas_of(primary).await.len(), 1);
    }
    let key = unique_prefix();
    let client = redis::cluster::ClusterClient::new(cluster.urls()).unwrap();
    let mut connection = client.get_async_connection().await.unwrap();
    redis::cmd("SET")
        .arg(&key)
        .arg("coat")
        .exec_async(&mut connection)
        .await
        .unwrap();
    assert_eq!(cluster.keys(&key).await, [key.as_str()]);
    assert!(cluster.dbsize_total().await >= 1);
    assert!(cluster.used_memory_total().await > 0);
}

#[tokio::test]
async fn monitor_tells_clients_from_scripts() {
    let redis = SingleRedis::start(ServerOptions::default()).await;
    let monitor = redis.monitor().await;
    redis
        .command(&[
            "EVAL",
            "return redis.call('set', KEYS[1], 'a \"quoted\" coat')",
            "1",
            "ticket",
        ])
        .await;
    let commands = monitor.commands(&redis).await;
    let names: Vec<(&str, bool)> = commands
        .iter()
        .map(|c: &MonitoredCommand| (c.name.as_str(), c.from_script))
        .collect();
    assert_eq!(names, [("EVAL", false), ("SET", true)]);
    monitor.clear(&redis).await;
    assert!(monitor.commands(&redis).await.is_empty());
}

#[tokio::test]
async fn slot_moves_in_steps() {
    let cluster = RedisCluster::start(ClusterOptions::default()).await;
    let slot = cluster.slot_of("{a7}").await;
    let source = cluster.primary_of_slot(slot).await;
    let target = cluster.another_primary(source).await;
    source.command(&["SET", "{a7}:one", "1"]).await;
    source.command(&["SET", "{a7}:two", "2"]).await;

    let moving = SlotMove::begin(&cluster, slot, target).await;
    moving.migrate(&["{a7}:one".to_owned()]).await;
    assert_eq!(moving.keys_left().await, ["{a7}:two"]);
    let refused = source.try_command(&["GET", "{a7}:one"]).await.unwrap_err();
    assert_eq!(refused.code(), Some("ASK"));
    moving.finish().await;

    assert_eq!(cluster.primary_of_slot(slot).await.id, target.id);
    assert_eq!(cluster.keys("{a7}:*").await, ["{a7}:one", "{a7}:two"]);
}

#[tokio::test]
async fn replica_takes_over_from_a_killed_primary_which_comes_back_as_replica() {
    let cluster = RedisCluster::start(ClusterOptions::default()).await;
    let [primary, ..] = cluster.nodes() else {
        unreachable!("a cluster has nodes")
    };
    let replica = cluster.replicas_of(primary).await[0];
    primary.kill();
    assert!(!primary.is_running());
    cluster.wait_until_primary(replica).await;
    primary.restart().await;
    cluster.wait_until_healthy().await;
    eventually(SOON, "the old primary to follow", async || {
        cluster
            .replica_of(primary)
            .await
            .is_some_and(|node| node.id == replica.id)
    })
    .await;
    cluster.failover(primary).await;
    assert!(cluster.is_primary(primary).await);
}

#[tokio::test]
async fn frozen_server_answers_again_when_thawed() {
    let redis = SingleRedis::start(ServerOptions::default()).await;
    let mut connection = redis.connect().await.unwrap();
    redis.freeze();
    let ping = redis::cmd("PING");
    let asked = tokio::time::timeout(Duration::from_millis(100), ping.query_async::<String>(&mut connection)).await;
    assert!(asked.is_err(), "a frozen server answered");
    redis.thaw();
    assert_eq!(redis.ask::<String>(&["PING"]).await, "PONG");
}

#[tokio::test]
async fn proxied_cluster_is_reached_through_its_proxies_only() {
    let options = ClusterOptions {
        proxied: true,
        ..ClusterOptions::default()
    };
    let cluster = RedisCluster::start(options).await;
    let client = redis::cluster::ClusterClient::builder(vec![cluster.nodes()[0].url()])
        .connection_timeout(Duration::from_millis(500))
        .response_timeout(Duration::from_millis(500))
        .retries(8)
        .build()
        .unwrap();
    let mut connection = client.get_async_connection().await.unwrap();
    let node = cluster.primary_of_key("coat").await;
    let increment = redis::cmd("INCR").arg("coat").to_owned();
    increment.query_async::<i64>(&mut connection).await.unwrap();
    assert!(node.proxy().counts().accepted >= 1);

    node.proxy().cut_before_reply("INCR", 1);
    let after_retry: i64 = increment.query_async(&mut connection).await.unwrap();
    assert_eq!(after_retry, 3, "the client repeats what the server had already done");
    assert_eq!(node.proxy().counts().requests_hit, 1);

    node.proxy().refuse_new(true);
    node.proxy().cut_all();
    assert!(increment.query_async::<i64>(&mut connection).await.is_err());
    node.proxy().clear();
    eventually(SOON, "the client to find its way back", async || {
        increment.query_async::<i64>(&mut connection).await.is_ok()
    })
    .await;
    cluster.wait_until_healthy().await;
}

#[tokio::test]
async fn proxy_holds_swallows_delays_and_cuts() {
    let redis = SingleRedis::start(ServerOptions::default()).await;
    let proxy = ChaosProxy::start(redis.address());
    let client = redis::Client::open(format!("redis://{}", proxy.address())).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let set = |value: &str| redis::cmd("SET").arg("coat").arg(value).to_owned();
    let short = Duration::from_millis(100);

    proxy.hold_requests(true);
    let held = tokio::time::timeout(short, set("held").exec_async(&mut connection)).await;
    assert!(held.is_err());
    assert_eq!(redis.ask::<Option<String>>(&["GET", "coat"]).await, None);
    proxy.hold_requests(false);
    set("through").exec_async(&mut connection).await.unwrap();

    proxy.delay_replies(Duration::from_millis(50));
    let before = tokio::time::Instant::now();
    set("late").exec_async(&mut connection).await.unwrap();
    assert!(before.elapsed() >= Duration::from_millis(50));
    proxy.clear();

    proxy.cut_before_request("never", 1);
    assert!(set("never").exec_async(&mut connection).await.is_err());
    assert_eq!(redis.ask::<String>(&["GET", "coat"]).await, "late");

    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    proxy.swallow_replies(true);
    assert!(
        tokio::time::timeout(short, set("swallowed").exec_async(&mut connection))
            .await
            .is_err()
    );
    assert_eq!(redis.ask::<String>(&["GET", "coat"]).await, "swallowed");
    proxy.clear();
    proxy.cut_all();
    eventually(SOON, "all connections to close", async || proxy.counts().open == 0).await;
}

#[tokio::test]
async fn proxy_drops_chosen_pushes_and_keeps_replies_in_step() {
    let redis = SingleRedis::start(ServerOptions::default()).await;
    let proxy = ChaosProxy::start(redis.address());
    let client = redis::Client::open(format!("redis://{}?protocol=resp3", proxy.address())).unwrap();
    let (send, mut pushes) = tokio::sync::mpsc::unbounded_channel();
    let config = redis::AsyncConnectionConfig::new().set_push_sender(send);
    let mut connection = client
        .get_multiplexed_async_connection_with_config(&config)
        .await
        .unwrap();
    connection.subscribe(&["inv", "ev"]).await.unwrap();
    proxy.drop_replies_containing("first");
    redis.command(&["PUBLISH", "inv", "first"]).await;
    redis.command(&["PUBLISH", "inv", "second"]).await;
    let message = loop {
        let push = pushes.recv().await.unwrap();
        if push.kind == redis::PushKind::Message {
            break redis::from_redis_value::<(String, String)>(redis::Value::Array(push.data)).unwrap();
        }
    };
    assert_eq!(message, ("inv".to_owned(), "second".to_owned()));
    assert_eq!(proxy.counts().replies_dropped, 1);
    proxy.cut_before_reply("ECHO", 1);
    assert_eq!(
        redis::cmd("PING").query_async::<String>(&mut connection).await.unwrap(),
        "PONG"
    );
    assert!(
        redis::cmd("ECHO")
            .arg("coat")
            .query_async::<String>(&mut connection)
            .await
            .is_err()
    );
}

#[tokio::test]
async fn proxy_swaps_the_replies_of_two_connections() {
    let redis = SingleRedis::start(ServerOptions::default()).await;
    let proxy = ChaosProxy::start(redis.address());
    let client = redis::Client::open(format!("redis://{}", proxy.address())).unwrap();
    let mut left = client.get_multiplexed_async_connection().await.unwrap();
    let mut right = client.get_multiplexed_async_connection().await.unwrap();
    proxy.swap_replies("blue", "red");
    let (blue, red) = (
        redis::cmd("ECHO").arg("blue").to_owned(),
        redis::cmd("ECHO").arg("red").to_owned(),
    );
    let (of_left, of_right) = tokio::join!(
        blue.query_async::<String>(&mut left),
        red.query_async::<String>(&mut right)
    );
    assert_eq!((of_left.unwrap().as_str(), of_right.unwrap().as_str()), ("red", "blue"));
}

#[tokio::test]
async fn single_server_speaks_tls_and_knows_its_users() {
    let options = ServerOptions {
        tls: Some(TlsMaterial::generate()),
        acl: Some(Acl::all_rights("cloakroom", "secret")),
        ..ServerOptions::default()
    };
    let redis = SingleRedis::start(options).await;
    assert_eq!(redis.ask::<String>(&["PING"]).await, "PONG");
    assert!(redis.url().starts_with("rediss://cloakroom:secret@"));
    assert!(redis.ca_file().unwrap().is_file());
    let users: Vec<String> = redis.ask(&["ACL", "USERS"]).await;
    assert_eq!(users, ["cloakroom", "default", "fixture"]);
}

#[tokio::test]
async fn cluster_speaks_tls_and_knows_its_users() {
    let server = ServerOptions {
        tls: Some(TlsMaterial::generate()),
        acl: Some(Acl::all_rights("cloakroom", "secret")),
        ..ServerOptions::default()
    };
    let cluster = RedisCluster::start(ClusterOptions {
        server,
        allow_reads_when_down: true,
        ..ClusterOptions::default()
    })
    .await;
    let slot = cluster.slot_of("coat").await;
    let source = cluster.primary_of_slot(slot).await;
    source.command(&["SET", "coat", "blue"]).await;
    let target = cluster.another_primary(source).await;
    cluster.move_slot(slot, target).await;
    assert_eq!(target.ask::<String>(&["GET", "coat"]).await, "blue");
}

#[tokio::test]
async fn valkey_serves_where_it_is_installed() {
    if ServerBinary::Valkey.path().is_none() {
        println!("no valkey-server on this machine: nothing tested");
        return;
    }
    let server = ServerOptions {
        binary: ServerBinary::Valkey,
        ..ServerOptions::default()
    };
    let cluster = RedisCluster::start(ClusterOptions {
        server,
        ..ClusterOptions::default()
    })
    .await;
    let version = cluster.nodes()[0].info("valkey_version").await;
    assert!(version.is_some(), "another server than Valkey answered");
}

#[tokio::test]
async fn program_is_heard_stopped_and_measured() {
    let script = r#"trap 'echo ended; exit 3' TERM
        echo '{"fields":{"message":"listening","listener":"admin","address":"127.0.0.1:4321"}}' >&2
        while :; do sleep 0.05; done"#;
    let program = Program::start(Path::new("/bin/sh"), &["-c", script], &[]);
    assert_eq!(program.listener("admin").await, "127.0.0.1:4321".parse().unwrap());
    assert!(program.rss_bytes() > 0);
    assert!(program.cpu_time() < SOON);
    assert_eq!(program.stop(SOON).await.code(), Some(3));
    eventually(SOON, "the last line", async || {
        program.output().iter().any(|line| line == "ended")
    })
    .await;
}

/// Runs another copy of this test program, kills it, and looks whether the server that it started is gone too.
#[tokio::test]
async fn servers_die_with_a_killed_test_process() {
    let myself = std::env::current_exe().unwrap();
    let arguments = ["--exact", "harness::waits_to_be_killed", "--ignored", "--nocapture"];
    let other = Program::start(&myself, &arguments, &[]);
    let line = eventually(SOON, "the server of the other process", async || {
        other
            .output()
            .into_iter()
            .find_map(|line| Some(line.split_once("server-pid=")?.1.trim().to_owned()))
    })
    .await;
    let server = Path::new("/proc").join(line).join("exe");
    assert!(server.exists());
    other.kill();
    eventually(SOON, "the orphaned server to die", async || {
        std::fs::read_link(&server).is_err()
    })
    .await;
}

#[tokio::test]
#[ignore = "the other half of `servers_die_with_a_killed_test_process`"]
async fn waits_to_be_killed() {
    let redis = SingleRedis::start(ServerOptions::default()).await;
    println!("server-pid={}", redis.pid());
    std::future::pending::<()>().await;
}
