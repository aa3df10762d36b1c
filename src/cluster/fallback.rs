use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;

use super::{Leadership, Result};
use crate::session::{Clock, Monotonic, ServerId};

/// A leadership with another to go by once nothing was heard of the first for as long as its lease lasts.
///
/// For so long every server goes by what the first said last: by then whoever led by it has stopped. Servers of which
/// only some can reach the first may have two leaders, which does no harm: a lease is no fence.
pub struct FallbackLeadership {
    first: Arc<dyn Leadership>,
    second: Arc<dyn Leadership>,
    clock: Arc<dyn Clock>,
    heard: Mutex<Heard>,
}

#[derive(Clone, Copy)]
struct Heard {
    /// When the first was asked that answered last.
    at: Monotonic,
    by_second: bool,
}

impl FallbackLeadership {
    /// Goes by `first` where it can.
    pub fn new(first: Arc<dyn Leadership>, second: Arc<dyn Leadership>, clock: Arc<dyn Clock>) -> Self {
        let heard = Mutex::new(Heard {
            at: clock.monotonic(),
            by_second: false,
        });
        Self {
            first,
            second,
            clock,
            heard,
        }
    }

    /// Says by which one it goes from now on; true where that has changed.
    fn go_by_second(&self, by_second: bool) -> bool {
        std::mem::replace(&mut self.heard.lock().by_second, by_second) != by_second
    }
}

#[async_trait]
impl Leadership for FallbackLeadership {
    async fn acquire(&self, me: &ServerId, ttl: Duration) -> Result<Option<ServerId>> {
        let asked = self.clock.monotonic();
        match self.first.acquire(me, ttl).await {
            Ok(leader) => {
                self.heard.lock().at = asked;
                if self.go_by_second(false) {
                    tracing::info!("the lease of the leader can be reached again");
                    // Else it lapses.
                    let _ = self.second.release(me).await;
                }
                Ok(leader)
            }
            Err(error) => {
                let heard = self.heard.lock().at;
                if self.clock.monotonic().since(heard) < ttl {
                    return Err(error);
                }
                if self.go_by_second(true) {
                    tracing::warn!(%error, "the lease of the leader cannot be reached: it is agreed on in the store");
                }
                self.second.acquire(me, ttl).await
            }
        }
    }

    async fn release(&self, me: &ServerId) -> Result<()> {
        let by_second = self.heard.lock().by_second;
        if by_second {
            return self.second.release(me).await;
        }
        self.first.release(me).await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;
    use crate::cluster::{FleetError, LocalFleet};
    use crate::session::{ManualClock, Timestamp};

    const TTL: Duration = Duration::from_secs(10);

    /// A lease that can be out of reach.
    struct Far(LocalFleet, Arc<AtomicBool>);

    #[async_trait]
    impl Leadership for Far {
        async fn acquire(&self, me: &ServerId, ttl: Duration) -> Result<Option<ServerId>> {
            if self.1.load(Ordering::SeqCst) {
                return Err(FleetError::Kubernetes("out of reach".to_owned()));
            }
            self.0.acquire(me, ttl).await
        }

        async fn release(&self, me: &ServerId) -> Result<()> {
            self.0.release(me).await
        }
    }

    #[tokio::test]
    async fn the_second_counts_only_once_the_first_would_have_lapsed() {
        let clock = ManualClock::new(Timestamp::from_millis(1_000_000));
        let time: Arc<dyn Clock> = Arc::new(clock.clone());
        let out = Arc::new(AtomicBool::new(false));
        let first: Arc<dyn Leadership> = Arc::new(Far(LocalFleet::new(Arc::clone(&time)), Arc::clone(&out)));
        let second = Arc::new(LocalFleet::new(Arc::clone(&time)));
        let of = || FallbackLeadership::new(Arc::clone(&first), second.clone(), Arc::clone(&time));
        let (a, b) = (ServerId::new("a").unwrap(), ServerId::new("b").unwrap());
        let (of_a, of_b) = (of(), of());
        assert_eq!(of_a.acquire(&a, TTL).await.unwrap(), Some(a.clone()));
        assert_eq!(of_b.acquire(&b, TTL).await.unwrap(), Some(a.clone()));

        out.store(true, Ordering::SeqCst);
        clock.advance(Duration::from_millis(9_999));
        assert!(
            of_b.acquire(&b, TTL).await.is_err(),
            "whoever leads by the first may lead on"
        );
        clock.advance(Duration::from_millis(1));
        assert_eq!(of_b.acquire(&b, TTL).await.unwrap(), Some(b.clone()));
        assert_eq!(
            of_a.acquire(&a, TTL).await.unwrap(),
            Some(b.clone()),
            "one leads by the second"
        );

        out.store(false, Ordering::SeqCst);
        assert_eq!(of_a.acquire(&a, TTL).await.unwrap(), Some(a.clone()));
        assert_eq!(of_b.acquire(&b, TTL).await.unwrap(), Some(a.clone()));
        let other = second.acquire(&a, TTL).await.unwrap();
        assert_eq!(other, Some(a), "the second was given back");
    }
}
