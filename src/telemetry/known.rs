//! Label values that are known beforehand are there at the first scrape: a rate needs a zero to start from, and a panel
//! or rule something to look at.

use prometheus::process_collector::ProcessCollector;

use super::Metrics;
use crate::store::{EndReason, EventKind};

/// Those of one label, written down; what has a type of its own tells its names itself.
const KINDS: [&str; 2] = ["rotation", "login"];
const CAUSES: [&str; 2] = ["touch", "request"];
const VERDICTS: [&str; 6] = [
    "valid",
    "session_not_found",
    "session_expired",
    "csrf_mismatch",
    "fingerprint_mismatch",
    "reauthentication_required",
];
const FACES: [&str; 2] = ["visitor", "application"];
const TOUCHES: [&str; 4] = ["recorded", "gone", "failed", "dropped"];
const RETRIES: [&str; 6] = ["moved", "ask", "tryagain", "clusterdown", "connection", "timeout"];
const READS: [&str; 5] = ["l1", "joined", "store", "strong", "stale"];
const MISSES: [&str; 5] = ["absent", "no_cover", "other_stamp", "lease_lapsed", "past_deadline"];
const REFUSALS: [&str; 5] = ["no_cover", "elsewhere", "other_id", "overtaken", "ended"];
const ENDS_OF_CONNECTIONS: [&str; 6] = ["lease", "subscription", "heartbeat", "connection", "message", "moved"];
const INVALIDATIONS: [&str; 4] = ["changed", "ended", "rotated", "bucket"];
const CALLERS: [&str; 13] = [
    "accepted",
    "missing",
    "forbidden",
    "malformed",
    "unknown_key",
    "signature",
    "type",
    "audience",
    "issuer",
    "expired",
    "not_yet",
    "account",
    "unjudged",
];
/// Which key had sealed a record.
const SEALS: [&str; 3] = ["first", "older", "none"];
const STATES: [&str; 2] = ["live", "draining"];
const SPANS: [&str; 3] = ["exported", "failed", "dropped"];
/// What there is to know of the durations of sessions.
pub(super) const STATISTICS: [&str; 4] = ["average", "p50", "p90", "p99"];
const ATTEMPTS: [&str; 3] = ["delivered", "refused", "unreachable"];
const LOSSES: [&str; 2] = ["trimmed", "given_up"];

impl Metrics {
    /// What every server shows, and what is known of its process.
    pub(super) fn show_what_is_known(&self) -> Result<(), prometheus::Error> {
        self.registry.register(Box::new(ProcessCollector::for_self()))?;
        self.build_info.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        for (family, values) in [
            (&self.sessions_created, &["normal"][..]),
            (&self.sessions_ended, &EndReason::ALL.map(EndReason::as_str)),
            (&self.sessions_rotated, &KINDS),
            (&self.sessions_migrated, &CAUSES),
            (&self.validations, &VERDICTS),
            (&self.invalid_tokens, &FACES),
            (&self.touches, &TOUCHES),
            (&self.store_retries, &RETRIES),
            (&self.records_opened, &SEALS),
            (&self.reads, &READS),
            (&self.l1_misses, &MISSES),
            (&self.l1_fills_refused, &REFUSALS),
            (&self.coherence_connections_ended, &ENDS_OF_CONNECTIONS),
            (&self.invalidations, &INVALIDATIONS),
            (&self.callers, &CALLERS),
            (&self.events, &EventKind::ALL.map(EventKind::as_str)),
            (&self.spans, &SPANS),
        ] {
            for value in values {
                family.with_label_values(&[value]);
            }
        }
        for script in crate::store::redis::SCRIPT_NAMES {
            self.store_duration.with_label_values(&[script]);
            for outcome in ["ok", "failed"] {
                self.store_operations.with_label_values(&[script, outcome]);
            }
        }
        for state in STATES {
            self.servers.with_label_values(&[state]);
        }
        self.show_webhook("");
        self.show_fleet(["normal"], "");
        Ok(())
    }

    /// What a deployment's settings make known: its classes, and this server. Sets the fleet's counts back.
    pub fn show_deployment<'a>(&self, classes: impl Iterator<Item = &'a str>, server_id: &str) {
        let classes: Vec<_> = classes.collect();
        for class in &classes {
            self.sessions_created.with_label_values(&[class]);
        }
        self.show_fleet(classes, server_id);
    }

    fn show_fleet<'a>(&self, classes: impl IntoIterator<Item = &'a str>, server_id: &str) {
        self.fleet_sessions.reset();
        self.fleet_sessions_by_server.reset();
        for class in classes {
            self.fleet_sessions.with_label_values(&[class]);
        }
        self.fleet_sessions_by_server.with_label_values(&[server_id]);
        for statistic in STATISTICS {
            self.session_duration.with_label_values(&[statistic]).set(0.0);
        }
        self.fleet_users.set(0);
        self.fleet_counted_at.set(0.0);
        self.sweep_behind.set(0.0);
        self.swept_at.set(0.0);
    }

    /// The webhook of a name.
    pub fn show_webhook(&self, endpoint: &str) {
        for outcome in ATTEMPTS {
            self.webhook_attempts.with_label_values(&[endpoint, outcome]);
        }
        for reason in LOSSES {
            self.webhook_losses.with_label_values(&[endpoint, reason]);
        }
        self.webhook_duration.with_label_values(&[endpoint]);
        self.webhook_lag.with_label_values(&[endpoint]);
        self.webhook_disabled.with_label_values(&[endpoint]);
    }
}
