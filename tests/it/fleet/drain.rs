//! Replicas that leave and come back under load, behind something like a load balancer.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use reqwest::Client;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::{Answer, Fleet, Replica, jwt};
use crate::support::redis_cluster::shared_cluster;
use crate::support::wait::{SOON, eventually};

/// A quarter of it passes before connections are closed.
const DRAIN: [(&str, &str); 1] = [("shutdown.drain", "2s")];
/// How often a balancer asks for readiness.
const PROBE_EVERY: Duration = Duration::from_millis(50);
const WORKERS: usize = 12;

/// Sends to what is ready, and never twice.
struct Balancer {
    targets: Vec<(String, String)>,
    ready: Vec<AtomicBool>,
    next: AtomicUsize,
    client: Client,
    credential: String,
    stop: AtomicBool,
    failures: Mutex<Vec<String>>,
}

/// What the load did until it was stopped.
struct Load {
    increments: usize,
    requests: usize,
}

impl Balancer {
    fn of(fleet: &Fleet) -> Arc<Self> {
        let target = |replica: &Replica| {
            (
                format!("http://{}", replica.traffic),
                format!("http://{}/readyz", replica.admin),
            )
        };
        Arc::new(Self {
            targets: fleet.replicas.iter().map(target).collect(),
            ready: fleet.replicas.iter().map(|_| AtomicBool::new(true)).collect(),
            next: AtomicUsize::new(0),
            client: Client::builder().timeout(SOON).build().unwrap(),
            credential: format!("Bearer {}", jwt("sessions:admin")),
            stop: AtomicBool::new(false),
            failures: Mutex::default(),
        })
    }

    async fn probe(self: Arc<Self>) {
        while !self.stop.load(Ordering::SeqCst) {
            for (index, (_, url)) in self.targets.iter().enumerate() {
                let answer = self.client.get(url).send().await;
                let is_ready = answer.is_ok_and(|answer| answer.status() == 200);
                self.ready[index].store(is_ready, Ordering::SeqCst);
            }
            tokio::time::sleep(PROBE_EVERY).await;
        }
    }

    async fn send(&self, method: &str, path: &str, body: Value) -> Option<Answer> {
        let turn = self.next.fetch_add(1, Ordering::SeqCst);
        let count = self.targets.len();
        let index = (turn..turn + count).find(|index| self.ready[index % count].load(Ordering::SeqCst))? % count;
        let url = format!("{}{path}", self.targets[index].0);
        let request = self
            .client
            .request(method.parse().unwrap(), url)
            .header("authorization", &self.credential)
            .json(&body);
        match Answer::of(request).await {
            Ok(answer) if answer.status == 200 => Some(answer),
            Ok(answer) => {
                self.failures.lock().push(format!("{index}: {}", answer.text));
                None
            }
            Err(error) => {
                self.failures.lock().push(format!("{index}: {error:?}"));
                None
            }
        }
    }

    /// Uses the sessions and counts in one of them until it is told to stop.
    async fn work(self: Arc<Self>, sessions: Arc<Vec<(String, String)>>, seed: usize) -> Load {
        let mut load = Load {
            increments: 0,
            requests: 0,
        };
        let counter = format!("{}/data/n/increment", sessions[0].0);
        while !self.stop.load(Ordering::SeqCst) {
            load.requests += 1;
            let (_, token) = &sessions[(seed + load.requests) % sessions.len()];
            if load.requests.is_multiple_of(4) {
                load.increments += usize::from(self.send("POST", &counter, json!({})).await.is_some());
            } else if let Some(answer) = self
                .send("POST", "/v1/sessions/validate", json!({"token": token}))
                .await
                && answer.json()["valid"] != true
            {
                self.failures.lock().push(answer.text);
            }
        }
        load
    }
}

