//! The rights of a server: enough, and none too many.

use std::collections::BTreeSet;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::api_server;
use crate::chart;
use crate::pod::{Pod, Store};
use crate::site::{LEASE_NAME, Site, ready};
use crate::support::server::ServerOptions;
use crate::support::single_redis::SingleRedis;
use crate::support::wait::eventually;

/// How long what works may take to show, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(90);
/// How much longer what must not show is waited for: longer than any of it takes, once the same shows elsewhere.
const SETTLED: Duration = Duration::from_secs(15);

/// What a server does with its rights, each seen from outside.
const ALL: [&str; 6] = [
    "takes the lease",
    "renews it",
    "knows the fleet",
    "sees it change",
    "writes events",
    "counts them",
];

/// A verb of the chart's Role that is left out, and what must be lost with it.
const LEFT_OUT: [(&str, &str, &[&str]); 6] = [
    ("leases", "get", &["takes the lease", "renews it"]),
    ("leases", "update", &["takes the lease", "renews it"]),
    ("endpointslices", "list", &["knows the fleet", "sees it change"]),
    ("endpointslices", "watch", &["sees it change"]),
    ("events", "create", &["writes events", "counts them"]),
    ("events", "patch", &["counts them"]),
];

fn without(resource: &str, verb: &str) -> Vec<Value> {
    let mut rules = chart::rules();
    let mut found = 0;
    for rule in rules.iter_mut().filter(|rule| rule["resources"] == json!([resource])) {
        let verbs = rule["verbs"].as_array_mut().unwrap();
        let before = verbs.len();
        verbs.retain(|present| present != verb);
        found += before - verbs.len();
    }
    assert_eq!(found, 1, "{verb} of {resource}");
    rules.retain(|rule| rule["verbs"] != json!([]));
    rules
}

/// A server with some of the rights, and what it was seen to do.
struct Trial {
    left_out: String,
    wanted: BTreeSet<&'static str>,
    site: Site,
    pod: Pod,
    shown: Mutex<BTreeSet<&'static str>>,
}

impl Trial {
    async fn start(left_out: String, rules: &[Value], lost: &[&str], redis: &SingleRedis) -> Self {
        let site = Site::with_rules(api_server::shared().await, rules).await;
        Self::start_at(site, left_out, lost, redis).await
    }

    async fn start_at(site: Site, left_out: String, lost: &[&str], redis: &SingleRedis) -> Self {
        for pod in ["cloakroom-a", "cloakroom-b"] {
            site.add_pod(pod).await;
        }
        site.list(&[ready("cloakroom-a")]).await;
        let store = Store::of(redis);
        let pod = Pod::start(&site, "cloakroom-a", &store, &[]).await;
        Self {
            left_out,
            wanted: ALL.into_iter().filter(|one| !lost.contains(one)).collect(),
            site,
            pod,
            shown: Mutex::default(),
        }
    }

    fn shows(&self, what: &'static str) -> bool {
        self.shown.lock().insert(what)
    }

    /// Looks once at what needs the store.
    async fn look_while_it_serves(&self) {
        let leases = self.site.all::<Lease>();
        let spec = leases.get_opt(LEASE_NAME).await.unwrap().and_then(|lease| lease.spec);
        if let Some(spec) = spec.filter(|spec| spec.holder_identity.is_some()) {
            self.shows("takes the lease");
            if spec.renew_time > spec.acquire_time {
                self.shows("renews it");
            }
        }
        if self.pod.state_of("cloakroom-a").await.is_some() && self.shows("knows the fleet") {
            self.site.list(&[ready("cloakroom-a"), ready("cloakroom-b")]).await;
        }
        if self.pod.state_of("cloakroom-b").await.is_some() {
            self.shows("sees it change");
        }
    }

    /// Looks once at what it tells of a store that is away.
    async fn look_at_events(&self) {
        for event in self.site.events("StoreUnreachable").await {
            self.shows("writes events");
            if event.series.is_some() {
                self.shows("counts them");
            }
        }
    }

    /// Whether all that is wanted of `these` was seen.
    fn does(&self, these: &[&'static str]) -> bool {
        let shown = self.shown.lock();
        let mut wanted = these.iter().filter(|one| self.wanted.contains(*one));
        wanted.all(|one| shown.contains(one))
    }
}

/// Looks at all trials until each shows what it should of `these`, and then for a while at what it should not.
async fn observe(trials: &[Trial], these: &[&'static str], look: impl AsyncFn(&Trial)) {
    let round = async || {
        for trial in trials {
            look(trial).await;
        }
    };
    eventually(PATIENCE, &these.join(", "), async || {
        round().await;
        trials.iter().all(|trial| trial.does(these))
    })
    .await;
    let settled = Instant::now() + SETTLED;
    while Instant::now() < settled {
        round().await;
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// Where nobody has made the Lease, a server with one right more does.
async fn without_a_lease(redis: &SingleRedis) -> Trial {
    let create = json!({"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["create"]});
    let rules = [chart::rules(), vec![create]].concat();
    let site = Site::with_rules(api_server::shared().await, &rules).await;
    site.remove_lease().await;
    Trial::start_at(site, "a Lease".to_owned(), &[], redis).await
}

#[tokio::test]
async fn the_rights_are_enough_and_each_of_them_is_needed() {
    let redis = SingleRedis::start(ServerOptions::default()).await;
    let verbs = chart::rules()
        .iter()
        .map(|rule| rule["verbs"].as_array().unwrap().len())
        .sum::<usize>();
    assert_eq!(verbs, LEFT_OUT.len(), "every verb is tried");
    let mut trials = vec![Trial::start("nothing".to_owned(), &chart::rules(), &[], &redis).await];
    for (resource, verb, lost) in LEFT_OUT {
        let name = format!("{verb} of {resource}");
        trials.push(Trial::start(name, &without(resource, verb), lost, &redis).await);
    }
    trials.push(without_a_lease(&redis).await);

    observe(&trials, &ALL[..4], Trial::look_while_it_serves).await;
    redis.kill();
    observe(&trials, &ALL[4..], Trial::look_at_events).await;
    for trial in &trials {
        assert_eq!(*trial.shown.lock(), trial.wanted, "without {}", trial.left_out);
    }
}
