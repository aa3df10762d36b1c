"""The dashboard to look at first: what users notice."""

from grafana import FLEET, Panel, Query, Row, band, dashboard, quantiles

# Numbers of the fleet are the leader's; its own are taken while they are young.
YOUNG = f"and on (namespace, job, instance) time() - cloakroom_fleet_counted_timestamp_seconds{{{FLEET}}} < 60"


def counted(metric, by=""):
    """A number of the fleet, from its one source."""
    labels = f"namespace, job{', ' + by if by else ''}"
    return f"sum{f' by ({by})' if by else ''} (max by ({labels}) ({metric}{{{FLEET}}} {YOUNG}))"


def per_second(metric, by="", matcher=""):
    return f"sum{f' by ({by})' if by else ''} (rate({metric}{{{FLEET}{matcher}}}[$__rate_interval]))"


FROM_MEMORY = per_second("cloakroom_reads_total", matcher=', source=~"l1|joined"')

ROWS = [
    Row(
        "Now",
        Panel("Active sessions", "Live sessions of the fleet, as the leader counted them.", "short",
              Query(f"sum(cloakroom:sessions{{{FLEET}}})"), kind="stat", width=3, height=4,
              runbooks=["CloakroomSessionsDropped"]),
        Panel("Users", "Users with a live session.", "short", Query(counted("cloakroom_users")),
              kind="stat", width=3, height=4),
        Panel("Creations", "Sessions created a second.", "ops", Query(per_second("cloakroom_sessions_created_total")),
              kind="stat", width=3, height=4, decimals=1),
        Panel("Answers from memory", "Share of reads that memory answered (L1), without asking Redis.", "percentunit",
              Query(f"{FROM_MEMORY} / {per_second('cloakroom_reads_total')}"),
              kind="stat", width=3, height=4, decimals=1),
        Panel("Stale answers", "Answers beyond the staleness bound that the sampler found within a day. Must be 0.", "short",
              Query(f"sum(increase(cloakroom_staleness_violations_total{{{FLEET}}}[1d]))"),
              kind="stat", width=3, height=4, red_from=0.5, decimals=0, runbooks=["CloakroomStaleAnswer"]),
        Panel("Failed requests", "Share of requests answered 5xx in the last hour. The objective is below 0.1 %.",
              "percentunit", Query(f"max(cloakroom:http_errors:ratio_rate1h{{{FLEET}}})"),
              kind="stat", width=3, height=4, red_from=0.001, decimals=3, runbooks=["CloakroomErrorsFast", "CloakroomErrorsSlow"]),
        Panel("Servers", "Servers that show their metrics.", "short", Query(f"sum(cloakroom:replicas{{{FLEET}}})"),
              kind="stat", width=3, height=4, runbooks=["CloakroomGone", "CloakroomServersUnscraped"]),
        Panel("Leader", "The server that sweeps and counts.", "short",
              Query(f"sum by (pod, instance) (cloakroom_leader{{{FLEET}}}) == 1", "{{pod}} {{instance}}"),
              kind="stat", width=3, height=4, show="name", runbooks=["CloakroomNoLeader", "CloakroomTwoLeaders"]),
    ),
    Row(
        "Sessions",
        Panel("Active sessions, and what is normal", "All live sessions, and the band that the last hour, yesterday and "
              "last week make likely. The band begins after 26 hours.", "short", *band("sessions", "active sessions"),
              width=12, runbooks=["CloakroomSessionsDropped", "CloakroomSessionsBelowNormal", "CloakroomSessionsAboveNormal"]),
        Panel("Active sessions by class", "Live sessions by class, as the leader counted them.", "short",
              Query(counted("cloakroom_sessions", "class"), "{{class}}"), stacked=True, minimum=0, width=12),
        Panel("Creations, and what is normal", "Sessions created a second, over three minutes, and the normal band.", "ops",
              *band("creations", "creations"), minimum=0,
              runbooks=["CloakroomCreationsDropped", "CloakroomCreationsAboveNormal", "CloakroomCreationsBelowNormal"]),
        Panel("Creations by class", "Sessions created a second.", "ops",
              Query(per_second("cloakroom_sessions_created_total", "class"), "{{class}}"), stacked=True, minimum=0),
        Panel("Ends by reason", "Sessions ended a second. `all` is everybody at once, `expired` the sweep's.", "ops",
              Query(per_second("cloakroom_sessions_ended_total", "reason"), "{{reason}}"), stacked=True, minimum=0,
              runbooks=["CloakroomEndsAboveNormal", "CloakroomEndsBelowNormal"]),
        Panel("Refused tokens, and what is normal", "Validations a second with any verdict but valid, over three minutes.",
              "ops", *band("failed_validations", "refused"), minimum=0,
              runbooks=["CloakroomFailedValidationsAboveNormal", "CloakroomFailedValidationsBelowNormal"]),
        Panel("Validations by verdict", "Tokens judged a second.", "ops",
              Query(per_second("cloakroom_validations_total", "verdict"), "{{verdict}}"), stacked=True, minimum=0),
        Panel("Tokens that open nothing, throttled clients, theft", "What attackers leave: tokens that were never good, "
              "clients turned away for them, retired tokens used again. Per second.", "ops",
              Query(per_second("cloakroom_invalid_tokens_total", "face"), "open nothing: {{face}}"),
              Query(per_second("cloakroom_throttled_total"), "throttled"),
              Query(per_second("cloakroom_theft_detected_total"), "theft"), minimum=0,
              runbooks=["CloakroomGuessing", "CloakroomTheft"]),
        Panel("Users", "Users with a live session, as the leader counted them.", "short",
              Query(counted("cloakroom_users"), "users"), minimum=0),
        Panel("How long sessions lasted", "Of those that ended since the beginning of yesterday (UTC): the average and "
              "quantiles.", "s", Query(counted("cloakroom_session_duration_seconds", "statistic"), "{{statistic}}"), minimum=0),
        Panel("New tokens", "Sessions that got a new token, a second: by rotation, or because the user logged in.", "ops",
              Query(per_second("cloakroom_sessions_rotated_total", "kind"), "{{kind}}"), minimum=0),
    ),
    Row(
        "Memory",
        Panel("Reads by where the answer came from", "From memory (l1), from another request's read (joined), from Redis "
              "(store), or from Redis because the caller asked for it (strong). Per second.", "ops",
              Query(per_second("cloakroom_reads_total", "source"), "{{source}}"), stacked=True, minimum=0),
        Panel("Invalidation delay", "From a change's request to the store until the server that made it heard its invalidation.", "s",
              *quantiles("cloakroom_invalidation_delay_seconds", "", FLEET, 0.5, 0.99), minimum=0,
              runbooks=["CloakroomInvalidationsLate"]),
        Panel("Observed staleness", "How long memory went on answering with a state after the primary had another, in the "
              "sample that is held against it, and the bound. Zero: none was found.", "s",
              *quantiles("cloakroom_staleness_observed_seconds", "", FLEET, 0.99),
              Query(f"min(cloakroom_staleness_bound_seconds{{{FLEET}}})", "bound",
                    **{"color": {"mode": "fixed", "fixedColor": "red"}}), minimum=0, runbooks=["CloakroomStaleAnswer"]),
    ),
    Row(
        "Redis",
        Panel("Latency of operations", "One script each, retries included.", "s",
              *quantiles("cloakroom_store_operation_duration_seconds", "", FLEET, 0.5, 0.99), minimum=0,
              runbooks=["CloakroomRedisSlow"]),
        Panel("Operations by outcome", "Per second. A failed one is a 503 for its caller, or is tried again.", "ops",
              Query(per_second("cloakroom_store_operations_total", "outcome"), "{{outcome}}"), minimum=0,
              runbooks=["CloakroomRedisErrors"]),
        Panel("Commands sent again", "Per second, by cause. `moved` and `ask` belong to a cluster that changes.", "ops",
              Query(per_second("cloakroom_store_retries_total", "cause"), "{{cause}}"), minimum=0),
    ),
    Row(
        "HTTP",
        Panel("Requests by status", "Answers a second.", "reqps",
              Query(f"{per_second('cloakroom_http_requests_total', 'status')} > 0", "{{status}}"), stacked=True, minimum=0),
        Panel("Latency", "Until the answer was ready.", "s",
              *quantiles("cloakroom_http_request_duration_seconds", "", FLEET, 0.5, 0.99), minimum=0,
              runbooks=["CloakroomRequestsSlow"]),
        Panel("Share of failed requests", "5xx, over windows of 5 minutes, an hour and six hours. The objective is below "
              "0.1 %.", "percentunit",
              *(Query(f"max(cloakroom:http_errors:ratio_rate{window}{{{FLEET}}})", window) for window in ("5m", "1h", "6h")),
              minimum=0, runbooks=["CloakroomErrorsFast", "CloakroomErrorsSlow"]),
    ),
    Row(
        "Fleet",
        Panel("Servers", "Live and draining, as they see each other, those that are ready, and those that are scraped.",
              "short", Query(f"max by (state) (cloakroom_servers{{{FLEET}}})", "{{state}}"),
              Query(f"sum(cloakroom_ready{{{FLEET}}})", "ready"),
              Query(f"sum(cloakroom:replicas{{{FLEET}}})", "scraped"), minimum=0, decimals=0,
              runbooks=["CloakroomGone", "CloakroomServersUnscraped"]),
        Panel("Leader", "Who leads. One bar is never without another for long, and two never run beside each other.",
              "short", Query(f"sum by (pod, instance) (cloakroom_leader{{{FLEET}}})", "{{pod}} {{instance}}"),
              kind="state-timeline", runbooks=["CloakroomNoLeader", "CloakroomTwoLeaders"]),
        Panel("Age of the counts", "How old the leader's count is. Counts older than a minute are not used.", "s",
              Query(f"time() - max by (namespace, job) (cloakroom_fleet_counted_timestamp_seconds{{{FLEET}}})",
                    "{{namespace}} {{job}}"), minimum=0, runbooks=["CloakroomCountsOld"]),
    ),
]

DASHBOARD = dashboard(
    "cloakroom-overview", "Cloakroom / Overview",
    "Sessions and what is normal for them, answers and their latency, Redis, the fleet. Details of each server are in "
    "Cloakroom / Internals.", ROWS, with_pods=False,
)
