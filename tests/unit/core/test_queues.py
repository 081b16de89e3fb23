"""The core under configured queues: orders, shares, placement, gangs, reclaim, inversion; what runs is never more."""

from __future__ import annotations

import pytest

from formicary.engine.queen.core import outcome as ends
from formicary.engine.queen.core.explaining import explain
from formicary.engine.queen.core.queueing import requeue
from formicary.engine.scheduling.queues.reading import read_queues
from tests.unit.core.colony import Colony

ONE = "job_type: {name}\n{more}tasks:\n- task_type: a\n  script: x\n{task}"


def colony(source: str = "", **options: object) -> Colony:
    """A colony that follows a configuration."""
    made = Colony(**options)  # type: ignore[arg-type]  # of Colony
    if source:
        found = read_queues(source)
        assert found.queues is not None, found.violations
        made.core.waiting.take(source, found.queues, "test")
        made.settle()
    return made


def job(name: str, more: str = "", task: str = "") -> str:
    """A definition with one task."""
    return ONE.format(name=name, more="".join(f"{line}\n" for line in more.split("; ") if line), task=task)


def started(made: Colony) -> list[str]:
    """Ids of the jobs whose tasks were granted since somebody looked last, in order."""
    return [text.split()[1].partition("/")[0] for text in made.news() if text.startswith("grant")]


def run_all(made: Colony, ids: list[str], task: str = "a") -> list[str]:
    """Lets one slot work until all have ended; the order of the starts."""
    order = started(made)
    while len(order) < len(ids) or made.core.jobs:
        made.ok(order[-1], task)
        order += started(made)
        if not made.core.jobs:
            break
    return order


def test_who_comes_anew_finds_the_room_that_came_while_nobody_like_him_waited() -> None:
    """That a demand found no room is no longer true when another of its kind comes, long after the last has gone."""
    made = colony("policy: fcfs\n")
    made.ant("ant", 1)
    made.submit("held", made.define(job("held")))
    large = made.define(job("large", task="  resources: {cpu: 1}\n"))
    made.ant("other", 2, resources={"cpu": 1.0})
    made.submit("first", large)
    made.submit("gone", large)
    made.cancel("gone")
    requeue(made.core)  # as when a term is new, or the queues are
    made.ok("first", "a")
    made.submit("late", large)
    assert started(made) == ["held", "first", "late"]


def test_an_order_holds_and_follows_a_change_at_run_time() -> None:
    made = colony("policy: fcfs\n")
    low, high = made.define(job("low")), made.define(job("high", "priority: 9"))
    for name, definition in (("a", low), ("b", high), ("c", low), ("d", high)):
        made.submit(name, definition)
    made.ant("ant", 1)
    assert started(made) == ["a"]
    other = read_queues("policy: priority\n").queues
    assert other is not None
    made.core.waiting.take("policy: priority\n", other, "me")
    made.settle()
    assert started(made) == []
    made.ok("a", "a")
    assert run_all(made, ["b", "d", "c"]) == ["b", "d", "c"]


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("fcfs", ["slow", "quick", "soon", "far"]),
        ("sjf", ["quick", "soon", "far", "slow"]),
        ("edf", ["soon", "quick", "far", "slow"]),
        ("llf", ["soon", "quick", "far", "slow"]),
    ],
)
def test_orders(policy: str, expected: list[str]) -> None:
    made = colony(f"policy: {policy}\n")
    for name, runtime, deadline in (("slow", 90, ""), ("quick", 5, "200s"), ("soon", 20, "100s"), ("far", 30, "900s")):
        more = f"estimated_runtime: {runtime}s" + (f"; deadline: {deadline}" if deadline else "")
        made.submit(name, made.define(job(name, more)))
    made.ant("ant", 1)
    assert run_all(made, expected) == expected


def test_aging_lets_a_low_priority_start_within_its_bound() -> None:
    """10 - 0 at 0.5 a second: after 20 s it is among the first, and the oldest of those."""
    made = colony("policy: priority\nset: {aging: 0.5, cap: 10}\n")
    low, high = made.define(job("low")), made.define(job("high", "priority: 8"))
    made.ant("ant", 1)
    made.submit("first", high)
    made.submit("old", low)
    order = started(made)
    for number in range(12):
        made.submit(f"h{number}", high)
        made.advance(2.0)
        made.ok(order[-1], "a")
        order += started(made)
    assert 8 <= order.index("old") <= 11, order


