"""More examples of the literature, each with the figures that its source gives, run through `formicary simulate`."""

import gzip
import json
from heapq import heappop, heappush
from itertools import accumulate
from math import factorial
from pathlib import Path
from random import Random
from typing import Any

import pytest
from click.testing import CliRunner

from formicary.cli.simulate import simulate
from tests.unit.scheduling.test_simulated_cases import ONE, Lab, job

STALLINGS = [("A", 0, 3), ("B", 2, 6), ("C", 4, 4), ("D", 6, 5), ("E", 8, 2)]


@pytest.fixture
def runs(tmp_path: Path) -> Lab:
    return Lab(tmp_path)


def machines(count: int) -> dict[str, Any]:
    return {"ants": [{"id": f"m{number}", "capacity": {"slots": 1}} for number in range(count)]}


@pytest.mark.parametrize(
    ("policy", "sets", "ends"),
    [
        ("fcfs", [], [3, 9, 13, 18, 20]),
        ("multilevel", ["mode=feedback", "levels=1", "quantum=1"], [4, 18, 17, 20, 15]),
        ("multilevel", ["mode=feedback", "levels=1", "quantum=4"], [3, 17, 11, 20, 19]),
        ("sjf", [], [3, 9, 15, 20, 11]),
        ("sjf", ["preemptive=true"], [3, 15, 8, 20, 10]),
        ("multilevel", ["mode=feedback", "levels=6", "quantum=1", "last=slices"], [4, 17, 18, 20, 14]),
    ],
)
def test_the_comparison_of_stallings(runs: Lab, policy: str, sets: list[str], ends: list[int]) -> None:
    """Stallings, "Operating Systems", table 9.5: ends under FCFS, RR 1, RR 4, SPN, SRT and feedback of 2^i."""
    found = runs.run([job(*row) for row in STALLINGS], policy, *sets)["jobs"]
    assert [one["end"] for one in found] == ends


def test_a_long_and_a_short_job_under_feedback(runs: Lab) -> None:
    """Arpaci-Dusseau, OSTEP, figure 8.3: a job of 20 ms that comes at 100 runs at once beside one of 200 ms."""
    jobs = [job("long", 0, 200), job("short", 100, 20)]
    found = runs.run(jobs, "multilevel", "mode=feedback", "quantum=10", "levels=3")["jobs"]
    assert (found[1]["start"], found[1]["end"], found[0]["end"]) == (100, 120, 220)


def test_deficit_round_robin_of_the_paper(runs: Lab) -> None:
    """Shreedhar and Varghese, SIGCOMM 1995, figures 2 and 3: quantum 500; 200 leaves 300, and 750 goes next round."""
    flows = {"1": [200, 750, 20], "2": [500, 500], "3": [100, 600, 200], "4": [180, 700, 50]}
    cluster = {**ONE, "queues": [{"name": name, "weight": 500} for name in flows]}
    jobs = [job(f"{name}:{size}:{n}", 0, size, queue=name) for name in flows for n, size in enumerate(flows[name])]
    found = runs.starts(jobs, "multilevel", "mode=weighted", cluster=cluster)
    order = [name.rpartition(":")[0] for name in sorted(found, key=lambda name: found[name])]
    first, second = ["1:200", "2:500", "3:100", "4:180"], ["1:750", "1:20", "2:500", "3:600", "3:200", "4:700", "4:50"]
    assert order == first + second


@pytest.mark.parametrize(("policy", "sets"), [("multilevel", ["mode=weighted"]), ("fair", []), ("drf", [])])
def test_who_was_idle_is_owed_nothing(runs: Lab, policy: str, sets: list[str]) -> None:
    """Demers, Keshav, Shenker, SIGCOMM 1989: a flow that begins has its share from then on, and no more."""
    jobs = [job(f"p{n}", 0, 1, queue="p") for n in range(200)] + [job(f"q{n}", 100, 1, queue="q") for n in range(100)]
    found = runs.starts(jobs, policy, *sets)
    assert sum(100 <= start < 150 for name, start in found.items() if name[0] == "q") in (25, 26)


