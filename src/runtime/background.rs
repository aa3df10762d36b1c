//! What a server does besides answering: it records uses, repeats ends, tells the fleet that it is there, and, while it
//! leads, sweeps and counts.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Interval, MissedTickBehavior, interval};
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::Instrument as _;

use super::Readiness;
use crate::cluster::{Condition, Conditions, Leadership, MemberState, Members, Membership, View};
use crate::coherence::Transport;
use crate::session::{Monotonic, ServerId};
use crate::sessions::{Error, Sessions};
use crate::webhooks::{self, Webhook};

const FLUSH_EVERY: Duration = Duration::from_millis(100);
const REDO_EVERY: Duration = Duration::from_millis(500);
const PING_EVERY: Duration = Duration::from_millis(500);
const CHECK_EVERY: Duration = Duration::from_secs(10);
const COVER_EVERY: Duration = Duration::from_millis(50);
const ANNOUNCE_EVERY: Duration = Duration::from_secs(2);
/// A server that was not heard of for so long has left.
pub const MEMBER_TIMEOUT: Duration = Duration::from_secs(10);
const LEAD_EVERY: Duration = Duration::from_secs(3);
/// The lease outlives two failed renewals.
const LEASE_TTL: Duration = Duration::from_secs(10);
/// A server that its fleet does not know for so long is told of.
const UNLISTED_FOR: Duration = Duration::from_mins(1);
const VIOLATIONS_EVERY: Duration = Duration::from_secs(5);
const SWEEP_EVERY: Duration = Duration::from_secs(5);
const COUNT_EVERY: Duration = Duration::from_secs(10);
/// What the good-byes may take, all together.
const FAREWELL: Duration = Duration::from_secs(3);

/// What the background works with.
#[derive(Clone)]
pub struct Duties {
    /// The façade.
    pub sessions: Sessions,
    /// How servers learn of each other.
    pub membership: Arc<dyn Membership>,
    /// How they agree on a leader.
    pub leadership: Arc<dyn Leadership>,
    /// What feeds this server's memory of sessions.
    pub transport: Arc<dyn Transport>,
    /// Told once the store has answered, and once memory is covered.
    pub readiness: Readiness,
    /// Where what is learnt of the fleet goes: the façade holds the other end.
    pub view: watch::Sender<View>,
    /// Where events are delivered while this server leads.
    pub webhooks: Arc<[Webhook]>,
    /// Where what is abnormal is told.
    pub conditions: Conditions,
}

impl Duties {
    /// Whether the store answers; tells of it where it does not.
    async fn ping(&self) -> Result<(), Error> {
        let answered = self.sessions.ping().await;
        if let Err(error) = &answered {
            self.conditions.tell(Condition::StoreUnreachable(error.to_string()));
        }
        answered
    }
}

/// The running background of a server.
pub struct Background {
    duties: Duties,
    state: watch::Sender<MemberState>,
    tasks: JoinSet<()>,
    _stop: DropGuard,
}

