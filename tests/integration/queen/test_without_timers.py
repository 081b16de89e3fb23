"""Nobody polls: what can start does so because of the event that lets it, also where no timer ever fires."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from formicary.engine.ants.transport import AntTransport, local_pair
from formicary.engine.queen.core.approving import Vote
from formicary.engine.queen.core.submission import Submission
from formicary.engine.queen.edge import new_id
from formicary.engine.queen.pump import Pump
from formicary.engine.queen.runtime import Queen
from formicary.engine.queen.sessions import AntSession
from formicary.engine.storage.backends import open_logs, open_store
from formicary.v1.ants_pb2 import AntMessage, Assignment, Hello, TaskResult

LIMIT_S = 30.0
CHAIN = """job_type: chain
max_concurrency: 1
tasks:
- {task_type: a, script: ['true'], on_completed: b}
- {task_type: b, script: ['true']}
"""
GATED = """job_type: gated
tasks:
- {task_type: ask, method: MANUAL, on_completed: work}
- {task_type: work, script: ['true']}
"""
CHILD = "job_type: child\ntasks:\n- {task_type: work, script: ['true']}\n"
PARENT = """job_type: parent
tasks:
- {task_type: one, method: FORK_JOB, fork_job_type: child, on_completed: two}
- {task_type: two, method: FORK_JOB, fork_job_type: child, on_completed: join}
- {task_type: join, method: AWAIT_FORKED_JOB, await_forked_tasks: [one, two], on_completed: after}
- {task_type: after, script: ['true']}
"""
PAUSING = """job_type: pausing
pause_time: 10h
tasks:
- {task_type: a, script: ['true'], on_exit_code: {3: PAUSE_JOB}}
"""


@dataclass
class ScriptedAnt:
    """An ant that says hello and the results it is told to say, and never a beat: a beat would be an event as well."""

    stream: AntTransport
    granted: asyncio.Queue[Assignment] = field(default_factory=asyncio.Queue)

    async def listen(self) -> None:
        """Keeps what it is granted."""
        async for message in self.stream:
            for assignment in message.assignments:
                self.granted.put_nowait(assignment)

    async def next(self) -> Assignment:
        """The next grant; it has to come."""
        async with asyncio.timeout(LIMIT_S):
            return await self.granted.get()

    async def ends(self, grant: Assignment, exit_code: int = 0) -> None:
        """Reports the end of an attempt."""
        outcome = TaskResult.FAILED if exit_code else TaskResult.COMPLETED
        result = TaskResult(token=grant.token, outcome=outcome, has_exit_code=True, exit_code=exit_code)
        await self.stream.send(AntMessage(results=[result]))


@asynccontextmanager
async def colony(folder: Path) -> AsyncIterator[tuple[Queen, ScriptedAnt]]:
    """A queen on a real store, and an ant on a real stream."""
    queen = Queen(open_store(folder), open_logs(folder))
    await queen.start()
    near, far = local_pair()
    ant = ScriptedAnt(near)
    tasks = [asyncio.create_task(AntSession(queen, far.send).run(aiter(far))), asyncio.create_task(ant.listen())]
    hello = Hello(ant_id="x", incarnation="1", methods=["SHELL"], slots=9, window=9, stream=1)
    await near.send(AntMessage(hello=hello))
    try:
        yield queen, ant
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await queen.stop()


async def begun(queen: Queen, source: str, count: int = 1) -> list[str]:
    """Ids of jobs that were submitted while the queen was idle."""
    return await queen.submit(await queen.register(source), [Submission(new_id(), b"{}") for _ in range(count)])


async def chain(queen: Queen, ant: ScriptedAnt) -> None:
    """A submission wakes the queen; so does the end of a task, and that of a job for the one that waits at a limit."""
    first, second = await begun(queen, CHAIN, 2)
    for job_id in (first, first, second, second):
        grant = await ant.next()
        assert grant.job_id == job_id
        await ant.ends(grant)
    await ended(queen, first, second)


async def approval(queen: Queen, ant: ScriptedAnt) -> None:
    """The vote that decides lets the next task begin."""
    (job_id,) = await begun(queen, GATED)
    await queen.pump.settle()
    await queen.approvals.vote(job_id, Vote("ask", "ann", frozenset(), approves=True))
    await ant.ends(await ant.next())
    await ended(queen, job_id)


async def family(queen: Queen, ant: ScriptedAnt) -> None:
    """A fork lets its job begin; the end of the last child lets its parent go on."""
    await queen.register(CHILD)
    (parent,) = await begun(queen, PARENT)
    children = [await ant.next(), await ant.next()]
    assert len({parent, *(one.job_id for one in children)}) == 3
    for child in reversed(children):
        await ant.ends(child)
    after = await ant.next()
    assert after.job_id == parent
    await ant.ends(after)
    await ended(queen, parent, *(one.job_id for one in children))


async def pause(queen: Queen, ant: ScriptedAnt) -> None:
    """Whoever resumes a job lets it go on."""
    (job_id,) = await begun(queen, PAUSING)
    await ant.ends(await ant.next(), exit_code=3)
    async with asyncio.timeout(LIMIT_S):
        while queen.pump.core.jobs[job_id].state != "PAUSED":
            await asyncio.sleep(0.01)
    await queen.resume(job_id)
    await ant.ends(await ant.next())
    await ended(queen, job_id)


async def ended(queen: Queen, *ids: str) -> None:
    """All of them complete."""
    async with asyncio.timeout(LIMIT_S):
        found = await queen.ended(list(ids))
    assert {end.state for end in found.values()} == {"COMPLETED"} and found.keys() == set(ids)


@pytest.mark.parametrize("what", [chain, approval, family, pause])
def test_what_can_start_starts_with_its_event(what: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No timer of the queen fires and no ant beats, and still everything goes on to its end."""
    monkeypatch.setattr(Pump, "_set_timer", lambda _pump: None)

    async def test() -> None:
        async with colony(tmp_path) as (queen, ant):
            await what(queen, ant)  # type: ignore[operator]  # one of the four above

    asyncio.run(test())