def test_capacity_with_one_slot_takes_turns_by_guarantee(runs: Lab) -> None:
    """Nobody holds anything when the slot is free: 3 and 1 turns, and 2 and 1 below, not all to the first queue."""
    queues = [
        {"name": "a", "guaranteed": 75},
        {"name": "b", "guaranteed": 25},
        {"name": "a1", "parent": "a", "guaranteed": 60},
        {"name": "a2", "parent": "a", "guaranteed": 30},
    ]
    jobs = [job(f"{queue}-{n}", 0, 1, queue=queue) for queue in ("a1", "a2", "b") for n in range(200)]
    found = runs.starts(jobs, "capacity", cluster={**ONE, "queues": queues})
    early = [name.partition("-")[0] for name, start in found.items() if start < 120]
    assert {name: early.count(name) for name in ("a1", "a2", "b")} == {"a1": 60, "a2": 30, "b": 30}


@pytest.mark.parametrize(
    ("count", "sizes", "longest_first", "best"),
    [(2, [3, 3, 2, 2, 2], 7, 6), (3, [5, 5, 4, 4, 3, 3, 3], 11, 9), (4, [7, 7, 6, 6, 5, 5, 4, 4, 4], 15, 12)],
)
def test_longest_first_of_graham(runs: Lab, count: int, sizes: list[int], longest_first: int, best: int) -> None:
    """Graham, SIAM J. Appl. Math. 17(2), 1969: the worst cases of 4/3 - 1/(3m), with priority = run time."""
    assert longest_first / best == pytest.approx(4 / 3 - 1 / (3 * count))
    jobs = [job(f"j{n}", 0, size, priority=size) for n, size in enumerate(sizes)]
    assert runs.run(jobs, "priority", cluster=machines(count))["summary"]["makespan"] == longest_first


def test_list_scheduling_of_graham(runs: Lab) -> None:
    """The same author, 1966: m(m-1) short jobs before one of length m take 2m - 1, the other way round m."""
    jobs = [job(f"j{n}", 0, 1) for n in range(6)] + [job("long", 0, 3)]
    assert runs.run(jobs, "fcfs", cluster=machines(3))["summary"]["makespan"] == 5
    assert runs.run(jobs[::-1], "fcfs", cluster=machines(3))["summary"]["makespan"] == 3


def test_bins_of_johnson(runs: Lab) -> None:
    """Johnson et al., SIAM J. Comput. 3(4), 1974: first fit 10 bins for 6 (5/3), decreasing 11 for 9 (11/9)."""
    bins = {"ants": [{"id": f"b{n}", "capacity": {"cpu": 1}} for n in range(20)]}

    def used(sizes: list[float], policy: str) -> int:
        jobs = [job(f"i{n}", 0, 1, demand={"cpu": size}) for n, size in enumerate(sizes)]
        return int(runs.run(jobs, policy, cluster=bins)["summary"]["ants_used"])

    rising = [1 / 7 + 0.001] * 6 + [1 / 3 + 0.001] * 6 + [1 / 2 + 0.001] * 6
    falling = [0.51] * 6 + [0.27] * 6 + [0.26] * 6 + [0.23] * 12
    assert [used(rising, policy) for policy in ("first_fit", "best_fit")] == [10, 10]
    assert used(sorted(rising, reverse=True), "first_fit") == 6
    assert [used(falling, policy) for policy in ("first_fit", "best_fit")] == [11, 11]


def test_dhall_s_effect(runs: Lab) -> None:
    """Dhall and Liu, Operations Research 26(1), 1978: light tasks make a heavy one late under EDF, not by laxity."""
    jobs = [job("x", 0, 0.2, period=1), job("y", 0, 0.2, period=1), job("heavy", 0, 1, period=1.1)]
    late = {
        policy: [
            one["id"] for one in runs.run(jobs, policy, *sets, cluster=machines(2))["jobs"] if one["missed_deadline"]
        ]
        for policy, sets in {
            "edf": ["preemptive=true", "until=1.1"],
            "llf": ["preemptive=true", "until=1.1", "quantum=0.1"],
        }.items()
    }
    assert late == {"edf": ["heavy#0"], "llf": []}


