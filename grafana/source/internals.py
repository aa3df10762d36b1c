"""The dashboard for who operates it: each server, each of its mechanisms."""

from grafana import POD, Panel, Query, Row, dashboard, quantiles


def gauge(metric, matcher=""):
    return Query(f"sum by (pod, instance) ({metric}{{{POD}{matcher}}})", "{{pod}} {{instance}}")


def per_second(metric, by="pod, instance", matcher=""):
    legend = " ".join(f"{{{{{label}}}}}" for label in by.split(", "))
    return Query(f"sum by ({by}) (rate({metric}{{{POD}{matcher}}}[$__rate_interval]))", legend)


def since(metric):
    """How long ago a moment was; servers that have none show zero as the moment, and are left out."""
    return Query(f"time() - ({metric}{{{POD}}} > 0)", "{{pod}} {{instance}}")


# Parts that a deployment may lack show zero under an empty name, never nothing.
WEBHOOKS = "Without webhooks there is one line at zero."

ROWS = [
    Row(
        "Leases, stamps and subscriptions",
        Panel("Covered buckets", "Buckets whose invalidations the server hears, of 1024. Reads of the others go to Redis.",
              "short", gauge("cloakroom_l1_covered_buckets"), minimum=0, maximum=1024, runbooks=["CloakroomSubscriptionLost"]),
        Panel("Age of the oldest lease", "Below the bound the server may answer from memory; heartbeats renew it.", "s",
              gauge("cloakroom_lease_age_seconds"),
              Query(f"min(cloakroom_staleness_bound_seconds{{{POD}}})", "bound",
                    **{"color": {"mode": "fixed", "fixedColor": "red"}}), minimum=0, runbooks=["CloakroomLeaseLost"]),
        Panel("Coherence connections", "One to each primary that serves buckets.", "short",
              gauge("cloakroom_coherence_connections"), minimum=0, decimals=0),
        Panel("Coherence connections that ended", "Per second, by reason. Each costs its buckets their cover until they are "
              "subscribed anew.", "ops", per_second("cloakroom_coherence_connections_ended_total", "reason"), minimum=0,
              runbooks=["CloakroomCoherenceFlapping", "CloakroomLeaseLost"]),
        Panel("Invalidations heard", "Per second, by kind.", "ops", per_second("cloakroom_invalidations_total", "kind"), minimum=0),
        Panel("Invalidation delay by server", "p99, from a change's request to the store until the server that made it heard its invalidation.", "s",
              *quantiles("cloakroom_invalidation_delay_seconds", "pod", POD, 0.99), minimum=0,
              runbooks=["CloakroomInvalidationsLate"]),
    ),
    Row(
        "Memory",
        Panel("Share of reads from memory", "By server. It falls while cover is missing, and with more servers than hits.",
              "percentunit", Query(
                  f'sum by (pod, instance) (rate(cloakroom_reads_total{{{POD}, source=~"l1|joined"}}[$__rate_interval]))'
                  f" / sum by (pod, instance) (rate(cloakroom_reads_total{{{POD}}}[$__rate_interval]))",
                  "{{pod}} {{instance}}"), minimum=0, maximum=1),
        Panel("Misses by reason", "Per second. `absent` is ordinary; `lease_lapsed` and `no_cover` are not.", "ops",
              per_second("cloakroom_l1_misses_total", "reason"), stacked=True, minimum=0),
        Panel("Fills refused by rule", "Records that were read and not kept, per second.", "ops",
              per_second("cloakroom_l1_fills_refused_total", "reason"), stacked=True, minimum=0),
        Panel("Sessions in memory", "Bounded by `coherence.max_entries`.", "short", gauge("cloakroom_l1_entries"), minimum=0),
        Panel("Bytes in memory", "About; bounded by `coherence.max_bytes`.", "bytes", gauge("cloakroom_l1_bytes"), minimum=0),
        Panel("The sampler", "Hits that were held against the primary, those that it found changed, and those beyond the "
              "bound. Per second.", "ops",
              Query(f"sum(rate(cloakroom_staleness_samples_total{{{POD}}}[$__rate_interval]))", "held against the primary"),
              Query(f"sum(rate(cloakroom_staleness_observed_seconds_count{{{POD}}}[$__rate_interval]))", "changed meanwhile"),
              Query(f"sum(rate(cloakroom_staleness_violations_total{{{POD}}}[$__rate_interval]))", "beyond the bound"),
              minimum=0, runbooks=["CloakroomStaleAnswer"]),
    ),
    Row(
        "Scripts and shards",
        Panel("Scripts", "Operations a second, by script.", "ops", per_second("cloakroom_store_operations_total", "operation"),
              stacked=True, minimum=0),
        Panel("Latency by script", "p99, retries included.", "s",
              *quantiles("cloakroom_store_operation_duration_seconds", "operation", POD, 0.99), minimum=0,
              runbooks=["CloakroomRedisSlow"]),
        Panel("Operations that failed", "Per second, by server.", "ops",
              per_second("cloakroom_store_operations_total", matcher=', outcome="failed"'), minimum=0,
              runbooks=["CloakroomRedisErrors"]),
        Panel("Commands sent again", "Per second, by cause.", "ops", per_second("cloakroom_store_retries_total", "cause"), minimum=0),
        Panel("Connections and topology", "Connections opened, readings of the map of slots, answers to other requests. Per "
              "second.", "ops",
              Query(f"sum(rate(cloakroom_store_connections_total{{{POD}}}[$__rate_interval]))", "connections opened"),
              Query(f"sum(rate(cloakroom_store_topology_refreshes_total{{{POD}}}[$__rate_interval]))", "map of slots read"),
              Query(f"sum(rate(cloakroom_store_mismatches_total{{{POD}}}[$__rate_interval]))", "answers mixed up"), minimum=0,
              runbooks=["CloakroomAnswersMixedUp"]),
        Panel("Sealed records", "Records read while there are encryption keys, by the key that had sealed them; those that were "
              "sealed anew; those that could not be read. Per second.", "ops",
              per_second("cloakroom_store_records_opened_total", "key"),
              Query(f"sum(rate(cloakroom_store_records_resealed_total{{{POD}}}[$__rate_interval]))", "sealed anew"),
              Query(f"sum(rate(cloakroom_store_corrupt_records_total{{{POD}}}[$__rate_interval]))", "not to be read"),
              minimum=0, runbooks=["CloakroomRecordsUnreadable"]),
        Panel("Since the store last answered", "The check that each server makes every 10 s.", "s",
              since("cloakroom_store_answered_timestamp_seconds"), minimum=0, runbooks=["CloakroomRedisErrors"]),
    ),
    Row(
        "Touches, sweeps, migrations",
        Panel("Uses recorded", "Coalesced uses of sessions, per second, by what came of them.", "ops",
              per_second("cloakroom_touches_total", "outcome"), stacked=True, minimum=0, runbooks=["CloakroomTouchesWaiting"]),
        Panel("Uses that wait", "To be recorded, by server.", "short", gauge("cloakroom_touches_pending"), minimum=0,
              runbooks=["CloakroomTouchesWaiting"]),
        Panel("Migrations", "Sessions that moved to another server, per second, by cause.", "ops",
              per_second("cloakroom_sessions_migrated_total", "cause"), minimum=0),
        Panel("Sweeps", "Expired sessions that were cleared up after, per second.", "ops",
              per_second("cloakroom_swept_sessions_total"), minimum=0, runbooks=["CloakroomEndsBelowNormal"]),
        Panel("How far the sweep is behind", "How overdue the most overdue session was, and how long ago the last sweep was "
              "done.", "s", Query(f"max(cloakroom_sweep_behind_seconds{{{POD}}})", "most overdue"),
              Query(f"time() - max(cloakroom_sweep_completed_timestamp_seconds{{{POD}}})", "last sweep"), minimum=0,
              runbooks=["CloakroomSweepBehind"]),
        Panel("Duration of a sweep", "Of all 1024 buckets.", "s",
              *quantiles("cloakroom_sweep_duration_seconds", "", POD, 0.5, 0.99), minimum=0),
        Panel("Times to live", "Keys that the sweep looked at, per second, and those that had none (in the last hour).", "short",
              Query(f"sum(rate(cloakroom_keys_audited_total{{{POD}}}[$__rate_interval]))", "looked at"),
              Query(f"sum(increase(cloakroom_keys_without_ttl_total{{{POD}}}[1h]))", "without, within an hour"), minimum=0,
              runbooks=["CloakroomKeysWithoutTtl"]),
        Panel("Ends to repeat", "Ends that are kept in case a failover undoes them.", "short",
              gauge("cloakroom_redo_entries"), minimum=0),
        Panel("Ends repeated", "After a failover, per second.", "ops", per_second("cloakroom_redo_repeated_total"), minimum=0),
        Panel("Sessions by home", "Where sessions are homed, as the leader counted them.", "short",
              Query("max by (server_id) (cloakroom_server_sessions{" + POD.replace(', pod=~"$pod"', "") + "} > 0)", "{{server_id}}"),
              stacked=True, minimum=0),
    ),
    Row(
        "HTTP",
        Panel("Requests by route", "Per second.", "reqps",
              Query(f"sum by (route) (rate(cloakroom_http_requests_total{{{POD}}}[$__rate_interval])) > 0", "{{route}}"),
              stacked=True, minimum=0),
        Panel("Latency by server", "p99.", "s", *quantiles("cloakroom_http_request_duration_seconds", "pod", POD, 0.99), minimum=0,
              runbooks=["CloakroomRequestsSlow"]),
        Panel("In flight", "Requests being answered.", "short", gauge("cloakroom_http_requests_in_flight"), minimum=0),
        Panel("Connections", "Open connections.", "short", gauge("cloakroom_http_connections"), minimum=0),
        Panel("Connections refused", "Because there were too many, per second.", "ops",
              per_second("cloakroom_http_connections_refused_total"), minimum=0, runbooks=["CloakroomConnectionsRefused"]),
        Panel("Callers", "Applications judged, per second, by outcome.", "ops", per_second("cloakroom_callers_total", "outcome"),
              stacked=True, minimum=0, runbooks=["CloakroomCallersRefused"]),
    ),
    Row(
        "Events, webhooks, traces",
        Panel("Events passed on", "To listeners, per second, by kind.", "ops", per_second("cloakroom_events_total", "kind"),
              stacked=True, minimum=0),
        Panel("Listeners", "To the stream of events, webhooks among them.", "short", gauge("cloakroom_event_listeners"), minimum=0),
        Panel("Spans", "Of traces, per second, by what came of them.", "ops", per_second("cloakroom_trace_spans_total", "outcome"),
              minimum=0),
        Panel("Webhook attempts", f"Per second, by webhook and outcome. {WEBHOOKS}", "ops",
              per_second("cloakroom_webhook_attempts_total", "webhook, outcome"), minimum=0, runbooks=["CloakroomWebhookFailing"]),
        Panel("Webhook latency", f"p99 of an attempt. {WEBHOOKS}", "s",
              *quantiles("cloakroom_webhook_attempt_duration_seconds", "webhook", POD, 0.99), minimum=0),
        Panel("Webhook lag", f"Age of the oldest event that waits. {WEBHOOKS}", "s",
              Query(f"max by (webhook) (cloakroom_webhook_lag_seconds{{{POD}}})", "{{webhook}}"), minimum=0,
              runbooks=["CloakroomWebhookFailing"]),
        Panel("Webhooks that are disabled or lost events", f"Disabled: 1. Losses within an hour. {WEBHOOKS}", "short",
              Query(f"max by (webhook) (cloakroom_webhook_disabled{{{POD}}})", "disabled {{webhook}}"),
              Query(f"sum by (webhook) (increase(cloakroom_webhook_losses_total{{{POD}}}[1h]))", "losses {{webhook}}"),
              minimum=0, runbooks=["CloakroomWebhookLost"]),
        Panel("Builds", "Which version each server is.", "short",
              Query(f"sum by (pod, instance, version) (cloakroom_build_info{{{POD}}})", "{{version}}"), kind="table", width=8),
    ),
]

DASHBOARD = dashboard(
    "cloakroom-internals", "Cloakroom / Internals",
    "Each server and each of its mechanisms: leases, memory, scripts, touches, sweeps, migrations, HTTP, events.",
    ROWS, with_pods=True,
)
