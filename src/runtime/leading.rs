//! What only the leader does: it sweeps, counts and delivers events; and how a server comes to lead.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Interval;
use tracing::Instrument as _;

use super::background::{Duties, ticks};
use super::reporter::{Reporter, report_once};
use crate::cluster::{Condition, MemberState};
use crate::session::{Monotonic, ServerId};
use crate::sessions::Sessions;
use crate::webhooks;

const LEAD_EVERY: Duration = Duration::from_secs(3);
/// The lease outlives two failed renewals.
const LEASE_TTL: Duration = Duration::from_secs(10);
const SWEEP_EVERY: Duration = Duration::from_secs(5);
const COUNT_EVERY: Duration = Duration::from_secs(10);

/// Starts the campaign for the leader's lease, and the loops that run while it is held.
pub(super) fn start(duties: &Duties, announced: watch::Receiver<MemberState>, tasks: &mut JoinSet<()>) {
    let (lead, leads) = watch::channel(None);
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