def test_rate_monotonic_fails_where_deadlines_hold(runs: Lab) -> None:
    """Liu and Layland, 1973: 2 of 5 and 4 of 7 are over the bound of 0.83; the longer period is late at 7."""
    jobs = [job("A", 0, 2, period=5, priority=2), job("B", 0, 4, period=7, priority=1)]
    late = {
        policy: [one["id"] for one in runs.run(jobs, policy, "preemptive=true")["jobs"] if one["missed_deadline"]]
        for policy in ("priority", "edf", "llf")
    }
    assert late == {"priority": ["B#0"], "edf": [], "llf": []}


def test_earliest_deadline_of_horn(runs: Lab) -> None:
    """Buttazzo, "Hard Real-Time Computing Systems", figure 3.5: J2 and J4 give way and no deadline is missed."""
    rows = [(0, 1, 2), (0, 2, 5), (2, 2, 4), (3, 2, 10), (6, 2, 9)]
    jobs = [job(f"J{n}", submit, runtime, deadline=end) for n, (submit, runtime, end) in enumerate(rows, 1)]
    found = {one["id"]: one for one in runs.run(jobs, "edf", "preemptive=true")["jobs"]}
    assert not any(one["missed_deadline"] for one in found.values())
    assert found["J2"]["segments"] == [[1, 2, "a"], [4, 5, "a"]]
    assert found["J4"]["segments"] == [[5, 6, "a"], [8, 9, "a"]]


@pytest.mark.parametrize(
    ("runtimes", "deadlines", "most_late"),
    [([1, 1, 1, 3, 2], [3, 10, 7, 8, 5], -1), ([1, 2, 1, 4, 2], [2, 5, 4, 8, 6], 2)],
)
def test_due_dates_of_jackson(runs: Lab, runtimes: list[int], deadlines: list[int], most_late: int) -> None:
    """The same, figures 3.2 and 3.3: the largest lateness of two sets of jobs that come together."""
    jobs = [job(f"J{n}", 0, c, deadline=d) for n, (c, d) in enumerate(zip(runtimes, deadlines, strict=True), 1)]
    ends = [one["end"] for one in runs.run(jobs, "edf")["jobs"]]
    assert max(end - due for end, due in zip(ends, deadlines, strict=True)) == most_late


def test_the_domino_effect(runs: Lab) -> None:
    """The same, 9.1: one more job that is urgent makes all four late under EDF; given up in time, one is lost."""
    jobs = [job(f"J{n}", 0, c, deadline=d) for n, (c, d) in enumerate([(3, 5), (2, 7), (2, 9), (2, 11)], 1)]
    jobs.append(job("J0", 0.5, 3, deadline=4.5))
    summary = runs.run(jobs, "edf", "preemptive=true")["summary"]
    assert (summary["deadline_misses"], summary["availability"]) == (4, pytest.approx(0.2))
    assert runs.run(jobs, "edf", "preemptive=true", "overload=shed")["summary"]["deadline_misses"] == 1


def test_elastic_queues_of_yarn(runs: Lab) -> None:
    """Hadoop, "Capacity Scheduler": A (40 %) takes what B (60 %) leaves up to its maximum; B takes back its own."""

    def counts(sets: list[str], maximum: float) -> tuple[int, int, int]:
        queues = [{"name": "A", "guaranteed": 40, "maximum": maximum}, {"name": "B", "guaranteed": 60}]
        cluster = {"ants": [{"id": "a", "capacity": {"slots": 10}}], "queues": queues}
        jobs = [job(f"A{n}", 0, 100, queue="A") for n in range(20)] + [
            job(f"B{n}", 10, 50, queue="B") for n in range(10)
        ]
        found = runs.run(jobs, "capacity", *sets, cluster=cluster)
        at = [(one["id"][0], one["start"]) for one in found["jobs"]]
        return at.count(("A", 0)), at.count(("B", 10)), found["summary"]["preemptions"]

    assert counts([], 100) == (10, 0, 0)
    assert counts(["reclaim=graceful"], 100) == (10, 6, 6)
    assert counts([], 50) == (5, 5, 0)


