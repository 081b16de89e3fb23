"""The flow against a slow, obvious twin that works out every task's fate from scratch after each event."""

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from formicary.engine.jobs.flow import Flow, Plan
from formicary.engine.jobs.model import JobDefinition
from tests.simulation.wild import wild_definition

NO_END: tuple[bool, int | None] = (False, None)
STARTED, SKIPPED, BLOCKED = "started", "skipped", "blocked"


class SlowFlow:
    """The rules of the sheet as they are said, over the whole history: who ended how, and where each end led."""

    def __init__(self, definition: JobDefinition) -> None:
        self.definition = definition
        self.index = definition.index
        self.ends: dict[int, tuple[bool, int | None]] = {}
        self.started: set[int] = set()
        self.blocked: set[int] = set()
        """What is left out once stays so: a later route to it comes too late."""

    def sources(self, position: int) -> list[int]:
        """Tasks with an `on_*` edge to this one."""
        name = self.definition.tasks[position].task_type
        return [i for i, task in enumerate(self.definition.tasks) if name in task.targets]

    def fates(self) -> dict[int, str]:
        """Every task that is started, left out because nothing routes to it any more, or blocked by a failure."""
        fates: dict[int, str] = dict.fromkeys(self.started, STARTED) | dict.fromkeys(self.blocked, BLOCKED)
        changed = True
        while changed:
            changed = False
            for position in range(len(self.definition.tasks)):
                if position not in fates and (fate := self._fate(position, fates)) is not None:
                    fates[position] = fate
                    changed = True
        return fates

    def _fate(self, position: int, fates: dict[int, str]) -> str | None:
        task = self.definition.tasks[position]
        sources = self.sources(position)
        is_routed = any(target == position for _, target in self.ends.values())
        if task.always_run and not is_routed:
            return None  # the final phase's business
        if sources and not is_routed:
            is_over = all(source in self.ends or fates.get(source) in (SKIPPED, BLOCKED) for source in sources)
            return SKIPPED if is_over else None
        dependencies = [self.index[name] for name in task.dependencies]
        if not all(other in self.ends or fates.get(other) in (SKIPPED, BLOCKED) for other in dependencies):
            return None
        stopping = [other for other in dependencies if fates.get(other) == BLOCKED or self.ends.get(other, NO_END)[0]]
        if any(position not in self.led_to(other) for other in stopping):
            return None if task.always_run else BLOCKED
        return STARTED

    def led_to(self, position: int) -> set[int]:
        """Tasks that the routes from an ended one have led to, over any number of later ends."""
        found, order = {position}, list(self.ends)
        for ended in order[order.index(position) :] if position in self.ends else ():
            target = self.ends[ended][1]
            if ended in found and target is not None:
                found.add(target)
        return found - {position}

    def settle(self) -> set[int]:
        """Starts what may start; returns the new ones."""
        fates = self.fates()
        new = {position for position, fate in fates.items() if fate == STARTED} - self.started
        self.started |= new
        self.blocked |= {position for position, fate in fates.items() if fate == BLOCKED}
        return new


@settings(max_examples=300, deadline=None)
@given(salt=st.integers(0, 1_000_000), draws=st.lists(st.integers(0, 999), min_size=1, max_size=30))
def test_flow_starts_what_the_rules_say(salt: int, draws: list[int]) -> None:
    """Whatever order tasks end in, the same tasks start as in the twin, and each starts once."""
    definition = wild_definition(Random(salt), "wild", 8)
    plan = Plan(definition)
    flow, slow = Flow(plan), SlowFlow(definition)
    running = set(flow.begin())
    assert running == slow.settle()
    history: list[tuple[int, bool, int | None]] = []
    for draw in draws:
        if not running:
            break
        position = sorted(running)[draw % len(running)]
        running.discard(position)
        targets = [definition.index[name] for name in definition.tasks[position].targets]
        target = [*targets, None][draw // 7 % (len(targets) + 1)]
        has_failed = draw % 3 == 0
        history.append((position, has_failed, target))
        ready = flow.ended(position, failed=has_failed, target=target)
        slow.ends[position] = (has_failed, target)
        assert ready == sorted(slow.settle())
        running |= set(ready)
        _check_replay(plan, flow, history, running)


def _check_replay(plan: Plan, flow: Flow, history: list[tuple[int, bool, int | None]], running: set[int]) -> None:
    """What is rebuilt from the rows is the flow that went on."""
    other = Flow(plan)
    startable, strays = other.replay(history, [*running, *(position for position, _, _ in history)])
    assert not startable and not strays
    assert bytes(other.status) == bytes(flow.status)
    assert bytes(other.routed) == bytes(flow.routed)
    assert (other.stopping, other.followed) == (flow.stopping, flow.followed)
    lost = Flow(plan)
    startable, _ = lost.replay(history, [position for position, _, _ in history])
    assert set(startable) == running
