"""job.run() does in one process what a server does: the same engine, a store in memory, tasks on threads."""

import asyncio
import os
import threading
from dataclasses import dataclass

import pytest

from formicary.dsl import JobFailedError, after, job, on_failed, task
from formicary.engine.jobs.quality import BURSTABLE, holds, quality_of


@task
def double(number: int) -> int:
    return 2 * number


@task
def total(numbers: list[int], label: str = "sum") -> dict[str, object]:
    return {label: sum(numbers)}


@job
def doubling(count: int = 3, label: str = "sum") -> dict[str, object]:
    return total(double.map(range(count)), label)


def test_a_job_runs_and_gives_its_value() -> None:
    """Results flow along the handles; the returned handle's result is the job's value."""
    result = doubling.run(count=4, label="all")
    assert result.check().value == {"all": 12}
    assert result.outputs["all"] == 12
    assert [t.state for t in result.tasks.values()] == ["COMPLETED"] * 5
    assert result.tasks["double-3"].outputs == {"result": 6}


def test_it_runs_inside_of_a_running_loop() -> None:
    """run() blocks on a thread beside the loop, run_async() lets it go on."""

    async def main() -> tuple[object, object]:
        return doubling.run().value, (await doubling.run_async(count=1)).value

    assert asyncio.run(main()) == ({"sum": 6}, {"sum": 0})


def test_outputs_of_equal_names_do_not_meet() -> None:
    """Arguments are exact: an output named like a parameter or a constant changes nothing."""

    @task
    def show(year: int) -> dict[str, int]:
        return {"year": year + 1000}

    @task
    def both(first: dict[str, int], second: dict[str, int], year: int) -> list[int]:
        return [first["year"], second["year"], year]

    @job
    def years(year: int = 1) -> list[int]:
        first = show(year)
        second = after(show(5), first)
        return both(first, second, year)

    assert years.run().check().value == [1001, 1005, 1]


def test_local_functions_run_in_this_process() -> None:
    """Closures and monkeypatched names work, because nothing is imported by name."""
    seen: list[tuple[int, str]] = []

    @task
    def note() -> None:
        seen.append((os.getpid(), threading.current_thread().name))

    @job
    def local() -> None:
        note()

    assert local.run().is_completed
    assert seen == [(os.getpid(), "task note")]


def test_an_exception_is_shown_with_its_traceback() -> None:
    """The text of the result names the line; check() raises it; dependents are skipped, always_run tasks run."""
    tidied: list[object] = []

    @task
    def explode(number: int) -> int:
        raise ValueError(f"no {number}")

    @task(always_run=True)
    def tidy(number: int | None = None) -> None:
        tidied.append(number)

    @job
    def failing() -> object:
        number = explode(7)
        tidy(number)
        return double(number)

    result = failing.run()
    assert result.state == "FAILED"
    assert {t.name: t.state for t in result.tasks.values()} == {
        "explode": "FAILED",
        "tidy": "COMPLETED",
        "double": "SKIPPED",
    }
    assert "ValueError: no 7" in result.tasks["explode"].error
    assert 'raise ValueError(f"no {number}")' in result.tasks["explode"].traceback
    assert "formicary/" not in result.tasks["explode"].traceback.replace("tests/", "")
    with pytest.raises(JobFailedError, match="no 7"):
        result.check()
    assert tidied == [None]


def test_flow_retry_branch_and_allowed_failure() -> None:
    """A retried task counts its attempts; on_failed leads on; an allowed failure leaves the job completed."""
    tries: list[int] = []

    @task(retry=3, delay_between_retries=0.01)
    def shaky() -> int:
        tries.append(1)
        if len(tries) < 3:
            raise RuntimeError("not yet")
        return len(tries)

    @task(allow_failure=True)
    def optional() -> None:
        raise RuntimeError("never mind")

    @task
    def rescue() -> str:
        return "rescued"

    @task
    def finish(tries: int, extra: list[None]) -> list[object]:
        return [tries, extra]

    @job
    def flow() -> list[object]:
        failed = optional()
        on_failed(failed, rescue())
        return finish(shaky(), [failed])

    result = flow.run().check()
    assert result.value == [3, [None]]
    assert result.tasks["shaky"].attempts == 3
    assert result.tasks["optional"].state == "FAILED"
    assert result.tasks["rescue"].outputs == {"result": "rescued"}


def test_async_functions_and_typed_arguments() -> None:
    """Coroutines are awaited; dataclasses are made of JSON and back."""

    @dataclass
    class Point:
        x: int
        y: int = 0

    @task
    async def move(point: Point) -> Point:
        await asyncio.sleep(0)
        return Point(point.x + 1, point.y)

    @job
    def moving() -> Point:
        return move(move(Point(1, 2)))

    assert moving.run().check().value == {"x": 3, "y": 2}


def test_a_wrong_type_is_told_by_name() -> None:
    """A result that the next task's hint does not allow fails that task with the argument's name."""

    @job
    def wrong() -> int:
        return double(total([]))  # type: ignore[arg-type]  # on purpose

    result = wrong.run()
    assert "argument 'number'" in result.tasks["double"].error


def test_a_task_says_what_it_holds_and_has_it_here() -> None:
    """Requests and limits are those of a job file; on this machine what is asked for is there."""

    @task(resources={"cpu": "500m", "gpu": 2, "limits": {"cpu": 1}})
    def trains() -> int:
        return 7

    @job
    def training() -> int:
        return trains()

    (one,) = training.definition().tasks
    assert dict(holds(one)) == {"cpu": 0.5, "gpu": 2.0} and quality_of(one) == BURSTABLE
    assert training.run().value == 7


def test_time_out_and_tags() -> None:
    """A task over its time-out fails the job at once; tags are always satisfied here."""
    release = threading.Event()

    @task(timeout="100ms", tags=["gpu"])
    def endless() -> None:
        release.wait(60)

    @job
    def slow() -> None:
        endless()

    try:
        result = slow.run()
    finally:
        release.set()
    assert result.state == "FAILED" and "time-out" in result.tasks["endless"].error
