//! Rule S: no memory, and one clear line, where the bound cannot be promised.

use crate::support::process::{Program, field};
use crate::support::redis_cluster::{ClusterOptions, RedisCluster};
use crate::support::server::{Acl, ServerOptions};
use crate::support::wait::{SOON, eventually};

/// Starts a server, and gives the reason that it logs for having no memory.
async fn reason(cluster: &RedisCluster, settings: &[&str]) -> Option<String> {
    let urls = cluster.urls();
    let mut arguments = vec!["serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"];
    arguments.extend(["--redis-url", &urls[0]]);
    for setting in settings {
        arguments.extend(["--set", setting]);
    }
    let server = Program::cloakroom(&arguments, &[]);
    let ready = format!("http://{}/readyz", server.listener("admin").await);
    eventually(SOON, "the server to be ready", async || {
        reqwest::get(&ready)
            .await
            .is_ok_and(|answer| answer.status().is_success())
    })
    .await;
    let log = server.log();
    let mut reasons = log
        .iter()
        .filter_map(|line| field(line, "reason"))
        .filter(|reason| reason.starts_with("no L1"));
    let reason = reasons.next().map(str::to_owned);
    assert_eq!(reasons.next(), None, "one line");
    reason
}

#[tokio::test]
async fn memory_only_where_the_bound_can_be_promised() {
    let cluster = RedisCluster::start(ClusterOptions {
        server: ServerOptions {
            acl: Some(Acl::all_rights("app", "secret")),
            ..ServerOptions::default()
        },
        ..ClusterOptions::default()
    })
    .await;
    let everywhere = async |command: &[&str]| {
        for node in cluster.nodes() {
            node.command(command).await;
        }
    };
    assert_eq!(reason(&cluster, &[]).await, None);

    let long = reason(&cluster, &["coherence.staleness_bound=2s"]).await.unwrap();
    assert!(long.contains("2s") && long.contains("node timeout"), "{long}");

    let last = &cluster.nodes()[2];
    last.command(&["CONFIG", "SET", "cluster-allow-reads-when-down", "yes"])
        .await;
    let reads = reason(&cluster, &[]).await.unwrap();
    assert!(reads.contains("cluster-allow-reads-when-down"), "{reads}");
    last.command(&["CONFIG", "SET", "cluster-allow-reads-when-down", "no"])
        .await;

    everywhere(&["ACL", "SETUSER", "app", "-config"]).await;
    let unknown = reason(&cluster, &[]).await.unwrap();
    assert!(unknown.contains("redis.node_timeout"), "{unknown}");
    assert_eq!(reason(&cluster, &["redis.node_timeout=2s"]).await, None);
}
