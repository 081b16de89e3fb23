"""Devices: one task at a time on each, whatever is lost or started again."""

from __future__ import annotations

import pytest

from formicary.engine.ants.config import AntConfig, AntDevice, read_device
from formicary.engine.jobs.parse import parse_source
from formicary.engine.queen.core.explaining import explain
from formicary.engine.queen.core.leases import Hello
from formicary.engine.queen.fitting import unfit
from formicary.engine.queen.queues import checked
from tests.unit.core.colony import Colony

FARM = {"gpu0": {"kind": "a100", "memory": "40"}, "gpu1": {"kind": "t4", "memory": "16"}}


def job(name: str, devices: str, more: str = "", task: str = "") -> str:
    lines = [f"job_type: {name}", more, "tasks:", "- task_type: work", "  script: x", f"  devices: {devices}", task]
    return "\n".join(line for line in lines if line) + "\n"


@pytest.fixture(params=["plain", "queues"])
def colony(request: pytest.FixtureRequest) -> Colony:
    """One ant with two devices and many slots; the second way with queues."""
    found = Colony()
    if request.param == "queues":
        source = "policy: priority\nset: {preemptive: true}\n"
        found.core.waiting.take(source, checked(source), "ops")
    found.ant("x", 8, devices=FARM)
    return found


def devices(colony: Colony, job_id: str) -> tuple[str, ...] | None:
    """What the job's task was given, None where it waits."""
    for worker in colony.workers.values():
        for given in worker.held.values():
            if given.job_id == job_id:
                return given.devices
    return None


def why(colony: Colony, job_id: str) -> str:
    return explain(colony.core, colony.core.jobs[job_id]).summary


def test_one_task_at_a_time(colony: Colony) -> None:
    """Each gets one that suits it; the third waits, says why, and gets what is given back."""
    any_gpu = colony.define(job("any", "[{count: 1}]"))
    large = colony.define(job("large", "[{expressions: [{key: memory, operator: Gt, values: [30]}]}]"))
    colony.submit("a", large)
    colony.submit("b", any_gpu)
    colony.submit("c", large)
    assert (devices(colony, "a"), devices(colony, "b"), devices(colony, "c")) == (("gpu0",), ("gpu1",), None)
    assert why(colony, "c") == "no ant has devices 1 x memory Gt 30 free now: x has 2 of 2 in use"
    colony.ok("b", "work")
    assert devices(colony, "c") is None
    colony.fail("a", "work")
    assert devices(colony, "c") == ("gpu0",)


def test_several_kinds_together_are_chosen_so_that_all_get_theirs(colony: Colony) -> None:
    both = colony.define(job("both", "[{count: 1}, {match: {kind: a100}}]"))
    colony.submit("a", both)
    assert devices(colony, "a") == ("gpu0", "gpu1")


def test_what_nobody_has(colony: Colony) -> None:
    """`explain` and the look before a submission say so."""
    never = colony.define(job("never", "[{match: {kind: h100}, count: 2}]"))
    colony.submit("n", never)
    assert "x lacks devices 2 x kind=h100 (has 2)" in why(colony, "n")
    assert "devices 2 x kind=h100" in unfit(colony.core, colony.core.definitions[never])[0]


def test_a_gang_gets_devices_together(colony: Colony) -> None:
    """Of two members on one ant the one that takes any does not take what only the other can use."""
    text = (
        "job_type: gang\ngang: job\ntasks:\n- {task_type: any, script: x, devices: [{count: 1}]}\n"
        "- {task_type: large, script: x, devices: [{match: {kind: a100}}]}\n"
    )
    colony.submit("g", colony.define(text))
    found = sorted((given.position, given.devices) for given in colony.workers["x"].held.values())
    assert found == [(0, ("gpu1",)), (1, ("gpu0",))]
    three = (
        text.replace("job_type: gang", "job_type: three") + "- {task_type: more, script: x, devices: [{count: 1}]}\n"
    )
    colony.ok("g", "any")
    colony.ok("g", "large")
    colony.submit("h", colony.define(three))
    assert "does not fit" in why(colony, "h")


def test_after_a_restart_a_device_is_still_taken(colony: Colony) -> None:
    """Nobody gets one of an ant before it has said which are in use."""
    any_gpu = colony.define(job("any", "[{match: {kind: a100}}]"))
    colony.submit("a", any_gpu)
    colony.restart()
    colony.submit("b", any_gpu)
    colony.join("x")
    assert devices(colony, "a") == ("gpu0",) and devices(colony, "b") is None
    colony.ok("a", "work")
    assert devices(colony, "b") == ("gpu0",)


def test_the_device_of_a_lost_process_is_free_when_its_lease_ends(colony: Colony) -> None:
    """The next process of the ant has the same devices, and does not get the one that may be in use."""
    any_gpu = colony.define(job("any", "[{match: {kind: a100}}]", task="  max_lost_attempts: 1"))
    colony.submit("a", any_gpu)
    colony.die("x")
    colony.join("x")
    colony.submit("b", any_gpu)
    assert devices(colony, "b") is None
    colony.advance(4.0)
    assert (devices(colony, "a"), devices(colony, "b")) in ((("gpu0",), None), (None, ("gpu0",)))


