"""Named cases from the literature, run through `formicary simulate` as a user would."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from formicary.cli.simulate import simulate

ONE = {"ants": [{"id": "a", "capacity": {"slots": 1}}]}


def job(id: str, submit: float, runtime: float, **more: object) -> dict[str, Any]:
    return {"id": id, "submit": submit, "runtime": runtime, **more}


class Lab:
    """Writes a workload and a cluster and runs the command."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def call(self, lines: str, cluster: object, *args: str) -> tuple[int, str, str]:
        (self.folder / "w.jsonl").write_text(lines)
        (self.folder / "c.json").write_text(json.dumps(cluster))
        files = ["--workload", str(self.folder / "w.jsonl"), "--cluster", str(self.folder / "c.json")]
        done = CliRunner().invoke(simulate, [*files, *args, "--output", "json"], standalone_mode=False)
        if done.exception:
            raise done.exception
        return done.return_value, done.stdout, done.stderr

    def run(self, jobs: list[dict[str, object]], policy: str, *sets: str, cluster: object = ONE) -> dict[str, Any]:
        args = [part for one in sets for part in ("--set", one)]
        lines = "\n".join(json.dumps(one) for one in jobs)
        status, out, err = self.call(lines, cluster, "--policy", policy, *args)
        assert status == 0, err
        return dict(json.loads(out))

    def starts(self, *args: Any, **more: Any) -> dict[str, float]:
        found = self.run(*args, **more)
        return {one["id"]: one["start"] for one in found["jobs"]}


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path)


def test_convoy_effect(lab: Lab) -> None:
    """Silberschatz, Galvin, Gagne, "Operating System Concepts", 5.3.1: bursts 24, 3, 3 wait 17, reversed 3."""
    behind = [job("P1", 0, 24), job("P2", 0, 3), job("P3", 0, 3)]
    assert lab.run(behind, "fcfs")["summary"]["mean_wait"] == 17
    ahead = [behind[1], behind[2], behind[0]]
    assert lab.run(ahead, "fcfs")["summary"]["mean_wait"] == 3


def test_shortest_job_first(lab: Lab) -> None:
    """The same, 5.3.2: bursts 6, 8, 7, 3 wait 7 on average; starts 3, 16, 9, 0."""
    jobs = [job("P1", 0, 6), job("P2", 0, 8), job("P3", 0, 7), job("P4", 0, 3)]
    assert lab.starts(jobs, "sjf") == {"P1": 3, "P2": 16, "P3": 9, "P4": 0}
    assert lab.run(jobs, "sjf")["summary"]["mean_wait"] == 7


def test_shortest_remaining_time_first(lab: Lab) -> None:
    """The same, 5.3.2: arrivals 0-3, bursts 8, 4, 9, 5 wait 6.5 on average; P1 runs in two pieces."""
    jobs = [job("P1", 0, 8), job("P2", 1, 4), job("P3", 2, 9), job("P4", 3, 5)]
    found = lab.run(jobs, "sjf", "preemptive=true")
    assert found["summary"]["mean_wait"] == 6.5
    first = found["jobs"][0]
    assert first["segments"] == [[0, 1, "a"], [10, 17, "a"]]
    assert lab.run(jobs, "sjf")["summary"]["mean_wait"] == 7.75


def test_priorities(lab: Lab) -> None:
    """The same, 5.3.4, with higher first: bursts 10, 1, 2, 1, 5 and book priorities 3, 1, 4, 5, 2 wait 8.2."""
    rows = [(10, 3), (1, 1), (2, 4), (1, 5), (5, 2)]
    jobs = [job(f"P{n}", 0, burst, priority=10 - low) for n, (burst, low) in enumerate(rows, 1)]
    assert lab.run(jobs, "priority")["summary"]["mean_wait"] == 8.2


def test_round_robin(lab: Lab) -> None:
    """The same, 5.3.3: bursts 24, 3, 3 with a slice of 4 wait 17/3 on average."""
    jobs = [job("P1", 0, 24), job("P2", 0, 3), job("P3", 0, 3)]
    found = lab.run(jobs, "multilevel", "mode=feedback", "levels=1", "quantum=4")
    assert found["summary"]["mean_wait"] == pytest.approx(17 / 3)


def test_aging_bounds_the_wait(lab: Lab) -> None:
    """Under overload by urgent jobs a job of priority 0 comes last; with aging it starts by (10 - 0) / rate."""
    jobs = [job("low", 0, 1), *(job(f"h{n}", n * 0.5, 1, priority=9) for n in range(200))]
    assert lab.starts(jobs, "priority")["low"] >= 199
    assert lab.starts(jobs, "priority", "aging=0.5")["low"] <= 10 / 0.5 + 1