def test_strict_levels_and_weighted_turns() -> None:
    queues = "queues:\n- {name: gold, priority: 2, weight: 3, match: {job_types: [g*]}}\n- {name: tin, priority: 1}\n"
    strict = colony("policy: multilevel\ndefault: tin\n" + queues)
    turns = colony("policy: multilevel\nset: {mode: weighted}\ndefault: tin\n" + queues)
    for made in (strict, turns):
        gold, tin = made.define(job("g")), made.define(job("t"))
        for number in range(8):
            made.submit(f"t{number}", tin)
        for number in range(8):
            made.submit(f"g{number}", gold)
        made.ant("ant", 1)
    assert [name[0] for name in run_all(strict, ["x"] * 16)] == ["g"] * 8 + ["t"] * 8
    assert sorted([name[0] for name in run_all(turns, ["x"] * 16)][:8]) == ["g"] * 6 + ["t"] * 2


def test_fair_shares_by_user_and_drf_of_the_paper() -> None:
    """NSDI 2011: 9 CPU and 18 GB; A asks for <1, 4>, B for <3, 1>: 3 and 2 tasks."""
    made = colony("policy: drf\nset: {by: user}\n")
    a = made.define(job("a", task="  resources: {cpu: 1, memory: 4}\n"))
    b = made.define(job("b", task="  resources: {cpu: 3, memory: 1}\n"))
    for number in range(9):
        made.submit(f"a{number}", a, user="A")
        made.submit(f"b{number}", b, user="B")
    made.ant("ant", 100, resources={"cpu": 9.0, "memory": 18.0})
    names = started(made)
    assert sorted(name[0] for name in names) == ["a", "a", "a", "b", "b"]
    assert made.core.leases.by_id("ant")[0].used == {"cpu": 9.0, "memory": 14.0}


@pytest.mark.parametrize(
    ("source", "turns"),
    [
        ("policy: fair\nset: {by: user}\n", {"a": 4, "b": 4, "c": 4}),
        ("policy: drf\nset: {by: user, weights: {a: 2, b: 1, c: 1}}\n", {"a": 6, "b": 3, "c": 3}),
        ("policy: fair\nset: {by: queue}\ndefault: a\nqueues: [a, b, c]\n", {"a": 4, "b": 4, "c": 4}),
        (
            "policy: capacity\ndefault: a\nqueues:\n- {name: a, guaranteed: 50}\n- {name: b, guaranteed: 25}\n"
            "- {name: c, guaranteed: 25}\n",
            {"a": 6, "b": 3, "c": 3},
        ),
    ],
)
def test_with_fewer_slots_than_claims_the_slot_goes_round(source: str, turns: dict[str, int]) -> None:
    """Whoever holds nothing claims alike: who had a turn comes after those who had none, by weight; nobody starves."""
    made = colony(source)
    for name in "abc":
        definition = made.define(job(name, f"queue: {name}" if "queues" in source else ""))
        for number in range(12):
            made.submit(f"{name}{number}", definition, user=name)
    made.ant("ant", 1)
    order = [name[0] for name in run_all(made, ["x"] * 36)][:12]
    assert {name: order.count(name) for name in "abc"} == turns, order


def test_who_was_away_is_owed_no_turns() -> None:
    """One user alone for ten turns; from when the other comes both have as many, but for one."""
    made = colony("policy: fair\nset: {by: user}\n")
    definition = made.define(job("j"))
    for number in range(20):
        made.submit(f"z{number}", definition, user="z")
    made.ant("ant", 1)
    order = started(made)
    while len(order) < 10:
        made.ok(order[-1], "a")
        order += started(made)
    for number in range(10):
        made.submit(f"a{number}", definition, user="a")
    while len(order) < 18:
        made.ok(order[-1], "a")
        order += started(made)
    assert "".join(name[0] for name in order[10:18]).count("a") in (4, 5), order


