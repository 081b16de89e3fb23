"""Every metric of a server in one table: the collector, the reference and the checks of `deploy/` read it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["counter", "gauge", "histogram"]


@dataclass(frozen=True, slots=True)
class MetricRow:
    """One metric.

    Attributes:
        name: As it is exposed; a counter's ends with ``_total``.
        kind: counter, gauge or histogram.
        help: What the figure is, in one sentence, unit included.
        labels: Names of its labels.
    """

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()


_CALL = ("method", "protocol")

CATALOGUE: tuple[MetricRow, ...] = (
    # --- the API
    MetricRow("formicary_calls_total", "counter", "Calls that ended, by problem code (OK = none).", (*_CALL, "code")),
    MetricRow("formicary_call_duration_seconds", "histogram", "Seconds from a call's begin to its end.", _CALL),
    MetricRow("formicary_problems_total", "counter", "Calls that ended with a problem.", ("code",)),
    MetricRow("problems_panics_total", "counter", "Calls that ended by an exception that nobody expected."),
    # --- jobs and tasks
    MetricRow("formicary_jobs", "gauge", "Live jobs.", ("state",)),
    MetricRow("formicary_jobs_submitted_total", "counter", "Jobs accepted."),
    MetricRow(
        "formicary_submissions_repeated_total", "counter", "Submissions that were made before and got the same job."
    ),
    MetricRow("formicary_jobs_ended_total", "counter", "Jobs that ended.", ("tenant", "state")),
    MetricRow(
        "formicary_backlog",
        "gauge",
        "Pending jobs and ready tasks that wait for an ant, by method and tags of what they need; a job counts for its "
        "first task, without a method where that is not rendered yet.",
        ("method", "tags"),
    ),
    MetricRow("formicary_tasks_running", "gauge", "Attempts that ants hold."),
    MetricRow(
        "formicary_observed_use", "gauge", "What attempts were seen to use of processors and bytes.", ("resource",)
    ),
    MetricRow("formicary_running_by_class", "gauge", "The same by quality of service.", ("class",)),
    MetricRow("formicary_tasks_ended_total", "counter", "Tasks that ended."),
    MetricRow("formicary_attempts_granted_total", "counter", "Attempts given to ants."),
    MetricRow(
        "formicary_attempts_retried_total", "counter", "Further attempts that definitions asked for: retries and polls."
    ),
    MetricRow("formicary_attempts_lost_total", "counter", "Attempts whose ant was gone."),
    MetricRow(
        "formicary_attempts_preempted_total", "counter", "Attempts that were asked to make room and begin again later."
    ),
    MetricRow(
        "formicary_backups_started_total", "counter", "Second copies that tasks which lagged behind got on another ant."
    ),
    MetricRow(
        "formicary_backups_won_total",
        "counter",
        "Second copies that ended first, or took the place of an attempt whose ant was gone.",
    ),
    MetricRow("formicary_checkpoints_total", "counter", "Checkpoints of attempts that were kept."),
    MetricRow(
        "formicary_checkpoints_refused_total",
        "counter",
        "Checkpoints that were too large, or for which there was no room.",
    ),
    MetricRow("formicary_checkpoints_bytes", "gauge", "Bytes of the last checkpoints of all live jobs' tasks."),
    MetricRow("formicary_dead_letters", "gauge", "Jobs that wait in a dead-letter queue.", ("queue",)),
    MetricRow("formicary_dead_letters_to_tell", "gauge", "Those of them whose job file says `alert_on_dlq`."),
    MetricRow("formicary_notices_delivered_total", "counter", "Notices of ends that were delivered."),
    MetricRow("formicary_notices_failed_total", "counter", "Attempts to deliver a notice that failed."),
    MetricRow("formicary_notices_dead_total", "counter", "Notices that were given up."),
    MetricRow("formicary_jobs_dead_total", "counter", "Jobs that became dead letters."),
    MetricRow(
        "formicary_breaker_open", "gauge", "0 closed, 0.5 half open, 1 open: circuit breakers.", ("tenant", "breaker")
    ),
    MetricRow("formicary_breaker_opened_total", "counter", "Times that a circuit breaker has opened."),
    MetricRow("formicary_results_stale_total", "counter", "Results that came under a lease that had ended."),
    MetricRow("formicary_lease_expiries_total", "counter", "Leases of ants that ran out."),
    # --- the journal
    MetricRow("formicary_commits_total", "counter", "Commits to the store."),
    MetricRow("formicary_commit_duration_seconds", "histogram", "Seconds that a commit took."),
    MetricRow("formicary_commit_rows", "histogram", "Rows of a commit."),
    # --- ants
    MetricRow("formicary_ants_connected", "gauge", "Ants with a session."),
    MetricRow("formicary_ant_slots", "gauge", "Tasks that the connected ants can run at the same time."),
    MetricRow("formicary_ant_slots_busy", "gauge", "Slots of connected ants that hold an attempt."),
    MetricRow(
        "formicary_fragmentation",
        "gauge",
        "1 - the largest piece that is free on one connected ant / all that is free, 0 to 1: near 1 a large task waits "
        "though there is enough for it in all.",
        ("resource",),
    ),
    MetricRow("formicary_ant_restarts_total", "counter", "Local ants that ended and were started again."),
    MetricRow("formicary_ready", "gauge", "1 while the server accepts work."),
    MetricRow("formicary_info", "gauge", "Always 1.", ("version",)),
    MetricRow("formicary_alert_firing", "gauge", "1 while an alert rule fires.", ("alert",)),
    MetricRow("formicary_alerts_fired_total", "counter", "Times that an alert rule began to fire."),
    MetricRow(
        "formicary_audit_dropped_total",
        "counter",
        "Records of the audit log that were lost because the store was away for too long.",
    ),
    # --- names of the articles
    MetricRow("queue_depth_by_priority", "gauge", "Jobs that wait to begin.", ("priority",)),
    MetricRow(
        "average_wait_time_by_tag",
        "gauge",
        "Mean seconds between a job's earliest start and its begin, over all jobs that began since the queen last read "
        "her store; a job counts for each tag of its first task, without tags for the empty one.",
        ("tag",),
    ),
    MetricRow(
        "formicary_estimates_scored_total", "counter", "Estimates of waits that were compared with what happened."
    ),
    MetricRow(
        "formicary_estimate_error_seconds",
        "gauge",
        "Mean distance between estimated and true wait: the estimate's own and that of the article's formula.",
        ("estimate",),
    ),
    MetricRow(
        "formicary_estimate_inside_ratio", "gauge", "Share of waits that were inside their estimate's interval, 0 to 1."
    ),
    MetricRow(
        "resource_utilization_by_worker", "gauge", "Share of an ant's slots that hold an attempt, 0 to 1.", ("worker",)
    ),
    MetricRow(
        "job_completion_rate_by_tenant",
        "gauge",
        "Share of the jobs that ended, since the queen last read her store, which COMPLETED, 0 to 1.",
        ("tenant",),
    ),
    MetricRow(
        "formicary_gang_failures_total",
        "counter",
        "Gangs that did not fit when their turn came (placed), or whose members had to begin again (started).",
        ("step",),
    ),
    MetricRow("org_concurrent_jobs", "gauge", "Jobs that are EXECUTING.", ("org",)),
    MetricRow("user_concurrent_jobs", "gauge", "Jobs that are EXECUTING, by who submitted them.", ("org", "user")),
    MetricRow(
        "formicary_tenant_used",
        "gauge",
        "What a tenant uses of a limit of `tenant_limits`, in the limit's own unit; without a user: the organisation; "
        "with a job type: of its jobs, by its own limits.",
        ("org", "user", "job_type", "limit"),
    ),
    MetricRow(
        "formicary_tenant_limit",
        "gauge",
        "That limit: the soft one where there is one below the hard one.",
        ("org", "user", "job_type", "limit"),
    ),
    MetricRow(
        "scheduler_failed_total", "counter", "Times that scheduling stopped because the store failed or was taken over."
    ),
    MetricRow("scheduler_no_more_jobs_total", "counter", "Scheduling rounds that left nothing waiting for an ant."),
    MetricRow("service_startup_duration_seconds", "gauge", "Seconds from the server's start to its first `ready`."),
    MetricRow(
        "service_recovery_duration_seconds",
        "gauge",
        "Seconds that the queen took to build her state from the store, the last time she did.",
    ),
    MetricRow(
        "last_checkpoint_age_seconds",
        "gauge",
        "Seconds since the last successful commit; nothing acknowledged is younger than its commit, so this is no "
        "measure of loss: an idle server grows old.",
    ),
    MetricRow(
        "data_consistency_checks_total",
        "counter",
        "Commits, each of which first checks that no other queen has written, and loads of the whole state, each of "
        "which rebuilds every live job under the life-cycle rules.",
    ),
    MetricRow(
        "data_inconsistencies_detected_total",
        "counter",
        "Commits refused because another queen had written or a row broke a rule of the schema.",
    ),
)
"""In the order in which they are exposed."""