impl Background {
    /// Starts all loops.
    pub fn start(duties: Duties) -> Self {
        let (state, announced) = watch::channel(MemberState::Live);
        let (lead, leads) = watch::channel(None);
        let mut tasks = JoinSet::new();
        tasks.spawn(flush(duties.sessions.clone()).in_current_span());
        tasks.spawn(redo(duties.sessions.clone()).in_current_span());
        tasks.spawn(check_store(duties.clone()).in_current_span());
        let stop = CancellationToken::new();
        let (covered, transport) = (duties.sessions.clone(), Arc::clone(&duties.transport));
        let until = stop.clone();
        let covering = async move { covered.keep_covered(transport, until).await };
        tasks.spawn(covering.in_current_span());
        tasks.spawn(await_cover(duties.clone()).in_current_span());
        tasks.spawn(watch_violations(duties.clone()).in_current_span());
        tasks.spawn(announce(duties.clone(), announced.clone()).in_current_span());
        tasks.spawn(campaign(duties.clone(), announced, lead).in_current_span());
        let lead = Lead {
            sessions: duties.sessions.clone(),
            until: leads.clone(),
        };
        let sweeping = lead.clone();
        tasks.spawn(while_leading(leads.clone(), move || sweep(sweeping.clone()), || ()).in_current_span());
        let counted = duties.sessions.clone();
        let hide = move || counted.hide_counts();
        tasks.spawn(while_leading(leads.clone(), move || count(lead.clone()), hide).in_current_span());
        if !duties.webhooks.is_empty() {
            let (sessions, delivered) = (duties.sessions.clone(), duties.sessions.clone());
            let (hooks, hidden) = (Arc::clone(&duties.webhooks), Arc::clone(&duties.webhooks));
            let deliver = move || webhooks::deliver(sessions.clone(), Arc::clone(&hooks));
            let hide = move || webhooks::hide(&delivered, &hidden);
            tasks.spawn(while_leading(leads, deliver, hide).in_current_span());
        }
        Self {
            duties,
            state,
            tasks,
            _stop: stop.drop_guard(),
        }
    }

    /// Tells the fleet that this server is about to leave, and stops leading.
    pub fn drain(&self) {
        self.state.send_replace(MemberState::Draining);
    }

    /// Stops, once no request is served any more: records the uses that wait, gives the lease back and takes leave.
    pub async fn stop(&mut self) {
        self.tasks.shutdown().await;
        let me = self.duties.sessions.server_id().clone();
        let farewell = async {
            self.duties.sessions.flush_touches().await;
            report_once("release the lease", self.duties.leadership.release(&me).await);
            report_once("leave the fleet", self.duties.membership.withdraw(&me).await);
        };
        if tokio::time::timeout(FAREWELL, farewell).await.is_err() {
            tracing::warn!(
                "the store did not answer in time: uses may be lost, and the lease and the membership lapse"
            );
        }
        self.duties.sessions.hide_counts();
    }
}

/// How many reasons of one failure are told: nodes that differ in theirs, and what comes to light once a name resolves.
const MOST_REASONS: usize = 8;

/// One log line a change of state or a new reason, not one a try.
pub(super) struct Reporter {
    task: &'static str,
    /// Why it fails, as told so far; empty while it works.
    told: Vec<String>,
}

impl Reporter {
    pub(super) fn new(task: &'static str) -> Self {
        Self { task, told: Vec::new() }
    }

    pub(super) fn note<T, E: std::fmt::Display>(&mut self, outcome: Result<T, E>) -> Option<T> {
        match outcome {
            Ok(value) => {
                if !std::mem::take(&mut self.told).is_empty() {
                    tracing::info!(task = self.task, "works again");
                }
                Some(value)
            }
            Err(error) => {
                if self.is_news(error.to_string()) {
                    tracing::warn!(task = self.task, %error, "fails, and is tried again");
                }
                None
            }
        }
    }

    fn is_news(&mut self, reason: String) -> bool {
        let is_news = self.told.len() < MOST_REASONS && !self.told.contains(&reason);
        if is_news {
            self.told.push(reason);
        }
        is_news
    }
}

fn report_once<E: std::fmt::Display>(task: &'static str, outcome: Result<(), E>) {
    if let Err(error) = outcome {
        tracing::warn!(task, %error, "failed");
    }
}

