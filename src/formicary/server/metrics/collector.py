"""Reads the counters of a server when it is scraped; nothing is registered, locked or observed while it works.

Labels are bounded: methods, codes, states and protocols are fixed sets; of organisations, tags and ants the first ones
are named and the rest stands together under ``other``.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

import formicary
from formicary.engine.jobs import lifecycle as life
from formicary.engine.jobs.quality import CLASSES, quality_of
from formicary.engine.queen.census import Backlog, Census
from formicary.engine.queen.core.records import Ant
from formicary.engine.queen.journal import COMMIT_BOUNDS_S, SIZE_BOUNDS
from formicary.engine.queen.runtime import Queen
from formicary.engine.scheduling.demand import EPSILON
from formicary.engine.scheduling.estimating import Score
from formicary.engine.scheduling.queues.ledger import SLOTS
from formicary.gateway.interceptors.access_log import BOUNDS_S, CallCounts
from formicary.headers import HeaderMapping
from formicary.lifecycle.breaker import CLOSED, HALF_OPEN, OPEN
from formicary.server.metrics.catalogue import CATALOGUE, MetricRow

MOST_LABELS = 200
"""Organisations, tags and ants that are told apart."""
OTHER = "other"
Labels = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Buckets:
    """A histogram's state: observations up to each bound and beyond the last one, and their sum."""

    bounds: Sequence[float]
    counts: Sequence[int]
    total: float


Value = float | Buckets
Samples = Iterable[tuple[Labels, Value]]


@dataclass(slots=True)
class Sources:
    """Where the figures come from.

    Attributes:
        counts: Calls, as the chain of both protocols counts them.
        queen: None while she starts.
        census: Live jobs, counted for this scrape.
        backlog: What waits for an ant, counted for this scrape.
        running: What ants held at the same moment.
        dead_letters: By queue, counted for this scrape.
        alerts: Which rules fire, and how often any has begun to.
        ant_restarts: Of the local ants.
        audit_dropped: Records of the audit log that were lost.
        headers: What the API's chain takes from headers, with its counts; None = they are not shown.
        startup_s: Seconds from start to ready, None before.
    """

    counts: CallCounts = field(default_factory=CallCounts)
    queen: Queen | None = None
    census: Census = field(default_factory=Counter)
    backlog: Backlog = field(default_factory=Counter)
    running: Backlog = field(default_factory=Counter)
    dead_letters: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    alerts: Callable[[], tuple[Mapping[str, float], int]] = lambda: ({}, 0)
    ant_restarts: Callable[[], int] = lambda: 0
    audit_dropped: Callable[[], int] = lambda: 0
    headers: HeaderMapping | None = None
    startup_s: float | None = None


class ServerCollector(Collector):
    """The metrics of `CATALOGUE` for a registry of prometheus_client.

    Args:
        sources: Where the figures come from; read at each scrape.
    """

    def __init__(self, sources: Sources) -> None:
        self._sources = sources

    def describe(self) -> Iterable[Metric]:
        """The metrics without samples: nothing is read when the collector is registered."""
        return [_family(row, ()) for row in CATALOGUE]

    def collect(self) -> Iterable[Metric]:
        """All metrics, those without a figure yet by name and kind only."""
        found: dict[str, Samples] = {
            "formicary_info": [((formicary.__version__,), 1)],
            **_calls(self._sources.counts),
            "formicary_ant_restarts_total": [((), self._sources.ant_restarts())],
            "formicary_audit_dropped_total": [((), self._sources.audit_dropped())],
            "formicary_ready": [((), 0)],
        }
        firing, fired = self._sources.alerts()
        found["formicary_alert_firing"] = _samples(firing)
        found["formicary_alerts_fired_total"] = [((), fired)]
        if self._sources.startup_s is not None:
            found["service_startup_duration_seconds"] = [((), self._sources.startup_s)]
        if self._sources.queen is not None:
            found |= _queen(self._sources.queen)
            found |= _ants(self._sources.queen)
            found |= _breakers(self._sources.queen)
            found |= _quotas(self._sources.queen)
            found |= _jobs(self._sources.queen, self._sources.census)
            found["formicary_backlog"] = _backlog(self._sources.backlog)
            letters = self._sources.dead_letters
            found["formicary_dead_letters"] = _samples(bounded(Counter({name: n for name, (n, _) in letters.items()})))
            found["formicary_dead_letters_to_tell"] = [((), sum(told for _, told in letters.values()))]
            found |= _estimates(self._sources.queen.pump.core.book.score)
        for row in CATALOGUE:
            yield _family(row, found.get(row.name, ()))


