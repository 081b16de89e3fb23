"""The figures of adapters and purgers for Prometheus, read when somebody asks.

::

    REGISTRY.register(IdempotencyCollector(middleware.counts, purger))
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from formicary.idempotency.counts import AGES_S, RETRIES, Counts
from formicary.idempotency.purging import Purger

PREFIX: Final = "formicary_idempotency_"
STATES: Final = ("IN_PROGRESS", "COMPLETED", "RELEASED", "OVER")
_COUNTERS: Final = (
    ("executed", "Executions that began."),
    ("replayed", "Kept answers that were given."),
    ("reused", "Keys that came with another request."),
    ("busy", "Duplicates that were told to wait because the first one was still running (lock time-outs)."),
    ("taken_over", "Executions that began because an earlier holder's lease had run out."),
    ("leases_lost", "Executions that lost their lease and were refused the end of their work."),
    ("released", "Executions that ended without an answer to keep."),
    ("store_failures", "Calls to the store that failed."),
    ("missing", "Requests without a key where one is needed."),
)


class IdempotencyCollector(Collector):
    """Shows one adapter's counts and, where there is one, its purger's.

    Args:
        counts: Of an ASGI middleware, a gRPC interceptor or another adapter.
        purger: Of the store behind it; None = its figures are left out.
    """

    def __init__(self, counts: Counts, purger: Purger | None = None) -> None:
        self._counts = counts
        self._purger = purger

    def collect(self) -> Iterator[Metric]:
        """The families."""
        counts = self._counts
        for name, meaning in _COUNTERS:
            yield CounterMetricFamily(PREFIX + name, meaning, value=getattr(counts, name))
        bounds = [*(str(age) for age in AGES_S), "+Inf"]
        buckets = list(zip(bounds, accumulate(counts.ages), strict=True))
        text = "Seconds between the first execution and a replay of its answer."
        yield HistogramMetricFamily(PREFIX + "replay_age_seconds", text, buckets=buckets, sum_value=counts.age_sum_s)
        bounds = [*(str(float(number)) for number in RETRIES), "+Inf"]
        buckets = list(zip(bounds, accumulate(counts.retries), strict=True))
        text = "Replays, by which retry of its key each one was."
        yield HistogramMetricFamily(PREFIX + "retries_per_key", text, buckets=buckets, sum_value=counts.retry_sum)
        if self._purger is not None:
            yield from _of_purger(self._purger)


def _of_purger(purger: Purger) -> Iterator[Metric]:
    store = purger.store.name
    records = GaugeMetricFamily(
        PREFIX + "records", "Records by state, in the sample that a purger looks at.", labels=["store", "state"]
    )
    for state in STATES:
        records.add_metric([store, state], purger.states.get(state, 0))
    yield records
    lag = GaugeMetricFamily(
        PREFIX + "purge_lag_seconds", "How long the oldest record has been over without being purged.", labels=["store"]
    )
    lag.add_metric([store], purger.lag_s)
    yield lag
    for name, meaning, value in (
        ("purged", "Records deleted because their time was over.", purger.deleted),
        ("purge_failures", "Rounds of purging that the store has not answered.", purger.failures),
    ):
        family = CounterMetricFamily(PREFIX + name, meaning, labels=["store"])
        family.add_metric([store], value)
        yield family
