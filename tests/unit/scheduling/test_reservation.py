"""What is set aside for a task that uses less than it has asked for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from formicary.engine.scheduling.policies.reservation import Observed, counted, set_aside
from formicary.engine.scheduling.queues.reading import read_queues

AMOUNTS = st.floats(0.001, 1000.0)
RULES = st.builds(Observed, st.floats(0.1, 1.0), st.floats(1.0, 10.0), st.floats(0.5, 600.0))


@given(AMOUNTS, st.lists(st.tuples(st.floats(0.0, 2000.0), st.floats(0.0, 100.0)), max_size=20), RULES)
def test_it_is_never_less_than_the_use_nor_more_than_the_request(
    asked: float, seen: list[tuple[float, float]], rule: Observed
) -> None:
    aside = asked
    for used, passed_s in seen:
        before, aside = aside, set_aside(asked, aside, used, passed_s, rule)
        assert min(asked, used) - 0.01 * asked <= aside <= asked
        assert before - aside <= asked * passed_s / rule.after_s + 1e-9 * asked, "it falls no quicker than this"


@given(st.lists(st.tuples(AMOUNTS, st.floats(0.0, 1.0)), max_size=20), AMOUNTS, RULES)
def test_requests_that_are_let_in_stay_below_their_bound(
    tasks: list[tuple[float, float]], capacity: float, rule: Observed
) -> None:
    requests = aside = 0.0
    for asked, part in tasks:
        if counted(requests, aside, capacity, rule) + asked <= capacity:
            requests, aside = requests + asked, aside + asked * part
    assert requests <= rule.most * capacity * (1 + 1e-9)


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("observed", Observed()),
        ("{observed: 0.9}", Observed(0.9)),
        ("{observed: 0.9, most: 4, after: 1m}", Observed(0.9, 4.0, 60.0)),
    ],
)
def test_a_file_says_it(text: str, rule: Observed) -> None:
    found = read_queues(f"overcommit: {{cpu: {text}, gpu: 2}}\n").queues
    assert found is not None and found.observed == {"cpu": rule} and found.overcommit == {"gpu": 2.0}


@pytest.mark.parametrize(
    ("text", "path", "code"),
    [
        ("gpu: observed", "gpu", "BAD_VALUE"),
        ("cpu: seen", "cpu", "WRONG_TYPE"),
        ("cpu: {most: 3}", "cpu.observed", "MISSING_FIELD"),
        ("cpu: {observed: 2}", "cpu.observed", "OUT_OF_RANGE"),
        ("cpu: {observed: 0.9, most: 1000}", "cpu.most", "OUT_OF_RANGE"),
        ("cpu: {observed: 0.9, after: 0s}", "cpu.after", "BAD_VALUE"),
        ("cpu: {observed: 0.9, before: 1s}", "cpu.before", "UNKNOWN_FIELD"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(text: str, path: str, code: str) -> None:
    (found,) = read_queues(f"overcommit:\n  {text}\n").violations
    assert (found.path, found.code, found.line) == (f"overcommit.{path}", code, 2)
