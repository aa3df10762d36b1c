use prometheus::{
    Encoder as _, Gauge, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec,
    Opts, Registry, TextEncoder,
};

/// From a tenth of a millisecond to ten seconds.
const LATENCY_BUCKETS: &[f64] = &[
    0.0001, 0.000_25, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0,
];

/// Declares the metrics as one struct: the comment of a field is its HELP.
macro_rules! metrics {
    ($($(#[doc = $help:literal])+ $field:ident: $kind:ident = $name:literal $([$($label:literal),*])?;)*) => {
        /// Every metric of a server, in a registry of its own.
        #[derive(Clone)]
        pub struct Metrics {
            registry: Registry,
            $($(#[doc = $help])+ pub $field: $kind,)*
        }

        impl Metrics {
            /// A fresh set, all at zero.
            pub fn new() -> Result<Self, prometheus::Error> {
                let registry = Registry::new();
                $(let $field = <$kind as Declare>::declare(
                    &registry, $name, concat!($($help),+).trim(), &[$($($label),*)?])?;)*
                let metrics = Self { registry, $($field),* };
                metrics.show_from_the_start();
                Ok(metrics)
            }
        }
    };
}

metrics! {
    /// Which build this is: always 1.
    build_info: IntGaugeVec = "cloakroom_build_info" ["version"];
    /// Sessions made by this server, by class.
    sessions_created: IntCounterVec = "cloakroom_sessions_created_total" ["class"];
    /// Sessions ended by this server, by reason.
    sessions_ended: IntCounterVec = "cloakroom_sessions_ended_total" ["reason"];
    /// Sessions that got a new token from this server, by kind: rotation or login.
    sessions_rotated: IntCounterVec = "cloakroom_sessions_rotated_total" ["kind"];
    /// Sessions that moved to another server, by cause: touch or request.
    sessions_migrated: IntCounterVec = "cloakroom_sessions_migrated_total" ["cause"];
    /// Tokens judged, by verdict: valid or the reason why not.
    validations: IntCounterVec = "cloakroom_validations_total" ["verdict"];
    /// Tokens that open no session and did not once expire, by who presented them: a visitor (browsers and gateways) or an
    /// application. Many of them are guesses.
    invalid_tokens: IntCounterVec = "cloakroom_invalid_tokens_total" ["face"];
    /// Requests turned away because their client had tried too many invalid tokens.
    throttled: IntCounter = "cloakroom_throttled_total";
    /// Retired tokens that were used again; each ended its session.
    theft_detected: IntCounter = "cloakroom_theft_detected_total";
    /// Live sessions of the fleet by class. Only the leader shows it.
    fleet_sessions: IntGaugeVec = "cloakroom_sessions" ["class"];
    /// Live sessions of the fleet by the server where they are homed. Only the leader shows it.
    fleet_sessions_by_server: IntGaugeVec = "cloakroom_server_sessions" ["server_id"];
    /// Users of the fleet with a live session. Only the leader shows it.
    fleet_users: IntGauge = "cloakroom_users";
    /// When the fleet was last counted, in seconds since the Unix epoch; zero where this server has not.
    fleet_counted_at: Gauge = "cloakroom_fleet_counted_timestamp_seconds";
    /// How long sessions lasted that ended since the beginning of yesterday (UTC), on average. Only the leader shows it.
    session_duration_average: Gauge = "cloakroom_session_duration_average_seconds";
    /// Uses recorded in the store, by outcome: recorded, gone or failed.
    touches: IntCounterVec = "cloakroom_touches_total" ["outcome"];
    /// Uses that wait to be recorded.
    touches_pending: IntGauge = "cloakroom_touches_pending";
    /// Expired sessions that this server cleared up after.
    swept: IntCounter = "cloakroom_swept_sessions_total";
    /// How long the sweep's most overdue session had been due, in seconds.
    sweep_behind: Gauge = "cloakroom_sweep_behind_seconds";
    /// How long a sweep of all buckets took, in seconds.
    sweep_duration: Histogram = "cloakroom_sweep_duration_seconds";
    /// Whether this server leads.
    leader: IntGauge = "cloakroom_leader";
    /// Servers of the fleet by state, as this one sees it.
    servers: IntGaugeVec = "cloakroom_servers" ["state"];
    /// Ends that are kept to be repeated after a failover.
    redo_entries: IntGauge = "cloakroom_redo_entries";
    /// Ends that were repeated because a failover may have undone them.
    redo_repeated: IntCounter = "cloakroom_redo_repeated_total";
    /// Operations on the store, by operation and outcome: ok, refused or failed.
    store_operations: IntCounterVec = "cloakroom_store_operations_total" ["operation", "outcome"];
    /// How long operations on the store took, in seconds, retries included.
    store_duration: HistogramVec = "cloakroom_store_operation_duration_seconds" ["operation"];
    /// Commands that were sent again, by cause.
    store_retries: IntCounterVec = "cloakroom_store_retries_total" ["cause"];
    /// Answers that belonged to another request; each replaced its connection.
    store_mismatches: IntCounter = "cloakroom_store_mismatches_total";
    /// Records that could not be read: malformed, or sealed and not to be opened. Each was answered 503.
    store_corrupt: IntCounter = "cloakroom_store_corrupt_records_total";
    /// Records that were read while there are encryption keys, by the key that had sealed them: first, older or none.
    records_opened: IntCounterVec = "cloakroom_store_records_opened_total" ["key"];
    /// Records that were kept anew under the first encryption key.
    records_resealed: IntCounter = "cloakroom_store_records_resealed_total";
    /// Connections to Redis that were opened.
    store_connections: IntCounter = "cloakroom_store_connections_total";
    /// Times that the map of the cluster's slots was read.
    store_topology_refreshes: IntCounter = "cloakroom_store_topology_refreshes_total";
    /// Reads of sessions, by source: l1, joined (another request's fill), store or strong.
    reads: IntCounterVec = "cloakroom_reads_total" ["source"];
    /// Reads that L1 did not answer, by reason.
    l1_misses: IntCounterVec = "cloakroom_l1_misses_total" ["reason"];
    /// Records that were read and not kept in L1, by the rule that forbade it.
    l1_fills_refused: IntCounterVec = "cloakroom_l1_fills_refused_total" ["reason"];
    /// Sessions in L1.
    l1_entries: IntGauge = "cloakroom_l1_entries";
    /// Buckets whose invalidations this server hears, of 1024.
    l1_covered_buckets: IntGauge = "cloakroom_l1_covered_buckets";
    /// Coherence connections that ended (L3): their buckets are read from the store until they stand again.
    coherence_connections_ended: IntCounter = "cloakroom_coherence_connections_ended_total";
    /// How long this server's own changes took from the store's answer until their invalidation was heard here, in
    /// seconds.
    invalidation_delay: Histogram = "cloakroom_invalidation_delay_seconds";
    /// Hits that the sampler held against the primary.
    staleness_samples: IntCounter = "cloakroom_staleness_samples_total";
    /// How long L1 went on answering with a state after the primary was seen to have another, in seconds; sampled.
    staleness_observed: Histogram = "cloakroom_staleness_observed_seconds";
    /// Sampled hits that were older than the staleness bound. Anything but zero breaks the promise.
    staleness_violations: IntCounter = "cloakroom_staleness_violations_total";
    /// Requests answered, by listener, method, route and status.
    http_requests: IntCounterVec = "cloakroom_http_requests_total" ["listener", "method", "route", "status"];
    /// How long requests took, in seconds, by route.
    http_duration: HistogramVec = "cloakroom_http_request_duration_seconds" ["route"];
    /// Requests being answered.
    http_in_flight: IntGauge = "cloakroom_http_requests_in_flight";
    /// Open connections of the traffic listener.
    http_connections: IntGauge = "cloakroom_http_connections";
    /// Connections refused because there were too many.
    http_connections_refused: IntCounter = "cloakroom_http_connections_refused_total";
    /// Callers judged, by outcome: accepted, or why not.
    callers: IntCounterVec = "cloakroom_callers_total" ["outcome"];
    /// Listeners to the stream of events.
    event_listeners: IntGauge = "cloakroom_event_listeners";
    /// Events passed on to listeners, by kind.
    events: IntCounterVec = "cloakroom_events_total" ["kind"];
}

/// How a kind of metric is made and registered.
trait Declare: Sized {
    fn declare(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> Result<Self, prometheus::Error>;
}

macro_rules! declare {
    ($($kind:ty: |$name:ident, $help:ident, $labels:ident| $make:expr;)*) => {$(
        impl Declare for $kind {
            fn declare(
                registry: &Registry,
                $name: &str,
                $help: &str,
                $labels: &[&str],
            ) -> Result<Self, prometheus::Error> {
                debug_assert!(std::any::type_name::<Self>().contains("Vec") || $labels.is_empty());
                let metric: Self = $make?;
                registry.register(Box::new(metric.clone()))?;
                Ok(metric)
            }
        }
    )*};
}

declare! {
    Gauge: |name, help, labels| Gauge::new(name, help);
    IntGauge: |name, help, labels| IntGauge::new(name, help);
    IntCounter: |name, help, labels| IntCounter::new(name, help);
    IntGaugeVec: |name, help, labels| IntGaugeVec::new(Opts::new(name, help), labels);
    IntCounterVec: |name, help, labels| IntCounterVec::new(Opts::new(name, help), labels);
    Histogram: |name, help, labels|
        Histogram::with_opts(HistogramOpts::new(name, help).buckets(LATENCY_BUCKETS.to_vec()));
    HistogramVec: |name, help, labels|
        HistogramVec::new(HistogramOpts::new(name, help).buckets(LATENCY_BUCKETS.to_vec()), labels);
}

impl Metrics {
    /// The text that Prometheus scrapes, and its content type.
    pub fn render(&self) -> Result<(String, String), prometheus::Error> {
        let encoder = TextEncoder::new();
        let text = encoder.encode_to_string(&self.registry.gather())?;
        Ok((text, encoder.format_type().to_owned()))
    }

    /// Label values that are known beforehand are there at the first scrape: a rate needs a zero to start from.
    fn show_from_the_start(&self) {
        use crate::store::{EndReason, EventKind};

        self.build_info.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        for reason in EndReason::ALL {
            self.sessions_ended.with_label_values(&[reason.as_str()]);
        }
        for kind in EventKind::ALL {
            self.events.with_label_values(&[kind.as_str()]);
        }
        for (family, values) in [
            (&self.sessions_created, &["normal"][..]),
            (&self.sessions_rotated, &["rotation", "login"]),
            (&self.sessions_migrated, &["touch", "request"]),
            (
                &self.validations,
                &[
                    "valid",
                    "session_not_found",
                    "session_expired",
                    "csrf_mismatch",
                    "fingerprint_mismatch",
                    "reauthentication_required",
                ],
            ),
            (&self.invalid_tokens, &["visitor", "application"]),
            (&self.touches, &["recorded", "gone", "failed"]),
            (
                &self.store_retries,
                &["moved", "ask", "tryagain", "clusterdown", "connection", "timeout"],
            ),
            (&self.records_opened, &["first", "older", "none"]),
            (&self.reads, &["l1", "joined", "store", "strong"]),
            (
                &self.l1_misses,
                &["absent", "no_cover", "other_stamp", "lease_lapsed", "past_deadline"],
            ),
            (
                &self.l1_fills_refused,
                &["no_cover", "elsewhere", "other_id", "overtaken", "ended"],
            ),
            (&self.callers, &["accepted", "missing", "invalid", "forbidden"]),
        ] {
            for value in values {
                family.with_label_values(&[value]);
            }
        }
        for state in ["live", "draining"] {
            self.servers.with_label_values(&[state]);
        }
    }
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Metrics")
    }
}
