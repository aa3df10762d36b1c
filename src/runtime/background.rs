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
use super::leading;
use super::reporter::{Reporter, report_once};
use crate::cluster::{Condition, Conditions, Leadership, MemberState, Members, Membership, View};
use crate::coherence::Transport;
use crate::session::Monotonic;
use crate::sessions::{Error, Sessions};
use crate::webhooks::Webhook;

const FLUSH_EVERY: Duration = Duration::from_millis(100);
const REDO_EVERY: Duration = Duration::from_millis(500);
const PING_EVERY: Duration = Duration::from_millis(500);
const CHECK_EVERY: Duration = Duration::from_secs(10);
const COVER_EVERY: Duration = Duration::from_millis(50);
const ANNOUNCE_EVERY: Duration = Duration::from_secs(2);
/// A server that was not heard of for so long has left.
pub const MEMBER_TIMEOUT: Duration = Duration::from_secs(10);
/// A server that its fleet does not know for so long is told of.
const UNLISTED_FOR: Duration = Duration::from_mins(1);
const VIOLATIONS_EVERY: Duration = Duration::from_secs(5);
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
        leading::start(&duties, announced, &mut tasks);
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

/// Ticks at once and then again and again, with at least the pause between two ticks.
pub(super) fn ticks(pause: Duration) -> Interval {
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
