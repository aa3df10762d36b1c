//! Visitors who use their sessions all the time, each request by a connection of its own, and count what goes wrong. No
//! request is sent twice: only where nobody took the connection, so that nothing was sent, it is made anew, and counted.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::support::release::Caller;

/// How many there are, and so how many requests can be under way at once.
pub(crate) const VISITORS: usize = 6;
/// How many sessions there are at the start.
const SESSIONS: usize = 60;
/// One request in so many makes another session.
const MAKE: usize = 20;
/// What a visitor thinks between two requests.
const PAUSE: Duration = Duration::from_millis(40);
/// How long a visitor waits for an answer: until an unready pod is out of the Service for long, also on a busy machine.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the visitors met with.
#[derive(Debug, Default, Clone)]
pub(crate) struct Report {
    pub(crate) requests: usize,
    /// What was answered otherwise than it should be, in words.
    pub(crate) failures: Vec<String>,
    /// Connections that nobody took.
    pub(crate) refused: usize,
    /// How often a session was not there that should be.
    pub(crate) lost: usize,
    first: Option<Instant>,
    last: Option<Instant>,
}

impl Report {
    /// From the first failure or refused connection to the last.
    pub(crate) fn failed_for(&self) -> Duration {
        let both = self.first.zip(self.last);
        both.map_or(Duration::ZERO, |(first, last)| last - first)
    }

    fn refuse(&mut self) {
        self.first.get_or_insert_with(Instant::now);
        self.last = Some(Instant::now());
        self.refused += 1;
    }

    fn fail(&mut self, what: String) {
        self.first.get_or_insert_with(Instant::now);
        self.last = Some(Instant::now());
        self.failures.push(what);
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            requests,
            failures,
            refused,
            lost,
            ..
        } = self;
        let (count, span) = (failures.len(), self.failed_for());
        write!(
            f,
            "{requests} requests, {count} failures within {span:?}, {refused} connections refused, {lost} lost sessions"
        )?;
        failures.iter().take(3).try_for_each(|failure| write!(f, "; {failure}"))
    }
}

pub(crate) struct Load {
    shared: Arc<Shared>,
    visitors: JoinSet<()>,
}

struct Shared {
    caller: Caller,
    /// Token and id of each session.
    sessions: Mutex<Vec<(String, String)>>,
    since: Mutex<Report>,
    all: Mutex<Report>,
    makes: AtomicBool,
    stops: AtomicBool,
}

impl Load {
    pub(crate) async fn start(caller: Caller) -> Self {
        let mut sessions = Vec::new();
        for number in 0..SESSIONS {
            sessions.push(caller.create(&format!("visitor-{number}")).await);
        }
        let shared = Arc::new(Shared {
            caller,
            sessions: Mutex::new(sessions),
            since: Mutex::default(),
            all: Mutex::default(),
            makes: AtomicBool::new(true),
            stops: AtomicBool::new(false),
        });
        let mut visitors = JoinSet::new();
        for visitor in 0..VISITORS {
            visitors.spawn(visit(Arc::clone(&shared), visitor));
        }
        Self { shared, visitors }
    }

    /// What they met with since this was asked for last.
    pub(crate) fn take(&self) -> Report {
        std::mem::take(&mut *self.shared.since.lock())
    }

    /// From now on only the sessions that are there are used.
    pub(crate) fn make_no_more(&self) {
        self.shared.makes.store(false, Ordering::Relaxed);
    }

    /// Every session as the API tells it; null where it does not.
    pub(crate) async fn sessions(&self) -> Vec<Value> {
        let ids: Vec<String> = self.shared.sessions.lock().iter().map(|(_, id)| id.clone()).collect();
        let mut told = Vec::new();
        for id in ids {
            let answer = self
                .shared
                .caller
                .try_call(Method::GET, &format!("/v1/sessions/{id}"), None)
                .await;
            told.push(
                answer
                    .ok()
                    .filter(|(status, _)| *status == 200)
                    .map_or(Value::Null, |(_, body)| body),
            );
        }
        told
    }

    pub(crate) async fn stats(&self) -> Value {
        let answer = self.shared.caller.try_call(Method::GET, "/v1/stats", None).await;
        answer.map_or(Value::Null, |(_, body)| body)
    }

    /// Lets them go: what they met with since the last time, and all in all.
    pub(crate) async fn stop(mut self) -> (Report, Report) {
        self.shared.stops.store(true, Ordering::Relaxed);
        while let Some(ended) = self.visitors.join_next().await {
            ended.expect("a visitor who counts");
        }
        (self.take(), self.shared.all.lock().clone())
    }
}

async fn visit(shared: Arc<Shared>, visitor: usize) {
    for number in visitor.. {
        if shared.stops.load(Ordering::Relaxed) {
            return;
        }
        let makes = number % MAKE == 0 && shared.makes.load(Ordering::Relaxed);
        let met = if makes {
            shared.make(number).await
        } else {
            shared.use_one(number).await
        };
        shared.report(|report| {
            report.requests += 1;
            match &met {
                Met::Right => {}
                Met::Lost => report.lost += 1,
                Met::Wrong(what) => report.fail(what.clone()),
            }
        });
        tokio::time::sleep(PAUSE).await;
    }
}

enum Met {
    Right,
    Lost,
    Wrong(String),
}

impl Shared {
    fn report(&self, met: impl Fn(&mut Report)) {
        for report in [&self.since, &self.all] {
            met(&mut report.lock());
        }
    }

    /// Sends a request, by a connection of its own: status and body, or why there was no answer.
    async fn send(&self, path: &str, body: Value) -> Result<(u16, Value), String> {
        let give_up = Instant::now() + PATIENCE;
        loop {
            let calling = self.caller.try_call(Method::POST, path, Some(body.clone()));
            match tokio::time::timeout_at(give_up, calling).await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(error)) if error.is_connect() => self.report(Report::refuse),
                Ok(Err(error)) => return Err(format!("no answer: {error:?}")),
                Err(_) => return Err(format!("no answer within {PATIENCE:?}")),
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn make(&self, number: usize) -> Met {
        let body = json!({"user_id": format!("guest-{number}")});
        match self.send("/v1/sessions", body).await {
            Ok((201, made)) => {
                let text = |value: &Value| value.as_str().expect("a string").to_owned();
                let session = (text(&made["token"]), text(&made["session"]["id"]));
                self.sessions.lock().push(session);
                Met::Right
            }
            Ok((status, body)) => Met::Wrong(format!("making: {status} {body}")),
            Err(error) => Met::Wrong(error),
        }
    }

    async fn use_one(&self, number: usize) -> Met {
        let token = {
            let sessions = self.sessions.lock();
            sessions[number * 7919 % sessions.len()].0.clone()
        };
        let body = json!({"token": token});
        match self.send("/v1/sessions/validate", body).await {
            Ok((200, judged)) if judged["valid"] == true => Met::Right,
            Ok((200, _)) => Met::Lost,
            Ok((status, body)) => Met::Wrong(format!("using: {status} {body}")),
            Err(error) => Met::Wrong(error),
        }
    }
}
