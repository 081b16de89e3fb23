"""Events that come together share one window of their trigger's rate limit, whatever else happens meanwhile."""

from __future__ import annotations

import asyncio

import pytest

from formicary.engine.queen.runtime import Queen, QueenConfig
from formicary.engine.queen.trigger_rows import Event
from formicary.engine.storage.logs import MemoryLogs
from formicary.engine.storage.memory import MemoryStore
from formicary.problems import Problem

MOST = 3
JOB = f"""job_type: limited
triggers:
- type: webhook
  name: hook
  auth: {{method: none}}
  rate_limit: {{max: {MOST}, window: 1h}}
  dedup_key: '{{{{ .Body.n }}}}'
tasks:
- {{task_type: t, script: ['true']}}
"""
KEY = ("local", "limited", "hook")


def event(number: int) -> Event:
    """One event."""
    return Event({"Body": {"n": str(number)}}, f"e{number}", "test")


@pytest.mark.parametrize("failing", [False, True], ids=["as ever", "a commit fails"])
def test_first_events_that_come_together_share_the_window(failing: bool) -> None:
    """Forty at once are let through as often as the limit says; a commit that fails uses up nothing of it."""

    async def test() -> None:
        store = MemoryStore()
        queen = Queen(store, MemoryLogs(), QueenConfig(schedules=True))
        await queen.start()
        try:
            await queen.register(JOB)
            if failing:
                store.fail_next("before")
                failed = await asyncio.gather(
                    *(queen.triggers.take(KEY, [event(number)]) for number in range(40)), return_exceptions=True
                )
                assert any(isinstance(one, Problem) and one.code == "UNAVAILABLE" for one in failed)
                while not queen.ready:
                    await asyncio.sleep(0.01)
            answers = await asyncio.gather(*(queen.triggers.take(KEY, [event(number)]) for number in range(40, 80)))
            outcomes = [taken.outcome for (taken,) in answers]
            assert outcomes.count("started") <= MOST and outcomes.count("limited") == 40 - outcomes.count("started")
            assert sum(store.counts().values()) == MOST
            assert queen.triggers.get(*KEY).fired == MOST
        finally:
            await queen.stop()

    asyncio.run(asyncio.wait_for(test(), 60))