def test_capacity_lends_what_is_free_and_takes_it_back_gracefully() -> None:
    source = (
        "policy: capacity\nset: {reclaim: graceful}\ndefault: batch\nqueues:\n"
        "- {name: prod, guaranteed: 50, match: {job_types: [prod]}}\n- {name: batch, guaranteed: 50}\n"
    )
    made = colony(source)
    batch, prod = made.define(job("batch", task="  retry: 0\n")), made.define(job("prod"))
    ant = made.ant("ant", 4)
    for number in range(4):
        made.submit(f"b{number}", batch)
    assert len(started(made)) == 4  # all of it is lent
    for number in range(3):
        made.submit(f"p{number}", prod)
    names = sorted(ant.held[token].job_id for token in ant.cancelled)
    assert names == ["b2", "b3"], "two give way, not three: the guarantee of batch stays; and they started last"
    for token in list(ant.cancelled):
        grant = ant.held[token]
        made.result(grant.job_id, "a", ends.CANCELLED, token=token)
    assert sorted(started(made)) == ["p0", "p1"]
    assert made.states(names[0]) == {names[0]: "EXECUTING", "a": "READY"}
    run = made.task(names[0], "a")
    assert run is not None and (run.failures, run.lost, run.attempts) == (0, 0, 1)
    made.ok("p0", "a")
    made.ok("p1", "a")
    while ant.held:
        made.ok(next(iter(ant.held.values())).job_id, "a")
    assert [(end.state, len(made.ended)) for end in made.ended] == [("COMPLETED", 7)] * 7


def test_limits_and_hours_hold_a_queue_and_explain_says_so() -> None:
    made = colony("policy: multilevel\nqueues:\n- {name: default, limit: 1}\n- {name: night, hours: 22:15-22:30}\n")
    plain, night = made.define(job("plain")), made.define(job("night", "queue: night"))
    made.ant("ant", 4)
    for name, definition in (("a", plain), ("b", plain), ("n", night)):
        made.submit(name, definition)
    assert started(made) == ["a"]
    reasons = {name: explain(made.core, made.core.jobs[name]) for name in ("b", "n")}
    assert "1 of at most 1 tasks of the queue default" in reasons["b"].summary
    assert next(one.gate for one in reasons["n"].reasons if not one.passed) == "hours"
    made.ok("a", "a")
    assert started(made) == ["b"]
    made.advance(120.0)
    assert "n" in started(made)


def test_what_holds_longer_is_named_before_ants_that_are_busy() -> None:
    """Both slots are taken, and the queue is at its limit or closed, or a gang is too large: those are the reasons."""
    queues = "- default\n- {name: one, limit: 1}\n- {name: night, hours: 22:15-22:30}\n"
    made = colony(f"policy: fcfs\ndefault: default\nqueues:\n{queues}")
    made.ant("ant", 2)
    for name, queue in (("a", "one"), ("x", "default"), ("b", "one"), ("n", "night"), ("y", "default")):
        made.submit(name, made.define(job(name, f"queue: {queue}")))
    assert started(made) == ["a", "x"]

    def told(name: str, never: str = "") -> str:
        return explain(made.core, made.core.jobs[name], never).summary

    assert told("b") == "1 of at most 1 tasks of the queue one are running (limit)"
    assert told("n").startswith("the queue night starts jobs again in")
    assert told("y") == "all 1 ants that fit are full: 2 of 2 places taken"
    assert told("y", "never") == "never"
    gates = [one.gate for one in explain(made.core, made.core.jobs["n"]).reasons if not one.passed]
    assert gates[:2] == ["hours", "place"]


def test_a_queue_that_is_not_there_is_told() -> None:
    made = colony("policy: multilevel\nqueues: [one]\ndefault: one\n")
    made.submit("j", made.define(job("j", "queue: two")))
    told = explain(made.core, made.core.jobs["j"]).reasons
    assert "it names the queue two, which there is not: it waits in one" in [reason.message for reason in told]


def test_needs_labels_and_versions_decide_where_a_task_may_run() -> None:
    made = colony()
    made.ant("small", 4, resources={"cpu": 2.0}, labels={"cuda": "11.8"})
    big = made.define(job("big", task="  resources: {cpu: 2, gpu: 1}\n  placement: {versions: {cuda: '>=12,<13'}}\n"))
    made.submit("j", big)
    assert started(made) == []
    told = explain(made.core, made.core.jobs["j"]).summary
    assert "gpu 1 (offers 0)" in told and "cuda >=12,<13 (has 11.8)" in told
    made.ant("gpu", 4, resources={"cpu": 3.0, "gpu": 2.0}, labels={"cuda": "12.4"})
    assert made.news()[-1].endswith("to gpu")
    made.submit("k", big)
    assert started(made) == []  # a slot is free, and one cpu of three
    assert "no ant has cpu 2, gpu 1 free now: gpu has 1 of 3 cpu" in explain(made.core, made.core.jobs["k"]).summary
    made.ok("j", "a")
    assert started(made) == ["k"]


