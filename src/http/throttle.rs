use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use parking_lot::Mutex;

use super::problem::ApiError;
use crate::session::Monotonic;

/// The length of a counting window.
const WINDOW: Duration = Duration::from_mins(1);
/// How many clients are counted in a window; what comes from more goes uncounted, for memory is bounded (S53).
const MAX_CLIENTS: usize = 65_536;

/// Counts the invalid tokens of each client, and turns away who guesses too often (S54).
pub(super) struct Throttle {
    /// Invalid tokens a window; zero: no limit.
    limit: u32,
    counts: Mutex<Counts>,
}

#[derive(Default)]
struct Counts {
    window_began: Monotonic,
    by_client: HashMap<IpAddr, u32>,
}

impl Throttle {
    pub(super) fn new(limit: u32) -> Self {
        Self {
            limit,
            counts: Mutex::default(),
        }
    }

    /// Whether the client may try another token; what cannot be told apart from others may.
    pub(super) fn admit(&self, client: Option<IpAddr>, now: impl FnOnce() -> Monotonic) -> Result<(), ApiError> {
        let Some(client) = client.filter(|_| self.limit > 0) else {
            return Ok(());
        };
        let counts = self.counts.lock();
        let left = WINDOW.saturating_sub(now().since(counts.window_began));
        let tried = counts.by_client.get(&network(client)).copied().unwrap_or_default();
        if left.is_zero() || tried < self.limit {
            return Ok(());
        }
        let seconds = left.as_secs() + u64::from(left.subsec_nanos() > 0);
        Err(ApiError::Throttled { seconds })
    }

    /// Counts an invalid token.
    pub(super) fn count(&self, client: Option<IpAddr>, now: Monotonic) {
        let Some(client) = client.filter(|_| self.limit > 0) else {
            return;
        };
        let mut counts = self.counts.lock();
        if now.since(counts.window_began) >= WINDOW {
            counts.window_began = now;
            counts.by_client.clear();
        }
        let client = network(client);
        if counts.by_client.len() < MAX_CLIENTS || counts.by_client.contains_key(&client) {
            let tried = counts.by_client.entry(client).or_default();
            *tried = tried.saturating_add(1);
        }
    }
}

/// Who has one address of version 6 has its whole network of 64 bits.
fn network(client: IpAddr) -> IpAddr {
    match client {
        IpAddr::V4(_) => client,
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Monotonic {
        Monotonic::from_nanos(1).after(Duration::from_secs(1000 + seconds))
    }

    fn client(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn s54_guesses_are_counted_by_client_and_minute() {
        let throttle = Throttle::new(2);
        let one = Some(client("2001:db8::1"));
        for second in [0, 1] {
            assert!(throttle.admit(one, || at(second)).is_ok());
            throttle.count(one, at(second));
        }
        let refused = throttle.admit(Some(client("2001:db8::2")), || at(2));
        assert!(
            matches!(refused, Err(ApiError::Throttled { seconds: 58 })),
            "{refused:?}"
        );
        for other in [Some(client("2001:db8:0:1::1")), Some(client("192.0.2.1")), None] {
            assert!(throttle.admit(other, || at(2)).is_ok());
        }
        assert!(throttle.admit(one, || at(60)).is_ok(), "a new minute");
        let unlimited = Throttle::new(0);
        (0..1000).for_each(|_| unlimited.count(one, at(0)));
        assert!(unlimited.admit(one, || at(0)).is_ok());
    }

    #[test]
    fn s53_memory_is_bounded_by_the_number_of_clients() {
        let throttle = Throttle::new(1);
        for number in 0..u32::try_from(MAX_CLIENTS).unwrap() + 10 {
            throttle.count(Some(std::net::Ipv4Addr::from_bits(number).into()), at(0));
        }
        assert_eq!(throttle.counts.lock().by_client.len(), MAX_CLIENTS);
        assert!(throttle.admit(Some(client("0.0.0.0")), || at(0)).is_err());
    }
}
