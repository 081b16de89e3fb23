"""The queen's state has one thread: nothing is read or written by the threads that write commits, read and render."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest

from formicary.embedded.colony import Colony, ColonyConfig
from formicary.engine.queen.core.core import Core
from formicary.engine.queen.core.leases import Leases
from formicary.engine.queen.core.records import Ant, Execution, Job, TaskRun

CHILD = """job_type: child
job_variables: {word: '{{.n}}'}
tasks:
- {task_type: work, script: ['echo "::set-output name=Said::{{.word}}"']}
"""
PARENT = """job_type: parent
tasks:
- task_type: fan
  method: FAN_OUT_JOB
  fork_job_type: child
  fan_out: {source: list, item_var: n, max_parallel: 3}
  on_completed: fails
- task_type: fails
  retry: 1
  delay_between_retries: 10ms
  script: ['test $FORMICARY_ATTEMPT -ge 2']
  on_completed: last
- {task_type: last, script: ['echo {{.FanOutItemCount}}']}
"""


def test_the_state_is_touched_by_one_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs fork, render, retry, are shown and cancelled; each look at a record is made by the loop's own thread."""
    mine, touched, strangers = threading.get_ident(), 0, set[str]()

    def watch(kind: type) -> None:
        def seen(record: object, name: str) -> Any:
            nonlocal touched
            touched += 1
            if threading.get_ident() != mine:
                strangers.add(f"{threading.current_thread().name} looked at {kind.__name__}.{name}")
            return object.__getattribute__(record, name)

        monkeypatch.setattr(kind, "__getattribute__", seen, raising=False)

    for kind in (Core, Leases, Ant, Job, Execution, TaskRun):
        watch(kind)

    async def test() -> None:
        async with Colony(ColonyConfig(tmp_path, slots=4)) as colony:
            await colony.register(CHILD)
            parent = await colony.register(PARENT)
            ids = [await colony.submit(parent, {"list": ["a", "b", "c", "d"]}) for _ in range(3)]
            await colony.cancel(ids[2])
            found = await colony.queen.ended(ids)
            assert [found[one].state for one in ids] == ["COMPLETED", "COMPLETED", "CANCELLED"]
            assert [(await colony.get(one))["state"] for one in ids[:2]] == ["COMPLETED"] * 2

    asyncio.run(asyncio.wait_for(test(), 60))
    assert touched > 1000
    assert strangers == set()
