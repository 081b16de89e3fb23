"""The live queen under each scheduling algorithm: real ants, real tasks, and the recorded starts, places and shares."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from formicary.client import SyncClient
from formicary.problems import Problem
from tests.acceptance.server import REPOSITORY, Up, until
from tests.acceptance.stage import HOLD, WORK, Stage, at, most_at_once, second_ant
from tests.acceptance.test_kills import slowness


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("policy: fcfs\n", ["slow", "plain", "quick", "urgent"]),
        ("policy: priority\n", ["urgent", "slow", "plain", "quick"]),
        ("policy: sjf\n", ["quick", "plain", "urgent", "slow"]),
        ("policy: edf\n", ["urgent", "quick", "slow", "plain"]),
        ("policy: llf\n", ["urgent", "slow", "quick", "plain"]),
    ],
)
def test_orders(stage: Callable[..., Stage], policy: str, expected: list[str]) -> None:
    """One slot, four jobs that wait: they start as the policy says."""
    one = stage(policy, "--slots", "1")
    one.hold()
    for name, more in (
        ("slow", "estimated_runtime: 100s\ndeadline: 150s\n"),
        ("plain", "estimated_runtime: 30s\n"),
        ("quick", "estimated_runtime: 10s\ndeadline: 100s\n"),
        ("urgent", "estimated_runtime: 40s\ndeadline: 50s\npriority: 7\n"),
    ):
        one.submit(name, one.work(name, more=more))
    one.open()
    assert one.order(*expected) == expected


def test_aging_brings_a_low_priority_before_higher_ones_that_came_later(stage: Callable[..., Stage]) -> None:
    one = stage("policy: priority\nset: {aging: 20, cap: 10}\n", "--slots", "1")
    one.hold()
    low, high = one.work("low"), one.work("high", more="priority: 9\n")
    one.submit("old", low)
    before = at(one.job("old")["submitted_at"])
    one.submit("young", high)
    until(lambda: at(one.job("hold0")["submitted_at"]) and _age(one, before) > 0.7, 10, "the old one has aged")
    one.submit("new", high)
    one.open()
    assert one.order("old", "young", "new") == ["old", "young", "new"]


def _age(one: Stage, since: float) -> float:
    probe = one.work("probe", more="scheduled_at: 2099-01-01T00:00:00Z\n")
    one.submit("probe", probe)
    return at(one.job("probe")["submitted_at"]) - since


def test_a_floor_of_the_starts_goes_to_who_waits_longest(stage: Callable[..., Stage]) -> None:
    """Of a stream of urgent jobs every other start is given to the oldest, whatever its priority."""
    one = stage("policy: priority\nset: {floor: 50}\n", "--slots", "1")
    one.hold()
    one.submit("old", one.work("old"))
    urgent = one.work("urgent", more="priority: 9\n")
    names = [f"u{number}" for number in range(5)]
    for name in names:
        one.submit(name, urgent)
    one.open()
    found = one.order("old", *names)
    assert found.index("old") <= 2, found
    assert [name for name in found if name != "old"] == names


def test_queues_are_found_by_resources_tags_and_duration(stage: Callable[..., Stage]) -> None:
    """Strict queues, each with what it matches: the jobs start in the order of the queues, the last come first."""
    queues = (
        "policy: multilevel\ndefault: rest\nqueues:\n- {name: gpus, priority: 4, match: {resources: {gpu: 1}}}\n"
        "- {name: reds, priority: 3, match: {tags: [red]}}\n- {name: long, priority: 2, match: {longer_than: 1h}}\n"
        "- {name: rest, priority: 1}\n"
    )
    one = stage(queues, "--slots", "1", "--tags", "red", "--resources", "gpu=1")
    one.hold()
    for name, more, task in (
        ("plain", "", ""),
        ("slow", "estimated_runtime: 2h\n", ""),
        ("red", "", "  tags: [red]\n"),
        ("gpu", "", "  resources: {gpu: 1}\n"),
    ):
        one.submit(name, one.work(name, more=more, task=task))
    one.open()
    assert one.order("plain", "slow", "red", "gpu") == ["gpu", "red", "slow", "plain"]


def test_a_queue_starts_jobs_in_its_hours_alone(stage: Callable[..., Stage]) -> None:
    """Its hours begin in two hours: it waits while others run; once they are now, it runs."""

    def hours(first: int, last: int) -> str:
        begin, end = (datetime.now(UTC) + timedelta(hours=hour) for hour in (first, last))
        return f"queues: [{{name: night, hours: '{begin:%H:%M}-{end:%H:%M}'}}, day]\ndefault: day\n"

    one = stage(f"policy: multilevel\n{hours(2, 4)}", "--slots", "1")
    one.submit("night", one.work("night", more="queue: night\n"))
    one.submit("day", one.work("day"))
    (day,) = one.done("day")
    until(lambda: "the queue night starts jobs again in" in one.reason("night"), 20, "it says why it waits")
    one.file.write_text(f"policy: multilevel\n{hours(-2, 2)}")
    one.up.cli("queues", "apply", str(one.file))
    (night,) = one.done("night")
    assert at(night["tasks"][0]["started_at"]) > at(day["tasks"][0]["ended_at"])


def test_multilevel_strict_then_weighted_after_a_change_at_run_time(stage: Callable[..., Stage]) -> None:
    first = "- {name: interactive, priority: 2, weight: 3, match: {shorter_than: 1m}}\n"
    queues = f"queues:\n{first}- {{name: batch, priority: 1}}\n"
    one = stage(f"policy: multilevel\ndefault: batch\n{queues}", "--slots", "1")
    one.hold()
    long = one.work("long", more="estimated_runtime: 10m\n")
    short = one.work("short", more="estimated_runtime: 10s\n")
    for number in range(3):
        one.submit(f"l{number}", long)
        one.submit(f"s{number}", short)
    one.open()
    names = [f"{kind}{number}" for kind in "sl" for number in range(3)]
    assert one.order(*names) == names
    one.gate.unlink()
    one.file.write_text(f"policy: multilevel\nset: {{mode: weighted}}\ndefault: batch\n{queues}")
    one.up.cli("queues", "apply", str(one.file))
    one.hold()
    for number in range(8):
        one.submit(f"l{number}", long)
        one.submit(f"s{number}", short)
    one.open()
    found = one.order(*(f"{kind}{number}" for kind in "sl" for number in range(8)))
    assert sorted(name[0] for name in found[:8]) == ["l"] * 2 + ["s"] * 6, found


def test_resources_are_never_oversubscribed_and_labels_decide(stage: Callable[..., Stage]) -> None:
    options = ("--slots", "8", "--resources", "cpu=4,memory=8Gi,gpu=1", "--labels", "cuda=12.4,zone=eu")
    one = stage("policy: fcfs\nplacement: best_fit\n", *options)
    big = one.gated("big", task="  resources: {cpu: 1500m, memory: 2Gi}\n")
    for number in range(6):
        one.submit(f"b{number}", big)
    gpu = one.work("gpu", task="  resources: {gpu: 1}\n  placement: {versions: {cuda: '>=12,<13'}}\n")
    one.submit("gpu", gpu)
    one.submit("never", one.work("never", task="  resources: {gpu: 2}\n"))
    one.submit("old", one.work("old", task="  placement: {versions: {cuda: '<12'}}\n"))
    until(lambda: one.running(*(f"b{number}" for number in range(6))) == 2, 20, "two of them run")
    one.open()
    assert most_at_once(one.done(*(f"b{number}" for number in range(6)))) == 2, "4 cpu hold two tasks of 1.5"
    one.done("gpu")
    assert "lacks gpu 2 (offers 1)" in one.reason("never")
    assert "lacks cuda <12 (has 12.4)" in one.reason("old")


def test_an_overcommitted_resource_is_given_out_so_many_times(stage: Callable[..., Stage]) -> None:
    """Two processors: two tasks of one at a time, four where each counts twice, and two again."""
    one = stage("policy: fcfs\n", "--slots", "8", "--resources", "cpu=2")
    work = one.work("work", seconds=0.3, task="  resources: {cpu: 1}\n")
    whole = one.define("job_type: whole\ntasks:\n- {task_type: t, script: 'true', resources: {cpu: 3}}\n")
    for turn, (more, expected) in enumerate((("", 2), ("overcommit: {cpu: 2}\n", 4), ("", 2))):
        one.file.write_text(f"policy: fcfs\n{more}")
        one.up.cli("queues", "apply", str(one.file))
        one.hold(task="  resources: {cpu: 2}\n" if expected == 2 else "  resources: {cpu: 4}\n")
        names = [f"w{turn}-{number}" for number in range(8)]
        for name in names:
            one.submit(name, work)
        one.open()
        assert most_at_once(one.done(*names)) == expected
        one.done("hold0")
        one.gate.unlink()
    one.submit("whole", whole)
    until(lambda: "lacks cpu 3 (offers 2)" in one.reason("whole"), 20, "it is as before")


def test_a_preferred_ant_is_waited_for(stage: Callable[..., Stage]) -> None:
    """Delay scheduling: the near ant is busy, the far one free; the task waits, and runs near."""
    one = stage("policy: fcfs\n", "--slots", "1", "--labels", "zone=eu")
    one.hold()
    near = one.job("hold0")["tasks"][0]["ant"]
    with second_ant(one.up, "--slots", "1", "--labels", "zone=us"):
        prefers = one.work("p", task="  placement: {preferred: [{weight: 5, labels: {zone: eu}, wait: 90s}]}\n")
        one.submit("p", prefers)
        one.submit("any", one.work("any"))
        assert one.done("any")[0]["tasks"][0]["ant"] != near
        one.open()
        assert one.done("p")[0]["tasks"][0]["ant"] == near


def test_the_less_congested_pool_is_told(stage: Callable[..., Stage], tmp_path: Path) -> None:
    """The ants that the job's tag asks for are busy; those with another tag are free, and `estimate` says so."""
    one = stage("policy: fcfs\n", "--slots", "1", "--tags", "old")
    one.hold()
    job = tmp_path / "job.yaml"
    job.write_text("job_type: j\ntasks: [{task_type: t, method: SHELL, tags: [old], script: ['true']}]\n")
    with second_ant(one.up, "--slots", "2", "--tags", "new,large"):
        document = json.loads(one.up.cli("estimate", str(job), "--output", "json"))
        free, full = document["pools"]
        assert (free["tags"], free["busy"], free["slots"], free["serves"]) == (["large", "new"], 0, 2, False)
        assert (full["tags"], full["busy"], full["slots"], full["serves"]) == (["old"], 1, 1, True)
        assert free["wait_s"] == 0 and free["ahead"] == 0
        table = one.up.cli("estimate", str(job))
        assert "large,new" in table and "only with other tags" in table
    one.open()


