"""PYTHON tasks through a real ant and real worker processes."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections import Counter
from pathlib import Path

import pytest

from formicary.engine.ants.config import AntConfig
from formicary.v1.ants_pb2 import TaskResult
from tests.integration.ants.fake_queen import FakeQueen, colony, python
from tests.integration.ants.loop import in_loop
from tests.integration.ants.test_shell import is_alive, pids_in

HERE = str(Path(__file__).parent)


def config(slots: int = 1, **options: object) -> AntConfig:
    """An ant that keeps what it was granted however busy the machine is: nobody grants again what it gives back."""
    options.setdefault("give_back_after_s", 60.0)
    return AntConfig("a", slots=slots, paths=(HERE,), **options)  # type: ignore[arg-type]  # the test passes what fits


async def warm_up(queen: FakeQueen, window: int) -> None:
    """Runs short calls until the ant asks for so many of them; on a busy machine some are given back on the way."""

    def is_over(first: int) -> bool:
        return set(range(first, first + 500)) <= queen.results.keys() | set(queen.returned)

    while queen.window != window:
        first = await queen.grant(python("functions:noop"), count=500)
        await queen.until(lambda: is_over(first))  # noqa: B023 (awaited here)
    queen.returned.clear()


async def call(queen: FakeQueen, name: str, /, **variables: object) -> TaskResult:
    return await queen.run(python(f"functions:{name}"), variables=variables)


@in_loop
async def test_arguments_come_by_name_and_are_typed() -> None:
    async with colony(config=config()) as (queen, _):
        result = await call(
            queen, "typed", number=1, share=0.5, name="n", flag=True, items=[1, 2], table={"k": ["v"]}, kind="b",
            maybe=7, point={"x": 1}, JobID="extra variables are ignored",
        )  # fmt: skip
        seen = [1, 0.5, "n", True, [1, 2], {"k": ["v"]}, "b", 7, [1, 2]]
        assert queen.outputs(result.token) == {"seen": seen}


@in_loop
async def test_texts_are_converted_where_the_hint_asks_for_it() -> None:
    async with colony(config=config()) as (queen, _):
        result = await call(
            queen, "typed", number="12", share="0.25", name="n", flag="true", items=[], table={}, maybe=None
        )
        assert queen.outputs(result.token) == {"seen": [12, 0.25, "n", True, [], {}, "a", None, None]}


@pytest.mark.parametrize(
    ("name", "variables", "words"),
    [
        ("needs", {}, ["functions:needs", "'name'", "required"]),
        ("needs", {"name": 5}, ["functions:needs", "'name'", "str", "int"]),
        ("later", {"value": "x"}, ["'value'", "int"]),
        ("missing", {}, ["functions", "missing"]),
        ("not_callable", {}, ["int", "cannot be called"]),
    ],
)
@in_loop
async def test_a_call_that_cannot_be_made_says_why(name: str, variables: dict[str, object], words: list[str]) -> None:
    async with colony(config=config()) as (queen, _):
        result = await call(queen, name, **variables)
        assert (result.outcome, result.error_code) == (TaskResult.FAILED, "ERR_VALIDATION")
        assert [word for word in words if word not in result.error_message] == []


@pytest.mark.parametrize("function", ["no_such_module:f", "functions", "functions:", ""])
@in_loop
async def test_a_function_that_is_not_there_says_so(function: str) -> None:
    async with colony(config=config()) as (queen, _):
        result = await queen.run(python(function))
        assert (result.outcome, result.error_code) == (TaskResult.FAILED, "ERR_VALIDATION")
        assert result.error_message.endswith(".")


@in_loop
async def test_keyword_arguments_take_the_other_variables() -> None:
    async with colony(config=config()) as (queen, _):
        result = await call(queen, "extras", a="4", b=[1])
        assert queen.outputs(result.token) == {"a": 4, "rest": {"b": [1]}}


@in_loop
async def test_untyped_async_and_nested_functions_work() -> None:
    async with colony(config=config()) as (queen, _):
        result = await call(queen, "untyped", value={"x": 1})
        assert queen.outputs(result.token) == {"result": [{"x": 1}, 3]}
        result = await call(queen, "later", value=41)
        assert queen.outputs(result.token) == {"result": 42}
        result = await call(queen, "Holder.method", n=4)
        assert queen.outputs(result.token) == {"result": 8}
        result = await call(queen, "forks")
        assert queen.outputs(result.token) == {"result": "parent"}


@pytest.mark.parametrize(
    ("what", "outputs"),
    [
        ("tuple", {"result": [1, "a", None]}),
        ("point", {"x": 1, "y": 2}),
        ("zero", {"result": 0}),
        ("text", {"result": "grüße"}),
        ("big", {"result": 2**70}),
    ],
)
@in_loop
async def test_what_is_json_becomes_outputs(what: str, outputs: object) -> None:
    async with colony(config=config()) as (queen, _):
        result = await call(queen, "returns", what=what)
        assert (result.outcome, queen.outputs(result.token)) == (TaskResult.COMPLETED, outputs)


@pytest.mark.parametrize(
    ("what", "word", "code"),
    [
        ("set", "set", "ERR_VALIDATION"),
        ("bytes", "bytes", "ERR_VALIDATION"),
        ("object", "object", "ERR_VALIDATION"),
        ("nested", "result.rows[1].when", "ERR_VALIDATION"),
        ("nan", "nan", "ERR_VALIDATION"),
        ("keys", "keys must be str", "ERR_VALIDATION"),
        ("deep", "nested", "ERR_VALIDATION"),
        ("large", "1,048,576", "ERR_RESULT_TOO_LARGE"),
    ],
)
@in_loop
async def test_what_is_not_json_or_too_large_fails_clearly(what: str, word: str, code: str) -> None:
    async with colony(config=config()) as (queen, _):
        result = await call(queen, "returns", what=what)
        assert (result.outcome, result.error_code) == (TaskResult.FAILED, code)
        assert word in result.error_message


@in_loop
async def test_an_exception_comes_with_the_functions_own_traceback() -> None:
    async with colony(config=config()) as (queen, _):
        result = await call(queen, "fails")
        assert (result.outcome, result.error_code) == (TaskResult.FAILED, "ERR_EXCEPTION")
        assert result.error_message == "ValueError: the moon is full"
        assert "in _inner" in result.traceback
        assert "python_child" not in result.traceback


@pytest.mark.parametrize("code", [0, 1, 42])
@in_loop
async def test_sys_exit_gives_the_exit_code(code: int) -> None:
    async with colony(config=config()) as (queen, ant):
        result = await call(queen, "leaves", code=code)
        assert (result.has_exit_code, result.exit_code) == (True, code)
        assert result.outcome == (TaskResult.FAILED if code else TaskResult.COMPLETED)
        pids = ant.worker_pids
        await call(queen, "noop")
        assert ant.worker_pids == pids


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
@in_loop
async def test_the_death_of_the_process_is_a_lost_attempt(number: int) -> None:
    async with colony(config=config()) as (queen, _):
        result = await call(queen, "dies", number=int(number))
        assert (result.outcome, result.signal, result.exit_code) == (TaskResult.LOST, number, 128 + number)
        assert (await call(queen, "noop")).outcome == TaskResult.COMPLETED


@in_loop
async def test_output_of_every_kind_is_captured_and_attributed() -> None:
    async with colony(config=config()) as (queen, _):
        result = await call(queen, "writes")
        assert queen.text(result.token)[:4] == ["from print", "no end", "raw", "from a child"]
        assert queen.text(result.token, 2) == ["from stderr", "WARNING mine: from logging"]
        assert queen.outputs(result.token) == {"A": "printed", "B": "returned"}


@in_loop
async def test_lines_of_many_short_calls_go_to_the_right_call() -> None:
    async with colony(config=config()) as (queen, _):
        await queen.run(python("functions:noop"))
        first = await queen.grant(python("builtins:print", variables={}), count=50)
        second = await queen.grant(python("functions:writes"), count=20)
        await queen.until(lambda: len(queen.results) == 71)
        assert [queen.text(token) for token in range(first, second)] == [[""]] * 50
        assert {tuple(queen.text(token)[:4]) for token in range(second, second + 20)} == {
            ("from print", "no end", "raw", "from a child")
        }


@in_loop
async def test_output_is_streamed_while_the_function_runs(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    async with colony(config=config()) as (queen, _):
        task = python("functions:writes_then_waits")
        token = await queen.grant(task, variables={"gate": str(gate)})
        await queen.until(lambda: queen.text(token) == ["first"])
        await queen.until(lambda: token in queen.started)
        gate.touch()
        await queen.result(token)
        assert queen.text(token) == ["first", "second"]


@in_loop
async def test_the_function_knows_who_it_is() -> None:
    async with colony(config=config()) as (queen, _):
        task = python("functions:identity", environment={"MINE": "yes"})
        token = await queen.grant(task, attempt=3)
        await queen.result(token)
        key = f"job{token}/1/t"
        assert queen.outputs(token) == {
            "key": key, "job": f"job{token}", "type": "t", "attempt": "3", "same": "True", "mine": "yes",
            "seen_by_children": key,
        }  # fmt: skip
        result = await queen.run(python("functions:identity"))
        outputs = queen.outputs(result.token)
        assert isinstance(outputs, dict)
        assert outputs["mine"] is None


@in_loop
async def test_progress_reaches_the_queen() -> None:
    async with colony(config=config()) as (queen, _):
        result = await call(queen, "progresses")
        assert queen.progress[-1] == (result.token, 1.0, "")


@in_loop
async def test_a_time_out_kills_the_workers_whole_group_and_a_new_worker_takes_over(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    async with colony(config=config()) as (queen, _):
        task = python("functions:hangs")
        began = time.monotonic()
        result = await queen.run(task, variables={"pids": str(pids)}, timeout_s=3.0)
        assert (result.outcome, result.error_code) == (TaskResult.TIMED_OUT, "ERR_TIMEOUT")
        assert time.monotonic() - began < 50, "nobody waits for its 100 s"
        assert len(pids_in(pids)) == 2
        await queen.until(lambda: not any(is_alive(pid) for pid in pids_in(pids)))
        assert (await call(queen, "noop")).outcome == TaskResult.COMPLETED


@in_loop
async def test_cancel_ends_a_running_function() -> None:
    async with colony(config=config()) as (queen, _):
        token = await queen.grant(python("functions:hangs"))
        await queen.until(lambda: token in queen.started)
        await queen.cancel(token)
        result = await queen.result(token)
        assert (result.outcome, result.error_code) == (TaskResult.CANCELLED, "ERR_CANCELLED")


@in_loop
async def test_a_crash_charges_only_the_call_that_ran_and_repeats_none(tmp_path: Path) -> None:
    marks = tmp_path / "marks"
    async with colony(config=config()) as (queen, _):
        first = await queen.grant(python("functions:noop"), count=400)
        await queen.until(lambda: len(queen.results) == 400)
        crash = first + 400 + 37
        task = python("functions:counts")
        await queen.grant(task, count=100, variables={"file": str(marks), "crash_at": crash})
        await queen.until(lambda: len(queen.results) == 500)
        lost = [token for token, result in queen.results.items() if result.outcome == TaskResult.LOST]
        assert lost == [crash]
        assert sorted(map(int, marks.read_text().split())) == list(range(first + 400, first + 500))


@in_loop
async def test_workers_killed_at_random_lose_only_what_ran_and_repeat_nothing(tmp_path: Path) -> None:
    """Workers are killed every few milliseconds: each call has one result, and at most one start."""
    marks = tmp_path / "marks"
    async with colony(config=config(slots=2)) as (queen, ant):
        first = await queen.grant(python("functions:noop"), count=1000)
        await queen.until(lambda: len(queen.results) == 1000)
        first = await queen.grant(python("functions:counts"), count=2000, variables={"file": str(marks)})
        for number in range(20):
            before = len(queen.results)
            await queen.until(lambda: len(queen.results) > before or len(queen.results) == 3000)  # noqa: B023 (awaited here)
            if pids := ant.worker_pids:
                os.kill(pids[number % len(pids)], signal.SIGKILL)
        await queen.until(lambda: len(queen.results) == 3000)
        starts = Counter(map(int, marks.read_text().split()))
        for token in range(first, first + 2000):
            result = queen.results[token]
            if result.error_code == "ERR_START":  # three workers in a row were killed before their first call
                assert starts[token] == 0
                continue
            assert result.outcome in (TaskResult.COMPLETED, TaskResult.LOST)
            assert starts[token] == 1 if result.outcome == TaskResult.COMPLETED else starts[token] <= 1
        assert len(queen.deliveries) == 3000


@in_loop
async def test_calls_behind_a_long_one_are_given_back_unstarted(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    async with colony(config=config(give_back_after_s=0.05)) as (queen, ant):
        await warm_up(queen, 64)
        task = python("functions:hangs_if")
        long = await queen.grant(task, variables={"is_long": True, "gate": str(gate)})
        behind = await queen.grant(python("functions:noop"), count=20)
        await queen.until(lambda: len(queen.returned) == 20)
        assert sorted(queen.returned) == list(range(behind, behind + 20))
        assert ant.held == [long]
        await queen.until(lambda: queen.window == 1)
        gate.touch()
        assert (await queen.result(long)).outcome == TaskResult.COMPLETED
        assert not set(queen.returned) & queen.results.keys()
        assert (await call(queen, "noop")).outcome == TaskResult.COMPLETED


@in_loop
async def test_calls_behind_a_long_one_run_on_another_slot_of_the_same_ant(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    async with colony(config=config(give_back_after_s=0.05, slots=2)) as (queen, _):
        await warm_up(queen, 128)
        before = len(queen.results)
        task = python("functions:hangs_if")
        long = await queen.grant(task, variables={"is_long": True, "gate": str(gate)})
        short = await queen.grant(python("functions:noop"), count=60)
        await queen.until(lambda: len(queen.results) + len(queen.returned) == before + 60)
        assert long not in queen.results
        assert queen.returned == []
        gate.touch()
        assert (await queen.result(long)).outcome == TaskResult.COMPLETED
        assert {queen.results[token].outcome for token in range(short, short + 60)} == {TaskResult.COMPLETED}


@pytest.mark.parametrize("slots", [1, 3])
@in_loop
async def test_never_more_tasks_run_than_there_are_slots(slots: int, tmp_path: Path) -> None:
    async with colony(config=config(slots=slots)) as (queen, _):
        await queen.grant(python("functions:noop"), count=500)
        await queen.grant(python("functions:overlaps"), count=30, variables={"folder": str(tmp_path)})
        await queen.until(lambda: len(queen.results) == 530)
        most = [int(word) for word in (tmp_path / "most").read_text().split()]
        assert (len(most), max(most)) == (30, slots)


@in_loop
async def test_the_window_grows_for_short_functions_and_shrinks_for_long_ones() -> None:
    async with colony(config=config(give_back_after_s=0.05, slots=2, max_window=128)) as (queen, ant):
        assert ant.window == 2
        await warm_up(queen, 128)
        await queen.grant(python("functions:counts"), variables={"file": "/dev/null", "pause_s": 0.3})
        await queen.until(lambda: queen.window == 2)


@in_loop
async def test_modules_of_the_same_name_in_two_folders_do_not_mix(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "tasks_here.py").write_text(f"def f():\n    return {name!r}\n")
    async with colony(config=config()) as (queen, _):
        for name in ("one", "two", "one"):
            result = await queen.run(python("tasks_here:f"), path=str(tmp_path / name))
            assert queen.outputs(result.token) == {"result": name}


@in_loop
async def test_a_module_that_fails_on_import_is_an_exception_and_is_tried_again(tmp_path: Path) -> None:
    async with colony(config=config()) as (queen, _):
        (tmp_path / "late.py").write_text("raise RuntimeError('not yet')\n")
        result = await queen.run(python("late:f"), path=str(tmp_path))
        assert (result.error_code, result.error_message) == ("ERR_EXCEPTION", "RuntimeError: not yet")
        (tmp_path / "late.py").write_text("def f():\n    return 'now it is here'\n")
        result = await queen.run(python("late:f"), path=str(tmp_path))
        assert queen.outputs(result.token) == {"result": "now it is here"}


@in_loop
async def test_an_interpreter_that_does_not_start_is_a_clear_failure() -> None:
    async with colony(config=config(python="/nowhere/python")) as (queen, _):
        result = await call(queen, "noop")
        assert result.error_code == "ERR_START"
    async with colony(config=config(python="/bin/false")) as (queen, _):
        result = await call(queen, "noop")
        assert result.error_code == "ERR_START"


@in_loop
async def test_an_idle_worker_that_dies_costs_nothing() -> None:
    async with colony(config=config()) as (queen, ant):
        await call(queen, "noop")
        (pid,) = ant.worker_pids
        os.kill(pid, signal.SIGKILL)
        await queen.until(lambda: ant.worker_pids == [])
        assert (await call(queen, "noop")).outcome == TaskResult.COMPLETED


@in_loop
async def test_workers_are_warm_before_the_first_task() -> None:
    async with colony(config=config(slots=2, warm_workers=2)) as (queen, ant):
        assert len(ant.worker_pids) == 2
        await asyncio.gather(call(queen, "noop"), call(queen, "noop"))
        assert len(ant.worker_pids) == 2


@in_loop
async def test_memory_is_bounded_for_the_task_that_says_so_and_for_no_other() -> None:
    """The process is kept, and the next call may have what it wants."""
    bounded = python("functions:takes_memory", resources={"limits": {"memory": "200Mi"}})
    async with colony(config=config()) as (queen, _):
        result = await queen.run(bounded, variables={"size": 400_000_000})
        assert result.outcome == TaskResult.FAILED
        assert (
            result.error_message.startswith("MemoryError")
            and "200Mi of memory (resources.limits)" in result.error_message
        )
        small = await queen.run(bounded, variables={"size": 1_000_000})
        assert queen.outputs(small.token) == {"result": 1_000_000}
        large = await call(queen, "takes_memory", size=400_000_000)
        assert queen.outputs(large.token) == {"result": 400_000_000}