@pytest.mark.parametrize(
    ("placement", "expected"),
    [("best_fit", "two"), ("worst_fit", "one"), ("first_fit", "one"), ("least_loaded", "one")],
)
def test_fits(placement: str, expected: str) -> None:
    made = colony(f"policy: fcfs\nplacement: {placement}\n")
    made.ant("one", 4, resources={"cpu": 8.0})
    made.ant("two", 4, resources={"cpu": 2.0})
    made.submit("j", made.define(job("j", task="  resources: {cpu: 2}\n")))
    assert made.news()[-1].endswith(f"to {expected}")


def test_a_preferred_ant_is_waited_for_but_not_long() -> None:
    made = colony("policy: fcfs\n")
    made.ant("far", 1)
    near = made.ant("near", 1, labels={"zone": "eu"})
    prefers = made.define(job("j", task="  placement: {preferred: [{weight: 5, labels: {zone: eu}, wait: 3s}]}\n"))
    for number in range(3):
        made.submit(f"j{number}", prefers)
    assert [made.holder(made.token("j0", "a")).name, len(near.held)] == ["near", 1]
    assert "j1" not in made.tokens
    made.advance(1.0)
    made.ok("j0", "a")
    assert made.holder(made.token("j1", "a")).name == "near"  # it came free in time
    made.advance(4.0)
    assert made.holder(made.token("j2", "a")).name == "far"  # waited 3 s, then took what there was


GANG = "job_type: {name}\ngang: {gang}\ntasks:\n" + "".join(
    f"- task_type: m{at}\n  script: x\n  retry: 1\n  delay_between_retries: 1s\n" for at in range(3)
)


def test_two_gangs_never_hold_parts_of_what_the_other_needs() -> None:
    made = colony()
    one, two = (made.define(GANG.format(name=name, gang="job")) for name in ("one", "two"))
    single = made.define(job("single"))
    made.ant("x", 2)
    made.ant("y", 2)
    made.submit("s", single)
    made.submit("g1", one)
    assert started(made).count("g1") == 3
    made.submit("g2", two)
    made.submit("later", single)
    assert started(made) == []
    assert "all 2 ants that fit are full" in explain(made.core, made.core.jobs["g2"]).summary
    made.ok("s", "a")
    assert started(made) == [], "what has come later stays behind: an ant is kept for the gang"
    told = explain(made.core, made.core.jobs["g2"]).summary
    assert "m0 starts in a gang of 3 at once, 1 slots are free; 2 ants are kept for it" in told
    for at in range(3):
        made.ok("g1", f"m{at}")
    assert sorted(started(made)) == ["g2", "g2", "g2", "later"]
    for at in range(3):
        made.ok("g2", f"m{at}")
    assert made.states("g2")["g2"] == "COMPLETED"


def test_a_gang_starts_again_as_a_whole_when_a_member_comes_back() -> None:
    made = colony()
    made.submit("g", made.define(GANG.format(name="g", gang="job")))
    ants = [made.ant(name, 1) for name in ("x", "y", "z")]
    assert started(made) == ["g"] * 3
    made.die("x")
    made.advance(4.0)  # the grace: lost
    others = [ant for ant in ants if ant.name != "x"]
    assert all(len(ant.cancelled) == 1 for ant in others)
    for ant in others:
        token = ant.cancelled[0]
        made.result("g", "?", ends.CANCELLED, token=token)
    assert started(made) == []
    made.ant("w", 1)
    assert started(made) == ["g"] * 3
    assert {made.task("g", f"m{at}").lost for at in range(3)} == {0, 1}  # type: ignore[union-attr]  # they have rows


def test_a_gang_that_fits_nowhere_is_told_so_and_fewer_are_enough_with_min() -> None:
    made = colony()
    made.ant("x", 2)
    made.submit("g", made.define(GANG.format(name="g", gang="job")))
    made.submit("h", made.define(GANG.format(name="h", gang="{tasks: [m0, m1, m2], min: 2}")))
    told = explain(made.core, made.core.jobs["g"]).summary
    assert "does not fit on the 1 ants even when nothing else runs" in told
    assert started(made) == ["h", "h"]
    made.ok("h", "m0")
    assert started(made) == ["h"]


def test_the_holder_of_a_place_inherits_the_priority_of_who_waits_for_it() -> None:
    """Inversion: low holds the one place of its type, medium would go before its next task for ever."""
    tasks = "- {task_type: a, script: x, on_completed: b}\n- {task_type: b, script: x}\n"
    limited = f"job_type: lock\nmax_concurrency: 1\ntasks:\n{tasks}"
    made = colony("policy: priority\n")
    lock, medium = made.define(limited), made.define(job("medium", "priority: 5"))
    made.ant("ant", 1)
    made.submit("low", lock, priority=1)
    for number in range(3):
        made.submit(f"m{number}", medium)
    assert started(made) == ["low"]
    made.submit("high", lock, priority=9)
    made.ok("low", "a")
    assert started(made) == ["low"], "its second task goes before the medium ones"
    made.ok("low", "b")
    assert started(made) == ["high"]