def test_a_tenant_has_no_more_than_its_limit_and_is_charged_over_a_kill(stage: Callable[..., Stage]) -> None:
    """Six jobs on four slots run two at a time; the CPU time of all of them is there after kill -9."""
    limits = "tenant_limits: {'*': {max_concurrent_jobs: 2, max_cpu_hours_per_month: 1, max_storage_gb: 1.0e-6}}\n"
    one = stage(limits, "--slots", "4")
    work = one.gated("work", seconds=0.3)
    names = [f"w{number}" for number in range(6)]
    for name in names:
        one.submit(name, work)
    until(lambda: "(max_concurrent_jobs)" in one.reason("w5"), 10, "the limit holds it up")
    until(lambda: one.running(*names) == 2, 20, "two of them run")
    one.open()
    ended = one.done(*names)
    assert most_at_once(ended) == 2
    script = "  script: head -c 900 /dev/zero > big\n  artifacts: {paths: [big]}\n"
    store = f"job_type: store\ntasks:\n- task_type: store\n{script}"
    for number in range(2):
        one.submit(f"s{number}", one.define(store))
        assert one.client.wait(one.names[f"s{number}"], 60).state == ("COMPLETED", "FAILED")[number]
    assert "would pass max_storage_gb of the organisation" in str(one.job("s1")["tasks"][0]["error"])
    one.up.kill()
    one.up.start()
    usage = {of["limit"]: of["used"] for of in one.up.page("/v1/queues")[1]["usage"]}
    ran_s = sum(
        at(of["tasks"][0]["ended_at"]) - at(of["tasks"][0]["started_at"])
        for of in (*ended, one.job("s0"), one.job("s1"))
    )
    assert abs(usage["max_cpu_hours_per_month"] * 3600 - ran_s) < 0.1, (usage, ran_s)


