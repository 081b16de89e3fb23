"""Files of queues: what is right is read, and everything that is wrong is told at once with its place."""

import pytest

from formicary.engine.scheduling.queues.model import Hours, Subject
from formicary.engine.scheduling.queues.reading import MAX_BYTES, read_queues

BAD = """policy: capacty
set: {reclaim: gracefull}
placement: best
default: nope
queues:
- {name: a, guaranteed: 70, policy: prio, set: {ageing: 0.1}}
- {name: b, guaranteed: 40, parent: c, weight: 0}
- {name: c, parent: b, hours: 25:00, foo: 1}
- {name: d, guaranteed: 40, maximum: 20, policy: priority, set: {ageing: 1, aging: fast}}
- {name: a, match: {shorter_than: soon, resources: {cpu: much}}, limit: 0}
- {guaranteed: 10, parent: nobody}
"""


def test_everything_that_is_wrong_is_told_at_once() -> None:
    found = read_queues(BAD)
    assert found.queues is None
    told = {(one.line, one.path, one.code) for one in found.violations}
    assert told >= {
        (1, "policy", "UNKNOWN_VALUE"),
        (3, "placement", "UNKNOWN_VALUE"),
        (4, "default", "UNKNOWN_VALUE"),
        (6, "queues[0].policy", "UNKNOWN_VALUE"),
        (7, "queues[1].weight", "OUT_OF_RANGE"),
        (7, "queues[1].parent", "BAD_QUEUES"),
        (8, "queues[2].hours", "BAD_VALUE"),
        (8, "queues[2].foo", "UNKNOWN_FIELD"),
        (9, "queues[3].set.ageing", "UNKNOWN_PARAMETER"),
        (9, "queues[3].set.aging", "WRONG_TYPE"),
        (9, "queues[3].maximum", "BAD_QUEUES"),
        (10, "queues[4].name", "BAD_QUEUES"),
        (10, "queues[4].match.shorter_than", "BAD_VALUE"),
        (10, "queues[4].match.resources.cpu", "BAD_VALUE"),
        (10, "queues[4].limit", "OUT_OF_RANGE"),
        (11, "queues[5].name", "MISSING_FIELD"),
        (11, "queues[5].parent", "BAD_QUEUES"),
    }
    messages = " ".join(one.message for one in found.violations)
    assert "A cycle: b -> c -> b" in messages
    assert "110 %, over 100 %" in messages
    assert [one.line for one in found.violations] == sorted(one.line for one in found.violations)


@pytest.mark.parametrize(
    ("source", "code"),
    [
        ("", "NOT_A_MAPPING"),
        ("- a\n", "NOT_A_MAPPING"),
        ("policy: [\n", "YAML_SYNTAX"),
        ("queues: 5\n", "WRONG_TYPE"),
        ("policy: fcfs\npolicy: edf\n", "DUPLICATE_FIELD"),
        ("policy: capacity\nset: {reclaim: violent}\n", "UNKNOWN_VALUE"),
        ("policy: fair\nset: {by: queue, weights: {nobody: 2}}\nqueues: [a]\n", "UNKNOWN_VALUE"),
        ("x" * (MAX_BYTES + 1), "FILE_TOO_LARGE"),
        ("preemption_grace: soon\n", "BAD_VALUE"),
        ("preemption_grace: 2h\n", "BAD_VALUE"),
        ("queues: [{name: a, preemption_grace: -1}]\n", "BAD_VALUE"),
    ],
)
def test_other_mistakes(source: str, code: str) -> None:
    assert code in {one.code for one in read_queues(source).violations}


def test_the_grace_is_that_of_the_queue_or_of_what_it_is_part_of() -> None:
    found = read_queues(
        "policy: capacity\npreemption_grace: 5\nqueues:\n- {name: a, preemption_grace: 1m}\n- {name: b, parent: a}\n"
        "- {name: c, parent: a, preemption_grace: 0}\n- d\n"
    ).queues
    assert found is not None
    assert [found.grace_of(name) for name in ("a", "b", "c", "d", "nobody")] == [60.0, 60.0, 0.0, 5.0, 5.0]
    plain = read_queues("policy: capacity\nqueues: [a]\n").queues
    assert plain is not None and plain.grace_of("a") is None


def test_jobs_find_their_queue() -> None:
    found = read_queues(
        "policy: multilevel\nqueues:\n"
        "- {name: quick, match: {shorter_than: 1m}}\n"
        "- {name: gpu, match: {resources: {gpu: 1}}}\n"
        "- {name: web, match: {job_types: [deploy-*, page], labels: {team: web}}}\n"
        "- {name: ann, match: {users: [ann], tags: [big]}}\n"
    )
    config = found.queues
    assert config is not None, found.violations
    assert config.leaf_of(Subject("any", runtime_s=30.0)) == "quick"
    assert config.leaf_of(Subject("any", runtime_s=60.0)) == "default"
    assert config.leaf_of(Subject("any", most={"gpu": 2.0})) == "gpu"
    assert config.leaf_of(Subject("deploy-x", labels={"team": "web"})) == "web"
    assert config.leaf_of(Subject("deploy-x")) == "default"
    assert config.leaf_of(Subject("any", user="ann", tags=frozenset({"big", "fast"}))) == "ann"
    assert config.leaf_of(Subject("any", queue="gpu", runtime_s=1.0)) == "gpu", "what a job names goes first"
    assert config.leaf_of(Subject("any", queue="none", runtime_s=1.0)) == "quick"


def test_hours_may_lie_over_midnight() -> None:
    night = Hours(22 * 60, 6 * 60)
    midnight = 1_700_006_400.0  # 2023-11-15T00:00:00Z
    assert night.opens_in(midnight) == 0.0
    assert night.opens_in(midnight + 6 * 3600) == 16 * 3600.0
    assert night.opens_in(midnight + 21 * 3600 + 59 * 60) == 60.0
    assert night.opens_in(midnight + 23 * 3600) == 0.0
    assert Hours(60, 120).opens_in(midnight + 3 * 3600) == 22 * 3600.0


def test_overcommit_is_of_resources_and_at_least_once() -> None:
    found = read_queues("overcommit: {cpu: 2, memory: 1.5}\n").queues
    assert found is not None and found.overcommit == {"cpu": 2.0, "memory": 1.5}
    wrong = read_queues("overcommit: {cpu: 0.5, slots: 2, memory: 500, gpu: many, Cpu: 1}\n").violations
    assert sorted((one.path, one.code) for one in wrong) == [
        ("overcommit.Cpu", "BAD_NAME"),
        ("overcommit.cpu", "OUT_OF_RANGE"),
        ("overcommit.gpu", "WRONG_TYPE"),
        ("overcommit.memory", "OUT_OF_RANGE"),
        ("overcommit.slots", "BAD_NAME"),
    ]
    assert read_queues("overcommit: 2\n").violations[0].code == "WRONG_TYPE"
