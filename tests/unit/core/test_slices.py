"""Thousands of jobs or elements begin and end in slices; a queen that is killed between two of them goes on."""

import json
from collections.abc import Iterator

import pytest

from formicary.engine.jobs.fan_out import is_element
from formicary.engine.queen.core import slices
from formicary.engine.queen.core.batch import Batch
from formicary.engine.queen.core.outcome import CANCELLED, COMPLETED, FAILED
from tests.unit.core.colony import Colony

ITEMS = 23
CHILD = "job_type: child\nrequired_params: [n]\ntasks:\n- task_type: work\n  script: x\n"
PARENTS = {
    "jobs": "  method: FAN_OUT_JOB\n  fork_job_type: child\n",
    "elements": "  script: x\n",
}
FAN = "job_type: parent\ntasks:\n- task_type: fan\n%s  fan_out: {source: list, item_var: n%s}\n%s"


class Killed(Exception):
    """The queen has been killed."""


class Mortal(Colony):
    """A colony whose queen can be killed right after one of her commits, before anything of it is let out."""

    def __init__(self) -> None:
        super().__init__()
        self.dies_at = 0
        self.commits = 0
        self.begun: list[int] = []
        """Jobs and elements that each commit was the first to hold."""
        self._known: set[tuple[int, int]] = set()

    def _release(self, batch: Batch) -> None:
        self.commits += 1
        held = {(number, -1) for number in batch.changes.jobs if number > 1}
        held |= {place for place in batch.changes.tasks if is_element(place[1])}
        self.begun.append(len(held - self._known))
        self._known |= held
        if self.commits == self.dies_at:
            raise Killed
        super()._release(batch)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Slices that a short list fills many times."""
    monkeypatch.setattr(slices, "SLICE", 4)
    monkeypatch.setattr(slices, "LOOKS", 3)
    yield


def started(kind: str, commits: int = 0, fan: str = "", task: str = "", slots: int = 100) -> tuple[Mortal, bool]:
    """A colony in which a job has fanned out over the list; whether its queen was killed and started again."""
    colony = Mortal()
    colony.define(CHILD)
    colony.ant("x", slots=slots)
    parent = colony.define(FAN % (PARENTS[kind], fan, task))
    colony.dies_at = colony.commits + commits
    try:
        colony.submit("j", parent, params={"list": list(range(ITEMS))})
    except Killed:
        revive(colony)
        return colony, True
    finally:
        colony.dies_at = 0
    return colony, False


def revive(colony: Colony) -> None:
    """The queen starts again, and the ant comes back with what it was told."""
    colony.restart()
    colony.join("x")


def finish(colony: Colony) -> dict[int, int]:
    """Completes all that the ant is given; how often each element of the list was run to its end."""
    seen: dict[int, int] = {}
    worker = colony.workers["x"]
    while worker.held:
        grant = next(iter(worker.held.values()))
        number = json.loads(grant.variables)["n"]
        seen[number] = seen.get(number, 0) + 1
        colony.result("", "", COMPLETED, exit_code=0, token=grant.token, outputs={"square": number**2})
    return seen


@pytest.mark.parametrize("kind", PARENTS)
def test_a_commit_holds_one_slice(kind: str) -> None:
    """However long the list is; all of it is run once and stands in the results in its order."""
    colony, _ = started(kind)
    assert max(colony.begun) == 4 and sum(colony.begun) >= ITEMS
    assert finish(colony) == dict.fromkeys(range(ITEMS), 1)
    run = colony.task("j", "fan")
    assert run is not None and run.state == "COMPLETED"
    results = json.loads(run.outputs or b"")["FanOutResults"]
    assert [(one["index"], one["outputs"]["square"]) for one in results] == [(n, n * n) for n in range(ITEMS)]


@pytest.mark.parametrize("commits", range(1, 10))
@pytest.mark.parametrize("kind", PARENTS)
def test_a_kill_between_slices_loses_nothing_and_doubles_nothing(kind: str, commits: int) -> None:
    """Each element is run to its end once, whichever commit was the last."""
    colony, was_killed = started(kind, commits)
    assert was_killed or commits > 6
    assert finish(colony) == dict.fromkeys(range(ITEMS), 1)
    assert colony.task("j", "fan").state == "COMPLETED"  # type: ignore[union-attr]  # it has begun


def after(colony: Mortal, commits: int, act: str) -> int:
    """Does something to the job; the queen is killed after so many commits of it, and starts again.

    Returns how many attempts begin thereafter.
    """
    colony.dies_at, known = colony.commits + commits, 0
    try:
        if act == "cancel":
            colony.cancel("j")
        elif act == "time":
            colony.advance(61.0)
        else:
            token = next(iter(colony.workers["x"].held))
            colony.result("", "", FAILED, exit_code=1, token=token)
    except Killed:
        colony.dies_at, known = 0, granted(colony)
        revive(colony)
    known = known or granted(colony)
    if act == "time":
        colony.advance(1.0)
    worker = colony.workers["x"]
    while worker.held:
        token = next(iter(worker.held))
        told = token in worker.cancelled
        colony.result("", "", CANCELLED if told else COMPLETED, exit_code=None if told else 0, token=token)
    return granted(colony) - known


def granted(colony: Colony) -> int:
    """How many attempts the ant was told of."""
    return sum(map(len, colony.tokens.values()))


@pytest.mark.parametrize("commits", [1, 2, 3, 4, 5, 6, 20])
@pytest.mark.parametrize(
    ("act", "fan", "task", "state", "code"),
    [
        ("cancel", "", "", "CANCELLED", "ERR_CANCELLED"),
        ("time", "", "  timeout: 1m\n", "FAILED", "ERR_TIMEOUT"),
        ("fail", ", fail_fast: true", "", "FAILED", "ERR_CHILD_FAILED"),
    ],
)
def test_a_kill_while_jobs_are_cancelled_leaves_none(
    act: str, fan: str, task: str, state: str, code: str, commits: int
) -> None:
    """Cancelling, too, goes in slices: what is left is cancelled by the next queen."""
    colony, _ = started("jobs", fan=fan, task=task, slots=2)
    assert len(colony.core.jobs) == ITEMS + 1
    assert after(colony, commits, act) == 0, "no other job begins"
    assert not colony.core.jobs
    job, run = colony.job("j"), colony.task("j", "fan")
    assert run is not None and (job.state, run.error_code) == (state, code)


def test_what_an_ended_fan_out_has_left_is_let_go_of_in_slices() -> None:
    """All of it, in turns of the loop: freeing thousands at once would hold it."""
    colony, _ = started("elements")
    run = colony.core.jobs["j"].run
    assert run is not None and len(run.elements) == ITEMS
    for index in range(ITEMS):
        assert run.elements
        colony.ok("j", f"fan[{index}]")
    assert colony.job("j").state == "COMPLETED" and not run.elements and not colony.core.slices.has_begun
