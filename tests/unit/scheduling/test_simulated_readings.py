"""What the documents say to the letter, where a run of `formicary simulate` once read them another way."""

from pathlib import Path
from random import Random
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


def pieces(document: dict[str, Any]) -> dict[str, list[list[float]]]:
    """From when until when each job ran."""
    return {
        one["id"]: [piece[:2] for piece in one.get("segments", [[one["start"], one["end"], one["ant"]]])]
        for one in document["jobs"]
    }


def test_turns_of_equal_priority_of_silberschatz(runs: Lab) -> None:
    """Silberschatz, Galvin, Gagne, "Operating System Concepts", exercise 5.5: who is pushed aside goes to the end."""
    rows = [(0, 20, 40), (25, 25, 30), (30, 25, 30), (60, 15, 35), (100, 10, 5), (105, 10, 10)]
    jobs = [job(f"P{n}", at, length, priority=priority) for n, (at, length, priority) in enumerate(rows, 1)]
    assert pieces(runs.run(jobs, "priority", "preemptive=true", "quantum=10", "aside=end")) == {
        "P1": [[0, 20]],
        "P2": [[25, 35], [45, 55], [75, 80]],
        "P3": [[35, 45], [55, 60], [80, 90]],
        "P4": [[60, 75]],
        "P5": [[100, 105], [115, 120]],
        "P6": [[105, 115]],
    }


def test_foreground_in_turns_background_in_order(runs: Lab) -> None:
    """The same, 5.3.5: slices for the upper queue, first come, first served in the lower one."""
    queues = [{"name": "front", "priority": 2, "quantum": 2}, {"name": "back", "priority": 1}]
    rows = [("P1", 0, 4, "front"), ("P2", 0, 3, "front"), ("P3", 0, 8, "back"), ("P4", 10, 5, "front")]
    jobs = [job(name, at, length, queue=queue) for name, at, length, queue in rows]
    cluster = {**ONE, "queues": queues}
    assert pieces(runs.run(jobs, "multilevel", "preemptive=true", cluster=cluster)) == {
        "P1": [[0, 2], [4, 6]],
        "P2": [[2, 4], [6, 7]],
        "P3": [[7, 10], [15, 20]],
        "P4": [[10, 15]],
    }
    assert pieces(runs.run(jobs, "multilevel", cluster=cluster))["P3"] == [[7, 15]]


def test_who_runs_at_a_boost_is_boosted(runs: Lab) -> None:
    """OSTEP, rule 5: at 8 the long one is on the top level again, so who comes at 9 waits for its slice of 4."""
    jobs = [job("long", 0, 30), job("short", 9, 2)]
    sets = ["mode=feedback", "quanta=4,8", "boost=8"]
    assert pieces(runs.run(jobs, "multilevel", *sets))["short"] == [[12, 14]]
    assert pieces(runs.run(jobs, "multilevel", *sets[:2]))["short"] == [[9, 11]]


@pytest.mark.parametrize(
    ("policy", "sets", "says"),
    [
        ("multilevel", ["mode=feedback", "quanta=4,x"], "must be a number"),
        ("multilevel", ["mode=feedback", "quanta=4,0"], "must be numbers above zero, with commas between"),
        ("multilevel", ["mode=feedback", f"quanta={','.join(['1'] * 65)}"], "must be 64 numbers at most"),
        ("priority", ["quantum=1", "aging=1"], "quantum goes with none of aging, degrade, floor"),
        ("priority", ["aside=middle"], "must be one of head, end"),
    ],
)
def test_slices_that_cannot_be(runs: Lab, policy: str, sets: list[str], says: str) -> None:
    """With the reason, before anything runs."""
    lines = '{"id": "j", "submit": 0, "runtime": 1}'
    status, _, err = runs.call(lines, ONE, "--policy", policy, *(part for one in sets for part in ("--set", one)))
    assert status == 2
    assert says in err


def test_gangs_in_order_of_priority(runs: Lab) -> None:
    """A gang counts as its most urgent member; the reservation is for the first in this order."""
    jobs = [
        job("runs", 0, 10, demand={"slots": 2}),
        *(job(f"low{n}", 1, 5, gang="low") for n in range(3)),
        *(job(f"high{n}", 2, 5, gang="high", priority=n) for n in range(3)),
        job("single", 3, 5, priority=1),
    ]
    cluster = {"ants": [{"id": "a", "capacity": {"slots": 3}}]}
    first = starts(runs.run(jobs, "gang", cluster=cluster))
    by_priority = starts(runs.run(jobs, "gang", "order=priority", cluster=cluster))
    assert (first["low0"], first["high0"], first["single"]) == (10, 15, 3)
    assert (by_priority["low0"], by_priority["high0"], by_priority["single"]) == (15, 10, 3)
    assert len({by_priority[f"high{n}"] for n in range(3)}) == 1


@pytest.mark.parametrize("first", [0.1, 0.7])
def test_sums_of_fractions_are_the_moment_that_was_meant(runs: Lab, first: float) -> None:
    """0.1 + 0.2 is more than 0.3, and 0.7 + 0.1 less than 0.8, by rounding alone: nobody is pushed aside for that."""
    second = {0.1: 0.2, 0.7: 0.1}[first]
    comes = {0.1: 0.3, 0.7: 0.8}[first]
    jobs = [job("a", 0, first), job("b", 0, second, deadline=comes), job("c", comes, 5, priority=9)]
    found = runs.run(jobs, "priority", "preemptive=true")
    assert [(one["start"], one["end"]) for one in found["jobs"]] == [(0, first), (first, comes), (comes, comes + 5)]
    assert found["summary"]["preemptions"] == 0