def test_a_job_file_limits_its_type_without_queues_and_over_a_kill(stage: Callable[..., Stage]) -> None:
    """Five jobs of a limited type run two at a time beside another one; after kill -9 their hours are known."""
    one = stage("", "--slots", "4")
    work = one.gated("work", more="tenant_limits: {concurrent_jobs: 2, cpu_hours_per_month: 1}\n", seconds=0.3)
    names = [f"w{number}" for number in range(5)]
    for name in names:
        one.submit(name, work)
    until(lambda: "has 2 of at most 2 (max_concurrent_jobs of the job type work)" in one.reason("w4"), 20, "it waits")
    one.submit("free", one.work("free"))
    one.done("free")
    estimate = one.up.cli("estimate", one.names["w4"])
    assert "2 concurrent jobs of the organisation local (max_concurrent_jobs of the job type work)" in estimate
    until(lambda: one.running(*names) == 2, 20, "two of them run")
    one.open()
    ended = one.done(*names)
    assert most_at_once(ended) == 2
    one.up.kill()
    one.up.start()
    one.submit("again", work)
    one.done("again")
    usage = {(of["job_type"], of["limit"]): of["used"] for of in one.up.page("/v1/queues")[1]["usage"]}
    ran_s = sum(at(of["tasks"][0]["ended_at"]) - at(of["tasks"][0]["started_at"]) for of in (*ended, one.job("again")))
    assert abs(usage["work", "max_cpu_hours_per_month"] * 3600 - ran_s) < 0.1, (usage, ran_s)
    assert "work" in one.up.cli("queues", "show")