def _family(row: MetricRow, samples: Samples) -> Metric:
    if row.kind == "histogram":
        histogram = HistogramMetricFamily(row.name, row.help, labels=row.labels)
        for labels, value in samples:
            assert isinstance(value, Buckets)
            histogram.add_metric(labels, list(_cumulated(value)), value.total)
        return histogram
    kind = CounterMetricFamily if row.kind == "counter" else GaugeMetricFamily
    family = kind(row.name, row.help, labels=row.labels)
    for labels, value in samples:
        assert not isinstance(value, Buckets)
        family.add_metric(labels, value)
    return family


def _cumulated(value: Buckets) -> Iterator[tuple[str, float]]:
    so_far = 0
    for bound, count in zip((*value.bounds, float("inf")), value.counts, strict=True):
        so_far += count
        yield ("+Inf" if bound == float("inf") else f"{float(bound)}"), so_far


def _calls(counts: CallCounts) -> dict[str, Samples]:
    problems: Counter[str] = Counter()
    for (_, _, code), number in counts.ended.items():
        if code != "OK":
            problems[code] += number
    return {
        "formicary_calls_total": [
            ((method, protocol, code), n) for (method, protocol, code), n in counts.ended.items()
        ],
        "formicary_call_duration_seconds": [
            (key, Buckets(BOUNDS_S, durations, counts.seconds.get(key, 0.0)))
            for key, durations in counts.durations.items()
        ],
        "formicary_problems_total": [((code,), number) for code, number in problems.items()],
        "problems_panics_total": [((), counts.panics)],
    }


def _queen(queen: Queen) -> dict[str, Samples]:
    pump, stats, journal = queen.pump, queen.pump.core.stats, queen.pump.journal
    figures: dict[str, float] = {
        "formicary_ready": int(queen.ready),
        "formicary_jobs_submitted_total": stats.submitted,
        "formicary_submissions_repeated_total": queen.submitting.repeats,
        "formicary_tasks_ended_total": stats.tasks_ended,
        "formicary_attempts_granted_total": stats.granted,
        "formicary_attempts_retried_total": stats.retries,
        "formicary_attempts_lost_total": stats.lost,
        "formicary_attempts_preempted_total": stats.preempted,
        "formicary_backups_started_total": stats.backups,
        "formicary_backups_won_total": stats.backups_won,
        "formicary_checkpoints_total": stats.checkpoints,
        "formicary_checkpoints_refused_total": stats.checkpoints_refused,
        "formicary_checkpoints_bytes": pump.core.checkpoints.size_bytes,
        "formicary_notices_delivered_total": queen.outbox.delivered,
        "formicary_notices_failed_total": queen.outbox.failed,
        "formicary_notices_dead_total": queen.outbox.given_up,
        "formicary_jobs_dead_total": stats.dead_letters,
        "formicary_results_stale_total": stats.stale,
        "formicary_lease_expiries_total": pump.core.leases.expiries,
        "formicary_tasks_running": len(pump.core.leases.tokens),
        "formicary_commits_total": journal.commits,
        "scheduler_failed_total": pump.failures,
        "scheduler_no_more_jobs_total": stats.idle_rounds,
        "service_recovery_duration_seconds": pump.load_s,
        "last_checkpoint_age_seconds": max(0.0, time.monotonic() - journal.committed_at),
        "data_consistency_checks_total": journal.commits + pump.loads,
        "data_inconsistencies_detected_total": pump.inconsistencies,
    }
    return {name: [((), value)] for name, value in figures.items()} | {
        "formicary_gang_failures_total": [(("placed",), stats.gangs_waited), (("started",), stats.gangs_restarted)],
        "formicary_commit_duration_seconds": [((), Buckets(COMMIT_BOUNDS_S, journal.durations, journal.seconds))],
        "formicary_commit_rows": [((), Buckets(SIZE_BOUNDS, journal.sizes, journal.rows))],
    }