def test_asset_fairness_of_the_drf_paper(runs: Lab) -> None:
    """Ghodsi et al., NSDI 2011, 5.1: 30 CPU and 30 GB for (1, 3) and (1, 1); both get half, 5 and 15 tasks."""
    cluster = {"ants": [{"id": "a", "capacity": {"cpu": 30, "memory": 30}}]}
    demands = {"x": {"cpu": 1, "memory": 3}, "y": {"cpu": 1, "memory": 1}}
    jobs = [job(f"{user}{n}", 0, 9, user=user, demand=demands[user]) for n in range(30) for user in demands]
    found = runs.starts(jobs, "drf", cluster=cluster)
    assert [sum(start == 0 and name[0] == user for name, start in found.items()) for user in "xy"] == [5, 15]


@pytest.mark.parametrize(
    ("costs", "least"),
    [
        ([[250, 400, 350], [400, 600, 350], [200, 400, 250]], 950),
        ([[82, 83, 69, 92], [77, 37, 49, 92], [11, 69, 5, 86], [8, 9, 98, 23]], 140),
    ],
)
def test_matrices_of_the_hungarian_method(runs: Lab, costs: list[list[int]], least: int) -> None:
    """Textbook matrices of Kuhn's method: costs are preferences below zero."""
    wants = [{f"m{at}": -cost for at, cost in enumerate(row)} for row in costs]
    jobs = [job(f"j{n}", 0, 1, prefer=prefer) for n, prefer in enumerate(wants)]
    found = runs.run(jobs, "matchmaking", cluster=machines(len(costs)))["jobs"]
    assert sum(costs[n][int(one["ant"][1:])] for n, one in enumerate(found)) == least


def test_nobody_overtakes_by_an_estimate_that_is_too_short(runs: Lab) -> None:
    """Mu'alem and Feitelson, TPDS 12(6), 2001: conservative backfill never delays who came before."""
    machine = {"ants": [{"id": "m", "capacity": {"cpu": 10}}]}
    rows = [("runs", 0, 25, 6, 10), ("first", 1, 10, 8, 10), ("second", 2, 10, 4, 10), ("third", 3, 10, 8, 10)]
    jobs = [job(id, submit, runtime, demand={"cpu": cpu}, estimate=e) for id, submit, runtime, cpu, e in rows]
    for how in ("first", "all"):
        found = runs.starts(jobs, "backfill", f"reservations={how}", cluster=machine)
        assert found == {"runs": 0, "first": 25, "second": 35, "third": 45}, how


@pytest.mark.parametrize(("servers", "load"), [(1, 0.5), (3, 0.7), (10, 0.8)])
def test_waits_of_erlang(runs: Lab, servers: int, load: float) -> None:
    """Erlang 1917: the mean wait of M/M/c within 15 % over 12,000 jobs; Little 1961: L = lambda W, exactly."""
    rng, rate, count = Random(7), servers * load, 12_000
    times = list(accumulate(rng.expovariate(rate) for _ in range(count)))
    jobs = [job(str(n), at, rng.expovariate(1.0)) for n, at in enumerate(times)]
    free = [0.0] * servers  # Kiefer and Wolfowitz 1955: when each server is free, first come first served
    waits = []
    for one in jobs:
        start = max(one["submit"], heappop(free))
        waits.append(start - one["submit"])
        heappush(free, start + one["runtime"])
    found = runs.run(jobs, "fcfs", cluster={"ants": [{"id": "a", "capacity": {"slots": servers}}]})
    tail = rate**servers / factorial(servers) / (1 - load)
    delayed = tail / (sum(rate**k / factorial(k) for k in range(servers)) + tail)
    summary = found["summary"]
    assert summary["mean_wait"] == pytest.approx(sum(waits) / count, abs=1e-6)
    assert summary["mean_wait"] == pytest.approx(delayed / (servers - rate), rel=0.15)
    assert summary["utilization"]["slots"] == pytest.approx(load, rel=0.03)
    inside = sum(one["end"] - before["submit"] for one, before in zip(found["jobs"], jobs, strict=True))
    assert inside / summary["makespan"] == pytest.approx(summary["throughput"] * summary["mean_turnaround"])