def test_a_configuration_outlives_the_queen() -> None:
    made = colony("policy: fcfs\nqueues:\n- {name: one}\n")
    low, high = made.define(job("low")), made.define(job("high", "priority: 9"))
    made.submit("a", low)
    made.submit("b", high)
    made.restart()
    assert made.core.queueing is not None and made.core.queueing.config.rule.policy == "fcfs"
    assert made.core.waiting.given is not None and made.core.waiting.given.by == "test"
    made.ant("ant", 1)
    assert started(made) == ["a"]


def test_a_floor_gives_part_of_the_starts_to_the_oldest() -> None:
    """Under a stream of urgent jobs every fourth start is of who waits longest: nobody starves."""
    made = colony("policy: priority\nset: {floor: 25}\n")
    low, high = made.define(job("low")), made.define(job("high", "priority: 9"))
    for number in range(3):
        made.submit(f"low{number}", low)
    for number in range(12):
        made.submit(f"high{number}", high)
    made.ant("ant", 1)
    order = started(made)
    while len(order) < 13:
        made.ok(order[-1], "a")
        made.submit(f"more{len(order)}", high)
        order += started(made)
    assert [at for at, name in enumerate(order) if name.startswith("low")] == [3, 7, 11]
    assert [name for name in order if name.startswith("low")] == ["low0", "low1", "low2"]
    assert [name for name in order if name.startswith("high")] == [f"high{number}" for number in range(10)]
    told = [one.message for one in explain(made.core, made.core.jobs["high11"]).reasons if one.gate == "order"]
    assert told[0].endswith("(queue default, policy priority 9, 25 % to the oldest)")


SLOW = "job_type: slow\ntasks:\n- task_type: a\n  script: x\n  speculative_backup: {least_history: 3, extra_work: 1}\n"


def lagging(made: Colony) -> None:
    """Three tasks of a kind have taken a second; the fourth, `late`, runs for three."""
    slow = made.define(SLOW)
    for number in range(3):
        made.submit(f"j{number}", slow)
        token = made.token(f"j{number}", "a")
        made.advance(1.0)
        made.core.result(
            made.holder(token).session,
            ends.Outcome(token, ends.COMPLETED, 0, started_at=made.wall - 1.0, ended_at=made.wall),
        )
        made.settle()
    made.submit("late", slow)
    made.started("late", "a")
    made.news()
    made.advance(3.0)


def test_the_copy_of_a_straggler_wins_and_the_loser_changes_nothing() -> None:
    made = colony(check_twin=False)
    made.ant("x", 1)
    made.ant("y", 1)
    lagging(made)
    first, second = made.tokens["late", "a"]
    assert made.holder(first) is not made.holder(second)
    loser = made.holder(first)
    made.ok("late", "a", token=second)
    assert made.states("late") == {"late": "COMPLETED", "a": "COMPLETED"}
    run = made.task("late", "a")
    assert run is not None and (run.token, run.attempts, run.failures, run.lost) == (second, 2, 0, 0)
    assert loser.cancelled == [first]
    made.result("late", "a", ends.COMPLETED, token=first)  # it was faster than the message: too late all the same
    assert made.core.leases.tokens == {}
    assert all(not ant.held for ant in made.core.leases.ants.values())
    assert made.core.stats.backups == 1


def test_a_slow_rate_of_progress_asks_for_a_copy_before_anything_has_ended() -> None:
    """LATE: of five siblings that say how far they are, the slowest is copied to the ant that is free."""
    made = colony(check_twin=False)
    made.ant("x", 5)
    slow = made.define(SLOW.replace("least_history: 3", "least_history: 100"))
    for name in ("j0", "j1", "j2", "j3", "late"):
        made.submit(name, slow)
        made.started(name, "a")
    made.ant("y", 3)
    made.advance(2.0)
    assert made.core.stats.backups == 0
    for name, fraction in (("j0", 0.8), ("j1", 0.9), ("j2", 0.7), ("j3", 0.8), ("late", 0.05)):
        made.core.leases.tokens[made.token(name, "a")].fraction = fraction
    made.advance(2.0)
    assert made.core.stats.backups == 1
    assert [made.holder(token).name for token in made.tokens["late", "a"]] == ["x", "y"]