def test_both_die(colony: Colony) -> None:
    """Queen and ant are killed: which device the lost attempt had nobody knows, so none is given until it is over."""
    any_gpu = colony.define(job("any", "[{match: {kind: t4}}]", task="  max_lost_attempts: 1"))
    colony.submit("a", any_gpu)
    colony.die("x")
    colony.restart()
    colony.join("x")
    colony.submit("b", any_gpu)
    assert devices(colony, "b") is None and "in use" in why(colony, "b")
    colony.advance(11.0)
    assert [devices(colony, name) for name in "ab"].count(("gpu1",)) == 1


def test_a_reservation_that_never_reaches_its_ant_ends(colony: Colony) -> None:
    """The ant's next hello does not name it: the device is free, and the task takes its turn again."""
    any_gpu = colony.define(job("any", "[{count: 2}]"))
    colony.submit("a", any_gpu)
    colony.join("x", claims=())
    assert devices(colony, "a") == ("gpu0", "gpu1")
    assert len(colony.tokens["a", "work"]) == 2


def test_an_urgent_task_gets_the_device_of_another() -> None:
    """Preemption counts devices: who gives way is who has the one that is wanted."""
    colony = Colony()
    source = "policy: priority\nset: {preemptive: true}\n"
    colony.core.waiting.take(source, checked(source), "ops")
    colony.ant("x", 8, devices=FARM)
    plain = colony.define("job_type: plain\ntasks: [{task_type: work, script: x}]\n")
    low = colony.define(job("low", "[{match: {kind: a100}}]"))
    high = colony.define(job("high", "[{match: {kind: a100}}]", more="priority: 9"))
    colony.submit("p", plain)
    colony.submit("l", low)
    colony.submit("h", high)
    runs = {name: colony.core.jobs[name].run for name in "pl"}
    states = {name: run.runs[0].preempting for name, run in runs.items() if run is not None}
    assert states == {"p": False, "l": True}


@pytest.mark.parametrize(
    ("text", "line", "column", "code"),
    [
        ("  devices: [{mach: {a: b}}]", 5, 14, "UNKNOWN_FIELD"),
        ("  devices: [{count: 0}]", 5, 21, "OUT_OF_RANGE"),
        ("  devices: [{count: some}]", 5, 21, "WRONG_TYPE"),
        ("  devices: gpu", 5, 12, "WRONG_TYPE"),
        ("  devices: [gpu]", 5, 13, "WRONG_TYPE"),
        ("  devices: [{expressions: [{key: a, operator: Near}]}]", 5, 47, "BAD_VALUE"),
        ("  method: KUBERNETES\n  container: {image: a}\n  devices: [{count: 1}]", 7, 12, "METHOD_MISMATCH"),
    ],
)
def test_mistakes_have_their_place(text: str, line: int, column: int, code: str) -> None:
    (parsed,) = parse_source(f"job_type: j\ntasks:\n- task_type: a\n  script: x\n{text}\n")
    found = [one for one in parsed.violations if one.is_error]
    assert [(one.line, one.column, one.code) for one in found] == [(line, column, code)]


def test_what_an_ant_says_of_a_device() -> None:
    name, device = read_device("gpu0:kind=a100,memory=40,env.CUDA_VISIBLE_DEVICES=0")
    assert (name, device.attributes) == ("gpu0", {"kind": "a100", "memory": "40"})
    assert read_device("cam") == ("cam", AntDevice())
    config = AntConfig("x", devices={name: device, "gpu1": AntDevice(environment={"CUDA_VISIBLE_DEVICES": "1"})})
    found = config.device_environment(("gpu0", "gpu1"))
    assert found == {"FORMICARY_DEVICES": "gpu0,gpu1", "CUDA_VISIBLE_DEVICES": "0,1"}


@pytest.mark.parametrize(
    ("text", "told"),
    [("", "write NAME"), ("a b:x=1", "write NAME"), ("gpu0:kind", "'kind': write"), ("gpu0:env.A-B=1", "names no env")],
)
def test_what_is_no_device(text: str, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        read_device(text)


def test_the_late_hello_of_a_process_that_is_gone_says_nothing_of_the_next_one(colony: Colony) -> None:
    """Devices of an ant are those that the process has which is to use them."""
    colony.core.connect(
        98, Hello("y", "2", frozenset({"SHELL"}), frozenset(), 8, 8, devices={"gpu2": {"kind": "h100"}})
    )
    colony.core.connect(99, Hello("y", "1", frozenset({"SHELL"}), frozenset(), 8, 8, devices={"old": {"kind": "p4"}}))
    colony.core.disconnect(99)
    colony.settle()
    wanted = colony.define(job("wanted", "[{match: {kind: h100}}]"))
    gone = colony.define(job("gone", "[{match: {kind: p4}}]"))
    colony.submit("a", wanted)
    colony.submit("b", gone)
    assert colony.core.jobs["a"].state == "EXECUTING"
    assert colony.core.leases.devices.holders("y").keys() == {"gpu2"}
    assert colony.core.jobs["b"].state == "PENDING"
