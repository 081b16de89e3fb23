"""After any sequence of events a queen that starts from the store goes on exactly as the one that did not crash."""

from dataclasses import replace
from random import Random

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from formicary.engine.jobs import lifecycle as life
from formicary.engine.jobs.lifecycle import IllegalTransition
from formicary.engine.jobs.model import JobDefinition
from formicary.engine.queen.core import outcome as ends
from formicary.engine.queen.core.config import CoreConfig
from formicary.engine.queen.queues import checked
from tests.simulation.wild import wild_definition
from tests.unit.core.colony import Colony

OPS = (
    *("submit", "submit", "end", "end", "end", "end", "end", "started", "give_back", "cancel", "resume", "retry"),
    *("advance", "advance", "drop", "join", "die", "restart", "bury", "stale", "forget", "render"),
)
STEPS = st.lists(st.tuples(st.sampled_from(OPS), st.integers(0, 999)), max_size=60)
CODES = (0, 0, 1, 2, 3, 7)
HELD = ({"cpu": 1}, {"cpu": 1.5}, {"resource_type": "licence", "value": 1}, None)
QUEUES = """policy: fair
tenant_limits:
  org: {max_concurrent_jobs: 4, max_concurrent_tasks: 3}
"""


def holding(rng: Random, definition: JobDefinition) -> JobDefinition:
    """The same definition; its tasks hold some of what ants have, or a licence that there is one of."""
    tasks = (task if task.fan_out else replace(task, resources=rng.choice(HELD)) for task in definition.tasks)
    return replace(definition, tasks=tuple(tasks))


