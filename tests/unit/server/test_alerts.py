"""Alert rules: what a condition says, where a file is wrong, when an episode begins, acts and ends."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from formicary.engine.queen.notify.alerting import channels_of, write
from formicary.problems import Problem
from formicary.server.alerts.condition import SHORT, Figures, WrongCondition, parse
from formicary.server.alerts.episodes import FIRING, PENDING, QUIET, Episode, done, step
from formicary.server.alerts.rules import METRICS, AlertRule, read_file, read_rules
from tests.unit.core.colony import Colony

ROOT = Path(__file__).resolve().parents[3]
FIGURES: Figures = {
    "queue_depth_by_priority": [({"priority": "0"}, 900.0), ({"priority": "10"}, 200.0)],
    "formicary_backlog": [({"method": "SHELL", "tags": ""}, 1000.0), ({"method": "", "tags": ""}, 100.0)],
    "resource_utilization_by_worker": [({"worker": "a"}, 0.5), ({"worker": "b"}, 0.1)],
    "average_wait_time_by_tag": [({"tag": ""}, 90.0)],
    "formicary_dead_letters": [],
}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("queue_depth > 1000", True),
        ("queue_depth > 1.2k", False),
        ("utilization < 30%", False),
        ("utilization <= 30 %", True),
        ("worker_utilization < 0.31", True),
        ("wait_time >= 1.5m", True),
        ("wait_time > 2m", False),
        ('queue_depth_by_priority{priority="10"} > 150', True),
        ('queue_depth_by_priority{priority="10"} > 250', False),
        ("queue_depth_by_priority > 250", True),
        ("min(resource_utilization_by_worker) < 20%", True),
        ("dead_letters == 0", True),
        ("dead_letters > 0 or queue_depth > 1000", True),
        ("dead_letters > 0 or queue_depth > 1000 and wait_time > 1h", False),
        ("(dead_letters > 0 or queue_depth > 1000) and wait_time > 1s", True),
        ("formicary_dead_letters > 0", False),
    ],
)
def test_conditions_hold_or_not(text: str, expected: bool) -> None:
    """Percentages, units, labels, functions, and/or with the usual precedence."""
    assert parse(text, METRICS).holds(FIGURES) is expected


@pytest.mark.parametrize(
    ("text", "at", "words"),
    [
        ("queue_dept > 3", 0, "no figure 'queue_dept'"),
        ("queue_depth > ", 13, "a number here"),
        ("queue_depth = 3", 12, "comparison"),
        ("queue_depth > 3 utilization < 2", 16, "'and' or 'or'"),
        ('queue_depth_by_priority{tag="x"} > 3', 24, "no label 'tag'"),
        ("queue_depth > 3 and", 19, "Begin with a figure"),
        ("(queue_depth > 3", 16, "')'"),
        ("queue_depth > 3 ; 2", 16, "no meaning"),
        ("1000 < queue_depth", 0, "Begin with a figure"),
    ],
)
def test_what_is_no_condition_is_told_with_its_place(text: str, at: int, words: str) -> None:
    """The character, and what to do."""
    with pytest.raises(WrongCondition) as caught:
        parse(text, METRICS)
    assert words in caught.value.message and caught.value.at == at


def test_every_short_name_stands_for_a_metric_there_is() -> None:
    """Functions and metrics of the catalogue."""
    for name in SHORT:
        parse(f"{name} > 0", METRICS)


def test_the_example_is_valid() -> None:
    """What the how-to shows can be used."""
    rules = read_file(ROOT / "examples" / "alerts.yaml")
    assert [one.action for one in rules.rules] == ["scale_workers", "consolidate_workers", "notify"]
    assert rules.interval_s == 5.0 and rules.rules[0].for_s == 30.0 and rules.rules[0].most == 8


WRONG = """\
interval: 5s
alerts:
  - name: a
    condition: queue_depth >> 3
    action: scale_workers
  - name: a
    condition: "utilization < 130 apples"
    action: explode
    colour: red
  - condition: queue_depth > 3
    action: webhook
    least: 2
