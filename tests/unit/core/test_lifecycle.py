"""The life cycles are tables; what they do not say raises and changes nothing."""

import pytest

from formicary.engine.jobs import lifecycle as life

TABLES = [("job", life.JOB, life.JOB_STATES, life.JOB_ENDED), ("task", life.TASK, life.TASK_STATES, life.TASK_ENDED)]
LATER = {life.PAUSED}
"""States that only jobs have."""


@pytest.mark.parametrize(("kind", "table", "states", "ended"), TABLES)
def test_every_state_can_be_reached(
    kind: str, table: life.Table, states: tuple[str, ...], ended: frozenset[str]
) -> None:
    """From PENDING every state is reached by some events, and the tables name no other state."""
    reached = {life.PENDING}
    while more := {after for (before, _), after in table.items() if before in reached} - reached:
        reached |= more
    assert reached == set(states) - (LATER if kind == "task" else set())
    assert {state for pair in table.items() for state in (pair[0][0], pair[1])} <= set(states)


@pytest.mark.parametrize(("kind", "table", "states", "ended"), TABLES)
def test_an_end_is_an_end(kind: str, table: life.Table, states: tuple[str, ...], ended: frozenset[str]) -> None:
    """Nothing leads out of an ended state but the retry of a job that did not complete."""
    assert {key for key in table if key[0] in ended} == (
        {(life.FAILED, "retry"), (life.CANCELLED, "retry")} if kind == "job" else set()
    )


@pytest.mark.parametrize("step", [life.job_state, life.task_state])
def test_an_illegal_pair_raises(step: object) -> None:
    """COMPLETED cannot be cancelled, and the error says so in a sentence."""
    assert callable(step)
    with pytest.raises(life.IllegalTransition, match="that is COMPLETED cannot cancel"):
        step(life.COMPLETED, "cancel")


def test_aliases_are_states() -> None:
    """The original engine's names stand for states of ours."""
    assert set(life.ALIASES.values()) <= set(life.JOB_STATES)