def test_a_floor_bounds_the_wait_by_starts(lab: Lab) -> None:
    """A stream of urgent jobs that fills the ant: every fifth start goes to who was submitted first."""
    stream = [job(f"h{at}", at, 1, priority=9) for at in range(30)]
    jobs = [job("first", 0, 1, priority=0), job("second", 0.5, 1, priority=1), *stream]
    assert lab.starts(jobs, "priority")["first"] == 31
    for more in ([], ["blocking=false"], ["aging=0.001"]):
        found = lab.starts(jobs, "priority", "floor=20", *more)
        assert (found["first"], found["second"], found["h4"]) == (4, 9, 5), more
    order = sorted(found, key=lambda id: found[id])
    assert [id for number, id in enumerate(order, 1) if number % 5 == 0][:2] == ["first", "second"]
    for wrong, words in (("floor=60", "0 to 50, not 60"), ("preemptive=true", "take off again at once")):
        sets = ["--set", "floor=20", "--set", wrong]
        status, _, err = lab.call(json.dumps(jobs[0]), ONE, "--policy", "priority", *sets)
        assert status == 2 and words in err


def test_edf_and_rate_monotonic_limit(lab: Lab) -> None:
    """Liu and Layland, JACM 20(1), 1973: full use is schedulable with deadlines (2 of 5 and 4 of 7 is 0.97)."""
    jobs = [job("A", 0, 2, period=5), job("B", 0, 4, period=7)]
    found = lab.run(jobs, "edf", "preemptive=true", "until=35")
    assert found["summary"]["deadline_misses"] == 0
    assert [one["id"] for one in found["jobs"]] == [*(f"A#{n}" for n in range(7)), *(f"B#{n}" for n in range(5))]


@pytest.mark.parametrize("policy", ["edf", "llf"])
def test_deadlines_where_priority_by_submission_fails(lab: Lab, policy: str) -> None:
    """A urgent, short and late one goes first under EDF and least laxity, and misses under first come, first served."""
    jobs = [job("A", 0, 10, deadline=33), job("B", 4, 3, deadline=28), job("C", 5, 10, deadline=29)]
    assert lab.run(jobs, policy, "preemptive=true")["summary"]["deadline_misses"] == 0
    jobs = [job("A", 0, 10, deadline=30), job("B", 4, 3, deadline=8)]
    assert lab.run(jobs, policy, "preemptive=true")["summary"]["deadline_misses"] == 0
    assert lab.run(jobs, "fcfs")["summary"]["deadline_misses"] == 1


def test_easy_backfill(lab: Lab) -> None:
    """Mu'alem and Feitelson, TPDS 12(6), 2001: a short job goes ahead, one that would delay the first does not."""
    machine = {"ants": [{"id": "m", "capacity": {"cpu": 10}}]}
    jobs = [
        job("running", 0, 10, demand={"cpu": 6}),
        job("head", 1, 10, demand={"cpu": 8}),
        job("long", 2, 20, demand={"cpu": 4}),
        job("short", 3, 5, demand={"cpu": 4}),
        job("narrow", 4, 50, demand={"cpu": 2}),
    ]
    assert lab.starts(jobs, "fcfs", cluster=machine)["short"] >= 20
    found = lab.starts(jobs, "backfill", cluster=machine)
    assert found == {"running": 0, "head": 10, "short": 3, "narrow": 8, "long": 20}


def test_dominant_resource_fairness(lab: Lab) -> None:
    """Ghodsi et al., NSDI 2011, 4.1: of 9 CPU and 18 GB, A (1, 4) runs three tasks and B (3, 1) two."""
    cluster = {"ants": [{"id": "a", "capacity": {"cpu": 9, "memory": 18}}]}
    jobs = [job(f"A{n}", 0, 100, user="A", demand={"cpu": 1, "memory": 4}) for n in range(9)]
    jobs += [job(f"B{n}", 0, 100, user="B", demand={"cpu": 3, "memory": 1}) for n in range(9)]
    started = [name for name, start in lab.starts(jobs, "drf", cluster=cluster).items() if start == 0]
    assert started == ["A0", "A1", "A2", "B0", "B1"]


def test_fits(lab: Lab) -> None:
    """First, best and worst fit put 3 beside 7 into 10, into the 4 that is left, into the emptiest."""
    cluster = {"ants": [{"id": name, "capacity": {"cpu": 10}} for name in "xyz"]}
    jobs = [
        job("5", 0, 9, demand={"cpu": 5}, prefer={"x": 1}),
        job("6", 0, 9, demand={"cpu": 6}),
        job("3", 0, 9, demand={"cpu": 3}),
    ]
    where = {
        policy: [one["ant"] for one in lab.run(jobs, policy, cluster=cluster)["jobs"]]
        for policy in ("first_fit", "best_fit", "worst_fit")
    }
    assert where == {"first_fit": ["x", "y", "x"], "best_fit": ["x", "y", "y"], "worst_fit": ["x", "y", "z"]}