def _ants(queen: Queen) -> dict[str, Samples]:
    ants = sorted((ant for ant in queen.pump.core.leases.ants.values() if ant.connected), key=lambda ant: ant.id)
    busy = [min(len(ant.held), ant.slots) for ant in ants]
    shares: dict[str, tuple[int, int]] = {}
    observing = queen.pump.core.observing
    for ant, held in zip(ants, busy, strict=True):
        name = ant.id if len(shares) < MOST_LABELS or ant.id in shares else OTHER
        before = shares.get(name, (0, 0))
        shares[name] = (before[0] + held, before[1] + ant.slots)
    return {
        "formicary_ants_connected": [((), len(ants))],
        "formicary_ant_slots": [((), sum(ant.slots for ant in ants))],
        "formicary_ant_slots_busy": [((), sum(busy))],
        "resource_utilization_by_worker": [((name,), held / slots) for name, (held, slots) in shares.items()],
        "formicary_fragmentation": _fragmentation(ants),
        "formicary_running_by_class": _classes(queen),
        "formicary_observed_use": _samples({name: observing.used(name) for name in observing.rules}),
    }


def _classes(queen: Queen) -> Samples:
    counts = Counter(dict.fromkeys(CLASSES, 0))
    counts.update(quality_of(run.task) for run in queen.pump.core.leases.tokens.values())
    return _samples(counts)


def _fragmentation(ants: Iterable[Ant]) -> Samples:
    """How far what is free lies in pieces, by resource; nothing of a resource of which nothing is free."""
    largest: dict[str, float] = {}
    total: dict[str, float] = {}
    for ant in ants:
        free = {name: amount - ant.used.get(name, 0.0) for name, amount in ant.resources.items()}
        for name, amount in (free | {SLOTS: float(max(0, ant.slots - len(ant.held)))}).items():
            if amount > EPSILON:
                largest[name] = max(largest.get(name, 0.0), amount)
                total[name] = total.get(name, 0.0) + amount
    return [((name,), 1.0 - largest[name] / total[name]) for name in sorted(total)[:MOST_LABELS]]


def _jobs(queen: Queen, census: Census) -> dict[str, Samples]:
    stats = queen.pump.core.stats
    states: Counter[str] = Counter({state: 0 for state in life.JOB_STATES if state not in life.JOB_ENDED})
    depth: Counter[str] = Counter({str(priority): 0 for priority in range(11)})
    running: Counter[str] = Counter()
    users: Counter[tuple[str, str]] = Counter()
    for (state, priority, org, user), number in census.items():
        states[state] += number
        if state == life.PENDING:
            depth[_priority(priority)] += number
        elif state == life.EXECUTING:
            running[org] += number
            users[org, user] += number
    ended: Counter[tuple[str, str]] = Counter(stats.ended)
    of_org: Counter[str] = Counter()
    for (org, _), number in ended.items():
        of_org[org] += number
    kept = {org for org, _ in of_org.most_common(MOST_LABELS)}
    by_tenant: Counter[tuple[str, str]] = Counter()
    for (org, state), number in ended.items():
        by_tenant[org if org in kept else OTHER, state] += number
    tenants: Counter[str] = Counter()
    for (org, _), number in by_tenant.items():
        tenants[org] += number
    return {
        "formicary_jobs": _samples(states),
        "queue_depth_by_priority": _samples(depth),
        "org_concurrent_jobs": _samples(bounded(running)),
        "user_concurrent_jobs": _users(users),
        "formicary_jobs_ended_total": [(key, number) for key, number in by_tenant.items()],
        "job_completion_rate_by_tenant": [
            ((org,), by_tenant[org, life.COMPLETED] / number) for org, number in tenants.items()
        ],
        "average_wait_time_by_tag": _waits(stats.waits),
    }


