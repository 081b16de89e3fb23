"""Delay scheduling: the paper's result, levels, bounds."""

import random

import pytest

from formicary.engine.scheduling.policies.delay import (
    ANY,
    NODE,
    RACK,
    LocalityWait,
    skips_for,
    wait_for,
    worth_waiting_s,
)


def locality(wait_s: float, seed: int = 1) -> float:
    """Small jobs on 100 ants with 2 slots and 3 replicas, tasks of 10 s: the part that ran on an ant with its data."""
    rng, local, jobs = random.Random(seed), 0, 2000
    policy = LocalityWait(node_wait_s=wait_s, rack_wait_s=0, most_s=60)
    now = 0.0
    waiting: list[tuple[float, frozenset[int]]] = []
    for _ in range(jobs):
        waiting.append((now, frozenset(rng.sample(range(100), 3))))
        while waiting:
            now += rng.expovariate(100 * 2 / 10)  # a slot comes free
            ant = rng.randrange(100)
            came, data = waiting[0]
            level = NODE if ant in data else ANY
            if policy.accepts(level, now - came):
                local += level == NODE
                waiting.pop()
    return local / jobs


def test_a_short_wait_gives_95_per_cent() -> None:
    """The paper's setting (section 4): a wait of a fraction of a task's length turns 3 % into at least 95 %."""
    wait = wait_for(0.97, ants=100, replicas=3, slots=2, task_s=10)
    assert wait < 10, "shorter than one task"
    assert locality(0) < 0.1
    assert min(locality(wait, seed) for seed in range(1, 4)) >= 0.95


def test_skips_of_the_formula() -> None:
    """1 - (1 - R/M)^D >= locality, with the smallest such D."""
    skips = skips_for(0.95, 100, 3, 1)
    assert 1 - 0.97**skips >= 0.95 > 1 - 0.97 ** (skips - 1)
    assert skips_for(0, 100, 3, 1) == 0 and skips_for(0.9, 3, 3, 1) == 1
    with pytest.raises(ValueError, match="locality must be"):
        skips_for(1, 100, 3, 1)


def test_levels_and_their_bound() -> None:
    """First its ant, then its rack, then any; never longer than the upper bound."""
    wait = LocalityWait(node_wait_s=5, rack_wait_s=10, most_s=12)
    assert [wait.level(at) for at in (0, 4.9, 5, 11.9, 12)] == [NODE, NODE, RACK, RACK, ANY]
    assert wait.accepts(NODE, 0) and not wait.accepts(RACK, 1)
    assert worth_waiting_s(3, 10) == 3 and worth_waiting_s(30, 10) == 10 and worth_waiting_s(-1, 10) == 0