def test_fair_shares_between_queues(stage: Callable[..., Stage]) -> None:
    """Weights 3 and 1 on four slots: three tasks of one queue beside one of the other, whoever came first."""
    queues = "policy: fair\nset: {by: queue, weights: {a: 3, b: 1}}\ndefault: b\nqueues: [a, b]\n"
    one = stage(queues, "--slots", "4")
    one.hold(4)
    a, b = one.work("a", seconds=0.4, more="queue: a\n"), one.work("b", seconds=0.4)
    for number in range(8):
        one.submit(f"b{number}", b)
    for number in range(8):
        one.submit(f"a{number}", a)
    one.open()
    found = one.order(*(f"{kind}{number}" for kind in "ab" for number in range(8)))
    assert sorted(name[0] for name in found[:4]) == ["a", "a", "a", "b"], found
    assert sorted(name[0] for name in found[:8]).count("a") == 6, found


def test_placements_and_lots(stage: Callable[..., Stage]) -> None:
    """Two ants of two slots: first and best fit join what runs, worst fit goes to the other ant; then lots."""
    one = stage("placement: first_fit\n", "--ants", "2", "--slots", "2")
    until(lambda: len(one.up.page("/v1/ants")[1].get("ants", ())) == 2, 20, "both are there")
    assert one.figure('formicary_fragmentation{resource="slots"}') == 0.5, "of four free slots two are on one ant"
    work = one.work("work", seconds=0.3)

    def joins(placement: str) -> bool:
        """Whether a task joins the one that runs already."""
        one.file.write_text(f"placement: {placement}\n")
        one.up.cli("queues", "apply", str(one.file))
        one.hold()
        held = one.job("hold0")["tasks"][0]["ant"]
        one.submit("t", work)
        beside = bool(one.done("t")[0]["tasks"][0]["ant"] == held)
        one.open()
        one.done("hold0")
        one.gate.unlink()
        return beside

    assert (joins("first_fit"), joins("best_fit"), joins("worst_fit")) == (True, True, False)
    one.file.write_text("policy: lottery\nset: {by: queue, weights: {a: 99, b: 1}}\ndefault: b\nqueues: [a, b]\n")
    one.up.cli("queues", "apply", str(one.file))
    one.hold(4)
    a, b = one.work("a", more="queue: a\n"), one.work("b")
    for number in range(8):
        one.submit(f"b{number}", b)
    for number in range(8):
        one.submit(f"a{number}", a)
    one.open()
    first = one.order(*(f"{kind}{number}" for kind in "ab" for number in range(8)))[:8]
    assert [name[0] for name in first].count("a") >= 5, first


