"""The queen over its store: group commit, failing commits, repeats, fencing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from formicary.embedded import Colony, ColonyConfig
from formicary.engine.queen.core.submission import Submission
from formicary.engine.queen.edge import fingerprint, new_id
from formicary.engine.queen.runtime import Queen
from formicary.engine.storage.backends import open_logs, open_store
from formicary.engine.storage.logs import MemoryLogs
from formicary.engine.storage.memory import MemoryStore
from formicary.problems import Problem

NOOP = "job_type: noop\ntasks:\n- task_type: t\n  method: SHELL\n  script: ['true']\n"


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Runs one asynchronous test, bounded."""
    asyncio.run(asyncio.wait_for(test(), 120))


@asynccontextmanager
async def queen_on(store: MemoryStore) -> AsyncIterator[Queen]:
    """A queen without ants."""
    queen = Queen(store, MemoryLogs())
    await queen.start()
    try:
        yield queen
    finally:
        await queen.stop()


def submission(params: bytes = b"{}", key: str = "", definition: str = "") -> Submission:
    """One job; with a key it carries its fingerprint as the edge makes it."""
    return Submission(new_id(), params, None, None, key, fingerprint(definition, params, None, None) if key else "")


def test_calls_in_flight_share_commits() -> None:
    """500 concurrent submissions are written in few commits and all of them can be read afterwards."""

    async def test() -> None:
        store = MemoryStore()
        async with queen_on(store) as queen:
            key = await queen.register(NOOP)
            before = queen.counters()["commits"]
            answers = await asyncio.gather(*[queen.submit(key, [submission()]) for _ in range(500)])
            assert queen.counters()["commits"] - before < 50
            assert sum(store.counts().values()) == len({job_id for ids in answers for job_id in ids}) == 500

    run(test)


@pytest.mark.parametrize("kind", ["before", "unknown"])
def test_a_failed_commit_fails_every_call_of_its_batch_and_the_queen_recovers(kind: Any) -> None:
    """Nothing is acknowledged by a commit that failed; afterwards the store and the memory agree."""

    async def test() -> None:
        store = MemoryStore()
        async with queen_on(store) as queen:
            key = await queen.register(NOOP)
            store.fail_next(kind)
            results = await asyncio.gather(
                *[queen.submit(key, [submission()]) for _ in range(20)], return_exceptions=True
            )
            failed = [result for result in results if isinstance(result, Problem)]
            assert failed and all(problem.code == "UNAVAILABLE" and problem.retryable for problem in failed)
            while not queen.ready:
                await asyncio.sleep(0.01)
            await queen.submit(key, [submission()])
            assert queen.counters()["live_jobs"] == sum(store.counts().values())
            assert queen.counters()["recoveries"] == 1

    run(test)


def test_a_second_queen_fences_the_first() -> None:
    """Once another queen has taken the colony, the first one's next commit writes nothing and it steps down."""

    async def test() -> None:
        store = MemoryStore()
        first = Queen(store, MemoryLogs())
        await first.start()
        key = await first.register(NOOP)
        async with queen_on(store) as second:
            with pytest.raises(Problem) as refused:
                await first.submit(key, [submission()])
            assert refused.value.code == "UNAVAILABLE"
            assert first.pump.fenced.is_set() and not first.ready
            assert sum(store.counts().values()) == 0
            assert second.epoch == first.epoch + 1
        await first.stop()

    run(test)


def test_one_idempotency_key_makes_one_job() -> None:
    """The same key gives the same job, also when the calls are in flight together; another request is refused."""

    async def test() -> None:
        store = MemoryStore()
        async with queen_on(store) as queen:
            key = await queen.register(NOOP)
            answers = await asyncio.gather(*[queen.submit(key, [submission(b'{"a":1}', "k1", key)]) for _ in range(50)])
            assert len({ids[0] for ids in answers}) == 1
            again = await queen.submit(key, [submission(b'{"a":1}', "k1", key)])
            assert again == answers[0]
            assert sum(store.counts().values()) == 1
            with pytest.raises(Problem) as refused:
                await queen.submit(key, [submission(b'{"a":2}', "k1", key)])
            assert refused.value.code == "IDEMPOTENCY_KEY_REUSED"

    run(test)


