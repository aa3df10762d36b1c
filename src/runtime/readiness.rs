use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether this server wants traffic.
///
/// Ready once the store has answered and the leases stand, until it drains. A later outage does not make it unready:
/// all pods would leave the Service, and callers would see refused connections in place of a 503 with `Retry-After`.
#[derive(Debug, Clone, Default)]
pub struct Readiness(Arc<Flags>);

#[derive(Debug, Default)]
struct Flags {
    store_answered: AtomicBool,
    leases_stand: AtomicBool,
    draining: AtomicBool,
}

impl Readiness {
    /// The store has answered once.
    pub fn store_has_answered(&self) {
        self.0.store_answered.store(true, Ordering::Release);
    }

    /// What keeps this server's cache coherent has been set up once.
    pub fn leases_stand(&self) {
        self.0.leases_stand.store(true, Ordering::Release);
    }

    /// The server is about to leave.
    pub fn drain(&self) {
        self.0.draining.store(true, Ordering::Release);
    }

    /// Whether it wants traffic.
    pub fn is_ready(&self) -> bool {
        self.checks().iter().all(|check| check.passed)
    }

    pub(crate) fn checks(&self) -> [Check; 3] {
        let set = |flag: &AtomicBool| flag.load(Ordering::Acquire);
        [
            Check::new("store", set(&self.0.store_answered), "has not answered yet"),
            Check::new("leases", set(&self.0.leases_stand), "do not stand yet"),
            Check::new("server", !set(&self.0.draining), "draining"),
        ]
    }
}

/// One condition of readiness.
pub(crate) struct Check {
    name: &'static str,
    pub(crate) passed: bool,
    failure: &'static str,
}

impl Check {
    fn new(name: &'static str, passed: bool, failure: &'static str) -> Self {
        Self { name, passed, failure }
    }

    /// The condition as `/readyz` shows it.
    pub(crate) fn line(&self) -> String {
        let outcome = if self.passed { "ok" } else { self.failure };
        format!("{}: {outcome}\n", self.name)
    }
}