def test_drf_of_the_paper(stage: Callable[..., Stage]) -> None:
    """NSDI 2011: 9 CPU and 18 GB; A asks for <1, 4> and B for <3, 1>: 3 and 2 tasks run side by side."""
    one = stage(
        "policy: drf\nset: {by: queue}\ndefault: a\nqueues: [a, b]\n",
        "--slots",
        "20",
        "--resources",
        "cpu=9,memory=18",
    )
    whole = one.define(HOLD.format(gate=one.gate) + "  resources: {cpu: 9}\n")
    one.submit("hold0", whole)
    a = one.work("a", seconds=0.6, more="queue: a\n", task="  resources: {cpu: 1, memory: 4}\n")
    b = one.work("b", seconds=0.6, more="queue: b\n", task="  resources: {cpu: 3, memory: 1}\n")
    until(lambda: one.job("hold0")["tasks"][0]["state"] == "EXECUTING", 20, "all is held")
    for number in range(6):
        one.submit(f"a{number}", a)
        one.submit(f"b{number}", b)
    one.open()
    first = one.order(*(f"{kind}{number}" for kind in "ab" for number in range(6)))[:5]
    assert sorted(name[0] for name in first) == ["a", "a", "a", "b", "b"]


GANG = "job_type: {name}\ngang: job\ntasks:\n" + "".join(
    f"- task_type: m{number}\n  script: sleep 1\n" for number in range(3)
)


def test_two_competing_gangs_start_whole_one_after_the_other(stage: Callable[..., Stage]) -> None:
    """Two gangs of three on four slots, singles in between: each gang's members start within a moment of each other."""
    one = stage("", "--ants", "2", "--slots", "2")
    first, second = one.define(GANG.format(name="first")), one.define(GANG.format(name="second"))
    single = one.work("single", seconds=0.2)
    one.submit("s0", single)
    one.submit("g1", first)
    one.submit("g2", second)
    for number in range(1, 5):
        one.submit(f"s{number}", single)
    gangs = one.done("g1", "g2")
    one.done(*(f"s{number}" for number in range(5)))
    spans = []
    for document in gangs:
        starts = [at(task["started_at"]) for task in document["tasks"]]
        ends = [at(task["ended_at"]) for task in document["tasks"]]
        assert max(starts) < min(ends), "they run together"
        assert {task["attempts"] for task in document["tasks"]} == {1}
        spans.append((min(starts), ends))
    spans.sort()
    begun = spans[1][0]  # by then the first gang has left at least two of the four slots: three members need three
    assert sum(end > begun for end in spans[0][1]) <= 1, "no two gangs of three fit into four slots"


