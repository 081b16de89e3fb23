"""What the documents say to the letter, where a run of `formicary simulate` once read them another way."""

from pathlib import Path
from typing import Any

import pytest

from tests.unit.scheduling.test_simulated_cases import ONE, Lab, job


@pytest.fixture
def runs(tmp_path: Path) -> Lab:
    return Lab(tmp_path)


def starts(document: dict[str, Any]) -> dict[str, float | None]:
    return {one["id"]: one["start"] for one in document["jobs"]}


def test_an_ant_with_two_slots_is_two_columns_of_the_assignment(runs: Lab) -> None:
    """Kuhn 1955: 5 + 4 + 6 is the best sum; one job for each ant at a time would come to 3."""
    jobs = [
        job("p", 0, 4, prefer={"a": 5}),
        job("q", 0, 1, prefer={"a": 4}),
        job("r", 0, 4, prefer={"a": -2, "b": 6}),
    ]
    cluster = {"ants": [{"id": "a", "capacity": {"slots": 2}}, {"id": "b", "capacity": {"slots": 1}}]}
    found = runs.run(jobs, "matchmaking", cluster=cluster)["jobs"]
    assert [(one["start"], one["ant"]) for one in found] == [(0, "a"), (0, "a"), (0, "b")]


def test_jobs_of_different_size_fill_no_ant_twice(runs: Lab) -> None:
    """All would rather have the first ant, which has room for the two small ones, or for the large one."""
    sizes = (("small", 1), ("large", 2), ("third", 1))
    jobs = [job(name, 0, 5, demand={"cpu": cpu}, prefer={"a": 9}) for name, cpu in sizes]
    cluster = {"ants": [{"id": "a", "capacity": {"cpu": 2}}, {"id": "b", "capacity": {"cpu": 2}}]}
    found = runs.run(jobs, "matchmaking", cluster=cluster)["jobs"]
    assert [one["start"] for one in found] == [0, 0, 0]


@pytest.mark.parametrize(("choose", "first"), [("first", "early"), ("best", "fitting")])
def test_more_jobs_than_places(runs: Lab, choose: str, first: str) -> None:
    """The unbalanced assignment of the textbooks leaves out whom the sum is best without, if it is asked for."""
    jobs = [job("early", 0, 2), job("fitting", 0, 2, prefer={"a": 9})]
    cluster = {"ants": [{"id": "a", "capacity": {"slots": 1}}]}
    assert starts(runs.run(jobs, "matchmaking", f"choose={choose}", cluster=cluster))[first] == 0


def test_what_runs_does_not_age(runs: Lab) -> None:
    """At 10 the running job has the 3 that it had at its start, not 13: the one of 5 takes its place."""
    jobs = [job("runs", 0, 20, priority=3), job("comes", 10, 2, priority=5)]
    found = runs.run(jobs, "priority", "preemptive=true", "aging=1", "cap=20")
    assert starts(found) == {"runs": 0, "comes": 10}
    assert found["jobs"][0]["segments"] == [[0, 10, "a"], [12, 22, "a"]]


def test_what_has_run_ages_from_what_it_had(runs: Lab) -> None:
    """`first` waits from 2 to 6, and has 1 + 4 then, above the 4 of the other; its time on the ant does not count."""
    jobs = [job("first", 0, 4, priority=1), job("second", 2, 4, priority=4), job("third", 6, 1, priority=4)]
    found = runs.run(jobs, "priority", "preemptive=true", "aging=1", "cap=20")
    assert starts(found) == {"first": 0, "second": 2, "third": 8}


def test_who_reaches_the_cap_is_looked_at_then(runs: Lab) -> None:
    """The large job keeps the small one off until that has aged to the cap at 6, and is the older one: it fits."""
    jobs = [
        job("runs", 0, 10, demand={"cpu": 2}, priority=9),
        job("small", 1, 1, demand={"cpu": 1}),
        job("large", 1, 1, demand={"cpu": 3}, priority=4),
    ]
    cluster = {"ants": [{"id": "a", "capacity": {"cpu": 3}}]}
    found = runs.run(jobs, "priority", "aging=1", "cap=5", cluster=cluster)
    assert starts(found) == {"runs": 0, "small": 6, "large": 10}


def test_who_was_taken_off_and_did_not_come_back_has_his_segment(runs: Lab) -> None:
    """Else nobody could tell that it did not run until the horizon."""
    jobs = [job("low", 0, 9), job("high", 2, 9, priority=1)]
    found = runs.run(jobs, "priority", "preemptive=true", "until=5", cluster=ONE)["jobs"]
    assert found[0]["segments"] == [[0, 2, "a"]]
    assert found[0]["end"] is None
    assert "segments" not in found[1]
