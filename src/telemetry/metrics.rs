//! Every metric. The comment of a field is its HELP; the page `docs/metrics.md` is made from this file.

use prometheus::{
    Encoder as _, Gauge, GaugeVec, Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry,
    TextEncoder,
};

use super::declare::{Declare, Family};

/// Answers: from a hit in memory (tens of microseconds) to the longest time limit.
const ANSWER: &[f64] = &[
    0.000_025, 0.000_05, 0.0001, 0.000_25, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    5.0, 10.0,
];
/// Round trips to Redis: from a hundred microseconds to the deadline, retries included.
const ROUND_TRIP: &[f64] = &[
    0.0001, 0.000_25, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0,
];
/// Times that the staleness bound, one second by default, is held against.
const BOUND: &[f64] = &[
    0.000_25, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.5, 5.0,
];
/// Passes over all 1024 buckets.
const PASS: &[f64] = &[0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0];
/// Requests to servers of others, over the Internet.
const DELIVERY: &[f64] = &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

/// Declares the metrics as one struct, in the sections of the page.
macro_rules! metrics {
    ($($title:literal: $intro:literal {
        $($(#[doc = $help:literal])+ $field:ident: $kind:ident = $name:literal
            $([$($label:literal),*])? $(in $buckets:ident)?;)*
    })*) => {
        /// Every metric of a server, in a registry of its own.
        #[derive(Clone)]
        pub struct Metrics {
            pub(super) registry: Registry,
            $($($(#[doc = $help])+ pub $field: $kind,)*)*
        }

        /// The sections of the page of metrics: title, introduction, families.
        pub(super) const SECTIONS: &[(&str, &str, &[Family])] = &[$(
            ($title, $intro, &[$(Family {
                name: $name,
                help: concat!($($help),+),
                labels: &[$($($label),*)?],
                buckets: &[$($buckets)?],
            }),*]),
        )*];

        impl Metrics {
            /// A fresh set, all at zero.
            pub fn new() -> Result<Self, prometheus::Error> {
                let registry = Registry::new();
                let mut families = SECTIONS.iter().flat_map(|(_, _, families)| families.iter());
                let mut next = || families.next().ok_or_else(|| prometheus::Error::Msg("a family too few".to_owned()));
                $($(let $field = <$kind as Declare>::declare(&registry, next()?)?;)*)*
                let metrics = Self { registry, $($($field),*),* };
                metrics.show_what_is_known()?;
                Ok(metrics)
            }
        }
    };
}

metrics! {
    "Sessions": "Counted by the server that did it: `sum(rate(…))` over the replicas is the fleet's." {
        /// Sessions made by this server, by class.
        sessions_created: IntCounterVec = "cloakroom_sessions_created_total" ["class"];
        /// Sessions ended by this server, by reason; those that expired by the server whose sweep or count cleared up.
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
        /// Uses of sessions, by what came of recording them: recorded, gone (the session had ended), failed (tried again) or
        /// dropped (too many waited while the store was down).
        touches: IntCounterVec = "cloakroom_touches_total" ["outcome"];
        /// Uses that wait to be recorded.
        touches_pending: IntGauge = "cloakroom_touches_pending";
    }
    "The fleet": "Counts come from one source, the leader's pass over the store. Only the leader shows them; all others, and \
        a server that has just begun to lead, show zero, and zero as the time of the count. So never add them up: \
        `max by (class) (cloakroom_sessions and on (instance) cloakroom_fleet_counted_timestamp_seconds > 0)`." {
        /// Live sessions of the fleet by class. Only the leader shows it.
        fleet_sessions: IntGaugeVec = "cloakroom_sessions" ["class"];
        /// Live sessions of the fleet by the server where they are homed. Only the leader shows it.
        fleet_sessions_by_server: IntGaugeVec = "cloakroom_server_sessions" ["server_id"];
        /// Users of the fleet with a live session. Only the leader shows it.
        fleet_users: IntGauge = "cloakroom_users";
        /// When the fleet was last counted, in seconds since the Unix epoch; zero where this server does not lead.
        fleet_counted_at: Gauge = "cloakroom_fleet_counted_timestamp_seconds";
        /// How long sessions lasted that ended since the beginning of yesterday (UTC), in seconds: the average and the
        /// quantiles p50, p90 and p99. Only the leader shows it.
        session_duration: GaugeVec = "cloakroom_session_duration_seconds" ["statistic"];
        /// Whether this server leads: the sum over the fleet is 1.
        leader: IntGauge = "cloakroom_leader";
        /// Servers of the fleet by state, as this one sees it.
        servers: IntGaugeVec = "cloakroom_servers" ["state"];
        /// Whether this server wants traffic: the store has answered, memory is covered, and it does not drain.
        ready: IntGauge = "cloakroom_ready";
        /// Expired sessions that this server cleared up after.
        swept: IntCounter = "cloakroom_swept_sessions_total";
        /// How long the most overdue session had been due at the last sweep, in seconds; zero where this server does not
        /// lead.
        sweep_behind: Gauge = "cloakroom_sweep_behind_seconds";
        /// How long a sweep of all buckets took, in seconds.
        sweep_duration: Histogram = "cloakroom_sweep_duration_seconds" in PASS;
        /// When the last sweep of all buckets was done, in seconds since the Unix epoch; zero where this server does not
        /// lead.
        swept_at: Gauge = "cloakroom_sweep_completed_timestamp_seconds";
        /// Keys whose time to live the sweep looked at: all index keys, and a few sessions of each bucket in turn.
        keys_audited: IntCounter = "cloakroom_keys_audited_total";
        /// Keys that were found without a time to live, and given one. Anything but zero is a bug, or somebody else's PERSIST.
        keys_without_ttl: IntCounter = "cloakroom_keys_without_ttl_total";
        /// Ends that are kept to be repeated after a failover.
        redo_entries: IntGauge = "cloakroom_redo_entries";
        /// Ends that were repeated because a failover may have undone them.
        redo_repeated: IntCounter = "cloakroom_redo_repeated_total";
    }
    "Memory and its promise": "`cloakroom_staleness_violations_total` is the promise itself: alert at 1. The sampler behind \
        it re-reads one hit of 256 from the primary. More on leases, cover and fills: [coherence](coherence.md)." {
        /// Reads of sessions, by source: l1, joined (another request's fill), store or strong; or stale: answered from L1
        /// beyond the staleness bound, for a class with `serve_stale` while the store was out of reach.
        reads: IntCounterVec = "cloakroom_reads_total" ["source"];
        /// Reads that L1 did not answer, by reason.
        l1_misses: IntCounterVec = "cloakroom_l1_misses_total" ["reason"];
        /// Records that were read and not kept in L1, by the rule that forbade it.
        l1_fills_refused: IntCounterVec = "cloakroom_l1_fills_refused_total" ["reason"];
        /// Sessions in L1.
        l1_entries: IntGauge = "cloakroom_l1_entries";
        /// Bytes that the sessions in L1 take, about; each counts as at least an equal share of the most that are allowed.
        l1_bytes: IntGauge = "cloakroom_l1_bytes";
        /// Buckets whose invalidations this server hears, of 1024.
        l1_covered_buckets: IntGauge = "cloakroom_l1_covered_buckets";
        /// How old an answer from L1 may be at most, in seconds: the setting `coherence.staleness_bound`; zero where this
        /// server has no L1.
        staleness_bound: Gauge = "cloakroom_staleness_bound_seconds";
        /// Age of the oldest lease of the coherence connections, in seconds; beyond the staleness bound L1 does not answer for
        /// its buckets. Zero where there is no connection.
        lease_age: Gauge = "cloakroom_lease_age_seconds";
        /// Coherence connections: one to each primary that serves buckets.
        coherence_connections: IntGauge = "cloakroom_coherence_connections";
        /// Coherence connections that ended (L3), so that their buckets are read from the store until they stand again, by
        /// reason: lease (lost: a heartbeat was answered too late), subscription (lost or refused), heartbeat (refused, such as
        /// by a deposed primary), connection (cut, or not to be opened), message (not understood) or moved (the cluster's slots).
        coherence_connections_ended: IntCounterVec = "cloakroom_coherence_connections_ended_total" ["reason"];
        /// Invalidations that this server heard, by kind.
        invalidations: IntCounterVec = "cloakroom_invalidations_total" ["kind"];
        /// How long this server's own changes took from the request to the store until their invalidation was heard here,
        /// in seconds.
        invalidation_delay: Histogram = "cloakroom_invalidation_delay_seconds" in BOUND;
        /// Hits that the sampler held against the primary.
        staleness_samples: IntCounter = "cloakroom_staleness_samples_total";
        /// How long L1 went on answering with a state after the primary was seen to have another, in seconds; sampled.
        staleness_observed: Histogram = "cloakroom_staleness_observed_seconds" in BOUND;
        /// Sampled hits that were older than the staleness bound. Anything but zero breaks the promise.
        staleness_violations: IntCounter = "cloakroom_staleness_violations_total";
    }
    "The store": "An operation is one script in Redis; with sessions in memory they stay at zero." {
        /// Operations on the store, by script and outcome: ok (answered, be it by a refusal) or failed.
        store_operations: IntCounterVec = "cloakroom_store_operations_total" ["operation", "outcome"];
        /// How long operations on the store took, in seconds, retries included.
        store_duration: HistogramVec = "cloakroom_store_operation_duration_seconds" ["operation"] in ROUND_TRIP;
        /// Commands that were sent again, by cause.
        store_retries: IntCounterVec = "cloakroom_store_retries_total" ["cause"];
        /// Answers that belonged to another request; each replaced its connection.
        store_mismatches: IntCounter = "cloakroom_store_mismatches_total";
        /// Records that could not be read: malformed, or sealed and not to be opened. Each was answered 503, or computed anew.
        store_corrupt: IntCounter = "cloakroom_store_corrupt_records_total";
        /// Records that were read while there are encryption keys, by the key that had sealed them: first, older or none.
        records_opened: IntCounterVec = "cloakroom_store_records_opened_total" ["key"];
        /// Records that were kept anew under the first encryption key.
        records_resealed: IntCounter = "cloakroom_store_records_resealed_total";
        /// Connections to Redis that were opened.
        store_connections: IntCounter = "cloakroom_store_connections_total";
        /// Times that the map of the cluster's slots was read.
        store_topology_refreshes: IntCounter = "cloakroom_store_topology_refreshes_total";
        /// When the store last answered this server's check (every 10 s), in seconds since the Unix epoch; zero until it has.
        store_answered_at: Gauge = "cloakroom_store_answered_timestamp_seconds";
    }
    "HTTP": "The traffic listener. What the API describes is there at zero from the start: every route, method and status." {
        /// Requests answered, by method, route and status.
        http_requests: IntCounterVec = "cloakroom_http_requests_total" ["method", "route", "status"];
        /// How long requests took, in seconds, by route. An event stream counts until its head is sent.
        http_duration: HistogramVec = "cloakroom_http_request_duration_seconds" ["route"] in ANSWER;
        /// Requests being answered.
        http_in_flight: IntGauge = "cloakroom_http_requests_in_flight";
        /// Open connections.
        http_connections: IntGauge = "cloakroom_http_connections";
        /// Connections refused because there were too many.
        http_connections_refused: IntCounter = "cloakroom_http_connections_refused_total";
        /// Callers judged, by outcome: accepted, missing (no bearer token), forbidden (not the scope), unjudged (Kubernetes did
        /// not answer), or what is wrong with their token.
        callers: IntCounterVec = "cloakroom_callers_total" ["outcome"];
    }
    "Events": "What webhooks are, and what an operator does about a dead endpoint: [events](events.md)." {
        /// Listeners to the stream of events, webhooks among them.
        event_listeners: IntGauge = "cloakroom_event_listeners";
        /// Events passed on to listeners, by kind.
        events: IntCounterVec = "cloakroom_events_total" ["kind"];
        /// Attempts to deliver an event to a webhook, by outcome: delivered, refused (answered, but not with 2xx) or
        /// unreachable. Without webhooks the label is empty.
        webhook_attempts: IntCounterVec = "cloakroom_webhook_attempts_total" ["webhook", "outcome"];
        /// How long attempts to deliver took, in seconds.
        webhook_duration: HistogramVec = "cloakroom_webhook_attempt_duration_seconds" ["webhook"] in DELIVERY;
        /// Age of the oldest event that waits for a webhook, in seconds; zero where none does, or where this server does not
        /// deliver.
        webhook_lag: GaugeVec = "cloakroom_webhook_lag_seconds" ["webhook"];
        /// Whether a webhook is disabled, because its endpoint is gone or has failed for too long.
        webhook_disabled: IntGaugeVec = "cloakroom_webhook_disabled" ["webhook"];
        /// Times that events were lost to a webhook, by reason: trimmed (the streams hold them no more) or `given_up`.
        webhook_losses: IntCounterVec = "cloakroom_webhook_losses_total" ["webhook", "reason"];
    }
    "Traces": "How to turn them on: [operations](operations.md#traces)." {
        /// Spans, by what came of them: exported, failed (the collector did not take them) or dropped (too many waited).
        spans: IntCounterVec = "cloakroom_trace_spans_total" ["outcome"];
    }
    "The build": "" {
        /// Which build this is: always 1.
        build_info: IntGaugeVec = "cloakroom_build_info" ["version"];
    }
}

impl Metrics {
    /// The text that Prometheus scrapes, and its content type.
    pub fn render(&self) -> Result<(String, String), prometheus::Error> {
        let encoder = TextEncoder::new();
        let text = encoder.encode_to_string(&self.registry.gather())?;
        Ok((text, encoder.format_type().to_owned()))
    }
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Metrics")
    }
}