def test_a_sensor_polls_twenty_times_and_holds_no_slot(stage: Callable[..., Stage]) -> None:
    """The sensor of the article: 20 polls at most; the only slot is free for others between them."""
    one = stage("policy: fcfs\n", "--slots", "1")
    one.hold()
    one.submit(
        "sensor",
        one.define(
            "job_type: sensor\ntasks:\n- task_type: look\n  timeout: 15s\n  retry: 20\n  delay_between_retries: 100ms\n"
            '  script: "[ $FORMICARY_ATTEMPT -ge 20 ] || exit 75"\n  on_exit_code: {"75": EXECUTING}\n'
        ),
    )
    work = one.work("work", seconds=0.01)
    for number in range(10):
        one.submit(f"w{number}", work)
    one.open()  # all wait by now: each of them gets the slot after a poll, however slow this machine is
    one.done(*(f"w{number}" for number in range(10)))
    sensor = one.done("sensor")[0]["tasks"][0]
    assert (sensor["attempts"], sensor["polls"]) == (20, 19)
    last = max(at(one.job(f"w{number}")["tasks"][0]["ended_at"]) for number in range(10))
    assert last < at(sensor["ended_at"]), "they ran between two polls"


def test_the_hybrid_example_behaves(stage: Callable[..., Stage]) -> None:
    """Sensor, queue, priority, resources, preference and gang in one job, under the queues that come with it."""
    one = stage((REPOSITORY / "examples" / "queues.yaml").read_text(), "--slots", "4")
    one.submit("ml", one.define((REPOSITORY / "examples/jobs/hybrid-ml-pipeline.yaml").read_text()))
    tasks = {task["task_type"]: task for task in one.done("ml")[0]["tasks"]}
    assert tasks["wait-for-data"]["attempts"] == 3
    starts = [at(tasks[name]["started_at"]) for name in ("train-0", "train-1")]
    assert abs(starts[0] - starts[1]) < 0.25 + slowness()
    shown = {queue["name"]: queue for queue in one.up.page("/v1/queues")[1]["queues"]}
    assert {"production", "research"} == set(shown)


def test_what_can_never_come_true_is_told_at_once(stage: Callable[..., Stage], tmp_path: Path) -> None:
    """A gang that is larger than the cluster: told by validate, by submit and by explain; so is a missing resource."""
    one = stage("policy: edf\n", "--slots", "2")
    until(lambda: one.up.page("/v1/ants")[1].get("ants"), 20, "an ant is there")
    file = tmp_path / "gang.yaml"
    file.write_text(GANG.format(name="large"))
    large = "the gang of 3 tasks is larger than the cluster: 1 connected ants have 2 slots"
    assert large in one.up.cli("validate", str(file), "--server", one.up.address, "--output", "json")
    definition = one.define(file.read_text())
    assert large in definition.warnings[0]
    one.submit("large", definition)
    until(lambda: "a gang of 3 members does not fit on the 1 ants" in one.reason("large"), 10, "it is explained")
    assert "lacks gpu 2 (offers 0)" in one.work("gpu", task="  resources: {gpu: 2}\n").warnings[0]


def test_what_its_queue_can_never_let_start_is_told_at_once(stage: Callable[..., Stage], tmp_path: Path) -> None:
    """A task of half the colony in a queue that may have a third, and a queue that there is not: by each command."""
    queues = "queues: [{name: small, guaranteed: 10, maximum: 30}, rest]\ndefault: rest\n"
    one = stage(f"policy: capacity\n{queues}", "--slots", "2")
    until(lambda: one.up.page("/v1/ants")[1].get("ants"), 20, "an ant is there")
    never, misnamed = tmp_path / "never.yaml", tmp_path / "misnamed.yaml"
    never.write_text(WORK.format(name="never", more="queue: small\n", seconds=0, task=""))
    misnamed.write_text(WORK.format(name="misnamed", more="queue: smal\n", seconds=0, task=""))
    too_much = "task work needs 50 % of all that the ants have, and the queue small may have 30 % (maximum)"
    told = one.up.cli("validate", str(never), str(misnamed), "--server", one.up.address, "--output", "json")
    found = [violation for file in json.loads(told) for violation in file["violations"]]
    assert [(one["line"], one["column"], one["message"]) for one in found] == [
        (4, 3, too_much),
        (2, 1, "There is no queue smal for jobs on this server; there is small, rest."),
    ]
    assert too_much in one.up.cli("estimate", str(never))
    one.submit("never", one.define(never.read_text()))
    until(lambda: "queue small: 0 of at most 30 in use, 50 asked for" in one.reason("never"), 10, "it is explained")
    definition = one.define(misnamed.read_text())
    assert definition.warnings == ("there is no queue smal for jobs: those of misnamed go to rest",)
    one.submit("misnamed", definition)
    one.done("misnamed")


