"""What can never come true is told at once: contradictions, deadlines that have passed, gangs that are too large."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from formicary.engine.jobs.parse import parse_source
from formicary.engine.queen.fitting import never_starts, unfit, unknown_queue
from formicary.engine.scheduling.policies.contradictions import contradiction
from formicary.engine.scheduling.policies.matchmaking import Expression, Requirements
from formicary.engine.scheduling.standing import never_true
from tests.unit.core.colony import ORG, Colony
from tests.unit.core.test_queues import colony as with_queues
from tests.unit.core.test_queues import job


@dataclass
class Host:
    labels: dict[str, str]
    tags: frozenset[str] = field(default_factory=frozenset)


@pytest.mark.parametrize(
    ("wants", "told"),
    [
        (Requirements(versions={"cuda": ">=12,<11"}), "cuda >=12,<11"),
        (Requirements(versions={"cuda": ">=12,<12.0.1,!=12"}), None),  # a pre-release of 12.0.1
        (Requirements(versions={"cuda": "^1.4"}, labels={"cuda": "2.0"}), "cuda In 2.0 and cuda ^1.4"),
        (Requirements(versions={"cuda": "^1.4"}, labels={"cuda": "1.9"}), None),
        (
            Requirements(labels={"a": "x"}, expressions=(Expression("a", "NotIn", ("x", "y")),)),
            "a NotIn x, y and a In x",
        ),
        (Requirements(expressions=(Expression("a", "Exists"), Expression("a", "DoesNotExist"))), "a Exists and"),
        (Requirements(expressions=(Expression("n", "Gt", ("5",)), Expression("n", "Lt", ("6",)))), "n Gt 5 and n Lt 6"),
        (Requirements(expressions=(Expression("n", "Gt", ("4",)), Expression("n", "Lt", ("6",)))), None),
    ],
)
def test_contradictions(wants: Requirements, told: str | None) -> None:
    found = contradiction(wants)
    assert (found is None) if told is None else (found is not None and told in found)


_VALUES = ("a", "b", "1", "2", "3", "4", "5")
_ONE = st.one_of(
    st.builds(
        lambda op, values: Expression("k", op, tuple(values)),
        st.sampled_from(["In", "NotIn"]),
        st.lists(st.sampled_from(_VALUES), min_size=1, max_size=3),
    ),
    st.builds(lambda op, value: Expression("k", op, (value,)), st.sampled_from(["Gt", "Lt"]), st.sampled_from("1234")),
    st.builds(lambda op: Expression("k", op), st.sampled_from(["Exists", "DoesNotExist"])),
)


@given(st.lists(_ONE, max_size=4))
def test_a_contradiction_is_one_exactly_where_no_label_will_do(expressions: list[Expression]) -> None:
    wants = Requirements(expressions=tuple(expressions))
    hosts = [Host({}), *(Host({"k": value}) for value in (*_VALUES, "other", *map(str, range(-20, 30))))]
    assert (contradiction(wants) is None) == any(not wants.unmet(host) for host in hosts)


@given(
    st.lists(
        st.tuples(st.sampled_from(["<", "<=", ">", ">=", "=="]), st.integers(0, 3), st.integers(0, 3)),
        min_size=1,
        max_size=3,
    )
)
def test_a_range_is_empty_exactly_where_no_version_lies_in_it(parts: list[tuple[str, int, int]]) -> None:
    wants = Requirements(versions={"v": ",".join(f"{sign}{major}.{minor}" for sign, major, minor in parts)})
    every = [f"{a}.{b}.{c}{tail}" for a, b, c, tail in product(range(5), range(5), (0, 1, 9), ("", "-0"))]
    assert (contradiction(wants) is None) == any(not wants.unmet(Host({"v": text})) for text in every)


def test_a_definition_is_told_where_it_can_never_come_true() -> None:
    source = (
        "job_type: j\ndeadline: 2020-01-01T00:00:00Z\ntasks:\n- task_type: a\n  script: x\n"
        "  placement: {labels: {zone: eu}, expressions: [{key: zone, operator: In, values: [us]}]}\n  on_completed: b\n"
        "- task_type: b\n  script: x\n  placement: {labels: {zone: '{{.Zone}}'}, versions: {zone: '{{.Range}}'}}\n"
    )
    model = parse_source(source)[0].definition
    assert model is not None
    assert [(one.line, one.code) for one in never_true(model, 2e9)] == [(2, "OUT_OF_RANGE"), (4, "IMPOSSIBLE")]
    assert [one.code for one in never_true(model, 1e9)] == ["IMPOSSIBLE"]


def test_what_no_connected_ant_could_do_is_told_and_a_gang_that_is_too_large() -> None:
    made = Colony()
    gpu = made.define(job("gpu", task="  resources: {gpu: 2}\n"))
    asks = made.define(
        "job_type: asks\ntasks:\n- {task_type: a, method: MANUAL, on_completed: b}\n- {task_type: b, script: x}\n"
    )
    names = "".join(f"- {{task_type: m{at}, script: x}}\n" for at in range(4))
    gang = made.define(f"job_type: gang\ngang: job\ntasks:\n{names}")

    def told(name: str) -> list[str]:
        return unfit(made.core, made.core.definitions[name])

    assert told(gpu) == [], "no ant is there yet: nobody knows"
    made.ant("one", 1, resources={"gpu": 1})
    made.ant("two", 2)
    assert told(asks) == [], "people decide, not ants"
    assert told(gpu)[0].startswith(
        "task a: none of the 2 connected ants fits: one lacks gpu 2 (offers 1); two lacks gpu"
    )
    assert "larger than the cluster: 2 connected ants have 3 slots" in told(gang)[0]
    made.ant("three", 1)
    assert told(gang) == []


QUEUES = """policy: capacity
default: rest
queues:
- {name: small, guaranteed: 10, maximum: 30}
- {name: two, limit: 2}
- rest
"""


def test_what_a_queue_can_never_let_start() -> None:
    """A task that is more than the whole share of its queue, a gang of more tasks than run there at a time."""
    gang = "job_type: gang\nqueue: {queue}\ngang: {{tasks: [a, b, c], min: {least}}}\ntasks:\n" + "".join(
        f"- {{{{task_type: {name}, script: x}}}}\n" for name in "abc"
    )
    sources = {
        "alone": (job("alone", "queue: small"), "task a needs 50 % of all that the ants have, and the queue small"),
        "gang": (gang.format(queue="two", least=3), "the queue two runs at most 2 at a time (limit)"),
        "fewer": (gang.format(queue="two", least=2), None),
        "shared": (gang.format(queue="small", least=2), "the gang of 2 tasks needs 100 %"),
        "rest": (gang.format(queue="rest", least=2), None),
    }
    made = with_queues(QUEUES)
    definitions = {name: made.core.definitions[made.define(source)] for name, (source, _) in sources.items()}
    made.ant("one", 2)
    for name, (_, told) in sources.items():
        found = "; ".join(unfit(made.core, definitions[name]))
        assert (told in found) if told else not found, (name, found)
        assert bool(never_starts(made.core, definitions[name])) == (told is not None), name
    named = made.core.definitions[made.define(job("named", "queue: nowhere"))]
    assert unknown_queue(made.core, definitions["alone"]) == [] == unknown_queue(made.core, definitions["rest"])
    assert unknown_queue(made.core, named) == ["there is no queue nowhere for jobs: those of named go to rest"]


def test_more_of_a_virtual_resource_than_there_is() -> None:
    """Of the job or of a task; what nobody has set has one holder, and any amount of it may be taken."""
    made = Colony()
    made.ant("one", 1)
    made.core.leases.locks.capacities[ORG, "licence"] = 2.0
    task = "  resources: {resource_type: %s, value: 3}\n"
    of_task = made.core.definitions[made.define(job("of_task", "", task % "licence"))]
    unset = made.core.definitions[made.define(job("unset", "", task % "other"))]
    of_job = made.core.definitions[made.define(job("of_job", "resources: {resource_type: licence, value: 5}"))]
    assert unfit(made.core, of_task) == ["task a needs 3 of licence, and there are only 2"]
    assert unfit(made.core, of_job) == ["the job needs 5 of licence, and there are only 2"]
    assert never_starts(made.core, of_task) == "task a needs 3 of licence, and there are only 2"
    assert unfit(made.core, unset) == [] and never_starts(made.core, unset) == ""