def test_gangs_start_whole_or_not_at_all(lab: Lab) -> None:
    """Two gangs of three on four slots: one after the other, members together."""
    cluster = {"ants": [{"id": name, "capacity": {"slots": 2}} for name in "xy"]}
    jobs = [job(f"{gang}{n}", 0, 10, gang=gang) for n in range(3) for gang in "gh"]
    found = lab.starts(jobs, "gang", cluster=cluster)
    assert {found[f"g{n}"] for n in range(3)} == {0}
    assert {found[f"h{n}"] for n in range(3)} == {10}


def test_matchmaking_takes_the_best_sum(lab: Lab) -> None:
    """Each first choice alone would leave the other with nothing: the assignment takes the better pair."""
    cluster = {"ants": [{"id": name, "capacity": {"slots": 1}} for name in "xy"]}
    jobs = [job("p", 0, 1, prefer={"x": 10, "y": 9}), job("q", 0, 1, prefer={"x": 8, "y": 1})]
    found = lab.run(jobs, "matchmaking", cluster=cluster)["jobs"]
    assert {one["id"]: one["ant"] for one in found} == {"p": "y", "q": "x"}


def test_capacity_borrows_and_reclaims(lab: Lab) -> None:
    """An idle queue's half is lent; its owner waits for it, or takes it back with `reclaim`."""
    cluster = {
        "ants": [{"id": "a", "capacity": {"slots": 4}}],
        "queues": [{"name": "p", "guaranteed": 0.5}, {"name": "q", "guaranteed": 0.5}],
    }
    jobs = [job(f"p{n}", 0, 100, queue="p") for n in range(4)] + [job("q0", 10, 5, queue="q")]
    assert lab.starts(jobs, "capacity", cluster=cluster) == {"p0": 0, "p1": 0, "p2": 0, "p3": 0, "q0": 100}
    found = lab.run(jobs, "capacity", "reclaim=aggressive", cluster=cluster)["jobs"]
    assert {one["id"]: one["start"] for one in found}["q0"] == 10
    assert [one["id"] for one in found if "segments" in one] == ["p3"], "of those that started together the last"


def test_devices_neighbours_and_classes_said_by_amounts_and_queues(lab: Lab) -> None:
    """As the reference says: a device is an amount, who wants an ant without his like asks for its only one."""
    capacity = {"slots": 4, "gpu": 1, "store": 1}
    ants = {"ants": [{"id": "a", "capacity": capacity}, {"id": "b", "capacity": {**capacity, "gpu": 0}}]}
    jobs = [job(f"g{n}", 0, 5, demand={"gpu": 1}) for n in range(2)]
    jobs += [job(f"s{n}", 0, 5, demand={"store": 1}) for n in range(3)]
    found = lab.run(jobs, "first_fit", cluster=ants)["jobs"]
    assert [(one["id"], one["start"], one["ant"]) for one in found] == [
        ("g0", 0, "a"), ("g1", 5, "a"), ("s0", 0, "a"), ("s1", 0, "b"), ("s2", 5, "a")
    ]  # fmt: skip
    one_slot = {**ONE, "queues": [{"name": "sure", "priority": 1}, {"name": "best", "priority": 0}]}
    jobs = [job("best", 0, 10, queue="best"), job("sure", 3, 4, queue="sure")]
    found = lab.run(jobs, "multilevel", "preemptive=true", cluster=one_slot)["jobs"]
    assert [(one["id"], one["start"], one["end"]) for one in found] == [("best", 0, 14), ("sure", 3, 7)]


def test_weighted_rounds_match_the_weights(lab: Lab) -> None:
    """Deficit round robin (Shreedhar and Varghese, 1995): of 1,000 turns 3 of 4 go to the queue of weight 3."""
    cluster = {**ONE, "queues": [{"name": "p", "weight": 3}, {"name": "q", "weight": 1}]}
    jobs = [job(f"{queue}{n}", 0, 1, queue=queue) for queue in "pq" for n in range(1000)]
    found = lab.starts(jobs, "multilevel", "mode=weighted", "cost=jobs", cluster=cluster)
    assert abs(sum(start < 1000 for name, start in found.items() if name[0] == "p") - 750) <= 7


def test_lottery_is_the_same_for_one_seed(lab: Lab) -> None:
    """Waldspurger and Weihl, OSDI 1994: shares near the tickets; the seed decides the draws."""
    jobs = [job(f"{user}{n}", 0, 1, user=user) for user in "uv" for n in range(400)]
    found = lab.starts(jobs, "lottery", "weights=u:3,v:1", "seed=7")
    assert found == lab.starts(jobs, "lottery", "weights=u:3,v:1", "seed=7")
    assert 250 <= sum(start < 400 for name, start in found.items() if name[0] == "u") <= 350


