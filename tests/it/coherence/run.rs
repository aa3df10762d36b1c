//! One scenario: sessions are written and ended on one replica and read on two others while something fails.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use parking_lot::Mutex;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::BOUND;
use super::fleet::{Client, Fleet, Seen};
use super::oracle::{History, Read, Write, percentile};
use crate::support::redis_cluster::ClusterNode;
use crate::support::wait::{SOON, eventually};

/// What measuring costs: a request's way through a busy machine.
const TOLERANCE: Duration = Duration::from_millis(150);
/// How long all is well before the fault, and after it.
const BEFORE: Duration = Duration::from_millis(700);
const AFTER: Duration = Duration::from_millis(1500);

/// What a scenario is like.
pub(super) struct Scenario {
    pub(super) name: &'static str,
    /// Beyond B: what the promise excuses.
    pub(super) excused: Duration,
    /// Pause between two writes of a session, between two reads of it on a replica, and between two ends.
    pub(super) pauses: [Duration; 3],
    /// Sessions on the node that fails and on any other, to be written, and to be ended.
    pub(super) written: usize,
    pub(super) doomed: usize,
}

impl Scenario {
    pub(super) fn new(name: &'static str) -> Self {
        Self {
            name,
            excused: Duration::ZERO,
            pauses: [60, 20, 400].map(Duration::from_millis),
            written: 6,
            doomed: 12,
        }
    }
}

/// What came of it.
pub(super) struct Figures {
    pub(super) p50: Duration,
    pub(super) p99: Duration,
    /// The oldest state that was read.
    pub(super) longest: Duration,
}

/// A session under observation.
struct Subject {
    id: String,
    history: Mutex<History>,
}

/// Runs a scenario; `fault` is given the node that is to fail, which serves about half of the sessions.
pub(super) async fn run(
    fleet: &Fleet,
    scenario: Scenario,
    fault: impl for<'a> AsyncFnOnce(&'a Fleet, &'a ClusterNode),
) -> Figures {
    let clients: Vec<Client> = fleet.replicas.iter().map(super::fleet::Replica::client).collect();
    let first = clients[0].create().await;
    let victim = fleet.primary_of(&first).await;
    let written = subjects(fleet, &clients[0], victim, scenario.written).await;
    let doomed = subjects(fleet, &clients[0], victim, scenario.doomed).await;
    // The replicas of the cluster have the sessions before anything fails.
    fleet.cluster.wait_until_healthy().await;

    let stop = CancellationToken::new();
    let mut tasks = JoinSet::new();
    let [write_pause, read_pause, end_pause] = scenario.pauses;
    for subject in &written {
        tasks.spawn(stop.clone().run_until_cancelled_owned(write(
            clients[0].clone(),
            Arc::clone(subject),
            write_pause,
        )));
    }
    for (replica, client) in clients.iter().enumerate().skip(1) {
        for (subject, pause) in written
            .iter()
            .map(|subject| (subject, read_pause))
            .chain(doomed.iter().map(|subject| (subject, read_pause * 4)))
        {
            let reading = read(client.clone(), replica, Arc::clone(subject), pause);
            tasks.spawn(stop.clone().run_until_cancelled_owned(reading));
        }
    }
    sleep(BEFORE).await;
    let ends_over = CancellationToken::new();
    let ending = destroy(clients[0].clone(), doomed.clone(), end_pause, ends_over.clone());
    let ending = tokio::spawn(ending);
    fault(fleet, victim).await;
    sleep(AFTER).await;
    ends_over.cancel();
    let attempted = ending.await.unwrap();
    sleep(BOUND + TOLERANCE).await;
    stop.cancel();
    while let Some(task) = tasks.join_next().await {
        task.expect("a task of the scenario");
    }
    stay_dead(&clients, &doomed[..attempted]).await;
    judge(&scenario, &written, &doomed, attempted, clients.len())
}

/// So many sessions on the victim, and as many elsewhere.
async fn subjects(fleet: &Fleet, client: &Client, victim: &ClusterNode, each: usize) -> Vec<Arc<Subject>> {
    let (mut here, mut elsewhere) = (Vec::new(), Vec::new());
    while here.len() < each.div_ceil(2) || elsewhere.len() < each / 2 {
        let id = client.create().await;
        let (side, most) = if fleet.primary_of(&id).await.id == victim.id {
            (&mut here, each.div_ceil(2))
        } else {
            (&mut elsewhere, each / 2)
        };
        if side.len() < most {
            let history = Mutex::default();
            side.push(Arc::new(Subject { id, history }));
        }
    }
    // One of each in turn.
    let mut both = Vec::new();
    let mut elsewhere = elsewhere.into_iter();
    for subject in here {
        both.push(subject);
        both.extend(elsewhere.next());
    }
    both
}

