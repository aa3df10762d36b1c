//! Visitors and callers of served deployments, who go on whatever happens there.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use reqwest::Client;
use serde_json::{Value, json};

/// Somebody who calls the API, and opens pages.
#[derive(Clone)]
pub(super) struct Caller {
    pub(super) client: Client,
    pub(super) servers: Vec<String>,
}

impl Caller {
    pub(super) async fn call(&self, server: usize, path: &str, bearer: &str, body: &Value) -> (u16, Value) {
        let url = format!("{}{path}", self.servers[server]);
        let answer = self.client.post(url).bearer_auth(bearer).json(body).send().await;
        let answer = answer.unwrap_or_else(|error| panic!("{path}: {error:?}"));
        (answer.status().as_u16(), answer.json().await.unwrap_or_default())
    }

    pub(super) async fn open_page(&self, server: usize, cookie: &str) -> u16 {
        let url = format!("{}/session", self.servers[server]);
        let answer = self.client.get(url).header("cookie", cookie).send().await;
        answer
            .unwrap_or_else(|error| panic!("/session: {error:?}"))
            .status()
            .as_u16()
    }

    pub(super) async fn published(&self, server: usize) -> usize {
        let url = format!("{}/.well-known/jwks.json", self.servers[server]);
        let set: Value = self.client.get(url).send().await.unwrap().json().await.unwrap();
        set["keys"].as_array().unwrap().len()
    }
}

/// What visitors and callers bring along; it may change while they go on.
#[derive(Default)]
pub(super) struct Baggage {
    pub(super) cookies: Mutex<Vec<String>>,
    pub(super) bearers: Mutex<Vec<String>>,
}

/// Visits and calls both servers without a pause, and notes everything that is not answered well.
pub(super) struct Traffic {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    task: tokio::task::JoinHandle<Vec<String>>,
}

impl Traffic {
    pub(super) fn begin(caller: Caller, baggage: Arc<Baggage>) -> Self {
        let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, count) = (Arc::clone(&stop), Arc::clone(&answered));
        let task = tokio::spawn(async move {
            let mut complaints = Vec::new();
            while !stopped.load(Ordering::Relaxed) {
                for server in 0..caller.servers.len() {
                    let mut good = true;
                    let (cookies, bearers) = (baggage.cookies.lock().clone(), baggage.bearers.lock().clone());
                    for cookie in &cookies {
                        let status = caller.open_page(server, cookie).await;
                        good &= status == 200;
                        // A busy machine may make Redis late, which is no log-out.
                        if !matches!(status, 200 | 503) {
                            complaints.push(format!("{status} at {server} with {cookie}"));
                        }
                    }
                    for (number, bearer) in bearers.iter().enumerate() {
                        let (status, answer) = caller.call(server, "/v1/sessions", bearer, &json!({})).await;
                        if !matches!(status, 201 | 503) {
                            complaints.push(format!("{status} at {server} with bearer {number}: {answer}"));
                        }
                    }
                    count.fetch_add(u64::from(good), Ordering::Relaxed);
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            complaints
        });
        Self { stop, answered, task }
    }

    pub(super) async fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        let complaints = self.task.await.unwrap();
        assert!(complaints.is_empty(), "{complaints:#?}");
        assert!(self.answered.load(Ordering::Relaxed) > 20);
    }
}