def test_the_journal_gets_its_turn_beside_a_busy_loop() -> None:
    """A loop that is kept busy for 2 ms at a time still commits at each of its turns."""

    async def test() -> None:
        store = MemoryStore()
        async with queen_on(store) as queen:
            key = await queen.register(NOOP)
            over = asyncio.Event()

            async def busy() -> None:
                while not over.is_set():
                    sum(range(40_000))
                    await asyncio.sleep(0)

            hog = asyncio.create_task(busy())
            for _ in range(30):
                await queen.submit(key, [submission()])
            over.set()
            await hog
            assert sum(store.counts().values()) == 30

    run(test)


def test_a_restart_goes_on_with_what_was_accepted(tmp_path: Path) -> None:
    """Jobs that were accepted and not run are run by the next queen on the same data."""

    async def test() -> None:
        queen = Queen(open_store(tmp_path), open_logs(tmp_path))
        await queen.start()
        ids = await queen.submit(await queen.register(NOOP), [submission() for _ in range(20)])
        await queen.stop()
        async with Colony(ColonyConfig(data=tmp_path, recover=frozenset(ids))) as colony:
            ends = await colony.queen.ended(ids)
            assert {end.state for end in ends.values()} == {"COMPLETED"}
            assert colony.queen.store.counts() == {"COMPLETED": 20}

    run(test)


def test_a_job_goes_through_templates_outputs_branches_and_the_final_phase() -> None:
    """Rendered text, outputs of earlier tasks, retries, a branch and `always_run` work together."""
    source = """
job_type: whole
job_variables: {who: world}
tasks:
- task_type: a
  script: ["echo hi $who", "echo '::set-output name=K::V1'"]
  on_completed: b
- task_type: b
  script: ["test {{.K}} = V1 && test {{.TaskRetry}} -ge 1"]
  retry: 2
  delay_between_retries: 10ms
  on_completed: c
  on_failed: d
- task_type: c
  script: ["exit 3"]
  on_exit_code: {3: COMPLETED}
- task_type: d
  script: ["true"]
- task_type: fin
  always_run: true
  script: ["echo done {{.K}}"]
"""

    async def test() -> None:
        async with Colony() as colony:
            queen = colony.queen
            ids = await queen.submit(await queen.register(source), [submission(b'{"x":5}')])
            await queen.ended(ids)
            document = await queen.document(ids[0])
            states = {task["task_type"]: (task["state"], task["attempts"]) for task in document["tasks"]}
            assert document["state"] == "COMPLETED", document["error"]
            assert states == {
                "a": ("COMPLETED", 1),
                "b": ("COMPLETED", 2),
                "c": ("COMPLETED", 1),
                "d": ("SKIPPED", 0),
                "fin": ("COMPLETED", 1),
            }
            assert document["outputs"] == {"who": "world", "x": 5, "K": "V1"}
            assert any(line.text == "done V1" for line in queen.log_lines(ids[0])[0])

    run(test)


def test_the_outputs_of_a_task_are_exact_under_its_name() -> None:
    """`.task.name` is that task's output even where a parameter and a later task use the same names."""
    source = """
job_type: exact
tasks:
- task_type: size
  script: ["echo ::set-output name=n::1"]
  on_completed: other
- task_type: other
  script: ["echo ::set-output name=n::2"]
  on_completed: check
- task_type: check
  script: ["test {{.size.n}}{{.other.n}}{{.n}} = 122"]
"""

    async def test() -> None:
        async with Colony() as colony:
            ids = await colony.queen.submit(await colony.queen.register(source), [submission(b'{"size":7}')])
            ends = await colony.queen.ended(ids)
            assert ends[ids[0]].state == "COMPLETED"

    run(test)
