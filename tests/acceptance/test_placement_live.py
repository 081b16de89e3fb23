"""Affinity between tasks and devices on real ants: who runs beside whom and with what, and why the others wait."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from tests.acceptance.server import REPOSITORY, until
from tests.acceptance.stage import Stage, second_ant

REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
LABELS = "  method: SHELL\n  labels: {app: db}\n  affinity:\n"
TERM = "{topologyKey: %s, labelSelector: {matchLabels: {app: db}}}"
APART = f"    podAntiAffinity:\n      {REQUIRED}:\n      - {TERM % 'zone'}\n"
NEAR = f"    pod_affinity:\n      {REQUIRED}:\n      - {TERM % 'ant'}\n"


@pytest.mark.parametrize("queues", ["", "policy: fcfs\n"])
def test_apart_and_near_on_two_ants_over_a_kill(stage: Callable[..., Stage], queues: str) -> None:
    """Two zones hold one each and a third waits, after kill -9 of the server too; a helper follows its database."""
    one = stage(queues, "--slots", "4", "--labels", "zone=eu")
    with second_ant(one.up, "--slots", "4", "--labels", "zone=us"):
        db = one.gated("db", task=LABELS + APART)
        for name in ("d1", "d2", "d3"):
            one.submit(name, db)
        until(lambda: one.running("d1", "d2", "d3") == 2, 20, "one runs in each zone")
        assert "podAntiAffinity: a task with app In db in zone" in one.reason("d3")
        helper = one.work("helper", task="  method: SHELL\n  affinity:\n" + NEAR)
        one.submit("h", helper)
        one.done("h")
        one.up.kill()
        one.up.start()
        until(lambda: one.running("d1", "d2", "d3") == 2, 20, "they go on")
        until(lambda: "podAntiAffinity" in one.reason("d3"), 20, "the third still waits")
        one.open()
        ended = one.done("d1", "d2", "d3")
        assert len({job["tasks"][0]["ant"] for job in ended[:2]}) == 2


def test_devices_of_an_ant_over_a_kill(stage: Callable[..., Stage], tmp_path: Path) -> None:
    """Three tasks want two devices: each has its own, its environment says which, also over kill -9 of the server."""
    one = stage("", "--slots", "4")
    farm = ("--device", "gpu0:kind=a100,env.CARD=7", "--device", "gpu1:kind=t4,env.CARD=8")
    with second_ant(one.up, "--slots", "4", *farm):
        seen = tmp_path / "seen"
        task = "- task_type: {0}\n  method: SHELL\n  devices: {1}\n  script:\n"
        wait = f"    echo $FORMICARY_DEVICES $CARD >> {seen}; while [ ! -e {one.gate} ]; do sleep 0.02; done\n"
        any_card = one.define("job_type: any\ntasks:\n" + task.format("work", "[{count: 1}]") + f"  - |\n{wait}")
        for name in ("c1", "c2", "c3"):
            one.submit(name, any_card)
        until(lambda: one.running("c1", "c2", "c3") == 2, 20, "two have a device")
        assert "no ant has devices 1 x any free now: " in one.reason("c3")
        one.up.kill()
        one.up.start()
        until(lambda: "1 x any free now" in one.reason("c3"), 20, "the third still waits")
        until(lambda: any(device["in_use"] for ant in ants(one) for device in ant["devices"]), 20, "it is shown")
        one.open()
        one.done("c1", "c2", "c3")
        lines = seen.read_text().split("\n")[:-1]
        assert sorted(lines[:2]) == ["gpu0 7", "gpu1 8"] and lines[2] in lines[:2], lines
        python = (
            "job_type: py\ntasks:\n- task_type: p\n  method: PYTHON\n  function: os:getenv\n  devices: [{count: 2}]\n"
        )
        one.submit("py", one.define(python + "  arguments: {key: CARD}\n"))
        assert "7,8" in str(one.done("py")[0]["outputs"])
        one.submit("train", one.define((REPOSITORY / "examples/jobs/devices/train.yaml").read_text()))
        assert one.done("train")[0]["tasks"][0]["ant"].startswith("second")
        one.submit(
            "never", one.define("job_type: no\ntasks:\n" + task.format("n", "[{match: {kind: h100}}]") + "  - x\n")
        )
        assert "lacks devices 1 x kind=h100" in one.reason("never")


def ants(one: Stage) -> list[dict[str, Any]]:
    with urlopen(f"http://127.0.0.1:{one.up.http}/v1/ants", timeout=10) as answer:
        return list(json.load(answer)["ants"])


@pytest.mark.parametrize(("placement", "most"), [("least_loaded", 1), ("optimal", 2)])
def test_the_best_for_both_at_once(stage: Callable[..., Stage], placement: str, most: int) -> None:
    """Two tasks are ready at once, one may run anywhere, the other on one ant alone: greedily the first takes that."""
    one = stage(f"policy: fcfs\nplacement: {placement}\n", "--slots", "1", "--tags", "red")
    until(lambda: any(ant["connected"] for ant in ants(one)), 60, "the red ant came first")
    with second_ant(one.up, "--slots", "1"):
        wait = f"  method: SHELL\n  script: while [ ! -e {one.gate} ]; do sleep 0.02; done\n"
        both = (
            "job_type: both\ntasks:\n- task_type: go\n  method: SHELL\n  script: 'true'\n"
            f"- task_type: any\n  dependencies: [go]\n{wait}"
            f"- task_type: red\n  dependencies: [go]\n  tags: [red]\n{wait}"
        )
        one.submit("both", one.define(both))

        def running() -> int:
            tasks = {task["task_type"]: task["state"] for task in one.job("both")["tasks"]}
            assert tasks["any"] != "EXECUTING" or tasks["go"] == "COMPLETED"
            return sum(tasks[name] == "EXECUTING" for name in ("any", "red"))

        until(lambda: running() == most, 20, "as many as can run at once do")
        assert ("full" in one.reason("both")) == (most == 1)
        one.open()
        one.done("both")