def test_a_deadline_that_has_passed_is_refused_at_once(stage: Callable[..., Stage]) -> None:
    one = stage("policy: edf\n")
    late = one.work("late", more="deadline: 2020-01-01T00:00:00Z\n")
    with pytest.raises(Problem, match="The deadline 2020-01-01T00:00:00Z has passed"):
        one.submit("late", late)


def test_queues_outlive_a_kill_and_bad_ones_change_nothing(stage: Callable[..., Stage]) -> None:
    one = stage("policy: fcfs\nqueues: [kept]\ndefault: kept\n", "--ants", "1")
    one.file.write_text("policy: sjf\nqueues: [kept, more]\ndefault: kept\n")
    one.up.cli("queues", "apply", str(one.file))
    bad = one.file.with_name("bad.yaml")
    bad.write_text("policy: none\nqueues: [{name: a, guaranteed: 70}, {name: b, guaranteed: 70, parent: c}]\n")
    one.up.cli("queues", "apply", str(bad), status=2)
    one.up.arguments = tuple(part for part in one.up.arguments if part not in ("--queues", str(one.file)))

    def calls() -> list[str]:
        return [call["resource"] for call in one.up.page("/v1/audit?method=PutQueues")[1]["records"]]

    until(lambda: len(calls()) >= 2, 10, "the audit log is written, which happens every tenth of a second")
    one.up.kill()
    one.up.start()
    assert str(one.file) in calls(), "the start with --queues is in the audit log too"
    found = one.up.page("/v1/queues")[1]
    assert (found["policy"], [queue["name"] for queue in found["queues"]]) == ("sjf", ["kept", "more"])


def test_the_user_who_has_missed_more_of_his_deadlines_goes_first(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two users with tokens of their own; one has a deadline that passes while the only slot is taken."""
    queues, gate = tmp_path / "fair.yaml", tmp_path / "gate"
    queues.write_text("policy: edf\nset: {fair_by: user}\n")
    up = Up(data_dir, "--auth", "token", "--slots", "1", "--queues", str(queues))
    monkeypatch.setenv("FORMICARY_TOKEN", up.cli("token", "create", "--role", "admin", "--data", str(data_dir)).strip())
    up.start()
    tokens = [up.cli("token", "create", "--role", "submitter").strip() for _ in range(2)]
    try:
        with SyncClient(up.address) as admin, SyncClient(up.address, token=tokens[0]) as sam:
            hold = admin.submit(admin.register(HOLD.format(gate=gate)))
            until(lambda: admin.get(hold.id)["state"] == "EXECUTING", 20, "the slot is taken")
            with SyncClient(up.address, token=tokens[1]) as lou:
                text = "job_type: {}\ndeadline: {}\ntasks:\n- task_type: a\n  script: echo\n"
                jobs = [
                    client.submit(client.register(text.format(name, deadline))).id
                    for client, name, deadline in ((sam, "late", "1s"), (lou, "near", "30m"), (sam, "far", "2h"))
                ]
                until(lambda: "has missed 100%" in str(admin.explain(jobs[2])), 20, "the deadline has passed")
                gate.touch()
                for one in jobs:
                    assert admin.wait(one, 60).state == "COMPLETED"
        with SyncClient(up.address) as admin:
            starts = [at(admin.get(one)["tasks"][0]["started_at"]) for one in jobs]
        late, near, far = starts
        assert far < near < late
    finally:
        up.stop()
