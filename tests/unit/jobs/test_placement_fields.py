"""What a task holds of its ant and which ants suit it; gangs and deadlines of jobs; each mistake with its place."""

import pytest

from formicary.engine.jobs.amounts import needs_of, parse_amount, read_amounts, read_labels, show_amount
from formicary.engine.jobs.gang import deadline_of
from formicary.engine.jobs.parse import parse_source


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        (2, 2.0),
        (0.5, 0.5),
        ("500m", 0.5),
        ("8Gi", 8 * 1024.0**3),
        ("1.5G", 1.5e9),
        (" 4k ", 4e3),
        ("64MiB", 2.0**26),
    ],
)
def test_amounts(text: object, amount: float) -> None:
    assert parse_amount(text) == amount


@pytest.mark.parametrize("text", ["", "-1", -1, "2 x", "1Xi", True, None, "1e9", float("nan"), [1]])
def test_what_is_no_amount(text: object) -> None:
    with pytest.raises(ValueError, match="write an amount like"):
        parse_amount(text)


def test_options_of_an_ant() -> None:
    assert read_amounts("cpu=4,memory=8Gi") == {"cpu": 4.0, "memory": 8 * 1024.0**3}
    assert read_labels("zone=eu, empty=") == {"zone": "eu", "empty": ""}
    with pytest.raises(ValueError, match=r"'cpu=much'.*'GPU' is no name"):
        read_amounts("cpu=much,GPU=1")
    with pytest.raises(ValueError, match="'zone': write NAME=VALUE"):
        read_labels("zone")


def told(source: str) -> list[tuple[int, str, str]]:
    return [(one.line, one.path, one.code) for one in parse_source(source)[0].violations]


def test_a_task_with_everything() -> None:
    found = parse_source(
        "job_type: j\nqueue: q\ndeadline: 2h\ntasks:\n- task_type: a\n  script: x\n"
        "  resources: {cpu: 500m, gpu: 0}\n  placement:\n    labels: {zone: eu}\n"
        "    expressions: [{key: memory, operator: Gt, values: [15]}]\n    versions: {cuda: '>=12,<13'}\n"
        "    preferred: [{weight: 10, tags: [SSD], wait: 5s}]\n  speculative_backup: {percentile: 90}\n"
    )[0].definition
    assert found is not None
    task = found.tasks[0]
    assert needs_of(task.resources) == (("cpu", 0.5),)
    assert task.placement == {
        "labels": {"zone": "eu"},
        "expressions": [{"key": "memory", "operator": "Gt", "values": ["15"]}],
        "versions": {"cuda": ">=12,<13"},
        "preferred": [{"weight": 10, "tags": ["ssd"], "wait_s": 5.0}],
    }
    assert task.speculative_backup == {"percentile": 90}
    assert deadline_of(found.deadline, 1000.0) == 8200.0


def test_a_deadline_with_a_template_is_told_to_be_none() -> None:
    """Nothing fills it in, so nobody may believe that it holds."""
    source = "job_type: j\ndeadline: '{{.When}}'\ntasks:\n- task_type: a\n  script: x\n"
    assert told(source) == [(2, "deadline", "BAD_DEADLINE")]


def test_mistakes_have_their_place() -> None:
    source = (
        "job_type: j\ndeadline: soon\ngang: {tasks: [a, b, none], min: 9, barrier: false, what: 1}\ntasks:\n"
        "- task_type: a\n  script: x\n  on_completed: b\n  resources: {cpu: much, GPU: 1, disk: [1]}\n"
        "  placement: {expressions: [{key: k, operator: Near}, {operator: In}], versions: {x: new}, colour: red}\n"
        "- task_type: b\n  script: x\n  speculative_backup: {percentile: 900, speed: 1}\n"
    )
    assert set(told(source)) >= {
        (2, "deadline", "BAD_DEADLINE"),
        (3, "gang.tasks", "UNKNOWN_TASK"),
        (3, "gang.tasks", "BAD_VALUE"),
        (3, "gang.min", "BAD_VALUE"),
        (3, "gang.barrier", "BAD_VALUE"),
        (3, "gang.what", "UNKNOWN_FIELD"),
        (8, "tasks[0].resources.cpu", "BAD_AMOUNT"),
        (8, "tasks[0].resources.GPU", "BAD_NAME"),
        (8, "tasks[0].resources.disk", "WRONG_TYPE"),
        (9, "tasks[0].placement.expressions[0].operator", "BAD_VALUE"),
        (9, "tasks[0].placement.expressions[1]", "MISSING_FIELD"),
        (9, "tasks[0].placement.versions.x", "BAD_VALUE"),
        (9, "tasks[0].placement.colour", "UNKNOWN_FIELD"),
        (12, "tasks[1].speculative_backup.percentile", "OUT_OF_RANGE"),
        (12, "tasks[1].speculative_backup.speed", "UNKNOWN_FIELD"),
    }


@pytest.mark.parametrize(
    ("amount", "shown"),
    [
        (0.5, "0.5"),
        (99_999, "99999"),
        (4000 * 1024.0**3, "4000Gi"),
        (25_276_502_016, "23.541Gi"),
        (5e5, "500k"),
        (3e9, "3G"),
        (1e18, "1000P"),
    ],
)
def test_amounts_are_shown_as_people_write_them(amount: float, shown: str) -> None:
    assert show_amount(amount) == shown