TRACE = """; Version: 2.2
; Computer: Intel iPSC/860
; MaxProcs: 128 (120 for batch)
; Queues: 0 interactive 1 batch
;
 1    0  -1 1451 128   -1   -1  -1   -1   -1 1 1 1 1 -1 -1 -1 -1
 2 1460  -1   20  64   -1   -1 128 3600   -1 1 1 1 1  1 -1 -1 -1
 3 1470  -1   -1  -1   -1   -1  64 3600   -1 5 2 1 -1 1 -1 -1 -1
 4 1480  10    0  32   -1   -1  32  600   -1 1 2 1 2  0 -1 -1 -1
 5 1490  10  100 256   -1   -1 256  600   -1 1 2 1 2  0 -1 -1 -1
 6 2000  10  100  64   90 1024  64  600 2048 2 3 1 2  0 -1 -1 -1
 6 2000 300  100  64   90 1024  64  600 2048 3 3 1 2  0 -1 -1 -1
 6 2000  10  200  64   90 1024  64  600 2048 1 3 1 2  0 -1  5 60
 7 2000  -1 10.5  -1   -1   -1  64   -1   -1 0 -1 -1 -1 -1 -1 -1 -1
"""


@pytest.mark.parametrize("name", ["t.swf", "t.swf.gz", "t.txt", "-"])
def test_a_trace_as_the_archive_has_it(tmp_path: Path, name: str) -> None:
    """Chapin et al., JSSPP 1999: comments, -1 for unknown, cancelled (5), no run time, pieces of a job (2 to 4)."""
    file = tmp_path / name
    if name != "-":
        file.write_bytes(gzip.compress(TRACE.encode()) if name.endswith("gz") else TRACE.encode())
    args = ["--workload", name if name == "-" else str(file), "--policy", "fcfs", "--output", "json"]
    done = CliRunner().invoke(simulate, args, input=TRACE, standalone_mode=False)
    assert done.return_value == 0, done.stderr
    found = {one["id"]: one for one in json.loads(done.stdout)["jobs"]}
    assert list(found) == ["1", "2", "4", "5", "6", "7"]
    assert [found[id]["end"] for id in ("1", "2", "4", "6", "7")] == [1451, 1480, 1480, 2200, 2010.5]
    assert found["5"]["reason"].endswith("it asks for cpu 256, the most is 128")


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("b.swf", TRACE.replace(" 2 1460", " 2 14x60"), "b.swf:7: field 2 (submit time) must be a number"),
        ("b.swf", TRACE.replace(" 2 1460", " 2 1e99"), "b.swf:7: field 2 (submit time) must be a number up to 1e+12"),
        ("b.swf", TRACE.replace("64   -1   -1 128", "64"), "b.swf:7: must have 18 numbers, has 15"),
        ("b.swf.gz", TRACE, "b.swf.gz: is not a whole gzip file"),
        ("b.swf", "; MaxProcs: 4\n", "holds no job that ran"),
        ("b.jsonl", '{"id": "", "submit": 0, "runtime": 1}', "b.jsonl:1: id is missing"),
        (
            "b.jsonl",
            '{"id": "a", "submit": 1e18, "runtime": 1}',
            "submit must be a number not below 0 and at most 1e+12",
        ),
        (
            "b.jsonl",
            '{"id": "a", "submit": 0, "runtime": 1}',
            '--cluster FILE is missing: the ants that there are, such as {"',
        ),
    ],
)
def test_what_is_wrong_with_a_file_is_told_with_its_place(tmp_path: Path, name: str, content: str, says: str) -> None:
    """Nothing is guessed, and nothing else is complained about."""
    (tmp_path / name).write_text(content)
    done = CliRunner().invoke(simulate, ["--workload", str(tmp_path / name), "--policy", "fcfs"], standalone_mode=False)
    assert done.return_value == 2 and says in done.stderr, done.stderr
    assert name.endswith("jsonl") or "--cluster" not in done.stderr  # a trace brings its own


