"""Precedence, built-ins, parameters, backoff and durations."""

import random

import pytest

from formicary.engine.jobs.backoff import backoff_delay, retry_delay
from formicary.engine.jobs.durations import parse_duration
from formicary.engine.jobs.model import Backoff, JobDefinition, Parameter, TaskDefinition
from formicary.engine.jobs.variables import (
    defaults,
    job_builtins,
    layer,
    missing_params,
    parse_params,
    task_builtins,
    wrong_params,
)


def test_later_sources_win() -> None:
    names = [
        "org_configs",
        "user_configs",
        "job_variables",
        "job_configs",
        "task_variables",
        "params",
        "context",
        "builtins",
    ]
    for i, name in enumerate(names):
        values = {n: {"x": n} for n in names[: i + 1]}
        assert layer(**values)["x"] == name


def test_builtins_say_when_and_which() -> None:
    found = job_builtins(job_id="j1", job_type="t", now=1700000000.0, started_at=1699999990.4, retry=2, user_id="u")
    assert found["FullDate"] == "2023-11-14" and found["YearDay"] == 318 and found["JobElapsedSecs"] == 9
    assert (found["DateYear"], found["DateMonth"], found["DateDay"]) == (2023, 11, 14)
    assert (found["JobID"], found["JobRetry"], found["EpochSecs"], found["UserID"]) == ("j1", 2, 1700000000, "u")
    assert task_builtins("a", 1) == {"TaskType": "a", "TaskRetry": 1}


def test_missing_parameters_are_named_in_order() -> None:
    job = JobDefinition("j", required_params=("b", "a", "c"), variables={"c": 1}, parameters=(Parameter("d"),))
    assert missing_params(job, {"a": 0}) == ("b", "d")
    assert missing_params(job, {"a": None, "d": 1}, {"b": "x"}) == ("a",)


def test_typed_parameters_are_checked() -> None:
    job = JobDefinition(
        "j", parameters=(Parameter("n", "int"), Parameter("f", "float", False, 1.5), Parameter("s", "str"))
    )
    assert wrong_params(job, {"n": 1, "f": 2, "s": "x"}) == ()
    assert len(wrong_params(job, {"n": True, "f": "2", "s": 3})) == 3
    assert defaults(job) == {"f": 1.5}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3),
        ("-1.5", -1.5),
        ("true", True),
        ("yes", "yes"),
        ("null", None),
        ("", ""),
        ("007", "007"),
        ('"3"', "3"),
        ("[1, 2]", [1, 2]),
        ('{"a": 1}', {"a": 1}),
        ("[broken", "[broken"),
        ("a=b", "a=b"),
        (".nan", ".nan"),
    ],
)
def test_a_parameter_of_the_command_line_is_typed(text: str, value: object) -> None:
    assert parse_params([f"k={text}"]) == {"k": value}


def test_a_parameter_that_is_text_stays_text() -> None:
    assert parse_params(["k=3"], [Parameter("k", "str")]) == {"k": "3"}


@pytest.mark.parametrize("pair", ["novalue", "=x", "a b=1", ""])
def test_a_wrong_parameter_is_refused(pair: str) -> None:
    with pytest.raises(ValueError, match="NAME=VALUE"):
        parse_params([pair])


def test_waits_before_retries() -> None:
    rng = random.Random(3)
    assert all(1 <= retry_delay(TaskDefinition("a"), 1, rng) <= 2 for _ in range(50))
    assert all(5 <= retry_delay(JobDefinition("a"), 1, rng) <= 14 for _ in range(50))
    assert retry_delay(TaskDefinition("a", delay_between_retries_s=(3.0, 3.0)), 9, rng) == 3.0
    policy = Backoff(1.0, 30.0, 2.0)
    assert [backoff_delay(policy, n, rng) for n in (0, 1, 2, 3, 6, 10_000)] == [1.0, 1.0, 2.0, 4.0, 30.0, 30.0]
    with_jitter = Backoff(1.0, 30.0, 2.0, True)
    assert all(2 <= backoff_delay(with_jitter, 3, rng) <= 4 for _ in range(50))
    assert retry_delay(TaskDefinition("a", retry_backoff=policy), 2, rng) == 2.0


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("15s", 15), ("2m", 120), ("1h30m", 5400), ("500ms", 0.5), (3, 3), ("1d", 86400), ("1.5h", 5400), ("10us", 1e-5)],
)
def test_durations(text: object, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text", ["", "s", "5", "5 s", "-1s", "1h 30m", True, None, [], float("nan"), "9999d", "1" * 60 + "s"]
)
def test_what_is_no_duration(text: object) -> None:
    with pytest.raises(ValueError):
        parse_duration(text)