"""


def test_a_file_is_checked_as_a_whole(tmp_path: Path) -> None:
    """Every mistake at once, each with file, line and column."""
    file = tmp_path / "alerts.yaml"
    file.write_text(WRONG)
    with pytest.raises(Problem) as caught:
        read_file(file)
    found = [(one.line, one.column, one.code) for one in caught.value.errors]
    assert found == [
        (4, 29, "BAD_CONDITION"),
        (6, 11, "DUPLICATE_NAME"),
        (7, 35, "BAD_CONDITION"),
        (8, 13, "BAD_VALUE"),
        (9, 5, "UNKNOWN_FIELD"),
        (10, 5, "MISSING_FIELD"),
        (12, 12, "WRONG_FIELD"),
    ]
    assert f"{file}:4:29: " in caught.value.detail
    for text in ("", "- x", "alerts: [", "alerts: {a: b}", "{}"):
        assert read_rules(text)[1]


def rule(for_s: float = 0.0, repeat_s: float = 0.0) -> AlertRule:
    """A rule whose condition the test decides."""
    return AlertRule("a", "queue_depth > 0", parse("queue_depth > 0", METRICS), "webhook", for_s, repeat_s)


def test_an_episode_fires_once() -> None:
    """After it has held for long enough; not again while it holds; again after it was over."""
    one = rule(for_s=10.0)
    now = step(one, Episode(), 100.0, holds=True)
    assert now.state == PENDING and not now.owes
    now = step(one, now, 109.0, holds=True)
    assert now.state == PENDING
    now = step(one, now, 110.0, holds=True)
    assert now.state == FIRING and now.owes and now.number == 1
    now = done(now)
    for at in (111.0, 500.0, 9000.0):
        now = step(one, now, at, holds=True)
        assert not now.owes and now.number == 1
    now = step(one, now, 9001.0, holds=False)
    assert now.state == QUIET
    assert step(one, now, 9002.0, holds=False) is now
    now = step(one, step(one, now, 9003.0, holds=True), 9013.0, holds=True)
    assert now.owes and now.number == 2


def test_a_short_breach_is_none_and_a_long_one_may_be_told_again() -> None:
    """`for` begins anew each time; `repeat` waits for the action before it."""
    one = rule(for_s=10.0, repeat_s=60.0)
    now = step(one, step(one, Episode(), 0.0, holds=True), 5.0, holds=False)
    now = step(one, now, 8.0, holds=True)
    assert step(one, now, 12.0, holds=True).state == PENDING
    now = step(one, now, 18.0, holds=True)
    assert now.due == 1 and step(one, now, 500.0, holds=True).due == 1
    now = step(one, done(now), 78.0, holds=True)
    assert now.due == 2 and now.owes and now.number == 1


def test_notices_of_alerts_are_bounded_and_each_has_a_key_of_its_own() -> None:
    """An alert that flaps for ever keeps the rows of a hundred episodes; receivers see every message once."""
    made, rows, keys = Colony(check_twin=False), set(), set()
    body = {"alert": "a", "state": "firing", "condition": "x", "action": "notify", "message": "", "recipients": []}
    for episode in range(250):
        for which in (*range(1, 13), 0):
            channels = channels_of("http://h", ["ann@example.com", "ops"], can_mail=True)
            assert [one.kind for one in channels] == ["webhook", "email"]
            write(made.core, "local", episode, which, body, channels)
            for key, row in made.core.batch.changes.notices.items():
                rows.add(key)
                keys.add(json.loads(bytes(row[8] or b""))["id"])  # type: ignore[arg-type]  # the payload
            made.core.batch.changes.notices.clear()
    assert len(rows) == 100 * 11 * 2 and len(keys) == 250 * 13 * 2