@pytest.mark.parametrize(
    ("policy", "text", "says"),
    [
        ("multilevel", "levels=2.5", "--set levels=2.5: must be a whole number from 1 to 64"),
        ("multilevel", "levels=100000", "must be a whole number from 1 to 64"),
        ("backfill", "depth=0.5", "must be a whole number from 1 to"),
        ("edf", "preemptive", "error: --set preemptive: must be KEY=VALUE\n"),
        ("fair", "resource=gpus", "resource: no ant has 'gpus'; they have slots, or `jobs`"),
        ("drf", "weights=alcie:2", "weights: nobody is called alcie; those who share are alice, bob"),
        ("multilevel", "mode=weighted,weights=r:2", "must be one of strict, weighted, feedback"),
    ],
)
def test_what_is_wrong_with_a_parameter_is_told(runs: Lab, policy: str, text: str, says: str) -> None:
    """Also a name that is nobody's, which would share alike unseen."""
    lines = "\n".join(json.dumps(job(user, 0, 1, user=user)) for user in ("alice", "bob"))
    status, out, err = runs.call(lines, ONE, "--policy", policy, "--set", text)
    assert (status, out) == (2, "") and says in err
    assert err.count("error:") == 1


def test_a_queue_that_is_parted_takes_no_jobs(runs: Lab) -> None:
    """As in Hadoop: jobs go to leaves."""
    cluster = {**ONE, "queues": [{"name": "dev"}, {"name": "eng", "parent": "dev"}, {"name": "sci", "parent": "dev"}]}
    status, _, err = runs.call(json.dumps(job("j", 0, 1, queue="dev")), cluster, "--policy", "capacity")
    assert status == 2 and "job 'j' names the queue 'dev', which is parted: it must name eng or sci" in err


def test_a_table_tells_who_never_starts(runs: Lab) -> None:
    """Figures alone would leave out without a word what can never run."""
    (runs.folder / "w.jsonl").write_text(json.dumps(job("j", 0, 1, demand={"gpu": 1})))
    (runs.folder / "c.json").write_text(json.dumps(ONE))
    args = ["--workload", str(runs.folder / "w.jsonl"), "--cluster", str(runs.folder / "c.json"), "--policy", "fcfs"]
    done = CliRunner().invoke(simulate, args, standalone_mode=False)
    assert "note: fcfs: 1 never run to their end; j: no ant of the cluster" in done.stderr
    assert "it asks for gpu 1, the most is 0" in done.stderr


def test_axes_have_units_and_round_numbers(runs: Lab) -> None:
    """A reader of the picture needs no second look: hours where it is long, the resource that is in use."""
    short, long = runs.folder / "s.svg", runs.folder / "l.svg"
    cluster = {"ants": [{"id": "a", "capacity": {"cpu": 4}}]}
    lines = "\n".join(json.dumps(job(str(n), 2 * n, 34, demand={"cpu": 1})) for n in range(4))
    runs.call(lines, cluster, "--policy", "fcfs", "--plot", str(short))
    assert ">time, s</text>" in short.read_text() and ">35</text>" in short.read_text()
    lines = "\n".join(json.dumps(job(str(n), 30 * n, 100, demand={"cpu": 1})) for n in range(1000))
    runs.call(lines, cluster, "--policy", "fcfs", "--plot", str(long))
    drawn = long.read_text()
    for text in ("time, h", "jobs that wait, number", "cpu in use, per cent", "100", "8"):
        assert f">{text}</text>" in drawn, text
