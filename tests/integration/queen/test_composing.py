"""Fork and join on a real store with real processes."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from formicary.embedded.colony import Colony, ColonyConfig

CHILD = "job_type: child\ntasks:\n- task_type: work\n  script: ['true']\n"
FAN = """job_type: parent
tasks:
- task_type: fan
  method: FAN_OUT_JOB
  fork_job_type: child
  fan_out: {source: list}
"""
OVERHEAD_S = 1.5
TRIES = 5


def test_a_hundred_jobs_are_joined_with_little_overhead(tmp_path: Path) -> None:
    """1 -> 100 -> 1 takes hardly longer than the hundred jobs alone, and a few commits: nobody polls."""

    async def test() -> None:
        async with Colony(ColonyConfig(tmp_path, slots=8)) as colony:
            child, parent = await colony.register(CHILD), await colony.register(FAN)
            overhead_s = list[float]()
            while not overhead_s or overhead_s[-1] > OVERHEAD_S:  # once has to be enough: others use this machine, too
                assert len(overhead_s) < TRIES, overhead_s
                begun = time.monotonic()
                ids = await asyncio.gather(*(colony.submit(child) for _ in range(100)))
                await colony.queen.ended(ids)
                alone_s = time.monotonic() - begun
                begun = time.monotonic()
                job_id = await colony.submit(parent, {"list": list(range(100))})
                found = await colony.queen.ended([job_id])
                overhead_s.append(time.monotonic() - begun - alone_s)
                assert found[job_id].state == "COMPLETED"
            assert colony.queen.counters()["jobs_ended"] == 201 * len(overhead_s)

    asyncio.run(test())


def test_a_resumed_run_goes_on_with_its_forked_jobs(tmp_path: Path) -> None:
    """Another process that goes on with one job takes the jobs over that it has forked, and forks none again."""
    slow = CHILD.replace("'true'", f"'while [ ! -e {tmp_path / 'go'} ]; do sleep 0.05; done'")

    async def begin() -> str:
        async with Colony(ColonyConfig(tmp_path, slots=2)) as colony:
            await colony.register(slow)
            job_id = await colony.submit(await colony.register(FAN), {"list": [1, 2, 3]})
            async with asyncio.timeout(60.0):
                while len(colony.queen.pump.core.jobs) < 4:  # a follower of the parent is not told of each child
                    await asyncio.sleep(0.01)
            return job_id

    async def go_on(job_id: str) -> None:
        (tmp_path / "go").touch()
        async with Colony(ColonyConfig(tmp_path, slots=4, recover=frozenset([job_id]))) as colony:
            found = await colony.queen.ended([job_id])
            assert found[job_id].state == "COMPLETED"
            assert len(await colony.queen.page(job_type="child")) == 3

    asyncio.run(go_on(asyncio.run(begin())))


MADE = """job_type: child
dynamic_template_tasks: true
tasks:
- task_type: begin
  script: [echo begun]
{{- range $n := Iterate .item }}
- task_type: step-{{ $n }}
  script: ["echo ::set-output name=last::{{ $n }}"]
  dependencies: [begin]
{{- end }}
"""


def test_jobs_whose_template_makes_their_tasks_are_forked(tmp_path: Path) -> None:
    """Each has as many tasks as its parameter says; its definition is no version of its own."""

    async def test() -> None:
        async with Colony(ColonyConfig(tmp_path, slots=4)) as colony:
            await colony.register(MADE)
            job_id = await colony.submit(await colony.register(FAN), {"list": [1, 3]})
            assert (await colony.queen.ended([job_id]))[job_id].state == "COMPLETED"
            rows = await colony.queen.page(job_type="child")
            documents = [await colony.queen.document(str(row[1])) for row in rows]
            assert sorted(len(one["tasks"]) for one in documents) == [2, 4]
            assert {one["state"] for one in documents} == {"COMPLETED"}

    asyncio.run(test())
