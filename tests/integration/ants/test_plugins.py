"""Executors of third parties: an installed package does the work, a bad one fails its tasks and nothing else."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from formicary.engine.ants.config import AntConfig
from formicary.engine.ants.plugins import GROUP, Done, PluginExecutor, RunningTask, chosen
from formicary.engine.jobs.model import TaskDefinition
from formicary.v1.ants_pb2 import TaskResult
from tests.integration.ants.fake_queen import colony, shell
from tests.integration.ants.loop import in_loop

ROOT = Path(__file__).parents[3]
EXAMPLE = ROOT / "examples" / "executors"
METHOD = "TEST.ODD"


class Odd:
    """Does what the task's url says."""

    listens = False

    async def __aenter__(self) -> Odd:
        return self

    async def __aexit__(self, *_: object) -> None:
        raise RuntimeError("does not even end well")

    async def run(self, task: RunningTask) -> Done | None:
        if task.url == "exit":
            raise SystemExit(3)
        if task.url == "raise":
            raise ValueError("no good")
        if task.url == "set":
            return Done(outputs={"value": {1, 2, object()}})
        if task.url == "large":
            return Done(outputs={"value": "x" * 2_000_000})
        if task.url == "wrong":
            return "text"  # type: ignore[return-value]  # the mistake that is tested
        if task.url == "keep":
            task.checkpoint("row 5")
            with pytest.raises(ValueError, match="one line"):
                task.checkpoint("row\n5")
            with pytest.raises(ValueError, match="65,536"):
                task.checkpoint("x" * 65537)
            return Done(outputs={"given": task.last_checkpoint})
        if task.url == "fail":
            return Done(7, {"why": "x"}, "It said no.")
        while task.url in ("hang", "deaf"):
            try:
                task.write("waiting\n")
                await asyncio.sleep(30)
            except asyncio.CancelledError:
                task.write("heard\n")
                if task.url == "hang" or Odd.listens:
                    raise
        task.write("::set-output name=said::hello\n")
        return Done(outputs={"key": task.key, "lines": list(task.script), "n": task.variables.get("n")})


def config(load: Callable[[], Callable[[], Odd]] = lambda: Odd) -> AntConfig:
    executor = PluginExecutor(METHOD, load, 0.2, 1_000_000, lambda attempt, fraction, message: None)
    return AntConfig("ant-1", slots=1, methods=frozenset({"SHELL", METHOD}), executors={METHOD: executor})


def odd(url: str, **fields: object) -> TaskDefinition:
    return TaskDefinition(task_type="odd", method=METHOD, url=url, **fields)  # type: ignore[arg-type]  # what fits


@in_loop
async def test_a_task_gets_what_it_is_and_gives_outputs() -> None:
    async with colony(config=config()) as (queen, _):
        result = await queen.run(odd("", script=("a", "b")), variables={"n": 5})
        key = f"job{result.token}/1/odd"
        assert queen.outputs(result.token) == {"said": "hello", "key": key, "lines": ["a", "b"], "n": 5}


@in_loop
async def test_a_task_leaves_a_checkpoint_and_is_given_the_last_one() -> None:
    async with colony(config=config()) as (queen, _):
        result = await queen.run(odd("keep"), checkpoint="row 4")
        assert queen.outputs(result.token) == {"given": "row 4"}
        assert queen.checkpoints == [(result.token, b"row 5")]


@pytest.mark.parametrize(
    ("url", "code", "text"),
    [
        ("exit", "ERR_EXCEPTION", "SystemExit(3)"),
        ("raise", "ERR_EXCEPTION", "no good"),
        ("set", "ERR_EXCEPTION", "TypeError"),
        ("wrong", "ERR_EXCEPTION", "has to return Done"),
        ("large", "ERR_RESULT_TOO_LARGE", "1,000,000"),
        ("fail", "ERR_EXIT_CODE", "It said no."),
    ],
)
@in_loop
async def test_what_goes_wrong_in_a_package_fails_its_task_and_the_ant_goes_on(url: str, code: str, text: str) -> None:
    async with colony(config=config()) as (queen, _):
        result = await queen.run(odd(url))
        assert (result.outcome, result.error_code) == (TaskResult.FAILED, code)
        assert text in result.error_message
        assert (await queen.run(shell("true"))).outcome == TaskResult.COMPLETED


@in_loop
async def test_a_package_that_cannot_be_imported_fails_the_task_until_it_can() -> None:
    broken = [True]

    def load() -> Callable[[], Odd]:
        if broken[0]:
            raise ModuleNotFoundError("No module named 'absent'")
        return Odd

    async with colony(config=config(load)) as (queen, _):
        result = await queen.run(odd(""))
        assert (result.outcome, result.error_code) == (TaskResult.FAILED, "ERR_START")
        assert "absent" in result.error_message
        broken[0] = False
        assert (await queen.run(odd(""))).outcome == TaskResult.COMPLETED


@pytest.mark.parametrize("url", ["hang", "deaf"])
@in_loop
async def test_a_time_out_ends_a_task_even_one_that_does_not_listen(url: str) -> None:
    Odd.listens = False
    async with colony(config=config()) as (queen, _):
        result = await queen.run(odd(url), timeout_s=0.2)
        assert (result.outcome, result.error_code) == (TaskResult.TIMED_OUT, "ERR_TIMEOUT")
        assert "heard" in queen.text(result.token)
        assert (await queen.run(shell("true"))).outcome == TaskResult.COMPLETED  # the only slot is free again
        Odd.listens = True  # or the loop of this test could not end


def test_names_that_do_not_fit_and_second_owners_are_left_out() -> None:
    entries = [
        EntryPoint(name, value, GROUP)
        for name, value in (
            ("acme.fax", "a:A"),
            ("SHELL", "b:B"),
            ("acme fax", "c:C"),
            ("ACME.FAX", "d:D"),
        )
    ]
    assert {name: entry.value for name, entry in chosen(entries).items()} == {"ACME.FAX": "a:A"}


def test_the_example_package_is_installed_and_runs_a_job(tmp_path: Path) -> None:
    """Installed by path, found by entry point, run by `formicary run`."""
    site = tmp_path / "site"
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-index", "--no-deps", "--no-build-isolation"]
    made = subprocess.run([*pip, "--target", str(site), str(EXAMPLE)], capture_output=True, text=True, timeout=120)
    assert made.returncode == 0, made.stderr
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(site), str(ROOT / "src")])}

    def run(*more: str) -> tuple[int, dict[str, object]]:
        command = [sys.executable, "-m", "formicary", "run", str(EXAMPLE / "count.yaml"), "--output", "json"]
        command += ["--data", str(tmp_path / "data"), *more]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment)
        return ended.returncode, json.loads(ended.stdout)

    status, document = run()
    assert (status, document["state"]) == (0, "COMPLETED"), document
    assert "counted 3" in json.dumps(document)
    status, document = run("-p", "count=13")
    assert (status, document["state"]) == (1, "FAILED")
    assert "I do not count to 13." in json.dumps(document)