def test_tenths_of_seconds_are_like_seconds(runs: Lab) -> None:
    """The same sets of jobs, in tenths: who starts and ends when is the same, of every preemptive order."""
    for seed in range(12):
        rng = Random(seed)
        rows = [(rng.randrange(12), rng.randint(1, 6), rng.randrange(4), rng.randint(1, 15)) for _ in range(6)]
        for policy in ("sjf", "priority", "edf", "llf", "multilevel"):
            seen = []
            for unit in (1, 10):
                jobs = [
                    job(f"j{n}", at / unit, length / unit, priority=level, deadline=(at + due) / unit)
                    for n, (at, length, level, due) in enumerate(rows)
                ]
                sets = {"multilevel": ["mode=feedback", f"quantum={1 / unit}"], "llf": [f"quantum={1 / unit}"]}
                more = [] if policy == "multilevel" else ["preemptive=true"]
                found = runs.run(jobs, policy, *sets.get(policy, []), *more)["jobs"]
                seen.append([(round(one["start"] * unit, 6), round(one["end"] * unit, 6)) for one in found])
            assert seen[0] == seen[1], (seed, policy)


def test_periods_in_fractions_end_at_the_horizon(runs: Lab) -> None:
    """3 x 0.7 is less than 2.1 by rounding; the third instance is the last."""
    found = runs.run([job("p", 0, 0.7, period=0.7)], "edf", "until=2.1", "preemptive=true")["jobs"]
    assert [(one["id"], one["start"], one["missed_deadline"]) for one in found] == [
        ("p#0", 0, False),
        ("p#1", 0.7, False),
        ("p#2", 1.4, False),
    ]


def test_queues_and_ants_that_cannot_be_are_told_at_once(runs: Lab) -> None:
    """A mistake of an ant hides none of the queues."""
    queues = [{"name": "x", "guaranteed": 0.7}, {"name": "y", "guaranteed": 0.6}]
    cluster = {"ants": [{"id": "a", "capacity": {"cpu": -1}}], "queues": queues}
    status, _, err = runs.call('{"id": "j", "submit": 0, "runtime": 1}', cluster, "--policy", "fcfs")
    assert status == 2
    assert "capacity.cpu must be a number not below 0" in err
    assert "guarantees below the root are 130 %" in err


def test_the_share_of_a_queue_is_the_dominant_one_of_its_sum(runs: Lab) -> None:
    """Ghodsi et al., NSDI 2011: 4 of 10 CPU and 4 of 10 GB are two fifths, not four, below a half."""
    cluster = {
        "ants": [{"id": "a", "capacity": {"cpu": 10, "memory": 10}}],
        "queues": [
            {"name": "above", "guaranteed": 0.5, "maximum": 0.5},
            {"name": "one", "parent": "above"},
            {"name": "two", "parent": "above"},
            {"name": "other", "guaranteed": 0.5},
        ],
    }
    demands = [("one", {"cpu": 4}), ("two", {"memory": 4}), ("two", {"memory": 2}), ("other", {"cpu": 5})]
    jobs = [job(f"j{n}", 0, 5, queue=queue, demand=demand) for n, (queue, demand) in enumerate(demands)]
    assert starts(runs.run(jobs, "capacity", cluster=cluster)) == {"j0": 0, "j1": 0, "j2": 5, "j3": 0}


def test_queues_above_their_guarantee_do_not_take_from_each_other_by_turns(runs: Lab) -> None:
    """4.2 and 2.8 of 7 places are 5 and 2, or 4 and 3: whichever it is stays, whoever comes and goes beside them."""
    shares = {"x": 0.3, "y": 0.2, "idle": 0.5}
    cluster = {
        "ants": [{"id": "a", "capacity": {"slots": 7}}],
        "queues": [{"name": name, "guaranteed": share} for name, share in shares.items()],
    }
    jobs = [job(f"{queue}{n}", n if queue == "y" else 0, 100, queue=queue) for n in range(10) for queue in "xy"]
    for how in ("graceful", "aggressive"):
        assert runs.run(jobs, "capacity", f"reclaim={how}", cluster=cluster)["summary"]["preemptions"] <= 3


@pytest.mark.parametrize("how", ["graceful", "aggressive"])
def test_a_whole_guarantee_is_given_back_for_part_of_a_job(runs: Lab, how: str) -> None:
    """The one that comes at 5 is guaranteed 3 of 10 places; jobs of two places hold 8 of the 7 of the other queue."""
    cluster = {
        "ants": [{"id": "a", "capacity": {"slots": 10}}],
        "queues": [{"name": "large", "guaranteed": 0.7}, {"name": "small", "guaranteed": 0.3}],
    }
    jobs = [job(f"l{n}", 0, 50, queue="large", demand={"slots": 2}) for n in range(6)]
    jobs += [job(f"s{n}", 5, 50, queue="small") for n in range(3)]
    found = runs.run(jobs, "capacity", f"reclaim={how}", cluster=cluster)
    assert [starts(found)[f"s{n}"] for n in range(3)] == [5, 5, 5]
    assert found["summary"]["preemptions"] == 2