def test_what_can_never_run_is_told(lab: Lab) -> None:
    """A demand above every ant is not started, with the reason."""
    found = lab.run([job("big", 0, 1, demand={"gpu": 1})], "fcfs")["jobs"][0]
    assert (found["start"], found["end"], found["ant"]) == (None, None, None)
    assert "no ant" in found["reason"]


def test_every_mistake_is_told_at_once_with_its_line(lab: Lab) -> None:
    """Bad input ends with 2; each line and field that is wrong is named."""
    lines = (
        '{"id": "a", "submit": -1, "runtime": "x"}\nnot json\n{"id": "b", "submit": 5, "runtime": 1, "deadline": 2}\n'
    )
    cluster = {"ants": [], "queues": [{"name": "q", "guaranteed": 0.7}, {"name": "r", "guaranteed": 0.7}]}
    status, out, err = lab.call(lines, cluster, "--policy", "nope", "--policy", "fcfs", "--set", "agign=1")
    assert (status, out) == (2, "")
    for part in (
        "jsonl:1: submit",
        "jsonl:1: runtime",
        "jsonl:2: is not JSON",
        "jsonl:3: deadline",
        "ants",
        "nope",
        "agign",
    ):
        assert part in err
    good = json.dumps(job("a", 0, 1))
    status, _, err = lab.call(good, {**cluster, **ONE}, "--policy", "capacity")
    assert status == 2
    assert "over 100 %" in err


def test_traces_and_pictures(tmp_path: Path) -> None:
    """A trace brings its own machine; several policies stand side by side; the picture is an SVG."""
    trace = tmp_path / "t.swf"
    row = "{} {} -1 {} {} -1 -1 {} {} -1 1 3 1 -1 1 -1 -1 -1"
    rows = [row.format(n, n, 10, 2, 2, 20) for n in range(1, 6)]
    trace.write_text("; MaxProcs: 4\n" + "\n".join(rows) + "\n")
    plot = tmp_path / "p.svg"
    args = ["--workload", str(trace), "--policy", "fcfs,backfill", "--plot", str(plot), "--output", "json"]
    done = CliRunner().invoke(simulate, args, standalone_mode=False)
    assert done.return_value == 0, done.stderr
    found = json.loads(done.stdout)
    assert [one["policy"] for one in found] == ["fcfs", "backfill"]
    assert [one["start"] for one in found[0]["jobs"]] == [1, 2, 11, 12, 21]
    assert plot.read_text().startswith("<svg")


def test_inversion(lab: Lab) -> None:
    """Sha, Rajkumar, Lehoczky, 1990: medium takes the place of low, which holds what high waits for."""
    jobs = [
        job("low", 0, 10, priority=1, locks=["bus"]),
        job("high", 1, 2, priority=9, locks=["bus"]),
        job("medium", 2, 100, priority=5),
    ]
    inverted = lab.starts(jobs, "priority", "preemptive=true", "inherit=false")
    assert inverted == {"low": 0, "medium": 2, "high": 110}
    assert lab.starts(jobs, "priority", "preemptive=true") == {"low": 0, "high": 10, "medium": 12}


def test_a_preempted_holder_comes_back_for_who_waits_for_it(lab: Lab) -> None:
    """Medium has taken the place of low before high comes: low inherits, and takes the place back."""
    jobs = [
        job("low", 0, 10, priority=1, locks="bus"),
        job("medium", 2, 100, priority=5),
        job("high", 4, 2, priority=9, locks="bus"),
    ]
    found = {one["id"]: one for one in lab.run(jobs, "priority", "preemptive=true")["jobs"]}
    assert [(start, end) for start, end, _ in found["low"]["segments"]] == [(0, 2), (4, 12)]
    assert (found["high"]["start"], found["medium"]["end"]) == (12, 112)


def test_a_lock_is_held_by_one_and_keeps_nobody_else_off_an_ant(lab: Lab) -> None:
    two = {"ants": [{"id": "a", "capacity": {"slots": 2}}]}
    jobs = [job(f"l{number}", 0, 5, locks=["db"]) for number in range(3)] + [job("free", 0, 1, priority=-5)]
    assert lab.starts(jobs, "priority", cluster=two) == {"l0": 0, "l1": 5, "l2": 10, "free": 0}
    for name in ("aging=1", "floor=10", "degrade=log"):
        status, _, err = lab.call("\n".join(map(json.dumps, jobs)), two, "--policy", "priority", "--set", name)
        assert status == 2 and "jobs hold locks" in err