/// Ticks at once and then again and again, with at least the pause between two ticks.
fn ticks(pause: Duration) -> Interval {
    let mut ticks = interval(pause);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

async fn flush(sessions: Sessions) {
    let mut ticks = ticks(FLUSH_EVERY);
    loop {
        ticks.tick().await;
        sessions.flush_touches().await;
    }
}

async fn redo(sessions: Sessions) {
    let mut ticks = ticks(REDO_EVERY);
    loop {
        ticks.tick().await;
        sessions.redo_ends().await;
    }
}

/// Says when the store has answered for the first time, and goes on checking that it is the same.
async fn check_store(duties: Duties) {
    let mut reporter = Reporter::new("reach the store");
    let mut ticks = ticks(PING_EVERY);
    loop {
        ticks.tick().await;
        if reporter.note(duties.ping().await).is_some() {
            duties.readiness.store_has_answered();
            break;
        }
    }
    // A store that was flushed gets its layout record back, and one that was exchanged is noticed.
    loop {
        tokio::time::sleep(CHECK_EVERY).await;
        reporter.note(duties.ping().await);
    }
}

/// Says when memory answers for every bucket for the first time, and keeps its gauges up to date.
async fn await_cover(duties: Duties) {
    let mut ticks = ticks(COVER_EVERY);
    loop {
        ticks.tick().await;
        duties.sessions.show_cache();
        if duties.sessions.is_covered() {
            duties.readiness.leases_stand();
        }
    }
}

/// Tells of hits that broke the promise of the staleness bound.
async fn watch_violations(duties: Duties) {
    let count = || duties.sessions.metrics().staleness_violations.get();
    let mut known = count();
    loop {
        tokio::time::sleep(VIOLATIONS_EVERY).await;
        let present = count();
        if present > known {
            duties.conditions.tell(Condition::StalenessViolated(present - known));
            known = present;
        }
    }
}

async fn announce(duties: Duties, mut state: watch::Receiver<MemberState>) {
    let me = duties.sessions.server_id().clone();
    let mut reporter = Reporter::new("learn of the fleet");
    let mut listed = duties.sessions.monotonic();
    loop {
        let now = *state.borrow_and_update();
        let asked = duties.sessions.monotonic();
        let heard = duties.membership.announce(&me, now, MEMBER_TIMEOUT).await;
        if let Some(members) = reporter.note(heard) {
            if members.contains(&me) {
                listed = asked;
            } else if asked.since(listed) >= UNLISTED_FOR {
                duties.conditions.tell(Condition::NotListed);
            }
            show_members(&duties.sessions, &members);
            set_members(&duties.view, members, asked.before(duties.membership.lag()));
        }
        tokio::select! {
            () = tokio::time::sleep(ANNOUNCE_EVERY) => {}
            () = duties.membership.changed() => {}
            Ok(()) = state.changed() => {}
        }
    }
}

fn show_members(sessions: &Sessions, Members(members): &Members) {
    for state in [MemberState::Live, MemberState::Draining] {
        let count = members.iter().filter(|member| member.state == state).count();
        let gauge = sessions.metrics().servers.with_label_values(&[state.as_str()]);
        gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
    }
}

fn set_members(view: &watch::Sender<View>, members: Members, heard_at: Monotonic) {
    view.send_if_modified(|view| {
        view.heard_at = heard_at;
        let changed = view.members.as_ref() != Some(&members);
        if changed {
            let names = |state: MemberState| {
                let members = members.0.iter().filter(|member| member.state == state);
                members
                    .map(|member| member.server_id.as_str())
                    .collect::<Vec<_>>()
                    .join(", ")
            };
            let (live, draining) = (names(MemberState::Live), names(MemberState::Draining));
            tracing::info!(live, draining, "the fleet has changed");
            view.members = Some(members);
        }
        changed
    });
}

/// Until when this server leads; nothing where it does not.
type LeadsUntil = Option<Monotonic>;

/// Leads where it can, until the server drains.
async fn campaign(duties: Duties, mut state: watch::Receiver<MemberState>, lead: watch::Sender<LeadsUntil>) {
    let me = duties.sessions.server_id().clone();
    let mut reporter = Reporter::new("take the leader's lease");
    let mut renewed = duties.sessions.monotonic();
    while *state.borrow_and_update() == MemberState::Live {
        let was_leading = lead.borrow().is_some();
        let asked = duties.sessions.monotonic();
        match reporter.note(duties.leadership.acquire(&me, LEASE_TTL).await) {
            Some(leader) => {
                renewed = asked;
                set_leader(&duties, leader, asked, &lead);
            }
            None if duties.sessions.monotonic().since(renewed) >= LEASE_TTL => set_leader(&duties, None, asked, &lead),
            None => {}
        }
        if was_leading && lead.borrow().is_none() {
            tracing::warn!("the leader's lease was not renewed in time");
            duties.conditions.tell(Condition::LeadershipLapsed);
        }
        tokio::select! {
            () = tokio::time::sleep(LEAD_EVERY) => {}
            Ok(()) = state.changed() => {}
        }
    }
    set_leader(&duties, None, renewed, &lead);
    report_once("release the lease", duties.leadership.release(&me).await);
}

fn set_leader(duties: &Duties, leader: Option<ServerId>, asked: Monotonic, lead: &watch::Sender<LeadsUntil>) {
    let leads = leader.as_ref() == Some(duties.sessions.server_id());
    duties.sessions.metrics().leader.set(i64::from(leads));
    lead.send_if_modified(|until| {
        let was_leading = until.is_some();
        *until = leads.then(|| asked.after(LEASE_TTL));
        was_leading != leads
    });
    duties.view.send_if_modified(|view| {
        let changed = view.leader != leader;
        if changed {
            tracing::info!(
                leader = leader.as_ref().map(ServerId::as_str),
                leads,
                "the leader has changed"
            );
            view.leader = leader;
        }
        changed
    });
}

/// Runs a leader's loop while this server leads, and then something else.
async fn while_leading<L: Future<Output = ()>>(
    mut leads: watch::Receiver<LeadsUntil>,
    mut leaders_loop: impl FnMut() -> L,
    after: impl Fn(),
) {
    while leads.wait_for(Option::is_some).await.is_ok() {
        tokio::select! {
            () = leaders_loop() => {}
            _ = leads.wait_for(Option::is_none) => after(),
        }
    }
}

/// What the leader works with.
#[derive(Clone)]
struct Lead {
    sessions: Sessions,
    until: watch::Receiver<LeadsUntil>,
}

impl Lead {
    /// Waits for the next turn at which this server leads: one that was frozen may wake and not have heard yet that
    /// another does.
    async fn turn(&self, ticks: &mut Interval) {
        loop {
            ticks.tick().await;
            if self
                .until
                .borrow()
                .is_some_and(|until| self.sessions.monotonic() < until)
            {
                return;
            }
        }
    }
}

async fn sweep(lead: Lead) {
    let mut reporter = Reporter::new("sweep");
    let mut ticks = ticks(SWEEP_EVERY);
    loop {
        lead.turn(&mut ticks).await;
        reporter.note(lead.sessions.sweep().await);
    }
}

async fn count(lead: Lead) {
    let mut reporter = Reporter::new("count the fleet's sessions");
    let mut ticks = ticks(COUNT_EVERY);
    loop {
        lead.turn(&mut ticks).await;
        if let Some(stats) = reporter.note(lead.sessions.count_fleet().await) {
            lead.sessions.show_counts(&stats);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_is_told_once_until_it_works_again() {
        let mut reporter = Reporter::new("test");
        let mut fails = |reason: &str| {
            let before = reporter.told.len();
            assert_eq!(reporter.note::<(), _>(Err(reason)), None);
            reporter.told.len() > before
        };
        assert!(fails("no such name"));
        assert!(!fails("no such name"));
        assert!(fails("wrong password"));
        assert!(!fails("no such name"));
        assert_eq!(reporter.note(Ok::<_, &str>(1)), Some(1));
        assert!(reporter.is_news("no such name".to_owned()));
    }

    #[test]
    fn reasons_without_end_are_not_told_without_end() {
        let mut reporter = Reporter::new("test");
        let told = (0..100).filter(|number| reporter.is_news(number.to_string())).count();
        assert_eq!(told, MOST_REASONS);
    }
}
