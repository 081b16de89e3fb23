"""Every store against the memory store as its model: whatever is done in whatever order, both say the same."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from formicary.idempotency import Acquired, Busy, Claim, MemoryStore, Record, Store
from formicary.problems import Problem
from tests.contract.idempotency.places import SHARED, Place, claim, make_place

_tenants = itertools.count(1)
_SECONDS = st.sampled_from([1000.0, 3000.0, 9000.0])
_ANY = st.data()


class Machine(RuleBasedStateMachine):
    """Two stores, the same calls. Times are so long that the milliseconds of a server do not count."""

    place: Place
    runner: asyncio.Runner
    store: Store

    @initialize()
    def begin(self) -> None:
        self.tenant = f"t{next(_tenants)}"
        self.model = MemoryStore(self._model_clock)
        self.passed_ms = 0
        self.holders: list[tuple[Claim, int, int]] = []

    def _model_clock(self) -> int:
        return 2_000_000_000_000 + self.passed_ms

    def _both(self, call: Callable[[Store], Awaitable[Any]]) -> tuple[Any, Any]:
        return self._one(call, self.model), self._one(call, self.store)

    def _one(self, call: Callable[[Store], Awaitable[Any]], store: Store) -> Any:
        async def run() -> Any:
            try:
                return await call(store)
            except Problem as problem:
                return problem.code

        return self.runner.run(run())

    @rule(key=st.sampled_from("ab"), body=st.sampled_from("xxxy"), lease=_SECONDS, ttl=_SECONDS)
    def acquire(self, key: str, body: str, lease: float, ttl: float) -> None:
        wish = claim(key, body, tenant=self.tenant, lease_s=lease, ttl_s=ttl)
        expected, found = self._both(lambda store: store.acquire(wish))
        if isinstance(expected, Acquired):
            assert isinstance(found, Acquired)
            assert expected == Acquired(expected.token, found.attempt, found.point, found.data, found.taken_over)
            assert all(found.token > token for holder, _, token in self.holders if holder.id == wish.id)
            self.holders.append((wish, expected.token, found.token))
        elif isinstance(expected, Busy):
            assert isinstance(found, Busy)
            assert abs(expected.retry_after_s - found.retry_after_s) <= 60
        else:
            assert type(expected) is type(found)
            assert getattr(expected, "response", None) == getattr(found, "response", None)

    @precondition(lambda self: self.holders)
    @rule(data=_ANY, verb=st.sampled_from(["renew", "checkpoint", "complete", "release", "discard"]), seconds=_SECONDS)
    def change(self, data: st.DataObject, verb: str, seconds: float) -> None:
        wish, model_token, token = data.draw(st.sampled_from(self.holders[-4:]))
        extra: dict[str, tuple[Any, ...]] = {
            "renew": (seconds,), "checkpoint": (f"p{seconds:g}", b"\x00d"), "complete": (b"answer", seconds),
        }  # fmt: skip
        arguments = extra.get(verb, ())
        expected = self._one(lambda store: getattr(store, verb)(wish.id, model_token, *arguments), self.model)
        assert self._one(lambda store: getattr(store, verb)(wish.id, token, *arguments), self.store) == expected

    @rule(seconds=_SECONDS)
    def wait(self, seconds: float) -> None:
        seconds += 500  # never on the very edge
        self.passed_ms += round(seconds * 1000)
        self.place.advance(seconds)

    @rule()
    def purge(self) -> None:
        self._both(lambda store: store.purge(1000))

    @rule()
    def compare(self) -> None:
        expected, found = self._both(lambda store: store.records(tenant=self.tenant))
        assert [_shape(record) for record in found] == [_shape(record) for record in expected]


def _shape(record: Record) -> tuple[object, ...]:
    """What does not depend on the clock."""
    r = record
    return (r.id, r.key, r.fingerprint, r.route, r.state, r.attempts, r.response, r.point, r.data,
            round((r.lease_ms - r.created_ms) / 100_000), round((r.expires_ms - r.created_ms) / 100_000))  # fmt: skip


@pytest.mark.parametrize("kind", SHARED)
def test_store_does_what_the_memory_store_does(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """Any order of calls and waits gives the same answers and leaves the same records."""
    place = make_place(kind, tmp_path, request.getfixturevalue)
    with asyncio.Runner() as runner:
        store = place.store()
        runner.run(store.open())
        try:
            machine = type("Bound", (Machine,), {"place": place, "runner": runner, "store": store})
            quick = settings(
                max_examples=20, stateful_step_count=15, deadline=None, suppress_health_check=list(HealthCheck)
            )
            run_state_machine_as_test(machine, settings=quick)  # type: ignore[no-untyped-call]  # it has no types
        finally:
            runner.run(store.close())
            place.remove()
