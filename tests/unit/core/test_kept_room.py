"""A job whose first task has templates begins on an ant, and the room is its own while that task is rendered."""

import pytest

from formicary.engine.queen.queues import checked
from tests.unit.core.colony import Colony

TEMPLATED = "job_type: {name}\ntasks:\n- task_type: a\n  script: ['echo {{{{.x}}}}']\n{more}"
PREPARED = "job_type: {name}\nskip_if: '{{{{if eq .x 2}}}} true {{{{end}}}}'\ntasks:\n- {{task_type: a, script: ok}}\n"


def made(*definitions: str, slots: int = 1) -> Colony:
    """A colony with one ant, whose texts are rendered when the test says so."""
    colony = Colony()
    for one in definitions:
        colony.define(one)
    colony.ant("x", slots, resources={"cpu": 2.0}, tags=frozenset({"big"}))
    colony.holds_rendering = True
    return colony


def states(colony: Colony, *jobs: str) -> list[str]:
    """Of each job."""
    return [colony.job(one).state for one in jobs]


@pytest.mark.parametrize("text", [TEMPLATED, PREPARED], ids=["task", "job"])
@pytest.mark.parametrize("queues", ["", "policy: fcfs\nqueues: [a]\ndefault: a\n"], ids=["plain", "queues"])
def test_only_as_many_jobs_begin_as_there_is_room_for(text: str, queues: str) -> None:
    """The others stay PENDING, so that neither their clock runs nor their parameters are loaded."""
    colony = made(text.format(name="t", more=""), slots=2)
    if queues:
        colony.core.waiting.take(queues, checked(queues), "ops")
    for number in range(5):
        colony.submit(f"j{number}", "t:1", params={"x": 1})
    assert states(colony, *(f"j{n}" for n in range(5))) == ["EXECUTING"] * 2 + ["PENDING"] * 3
    colony.render()
    colony.render()
    assert [colony.task(f"j{n}", "a").state for n in (0, 1)] == ["DISPATCHED"] * 2
    colony.ok("j0", "a")
    colony.render()
    colony.render()
    assert states(colony, "j2", "j3") == ["EXECUTING", "PENDING"]


def test_who_was_first_is_first_though_he_is_rendered_last() -> None:
    """Of two places, one lock: the job that comes first holds it from the decision on."""
    locked = TEMPLATED.format(name="t", more="  resources: {resource_type: licence}\n")
    colony = made(locked, slots=4)
    for number in range(3):
        colony.submit(f"j{number}", "t:1", params={"x": 1})
    assert states(colony, "j0", "j1", "j2") == ["EXECUTING", "PENDING", "PENDING"]
    colony.render()
    assert colony.task("j0", "a").state == "DISPATCHED"


def test_amounts_are_kept_too_and_an_ant_that_does_not_fit_begins_nothing() -> None:
    """What the task holds of its ant is known though its script is not; so is which ants may run it."""
    colony = made(
        TEMPLATED.format(name="t", more="  resources: {cpu: 1.5}\n"),
        TEMPLATED.format(name="other", more="  tags: [gpu]\n"),
        slots=4,
    )
    colony.submit("away", "other:1", params={"x": 1})
    colony.submit("j0", "t:1", params={"x": 1})
    colony.submit("j1", "t:1", params={"x": 1})
    assert states(colony, "away", "j0", "j1") == ["PENDING", "EXECUTING", "PENDING"]


@pytest.mark.parametrize("way", ["cancel", "pause", "drop", "die", "filtered"])
def test_the_room_is_given_back_whatever_becomes_of_the_job(way: str) -> None:
    """The next job begins, and what was kept is kept by nobody."""
    text = PREPARED if way == "filtered" else TEMPLATED
    colony = made(text.format(name="t", more=""))
    colony.submit("j0", "t:1", params={"x": 2})
    colony.submit("j1", "t:1", params={"x": 1})
    if way == "cancel":
        colony.cancel("j0")
    elif way == "pause":
        colony.core.pause("j0")
        colony.settle()
    elif way == "filtered":
        colony.render()
    else:
        getattr(colony, way)("x")
        if way == "die":
            colony.core.bury("x")
        colony.render()
        colony.ant("x", 1)
        colony.render()
        assert colony.task("j0", "a").state == "DISPATCHED" and states(colony, "j1") == ["PENDING"]
        colony.ok("j0", "a")
    assert states(colony, "j1") == ["EXECUTING"]
    colony.render()
    colony.render()
    colony.ok("j1", "a")
    assert states(colony, "j1") == ["COMPLETED"]
    leases = colony.core.leases
    assert not leases.places and not any(ant.held or ant.used for ant in leases.ants.values())


REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
APART = f"{{podAntiAffinity: {{{REQUIRED}: [{{topologyKey: zone, labelSelector: {{matchLabels: {{app: s}}}}}}]}}}}"
MORE = ["devices: [{match: {kind: gpu}}]", f"labels: {{app: s}}\n  affinity: {APART}"]


@pytest.mark.parametrize("queues", ["", "policy: fcfs\nqueues: [a]\ndefault: a\n"], ids=["plain", "queues"])
@pytest.mark.parametrize("head", ["", "skip_if: '{{.y}}'\n"], ids=["task", "job"])
@pytest.mark.parametrize("more", MORE, ids=["devices", "affinity"])
def test_devices_and_neighbours_are_kept_too(more: str, head: str, queues: str) -> None:
    """Who could not have the device, or would be beside one that keeps it off, does not begin meanwhile."""
    colony = Colony()
    script = "x" if head else "'echo {{.x}}'"
    colony.define(f"job_type: t\n{head}tasks:\n- task_type: a\n  script: [{script}]\n  {more}\n")
    colony.ant("x", 4, labels={"zone": "eu"}, devices={"gpu0": {"kind": "gpu"}})
    colony.holds_rendering = True
    if queues:
        colony.core.waiting.take(queues, checked(queues), "ops")
    for number in range(3):
        colony.submit(f"j{number}", "t:1", params={"x": 1})
    assert states(colony, "j0", "j1", "j2") == ["EXECUTING", "PENDING", "PENDING"]
    colony.render()
    colony.render()
    assert colony.task("j0", "a").state == "DISPATCHED" and states(colony, "j1") == ["PENDING"]
    colony.ok("j0", "a")
    assert states(colony, "j0", "j1", "j2") == ["COMPLETED", "EXECUTING", "PENDING"]
    colony.cancel("j1")
    assert states(colony, "j2") == ["EXECUTING"]


def test_no_room_that_is_kept_is_a_neighbour_to_be_near_to() -> None:
    """Only what runs is: the room may be for a task that is left out."""
    colony = made(TEMPLATED.format(name="t", more="  labels: {app: s}\n"), slots=4)
    near = APART.replace("podAntiAffinity", "podAffinity").replace("zone", "ant")
    colony.define(f"job_type: n\ntasks:\n- task_type: a\n  script: x\n  affinity: {near}\n")
    colony.submit("before", "n:1")
    colony.submit("j0", "t:1", params={"x": 1})
    assert states(colony, "j0", "before") == ["EXECUTING", "PENDING"]
    colony.render()
    assert states(colony, "before") == ["EXECUTING"]


def test_a_term_that_is_new_knows_of_room_that_is_kept() -> None:
    """Also about another label of ants than was asked about before; and nothing is left of it afterwards."""
    colony = Colony()
    colony.ant("x", 9, labels={"zone": "eu"})
    colony.define(TEMPLATED.format(name="t", more="  labels: {app: s}\n"))
    for name, key in (("by_zone", "zone"), ("by_ant", "ant")):
        terms = APART.replace("zone", key)
        colony.define(f"job_type: {name}\ntasks:\n- task_type: a\n  script: x\n  affinity: {terms}\n")
    colony.submit("first", "by_zone:1")
    colony.ok("first", "a")
    colony.holds_rendering = True
    colony.submit("kept", "t:1", params={"x": 1})
    colony.submit("later", "by_ant:1")
    assert states(colony, "kept", "later") == ["EXECUTING", "PENDING"]
    colony.render()
    assert states(colony, "later") == ["PENDING"]
    colony.ok("kept", "a")
    assert states(colony, "later") == ["EXECUTING"]
    colony.submit("again", "t:1", params={"x": 1})
    assert colony.task("again", "a") is None, "what runs keeps it off"
