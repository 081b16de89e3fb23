"""Affinity between tasks on real ants, with queues and without: who runs beside whom, and why the others wait."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.acceptance.server import until
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
