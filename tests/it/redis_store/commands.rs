//! What goes over the wire: one command an operation.

use std::time::Duration;

use cloakroom::sessions::{CreateRequest, RotateRequest};
use futures_util::future::join_all;

use super::calls::{Call, Scene};
use super::{proxied, sessions, user};
use crate::support::audit::audit;
use crate::support::monitor::Monitor;
use crate::support::redis_cluster::{ClusterNode, RedisCluster};
use crate::support::store::{connect, redis_options};

struct Wire<'a>(Vec<(&'a ClusterNode, Monitor)>);

impl<'a> Wire<'a> {
    async fn tap(cluster: &'a RedisCluster) -> Self {
        let primaries = cluster.primaries().await;
        Self(join_all(primaries.into_iter().map(async |node| (node, node.monitor().await))).await)
    }

    async fn clear(&self) {
        join_all(self.0.iter().map(|(node, monitor)| monitor.clear(node))).await;
    }

    /// The names of the commands that clients sent since the last clearing.
    async fn commands(&self) -> Vec<String> {
        let commands = join_all(self.0.iter().map(|(node, monitor)| monitor.commands(node))).await;
        let sent = commands.into_iter().flatten().filter(|command| !command.from_script);
        sent.map(|command| command.name).collect()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_operation_is_one_command() {
    let cluster = proxied().await;
    let options = redis_options(cluster.urls());
    let prefix = options.prefix.clone();
    let store = connect(options).await;
    let wire = Wire::tap(&cluster).await;
    for call in Call::ALL {
        let scene = Scene::new(&store, call).await;
        wire.clear().await;
        scene.run(&store).await.unwrap();
        let sessions = if call == Call::TouchAll { 2 } else { 1 };
        assert_eq!(wire.commands().await, vec!["EVALSHA"; sessions], "{call:?}");
    }

    let sessions = sessions(&store, Duration::from_secs(10));
    let anonymous = sessions.create(CreateRequest::default()).await.unwrap();
    wire.clear().await;
    let log_in = RotateRequest {
        user_id: Some(user("somebody")),
        authenticated: true,
        ..RotateRequest::default()
    };
    sessions.rotate(anonymous.session.id, log_in).await.unwrap();
    assert_eq!(wire.commands().await, ["EVALSHA"; 3], "a log-in across buckets");
    audit(&cluster, &prefix).await;
}
