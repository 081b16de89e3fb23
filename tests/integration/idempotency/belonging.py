"""Three operations that belong together: as a workflow, and each with a key that knows nothing of the others."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from uuid import uuid4

from formicary.idempotency import Claim, Counts, Execution, MemoryStore, Rule, StoredResponse, begin
from formicary.idempotency.workflow_status import status
from formicary.idempotency.workflows import workflow
from tests.integration.idempotency.worlds import World

STEPS = ("create", "charge", "allocate")


class _DiedError(Exception):
    """The process has ended."""


class Belonging(World):
    """Something that buys in three steps."""

    def __init__(self) -> None:
        super().__init__()
        self.store = MemoryStore(lambda: round(self.now_s * 1000))

    async def buy(self, dies_after: str | None) -> None:
        """Buys, or dies after a step."""
        try:
            await self._buy(dies_after)
        except _DiedError:
            self.now_s += 60

    async def found(self) -> list[str]:
        """The steps of the order, in order, as the store knows them."""
        return []

    async def _buy(self, dies_after: str | None) -> None: ...

    def does(self, name: str) -> Callable[[object], Awaitable[str]]:
        """The effect of a step."""

        async def do(_: object) -> str:
            self.effects.append(name.encode())
            return name

        return do


class Related(Belonging):
    """Ours: one workflow."""

    async def _buy(self, dies_after: str | None) -> None:
        async with workflow(self.store, "order-1") as flow:
            for name in STEPS:
                await flow.step(name, self.does(name))
                if name == dies_after:
                    raise _DiedError

    async def found(self) -> list[str]:
        """From the workflow's journal."""
        stands = await status(self.store, "order-1")
        return [] if stands is None else [step.name for step in stands.steps]


class Unrelated(Belonging):
    """Anti-pattern 12: each step is safe by itself, under a key that the next attempt does not know."""

    async def _buy(self, dies_after: str | None) -> None:
        for name in STEPS:
            claim = Claim(str(uuid4()), name.encode(), route=name)
            begun = await begin(self.store, claim, Rule(), Counts())
            assert isinstance(begun, Execution)
            await self.does(name)(None)
            await begun.complete(StoredResponse(200))
            if name == dies_after:
                raise _DiedError
