"""Figures for Prometheus, the purger, and the alert rules that use them."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest
import yaml
from prometheus_client import CollectorRegistry, generate_latest

from formicary.idempotency import Acquired, Claim, Counts, MemoryStore, Rule, StoredResponse, begin
from formicary.idempotency.counts import MAX_KEYS
from formicary.idempotency.metrics import IdempotencyCollector
from formicary.idempotency.purging import Purger
from formicary.problems import Problem

ALERTS = Path(__file__).resolve().parents[3] / "deploy" / "prometheus" / "idempotency-alerts.yml"


class Clock:
    """Time that a test moves."""

    def __init__(self) -> None:
        self.ms = 1_800_000_000_000

    def __call__(self) -> int:
        return self.ms


def registry(counts: Counts, purger: Purger | None = None) -> CollectorRegistry:
    found = CollectorRegistry()
    found.register(IdempotencyCollector(counts, purger))
    return found


def value(found: CollectorRegistry, name: str, **labels: str) -> float | None:
    return found.get_sample_value(f"formicary_idempotency_{name}", labels)


def test_what_happens_to_claims_is_counted_and_shown() -> None:
    async def test() -> None:
        counts, store = Counts(), MemoryStore()
        claim, rule = Claim("k", b"f" * 32), Rule()
        execution = await begin(store, claim, rule, counts)
        assert not isinstance(execution, StoredResponse)
        with pytest.raises(Problem):
            await begin(store, claim, rule, counts)
        await execution.complete(StoredResponse(200))
        await begin(store, claim, rule, counts)
        with pytest.raises(Problem):
            await begin(store, Claim("k", b"g" * 32), rule, counts)
        found = registry(counts)
        for name in ("executed", "busy", "replayed", "reused"):
            assert value(found, f"{name}_total") == 1, name
        assert value(found, "store_failures_total") == 0
        assert value(found, "replay_age_seconds_count") == 1
        for _ in range(2):
            await begin(store, claim, rule, counts)
        assert [value(found, "retries_per_key_bucket", le=str(float(n))) for n in (1, 2, 3)] == [1, 2, 3]
        assert value(found, "replay_age_seconds_bucket", le="1.0") == 3

    asyncio.run(test())


def test_retries_are_counted_for_a_bounded_number_of_keys() -> None:
    counts = Counts()
    for number in range(MAX_KEYS + 1):
        counts.replay(number.to_bytes(4), 0)
    counts.replay((0).to_bytes(4), 0)  # it was forgotten: its first retry again
    counts.replay(MAX_KEYS.to_bytes(4), 0)
    assert (counts.retries[0], counts.retries[1], len(counts._of_keys)) == (MAX_KEYS + 2, 1, MAX_KEYS)


def test_a_purger_deletes_in_batches_what_is_over_and_knows_how_long_it_was() -> None:
    async def test() -> None:
        clock = Clock()
        store = MemoryStore(now_ms=clock)
        for number in range(7):
            claim = Claim(f"old-{number}", b"f" * 32, ttl_s=60, lease_s=30)
            begun = await store.acquire(claim)
            assert isinstance(begun, Acquired)
            await store.complete(claim.id, begun.token, b"", 60)
        clock.ms += 100_000
        await store.acquire(Claim("new", b"f" * 32))
        purger = Purger(store, batch=3)
        assert await purger.round() == 7
        found = registry(Counts(), purger)
        assert value(found, "records", store="memory", state="OVER") == 7
        assert value(found, "records", store="memory", state="IN_PROGRESS") == 1
        assert value(found, "purge_lag_seconds", store="memory") == 40
        assert value(found, "purged_total", store="memory") == 7
        assert await purger.round() == 0
        assert (purger.lag_s, purger.states) == (0.0, {"IN_PROGRESS": 1})

    asyncio.run(test())


def test_a_purger_works_by_itself_and_goes_on_after_the_store_was_away() -> None:
    class Failing(MemoryStore):
        """Away at the first look."""

        asked = 0
        again = asyncio.Event()

        async def purge(self, limit: int = 1000) -> int:
            self.asked += 1
            if self.asked == 1:
                raise Problem("IDEMPOTENCY_STORE_UNAVAILABLE", "away")
            self.again.set()
            return 0

    async def test() -> None:
        store = Failing()
        async with Purger(store, interval_s=0.001) as purger:
            await asyncio.wait_for(store.again.wait(), 10)
        assert purger.failures == 1

    asyncio.run(test())


def test_alert_rules_name_only_metrics_that_exist_and_say_what_to_do() -> None:
    text = generate_latest(registry(Counts(), Purger(MemoryStore()))).decode()
    known = {re.split(r"[{ ]", line)[0] for line in text.splitlines() if not line.startswith("#")}
    rules = yaml.safe_load(ALERTS.read_text(encoding="utf-8"))["groups"][0]["rules"]
    assert len(rules) == 4
    for rule in rules:
        named = set(re.findall(r"formicary_\w+", rule["expr"]))
        assert named and named <= known, named - known
        assert rule["annotations"]["summary"] and rule["annotations"]["action"]
