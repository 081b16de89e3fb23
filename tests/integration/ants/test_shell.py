"""SHELL tasks through a real ant: exit codes, signals, groups, output."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest

from formicary.engine.ants.config import AntConfig
from formicary.engine.ants.output import ENGINE
from formicary.v1.ants_pb2 import TaskResult
from tests.integration.ants.fake_queen import colony, shell
from tests.integration.ants.loop import in_loop


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def pids_in(file: Path) -> list[int]:
    return [int(word) for word in file.read_text().split()] if file.exists() else []


@pytest.mark.parametrize("code", [0, 1, 2, 127, 255])
@in_loop
async def test_the_exit_code_is_the_true_one(code: int) -> None:
    async with colony() as (queen, _):
        result = await queen.run(shell(f"exit {code}"))
        assert (result.has_exit_code, result.exit_code, result.signal) == (True, code, 0)
        assert result.outcome == (TaskResult.FAILED if code else TaskResult.COMPLETED)
        assert result.error_code == ("ERR_EXIT_CODE" if code else "")


@pytest.mark.parametrize("name", ["TERM", "KILL", "SEGV", "INT"])
@in_loop
async def test_a_signal_is_reported_with_its_number_and_128_plus_it(name: str) -> None:
    async with colony() as (queen, _):
        result = await queen.run(shell(f"kill -{name} $$"))
        number = signal.Signals[f"SIG{name}"]
        assert (result.outcome, result.exit_code, result.signal) == (TaskResult.FAILED, 128 + number, number)
        assert result.error_code == "ERR_SIGNAL"


@in_loop
async def test_the_memory_of_each_process_is_bounded(tmp_path: Path) -> None:
    """Where the task says so, also in a folder of its own and without a shell; the error tells the bound."""
    take = "python3 -c 'print(len(bytearray({})))'"
    limits = {"limits": {"memory": "100Mi"}}
    async with colony() as (queen, _):
        for more in ({}, {"working_dir": str(tmp_path)}, {"execute_command_without_shell": True}):
            result = await queen.run(shell(take.format(400_000_000), resources=limits, **more))
            assert result.outcome == TaskResult.FAILED and "100Mi of memory (resources.limits)" in result.error_message
            result = await queen.run(shell(take.format(1_000_000), resources=limits, **more))
            assert (result.exit_code, queen.text(result.token)) == (0, ["1000000"])
        result = await queen.run(shell(take.format(400_000_000)))
        assert queen.text(result.token) == ["400000000"]


@pytest.mark.parametrize("name", ["INT", "QUIT"])
def test_a_task_does_not_inherit_ignored_signals(name: str) -> None:
    """A server that a script started with `&` ignores INT and QUIT; its tasks do not."""
    number = signal.Signals[f"SIG{name}"]
    before = signal.signal(number, signal.SIG_IGN)
    try:

        async def run() -> None:
            async with colony() as (queen, _):
                assert (await queen.run(shell(f"kill -{name} $$"))).signal == number

        asyncio.run(run())
    finally:
        signal.signal(number, before)


@in_loop
async def test_lines_run_in_shells_of_their_own_and_stop_at_the_first_failure() -> None:
    async with colony() as (queen, _):
        result = await queen.run(
            shell("X=1; echo one $X", "echo two $X", "exit 4", "echo never", before_script=("echo before",),
                  after_script=("echo after", "exit 9", "echo last"))
        )  # fmt: skip
        assert result.exit_code == 4
        assert queen.text(result.token) == ["before", "one 1", "two", "after", "last"]
        assert queen.text(result.token, 3) == ["after_script: The line 'exit 9' ended with exit code 9."]


@in_loop
async def test_a_failing_after_script_does_not_fail_the_task() -> None:
    async with colony() as (queen, _):
        result = await queen.run(shell("true", after_script=("exit 1",)))
        assert result.outcome == TaskResult.COMPLETED


@in_loop
async def test_variables_and_environment_reach_the_script() -> None:
    task = shell('echo "$A|$B|$C|$D|$E|$FORMICARY_TASK_KEY|$FORMICARY_ATTEMPT"', environment={"D": "mine", "E": "e"})
    async with colony() as (queen, _):
        variables: dict[str, object] = {"A": 5, "B": [1, {"x": None}], "C": True, "D": "hidden", "bad=name": "x"}
        token = await queen.grant(task, variables=variables, attempt=3)
        await queen.result(token)
        assert queen.text(token) == [f'5|[1,{{"x":null}}]|true|mine|e|job{token}/1/t|3']


@in_loop
async def test_working_dir_is_honoured_and_a_missing_one_is_a_clear_failure(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    async with colony() as (queen, _):
        result = await queen.run(shell("pwd", working_dir="sub"), path=str(tmp_path))
        assert queen.text(result.token) == [str(tmp_path / "sub")]
        result = await queen.run(shell("pwd", working_dir=str(tmp_path / "none")))
        assert result.error_code == "ERR_START"
        assert "is not a folder" in result.error_message


@in_loop
async def test_output_is_streamed_before_the_end(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    async with colony() as (queen, _):
        token = await queen.grant(shell(f"echo first; while [ ! -e {gate} ]; do sleep 0.01; done; echo second"))
        await queen.until(lambda: queen.text(token) == ["first"])
        assert token not in queen.results
        gate.touch()
        await queen.result(token)
        assert queen.text(token) == ["first", "second"]


@in_loop
async def test_partial_lines_unicode_and_binary_output_survive() -> None:
    async with colony() as (queen, _):
        script = r"printf 'gr\303'; sleep 0.05; printf '\274\303\237e\r\n'; printf '\377\000x\n'; printf 'no end'"
        result = await queen.run(shell(script))
        assert queen.text(result.token) == ["grüße", "��x", "no end"]


@in_loop
async def test_long_lines_and_long_logs_are_bounded_and_set_outputs_are_not() -> None:
    config = AntConfig("a", slots=1, log_head_bytes=20_000, log_tail_bytes=10_000)
    async with colony(config=config) as (queen, _):
        result = await queen.run(
            shell(
                "head -c 100000 /dev/zero | tr '\\0' x; echo",
                "i=0; while [ $i -lt 5000 ]; do echo line $i; i=$((i+1)); done",
                "printf '::set-output name=BIG::'; head -c 200000 /dev/zero | tr '\\0' y; echo",
                "echo the end",
            )
        )
        lines = queen.text(result.token)
        assert result.outcome == TaskResult.COMPLETED
        assert sum(map(len, lines)) < 140_000
        assert lines[-1] == "the end"
        assert any("left out" in text for text in queen.text(result.token, 3))
        assert queen.outputs(result.token) == {"BIG": "y" * 200_000}


@in_loop
async def test_outputs_that_are_too_large_fail_the_task_clearly() -> None:
    async with colony() as (queen, _):
        result = await queen.run(
            shell("printf '::set-output name=BIG::'; head -c 1100000 /dev/zero | tr '\\0' y; echo")
        )
        assert (result.outcome, result.error_code) == (TaskResult.FAILED, "ERR_RESULT_TOO_LARGE")


@in_loop
async def test_set_output_counts_on_standard_output_only() -> None:
    async with colony() as (queen, _):
        script = "echo '::set-output name=A::x::y'; echo '::set-output name=B::no' >&2; echo ' ::set-output name=C::no'"
        result = await queen.run(shell(script, "echo '::set-output name=D::'"))
        assert queen.outputs(result.token) == {"A": "x::y", "D": ""}


@in_loop
async def test_outputs_of_a_failed_task_are_kept() -> None:
    async with colony() as (queen, _):
        result = await queen.run(shell("echo '::set-output name=A::1'; exit 7"))
        assert (result.exit_code, queen.outputs(result.token)) == (7, {"A": "1"})


@in_loop
async def test_a_time_out_ends_grandchildren_too(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    async with colony() as (queen, _):
        script = f"(sleep 100 & echo $! >> {pids}; wait) & echo $! $$ >> {pids}; sh -c 'sleep 100'"
        result = await queen.run(shell(script), timeout_s=1.5)
        assert (result.outcome, result.error_code) == (TaskResult.TIMED_OUT, "ERR_TIMEOUT")
        assert (result.signal, result.exit_code) == (15, 143)
        assert len(pids_in(pids)) == 3
        await queen.until(lambda: not any(is_alive(pid) for pid in pids_in(pids)))


@in_loop
async def test_what_ignores_sigterm_is_killed_after_the_grace(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    config = AntConfig("a", slots=1, kill_grace_s=0.2)
    async with colony(config=config) as (queen, _):
        script = (
            f"trap '' TERM; echo $$ > {pids}; (trap '' TERM; while :; do sleep 1; done) & echo $! >> {pids}; wait; wait"
        )
        result = await queen.run(shell(script), timeout_s=1.5)
        assert (result.outcome, result.signal) == (TaskResult.TIMED_OUT, 9)
        assert len(pids_in(pids)) == 2
        await queen.until(lambda: not any(is_alive(pid) for pid in pids_in(pids)))


@in_loop
async def test_a_task_may_clean_up_on_sigterm_and_after_script_runs(tmp_path: Path) -> None:
    async with colony() as (queen, _):
        script = "trap 'sleep 0.1; echo cleaned; exit 5' TERM; echo ready; while :; do sleep 0.05; done"
        token = await queen.grant(shell(script, after_script=("echo after",)))
        await queen.until(lambda: "ready" in queen.text(token))
        await queen.cancel(token)
        result = await queen.result(token)
        assert (result.outcome, result.error_code, result.exit_code) == (TaskResult.CANCELLED, "ERR_CANCELLED", 5)
        assert queen.text(token) == ["ready", "cleaned", "after"]


@in_loop
async def test_background_processes_live_until_the_task_ends(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    async with colony() as (queen, _):
        script = (f"sleep 100 & echo $! > {pids}", f"kill -0 $(cat {pids}) && echo alive")
        result = await queen.run(shell(*script))
        assert result.outcome == TaskResult.COMPLETED
        assert queen.text(result.token) == ["alive"]
        (pid,) = pids_in(pids)
        await queen.until(lambda: not is_alive(pid))


@in_loop
async def test_an_environment_that_is_too_large_is_a_clear_failure() -> None:
    async with colony() as (queen, _):
        result = await queen.run(shell("true"), variables={"HUGE": "x" * 500_000})
        assert result.error_code == "ERR_START"
        assert "HUGE" in result.error_message
        assert "too large" in result.error_message


@in_loop
async def test_long_lists_are_left_out_of_the_environment_and_the_log_says_so() -> None:
    """A join after a fan-out of thousands starts; a template still has the list."""
    async with colony() as (queen, _):
        results: list[object] = [{"index": number, "outputs": {"a": "x" * 20}} for number in range(5000)]
        variables: dict[str, object] = {"FanOutResults": results, "square": {"FanOutResults": results}, "short": [1]}
        token = await queen.grant(shell('echo "${FanOutResults-none} ${square-none} $short"'), variables=variables)
        assert (await queen.result(token)).outcome == TaskResult.Outcome.Value("COMPLETED")
        assert queen.text(token) == ["none none [1]"]
        assert [line.split()[0] for line in queen.text(token, ENGINE)] == ["FanOutResults", "square"]


@in_loop
async def test_a_line_without_a_shell_is_run_as_words() -> None:
    async with colony() as (queen, _):
        result = await queen.run(shell("echo '$HOME' a", execute_command_without_shell=True))
        assert queen.text(result.token) == ["$HOME a"]
        result = await queen.run(shell("no-such-command-here", execute_command_without_shell=True))
        assert result.error_code == "ERR_START"


@in_loop
async def test_descriptors_do_not_leak_over_many_tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor does what they write, reported or not, become a file where the ant is."""
    monkeypatch.chdir(tmp_path)
    speaks = shell("echo out; echo err >&2", report_stdout=True)
    async with colony(config=AntConfig("a", slots=2)) as (queen, _):
        await queen.run(speaks)
        before = len(os.listdir("/proc/self/fd"))
        first = await queen.grant(speaks, count=2)
        for _ in range(20):
            await queen.result(first + 1)
            first = await queen.grant(speaks, count=2)
        await queen.until(lambda: {first, first + 1} <= queen.results.keys())
        await queen.until(lambda: len(os.listdir("/proc/self/fd")) <= before)
        assert os.listdir(tmp_path) == []