class Walk:
    """Takes one step after the other; a step that means nothing in the present state does nothing."""

    def __init__(self, salt: int) -> None:
        config = CoreConfig(hot_params_bytes=salt % 3 * 100, prefetch=1 + salt % 2, slice_decisions=1 + salt % 5)
        self.colony = Colony(config)
        rng = Random(salt)
        for forked in ("one", "failed", "retried", "paused"):  # without them a job may fork in vain and pause for ever
            self.colony.define(f"job_type: {forked}\ntasks:\n- {{task_type: only, script: x}}\n")
        wild = [wild_definition(rng, f"wild{i}", people=False) for i in range(3)]
        if salt % 4 == 1:
            self.colony.core.waiting.take(QUEUES, checked(QUEUES), "ops")
        self.definitions = [self.colony.define(holding(rng, one) if salt % 2 else one) for one in wild]
        self.colony.ant("x", 2, resources={"cpu": 3.0})
        self.colony.ant("y", 1, window=3, resources={"cpu": 1.5})
        self.jobs: list[str] = []

    def held(self) -> list[tuple[str, str, int]]:
        """(job, task, token) of everything that some connected ant holds."""
        names = {token: where for where, tokens in self.colony.tokens.items() for token in tokens}
        found = []
        for worker in self.colony.workers.values():
            if worker.session:
                found += [(*names[token], token) for token in worker.held]
        return found

    def step(self, op: str, number: int) -> None:
        """One event."""
        getattr(self, f"_{op}")(number)

    def _pick(self, number: int) -> tuple[str, str, int] | None:
        held = self.held()
        return held[number % len(held)] if held else None

    def _submit(self, number: int) -> None:
        job = f"j{len(self.jobs)}"
        self.jobs.append(job)
        self.colony.submit(job, self.definitions[number % 3], after_s=number % 4 // 3 * 5.0)

    def _end(self, number: int) -> None:
        if (picked := self._pick(number)) is not None:
            job, task, token = picked
            code = CODES[number % len(CODES)]
            kind = (ends.TIMED_OUT, ends.CANCELLED, ends.LOST)[number % 3] if number % 11 == 0 else None
            outputs = {"outputs": {task: number}} if number % 2 else {}
            if kind is not None:
                self.colony.result(job, task, kind, token=token)
            else:
                done = ends.COMPLETED if not code else ends.FAILED
                self.colony.result(job, task, done, exit_code=code, token=token, **outputs)

    def _started(self, number: int) -> None:
        if (picked := self._pick(number)) is not None:
            worker = self.colony.holder(picked[2])
            self.colony.core.started(worker.session, picked[2], self.colony.wall)
            self.colony.settle()

    def _give_back(self, number: int) -> None:
        if (picked := self._pick(number)) is not None:
            worker = self.colony.holder(picked[2])
            self.colony.core.returned(worker.session, picked[2])
            self.colony.settle()

    def _cancel(self, number: int) -> None:
        live = list(self.colony.core.jobs)
        if live:
            self.colony.cancel(live[number % len(live)])

    def _resume(self, number: int) -> None:
        live = list(self.colony.core.jobs)
        if live:
            try:
                self.colony.resume(live[number % len(live)])
            except IllegalTransition:
                self.colony.settle()

    def _retry(self, number: int) -> None:
        over = [job for job in self.jobs if job not in self.colony.core.jobs]
        if over and self.colony.job(job := over[number % len(over)]).state != life.COMPLETED:
            self.colony.retry(job, hard=number % 2 == 0)

    def _advance(self, number: int) -> None:
        self.colony.advance((0.1, 0.5, 2.0, 4.0, 11.0)[number % 5], beats=number % 7 != 0)

    def _drop(self, number: int) -> None:
        self.colony.drop("xy"[number % 2])

    def _join(self, number: int) -> None:
        self.colony.join("xy"[number % 2])

    def _forget(self, number: int) -> None:
        self.colony.join("xy"[number % 2], claims=())

    def _die(self, number: int) -> None:
        self.colony.die("xy"[number % 2])

    def _bury(self, number: int) -> None:
        self.colony.core.bury("xy"[number % 2])
        self.colony.settle()

    def _restart(self, _number: int) -> None:
        self.colony.restart()

    def _render(self, number: int) -> None:
        self.colony.holds_rendering = number % 3 == 0

    def _stale(self, number: int) -> None:
        tokens = sorted(token for found in self.colony.tokens.values() for token in found)
        live = self.colony.core.leases.tokens
        tokens = [token for token in tokens if token not in live]
        if tokens:
            before = self.colony.store.commits
            self.colony.result("", "", ends.COMPLETED, token=tokens[number % len(tokens)], session=1)
            assert self.colony.store.commits - before <= 1

    def finish(self) -> None:
        """Faults are over: ants are there, everything completes, time passes."""
        colony = self.colony
        colony.holds_rendering = False
        colony.restart()
        colony.join("x")
        colony.join("y")
        for _ in range(400):
            held = self.held()
            if not held and not colony.core.jobs:
                break
            for job, task, token in held:
                colony.result(job, task, ends.COMPLETED, exit_code=0, token=token)
            if not held:
                colony.advance(20.0)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(salt=st.integers(0, 10_000), steps=STEPS)
@example(1352, [("submit", 158), ("end", 266), ("end", 0)])  # an element is cancelled while its job is paused
def test_a_recovered_core_is_the_same(salt: int, steps: list[tuple[str, int]]) -> None:
    """After each event a core that is built from the store equals the one that went on (`Colony.twin`)."""
    walk = Walk(salt)
    for op, number in steps:
        walk.step(op, number)


@pytest.mark.parametrize("block", range(0, 120, 20))
def test_everything_ends(block: int) -> None:
    """Twenty long random walks: the recovered core is the same after each step, and at the end every job has ended."""
    for seed in range(block, block + 20):
        rng = Random(seed)
        walk = Walk(rng.randrange(10_000))
        for _ in range(rng.randint(5, 120)):
            walk.step(rng.choice(OPS), rng.randrange(1000))
        walk.finish()
        assert not walk.colony.core.jobs, f"seed {seed}"
        assert not walk.colony.core.leases.tokens, f"seed {seed}"
