"""Workflows run over every store alike: its journal, parents and times are all they need."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from formicary.idempotency import Step, Store, status, workflow
from formicary.problems import Problem, problem
from tests.contract.idempotency.places import Place, on


def test_a_workflow_is_resumed_and_undone_on_every_store(place: Place) -> None:
    """Completed steps keep their values, the failed one goes on with the same key, and undoing runs in reverse once."""
    done = list[str]()
    failing: dict[str, BaseException] = {"hotel": OSError("away")}

    def does(name: str) -> Callable[[Step], Awaitable[str]]:
        async def do(step: Step) -> str:
            done.append(f"{name} {step.key[:6]}")
            if name in failing:
                raise failing[name]
            return name

        return do

    async def undo(step: Step, value: str) -> None:
        done.append(f"undo {value}")

    async def book(store: Store) -> list[str]:
        async with workflow(store, "trip", lease_s=5, undo_on=Problem) as flow:
            return [await flow.step(name, does(name), compensate=undo) for name in ("flight", "hotel", "car")]

    async def states(store: Store) -> tuple[str, list[str]]:
        stands = await status(store, "trip")
        assert stands is not None
        assert all(step.began_ms is None or step.began_ms >= stands.began_ms for step in stands.steps)
        return stands.state, [f"{step.name}={step.state}" for step in stands.steps]

    async def scenario(store: Store) -> None:
        with pytest.raises(OSError, match="away"):
            await book(store)
        assert await states(store) == ("STOPPED", ["flight=COMPLETED", "hotel=FAILED"])
        assert {record.parent for record in await store.records(parent="trip")} == {"trip"}
        place.advance(600)
        await store.purge()
        del failing["hotel"]
        failing["car"] = problem("NOT_FOUND", "There is no car.")
        for _ in range(2):
            with pytest.raises(Problem, match="There is no car"):
                await book(store)
        assert [line.split()[0] for line in done] == ["flight", "hotel", "hotel", "car", "undo", "undo"]
        assert done[1] == done[2]
        assert done[-2:] == ["undo hotel", "undo flight"]
        assert await states(store) == ("UNDONE", ["flight=UNDONE", "hotel=UNDONE", "car=FAILED"])

    on(place, scenario)