def _backlog(backlog: Backlog) -> Samples:
    """The largest by method and tags; what is beyond them stands together."""
    named = Counter({(method, ",".join(sorted(tags))): number for (method, tags), number in backlog.items()})
    kept: dict[Labels, float] = dict(named.most_common(MOST_LABELS))
    rest = named.total() - sum(kept.values())
    if rest:
        kept[OTHER, OTHER] = rest
    return list(kept.items())


_OPEN = {CLOSED: 0.0, HALF_OPEN: 0.5, OPEN: 1.0}


def _breakers(queen: Queen) -> dict[str, Samples]:
    """The breakers that are not closed come first where there are too many to name."""
    known = queen.pump.core.breaking.known
    states = sorted(((_OPEN[one.state], key) for key, one in known.items()), key=lambda pair: (-pair[0], pair[1]))
    return {
        "formicary_breaker_open": [(key, value) for value, key in states[:MOST_LABELS]],
        "formicary_breaker_opened_total": [((), sum(one.opened for one in known.values()))],
    }


def _users(running: Counter[tuple[str, str]]) -> Samples:
    """Those with most jobs are named; the others of all organisations stand together."""
    kept: dict[Labels, float] = {(org, user): float(number) for (org, user), number in running.most_common(MOST_LABELS)}
    if rest := running.total() - sum(kept.values()):
        kept[OTHER, OTHER] = rest
    return list(kept.items())


def _quotas(queen: Queen) -> dict[str, Samples]:
    """Limits of tenants; those that are nearest to their limit come first where there are too many to name."""
    queueing = queen.pump.core.queueing
    usage = list(queueing.quotas.usage()) if queueing is not None else []
    limits = [(min(one.limit.hard, one.limit.soft), one) for one in usage]
    limits.sort(key=lambda pair: -pair[1].used / pair[0] if pair[0] else -1e9)
    kept = [((one.org, one.user, one.job_type, one.name), most, one) for most, one in limits[:MOST_LABELS]]
    return {
        "formicary_tenant_used": [(labels, one.used) for labels, _, one in kept],
        "formicary_tenant_limit": [(labels, most) for labels, most, _ in kept],
    }


def _estimates(score: Score) -> dict[str, Samples]:
    return {
        "formicary_estimates_scored_total": [((), score.count)],
        "formicary_estimate_error_seconds": [
            (("told",), score.mean_error_s),
            (("article",), score.article_mean_error_s),
        ]
        if score.count
        else [],
        "formicary_estimate_inside_ratio": [((), score.coverage)] if score.count else [],
    }


def _priority(priority: int) -> str:
    return str(priority) if 0 <= priority <= 10 else "below 0" if priority < 0 else "above 10"


def _samples(counts: Mapping[str, float]) -> Samples:
    return [((label,), number) for label, number in counts.items()]


def _waits(waits: Mapping[frozenset[str], list[float]]) -> Samples:
    jobs: Counter[str] = Counter()
    seconds: dict[str, float] = {}
    for tags, (number, total) in waits.items():
        for tag in tags or ("",):
            jobs[tag] += int(number)
            seconds[tag] = seconds.get(tag, 0.0) + total
    return [((tag,), seconds[tag] / number) for tag, number in jobs.most_common(MOST_LABELS)]


def bounded(counts: Counter[str]) -> dict[str, int]:
    """The largest counts by name, the rest together under ``other``."""
    kept = dict(counts.most_common(MOST_LABELS))
    rest = counts.total() - sum(kept.values())
    if rest:
        kept[OTHER] = kept.get(OTHER, 0) + rest
    return kept