def test_a_task_goes_on_as_its_copy_when_its_ant_is_lost_and_the_first_may_win_too() -> None:
    made = colony(check_twin=False)
    made.ant("x", 1)
    made.ant("y", 1)
    lagging(made)
    first, second = made.tokens["late", "a"]
    made.die(made.holder(first).name)
    made.advance(4.0)
    assert made.tokens["late", "a"] == [first, second], "no third attempt"
    made.ok("late", "a", token=second)
    run = made.task("late", "a")
    assert run is not None and (run.state, run.token, run.lost) == ("COMPLETED", second, 0)
    made.ant("z", 1)
    made.submit("again", "slow:1")
    made.started("again", "a")
    made.advance(3.0)
    mine, copy = made.tokens["again", "a"]
    made.result("again", "a", ends.FAILED, token=copy, exit_code=1)  # a copy that fails says nothing of the task
    assert made.states("again")["again"] == "EXECUTING"
    made.ok("again", "a", token=mine)
    assert made.states("again")["again"] == "COMPLETED"
    assert made.core.leases.tokens == {}


def test_a_cancel_ends_both_attempts() -> None:
    made = colony(check_twin=False)
    made.ant("x", 1)
    made.ant("y", 1)
    lagging(made)
    first, second = made.tokens["late", "a"]
    made.cancel("late")
    assert {token for worker in made.workers.values() for token in worker.cancelled} == {first, second}
    for token in (first, second):
        made.result("late", "a", ends.CANCELLED, token=token)
    assert made.states("late")["late"] == "CANCELLED"
    assert made.core.leases.tokens == {}


def test_the_reservation_goes_to_the_gang_whose_turn_comes_first() -> None:
    """Found by seed 263: an earlier gang came back while a later one of the same kind had the only ant kept."""
    made = colony()
    pair = GANG.format(name="pair", gang="job").partition("- task_type: m2")[0]
    kind = made.define(pair)
    made.ant("x", 2)
    made.submit("first", kind)
    made.submit("second", kind)
    assert started(made) == ["first", "first"]
    made.ok("first", "m1")
    assert started(made) == [] and made.core.queueing is not None
    assert made.core.queueing.deciding.reserved is not None
    made.give_back("first", "m0")  # what is left of the gang is one task, and its turn is before the second's
    assert started(made) == ["first"]
    made.ok("first", "m0")
    assert started(made) == ["second", "second"]


def test_a_gang_starts_with_no_more_than_the_limit_of_its_queue() -> None:
    """Three would fit on the ants: with `min: 2` two start in a queue that runs two, else none."""
    made = colony("queues:\n- {name: two, limit: 2}\n- rest\ndefault: two\n")
    made.submit("all", made.define(GANG.format(name="all", gang="job")))
    made.submit("some", made.define(GANG.format(name="some", gang="{tasks: [m0, m1, m2], min: 2}")))
    made.ant("x", 4)
    assert started(made) == ["some", "some"]
    told = explain(made.core, made.core.jobs["all"]).summary
    assert told == "2 of at most 2 tasks of the queue two are running (limit), 3 would start together"
    made.ok("some", "m0")
    assert started(made) == ["some"]


def test_a_gang_starts_with_no_more_than_the_share_of_its_queue() -> None:
    made = colony("policy: capacity\nqueues:\n- {name: half, maximum: 50}\n- rest\ndefault: half\n")
    made.submit("some", made.define(GANG.format(name="some", gang="{tasks: [m0, m1, m2], min: 2}")))
    made.ant("x", 4)
    assert started(made) == ["some", "some"]


def test_overcommit_counts_what_ants_have_so_many_times() -> None:
    """For ants that are there and that come; with less of it, what runs goes on and nothing begins until it fits."""
    made = colony("overcommit: {cpu: 1.5}\n")
    work = made.define(job("work", "", "  resources: {cpu: 1, memory: 1}\n"))
    made.ant("x", 8, resources={"cpu": 2.0, "memory": 9.0})
    for number in range(6):
        made.submit(f"w{number}", work)
    assert len(started(made)) == 3
    less = "overcommit: {cpu: 1, memory: 2}\n"
    found = read_queues(less).queues
    assert found is not None
    made.core.waiting.take(less, found, "test")
    made.settle()
    made.ok("w0", "a")
    assert started(made) == []
    made.ok("w1", "a")
    assert len(started(made)) == 1
