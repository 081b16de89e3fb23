"""Rules of error codes: which one counts, what is refused, and that no pattern can stop the queen."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

import pytest

from formicary.engine.jobs.error_rules import ErrorRule, Failure
from formicary.engine.queen.error_codes import MAX_RULES, ErrorCodes
from formicary.engine.storage.memory import MemoryStore
from formicary.problems import Problem

RULE = ErrorRule("a", "r", "", "", "", 1, "", "ERR_X", "", "", 0)
FAILURE = Failure("a", "nightly", "load", "linux", 1, "disk: No space left on device")


def codes(*rules: ErrorRule, store: MemoryStore | None = None) -> ErrorCodes:
    found = ErrorCodes(store or MemoryStore(strict=True), lambda: 5.0)

    async def fill() -> None:
        for rule in rules:
            await found.put(rule)

    asyncio.run(fill())
    return found


def name(found: ErrorRule | None) -> str:
    return found.name if found is not None else ""


def test_the_most_specific_rule_counts() -> None:
    """Task before job type before platform before the organisation before the system; then more criteria; then name."""
    ladder = [
        replace(RULE, name="task", task_type="load"),
        replace(RULE, name="job", job_type="nightly"),
        replace(RULE, name="platform", platform="linux"),
        replace(RULE, name="both", pattern="space"),
        replace(RULE, name="b"),
        replace(RULE, name="c"),
        replace(RULE, org="", name="a"),
    ]
    for at in range(len(ladder)):
        assert name(codes(*reversed(ladder[at:])).find(FAILURE)) == ladder[at].name


def test_what_a_rule_names_must_be_so() -> None:
    """Exit code, pattern, scope and organisation each shut a rule out."""
    for change in (
        {"exit_code": 2},
        {"pattern": "^space"},
        {"job_type": "other"},
        {"task_type": "other"},
        {"platform": "bsd"},
        {"org": "b"},
    ):
        assert codes(replace(RULE, **change)).find(FAILURE) is None  # type: ignore[arg-type]  # of several types
    assert codes(RULE).find(replace(FAILURE, exit_code=None)) is None
    assert codes(replace(RULE, exit_code=None, pattern="(?i)no SPACE")).find(FAILURE) is not None


def test_everything_that_is_wrong_is_told_at_once() -> None:
    wrong = ErrorRule("a", "-", "x" * 101, "", "", None, "", "OOPS", "a\nb", "DANCE", 5)
    with pytest.raises(Problem) as refused:
        codes(wrong)
    fields = [one.field for one in refused.value.errors]
    assert fields == ["name", "code", "job_type", "exit_code", "message", "action"]
    with pytest.raises(Problem, match="RE2"):
        codes(replace(RULE, pattern=r"(a)\1"))
    with pytest.raises(Problem, match="from 1 to 100"):
        codes(replace(RULE, action="RETRY_JOB"))
    with pytest.raises(Problem, match="only"):
        codes(replace(RULE, retry=1))


def test_a_pattern_that_kills_backtracking_matchers_costs_nothing() -> None:
    """Matching takes time in proportion to the text: 64 KB against a classic of catastrophes."""
    found = codes(replace(RULE, exit_code=None, pattern=r"^(a+)+$"))
    begun = time.monotonic()
    assert found.find(replace(FAILURE, text="a" * 65536 + "!")) is None
    assert time.monotonic() - begun < 5


def test_rules_come_back_and_go() -> None:
    """What was put is found by the next queen; what was removed is not."""
    store = MemoryStore(strict=True)
    first = codes(RULE, replace(RULE, name="s"), store=store)
    second = ErrorCodes(store)
    asyncio.run(second.load())
    assert [rule.name for rule in second.of("a")] == ["r", "s"] == [rule.name for rule in first.of("a")]
    asyncio.run(second.remove("a", "r"))
    assert name(second.find(FAILURE)) == "s"
    with pytest.raises(Problem, match="no error code"):
        second.get("a", "r")


def test_there_is_a_bound() -> None:
    rules = [replace(RULE, name=f"r{number}") for number in range(MAX_RULES)]
    full = codes(*rules)
    asyncio.run(full.put(replace(rules[0], exit_code=9)))  # an existing one may change
    with pytest.raises(Problem, match="remove some"):
        asyncio.run(full.put(replace(RULE, name="more")))
