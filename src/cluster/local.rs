use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;

use super::{Leadership, Member, MemberState, Members, Membership, Result};
use crate::session::{Clock, Monotonic, ServerId};

/// A fleet within one process: a single server, or those of `cloakroom dev`.
pub struct LocalFleet {
    clock: Arc<dyn Clock>,
    heard: Mutex<BTreeMap<ServerId, (MemberState, Monotonic)>>,
    lease: Mutex<Option<Lease>>,
}

struct Lease {
    holder: ServerId,
    taken: Monotonic,
    ttl: Duration,
}

impl LocalFleet {
    /// A fleet without members.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            heard: Mutex::default(),
            lease: Mutex::default(),
        }
    }
}

#[async_trait]
impl Membership for LocalFleet {
    async fn announce(&self, me: &ServerId, state: MemberState, timeout: Duration) -> Result<Members> {
        let now = self.clock.monotonic();
        let mut heard = self.heard.lock();
        heard.insert(me.clone(), (state, now));
        heard.retain(|_, (_, at)| now.since(*at) <= timeout);
        let member = |(server_id, (state, _)): (&ServerId, &(MemberState, Monotonic))| Member {
            server_id: server_id.clone(),
            state: *state,
        };
        Ok(Members(heard.iter().map(member).collect()))
    }

    async fn withdraw(&self, me: &ServerId) -> Result<()> {
        self.heard.lock().remove(me);
        Ok(())
    }
}

#[async_trait]
impl Leadership for LocalFleet {
    async fn acquire(&self, me: &ServerId, ttl: Duration) -> Result<Option<ServerId>> {
        let taken = self.clock.monotonic();
        let mut lease = self.lease.lock();
        let held = lease.as_ref().filter(|lease| taken.since(lease.taken) < lease.ttl);
        let holder = match held {
            Some(other) if other.holder != *me => return Ok(Some(other.holder.clone())),
            _ => me.clone(),
        };
        *lease = Some(Lease {
            holder: holder.clone(),
            taken,
            ttl,
        });
        Ok(Some(holder))
    }

    async fn release(&self, me: &ServerId) -> Result<()> {
        let mut lease = self.lease.lock();
        if lease.as_ref().is_some_and(|lease| lease.holder == *me) {
            *lease = None;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::{ManualClock, Timestamp};

    const TTL: Duration = Duration::from_secs(10);

    fn fleet() -> (LocalFleet, ManualClock, ServerId, ServerId) {
        let clock = ManualClock::new(Timestamp::from_millis(1_000_000));
        let fleet = LocalFleet::new(Arc::new(clock.clone()));
        (fleet, clock, ServerId::new("a").unwrap(), ServerId::new("b").unwrap())
    }

    #[tokio::test]
    async fn members_leave_by_withdrawal_or_silence() {
        let (fleet, clock, a, b) = fleet();
        fleet.announce(&a, MemberState::Live, TTL).await.unwrap();
        let both = fleet.announce(&b, MemberState::Draining, TTL).await.unwrap();
        assert!(both.is_live(&a) && both.contains(&b) && !both.is_live(&b));
        clock.advance(TTL + Duration::from_millis(1));
        let rest = fleet.announce(&b, MemberState::Live, TTL).await.unwrap();
        assert!(!rest.contains(&a), "unheard of for longer than the timeout");
        fleet.withdraw(&b).await.unwrap();
        let rest = fleet.announce(&a, MemberState::Live, TTL).await.unwrap();
        assert!(!rest.contains(&b));
    }

    #[tokio::test]
    async fn one_leads_until_it_releases_the_lease_or_lets_it_lapse() {
        let (fleet, clock, a, b) = fleet();
        assert_eq!(fleet.acquire(&a, TTL).await.unwrap(), Some(a.clone()));
        assert_eq!(fleet.acquire(&b, TTL).await.unwrap(), Some(a.clone()));
        fleet.release(&b).await.unwrap();
        assert_eq!(
            fleet.acquire(&b, TTL).await.unwrap(),
            Some(a.clone()),
            "only its holder can release it"
        );
        fleet.release(&a).await.unwrap();
        assert_eq!(fleet.acquire(&b, TTL).await.unwrap(), Some(b.clone()));
        clock.advance(TTL);
        assert_eq!(fleet.acquire(&a, TTL).await.unwrap(), Some(a));
    }
}