async fn write(client: Client, subject: Arc<Subject>, pause: Duration) {
    for n in 1.. {
        if let Some(version) = client.write(&subject.id, n).await {
            let acknowledged = Instant::now();
            subject.history.lock().writes.push(Write {
                n,
                version,
                acknowledged,
            });
        }
        sleep(pause).await;
    }
}

async fn read(client: Client, replica: usize, subject: Arc<Subject>, pause: Duration) {
    loop {
        let asked = Instant::now();
        let seen = client.read(&subject.id).await;
        subject.history.lock().reads.push(Read {
            replica,
            seen,
            asked,
            answered: Instant::now(),
        });
        sleep(pause).await;
    }
}

/// Ends one session after the other, and tells how many it tried to.
async fn destroy(client: Client, doomed: Vec<Arc<Subject>>, pause: Duration, over: CancellationToken) -> usize {
    for (number, subject) in doomed.iter().enumerate() {
        if over.is_cancelled() {
            return number;
        }
        if client.destroy(&subject.id).await {
            subject.history.lock().ended = Some(Instant::now());
        }
        let _ = over.run_until_cancelled(sleep(pause)).await;
    }
    doomed.len()
}

/// What was acknowledged as ended is gone; what could not be, goes when the store is back.
async fn stay_dead(clients: &[Client], ended: &[Arc<Subject>]) {
    for client in clients {
        join_all(ended.iter().map(|subject| async {
            let acknowledged = subject.history.lock().ended.is_some();
            eventually(SOON, "an unanswered end to be repeated", async || {
                let seen = client.read(&subject.id).await;
                assert!(
                    !(acknowledged && matches!(seen, Seen::Alive { .. })),
                    "{} came back",
                    subject.id
                );
                seen == Seen::Gone
            })
            .await;
        }))
        .await;
    }
}

fn judge(
    scenario: &Scenario,
    written: &[Arc<Subject>],
    doomed: &[Arc<Subject>],
    attempted: usize,
    replicas: usize,
) -> Figures {
    let bound = BOUND + scenario.excused + TOLERANCE;
    let (mut changes, mut ends) = (Vec::new(), Vec::new());
    let (mut longest_change, mut longest_end) = (Duration::ZERO, Duration::ZERO);
    let (mut reads, mut unknown, mut writes, mut acknowledged) = (0, 0, 0, 0);
    for subject in written.iter().chain(doomed) {
        let history = subject.history.lock();
        reads += history.reads.len();
        unknown += history.reads.iter().filter(|read| read.seen == Seen::Unknown).count();
        let longest = history.staleness(bound).into_iter().max().unwrap_or_default();
        if history.ended.is_some() {
            acknowledged += 1;
            longest_end = longest_end.max(longest);
            ends.extend(history.delays(replicas));
        } else {
            longest_change = longest_change.max(longest);
            changes.extend(history.delays(replicas));
        }
        writes += history.writes.len();
    }
    let (p50, p99) = (percentile(&mut changes, 50), percentile(&mut changes, 99));
    eprintln!(
        "{:<28} change: p50 {:>6.1?} p99 {:>7.1?} longest {:>7.1?} | end: p50 {:>6.1?} p99 {:>7.1?} longest {:>7.1?} | \
         {writes} writes, {acknowledged} of {attempted} ends, {reads} reads, {unknown} unknown",
        scenario.name,
        p50,
        p99,
        longest_change,
        percentile(&mut ends, 50),
        percentile(&mut ends, 99),
        longest_end,
    );
    let lived: Vec<_> = written.iter().chain(&doomed[attempted..]).collect();
    assert!(
        !lived.iter().any(|subject| subject.history.lock().was_gone()),
        "{}: a session that nobody ended was said to be gone",
        scenario.name
    );
    assert!(
        longest_change <= bound,
        "{}: a state {longest_change:?} old",
        scenario.name
    );
    assert!(
        longest_end <= bound,
        "{}: alive {longest_end:?} after its end",
        scenario.name
    );
    assert!(
        writes > 10 && acknowledged > 0 && reads > 100,
        "{}: hardly anything happened",
        scenario.name
    );
    let longest = longest_change.max(longest_end);
    Figures { p50, p99, longest }
}