/// Runs `events` under load, during which no request fails and nobody is logged out.
async fn under_load(fleet: &mut Fleet, sessions: &[(String, String)], events: impl AsyncFnOnce(&mut Fleet)) {
    let balancer = Balancer::of(fleet);
    let sessions = Arc::new(sessions.to_vec());
    let probes = tokio::spawn(Arc::clone(&balancer).probe());
    let mut workers = JoinSet::new();
    for worker in 0..WORKERS {
        workers.spawn(Arc::clone(&balancer).work(Arc::clone(&sessions), worker * 7));
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    events(fleet).await;
    balancer.stop.store(true, Ordering::SeqCst);
    let loads = workers.join_all().await;
    probes.await.unwrap();
    let failures = balancer.failures.lock().clone();
    let requests: usize = loads.iter().map(|load| load.requests).sum();
    assert!(
        failures.is_empty(),
        "{} of {requests}: {:#?}",
        failures.len(),
        &failures[..failures.len().min(5)]
    );
    let increments: usize = loads.iter().map(|load| load.increments).sum();
    let counted = fleet
        .at(1)
        .get(&format!("{}/data/n?consistency=strong", sessions[0].0))
        .await;
    assert_eq!(counted.expect(200).json(), increments);
}

async fn log_in(fleet: &Fleet, count: usize) -> Vec<(String, String)> {
    fleet
        .crowd(count, async |replica, number| {
            let user = format!("user-{}", number % 20);
            replica.create(json!({"user_id": user, "data": {"n": 0}})).await
        })
        .await
}

async fn homes(replica: &Replica, sessions: &[(String, String)]) -> BTreeMap<String, u64> {
    let mut homes = BTreeMap::new();
    for (path, _) in sessions {
        let session = replica.get(&format!("{path}?consistency=strong")).await.json();
        *homes
            .entry(session["server_id"].as_str().unwrap().to_owned())
            .or_default() += 1;
    }
    homes
}

#[tokio::test]
async fn a_replica_that_leaves_under_load_fails_no_request_and_its_sessions_move() {
    let cluster = shared_cluster().await;
    let mut fleet = Fleet::behind_a_balancer(cluster, &DRAIN).await;
    let sessions = log_in(&fleet, 60).await;
    assert_eq!(homes(fleet.at(1), &sessions).await["replica-0"], 20);
    under_load(&mut fleet, &sessions, async |fleet| {
        fleet.at(0).program.terminate();
        assert_eq!(fleet.at(0).program.wait_exit(SOON).await.code(), Some(0));
        eventually(SOON, "the sessions to move", async || {
            !homes(fleet.at(1), &sessions).await.contains_key("replica-0")
        })
        .await;
    })
    .await;

    let mut moved = 0;
    for (path, _) in &sessions {
        let session = fleet.at(1).get(&format!("{path}?consistency=strong")).await.json();
        if session["migrations"] == 0 {
            assert_eq!(session["migrated_at"], Value::Null);
            assert_eq!(session["previous_server_id"], Value::Null);
        } else {
            assert_eq!(session["migrations"], 1, "{session}");
            assert_eq!(session["previous_server_id"], "replica-0");
            assert!(session["migrated_at"].is_string());
            moved += 1;
        }
    }
    assert_eq!(moved, 20);
    let homes = homes(fleet.at(1), &sessions).await;
    eventually(SOON, "the counts by server to be exact", async || {
        let stats = fleet.at(1).get("/v1/stats").await.expect(200).json();
        let servers = fleet.at(2).get("/v1/servers").await.expect(200).json();
        let listed: BTreeMap<String, u64> = servers["servers"]
            .as_array()
            .unwrap()
            .iter()
            .map(|server| {
                (
                    server["server_id"].as_str().unwrap().to_owned(),
                    server["sessions"].as_u64().unwrap(),
                )
            })
            .collect();
        stats["by_server"] == json!(homes) && listed == homes
    })
    .await;
    fleet.replicas.remove(0);
    let audit = fleet.finish(cluster).await;
    assert_eq!(audit.by_server, homes);
}

#[tokio::test]
async fn a_rolling_restart_fails_no_request_and_logs_nobody_out() {
    let cluster = shared_cluster().await;
    let mut fleet = Fleet::behind_a_balancer(cluster, &DRAIN).await;
    let sessions = log_in(&fleet, 40).await;
    under_load(&mut fleet, &sessions, async |fleet| {
        for replica in &mut fleet.replicas {
            replica.program.terminate();
            assert_eq!(replica.program.wait_exit(SOON).await.code(), Some(0));
            replica.restart().await;
            // The balancer's next probe finds it.
            tokio::time::sleep(PROBE_EVERY * 4).await;
        }
    })
    .await;
    for (path, token) in &sessions {
        for replica in &fleet.replicas {
            assert!(replica.is_valid(token).await);
            replica.get(path).await.expect(200);
        }
    }
    let audit = fleet.finish(cluster).await;
    assert_eq!(audit.sessions, 40);
}
