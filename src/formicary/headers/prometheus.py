"""The counters of mappings for prometheus-client: register a :class:`HeaderCollector` with a registry of yours."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

from formicary.headers.mapping import HeaderMapping


class HeaderCollector(Collector):
    """Shows ``formicary_headers_total`` by mapping, header, metadata key, direction and outcome.

    Args:
        mappings: The mappings by a name for the label ``mapping``.
    """

    def __init__(self, mappings: Mapping[str, HeaderMapping]) -> None:
        self._mappings = dict(mappings)

    def describe(self) -> list[CounterMetricFamily]:
        """What there will be, without counts."""
        return [self._family()]

    def collect(self) -> Iterator[CounterMetricFamily]:
        """All counts at this moment."""
        family = self._family()
        for name, mapping in self._mappings.items():
            for rule in mapping.statistics.read():
                for outcome, calls in rule.counts.items():
                    family.add_metric([name, rule.header, rule.metadata, rule.direction, outcome], calls)
        yield family

    def _family(self) -> CounterMetricFamily:
        return CounterMetricFamily(
            "formicary_headers",
            "Headers by rule and by what happened to them.",
            labels=["mapping", "header", "metadata", "direction", "outcome"],
        )
