//! A connection cut between request and answer: the store sends the script again, and it counts once.

use super::calls::{Call, Scene};
use super::proxied;
use crate::support::audit::audit;
use crate::support::store::{connect, redis_options};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_script_that_runs_twice_counts_once() {
    let cluster = proxied().await;
    let options = redis_options(cluster.urls());
    let prefix = options.prefix.clone();
    let store = connect(options).await;
    for call in Call::ALL {
        let scene = Scene::new(&store, call).await;
        for node in cluster.nodes() {
            node.proxy().cut_before_reply(format!("{prefix}:"), 1);
        }
        let before = cluster.requests_hit();
        let outcome = scene.run(&store).await;
        assert!(cluster.requests_hit() > before, "{call:?} sent nothing");
        for node in cluster.nodes() {
            node.proxy().clear();
        }
        assert!(outcome.is_ok(), "{call:?}: {outcome:?}");
        if call != Call::GetAlias {
            scene.check_effect(&store).await;
        }
    }
    let audit = audit(&cluster, &prefix).await;
    assert!(audit.sessions > 0, "{audit:?}");
}
