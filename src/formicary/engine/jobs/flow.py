"""The running graph of one execution: which tasks may start, which can no longer be reached.

Theory of operation. A :class:`Plan` is compiled once per definition: who may route to whom (`on_*` edges), who depends
on whom, what runs only in the final phase. A :class:`Flow` is one execution's state over that plan. ``begin`` names the
first tasks, ``ended`` takes one task's end with the target it was routed to and names the tasks that may start now.

Rules (the job sheet, "Activation"): a task starts once per execution, when it has no incoming route or one routed to
it, and every dependency has ended. A task that nothing can route to any more is SKIPPED, which counts as ended for its
dependents. A task that FAILED without `allow_failure` skips its dependents, and theirs, except those that its own
routes have led to: they were meant to follow the failure, and depend on what the task has left. `always_run` tasks are
never skipped: those that were not reached run in the final phase, in file order. One that only failures route to
(`on_failed`, an exit code other than 0) is the exception: where nothing has failed it has nothing to do.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from formicary.engine.jobs.model import JobDefinition, TaskDefinition, is_action


@dataclass(frozen=True, slots=True)
class Routes:
    """One task's `on_*` edges: by exit code, error code or state, to an action or a task's position."""

    actions: Mapping[str, str]
    targets: Mapping[str, int]

    def action(self, exit_code: int | None, error_code: str | None) -> str | None:
        """The action that this very exit code or error code asks for."""
        actions = self.actions
        if not actions:
            return None
        if exit_code is not None and (found := actions.get(str(exit_code))) is not None:
            return found
        return actions.get(error_code) if error_code else None

    def names(self, exit_code: int | None, error_code: str | None) -> bool:
        """Whether the file says anything to this very exit code or error code."""
        asked = {str(exit_code), error_code}
        return not (asked.isdisjoint(self.actions) and asked.isdisjoint(self.targets))

    def target(self, state: str, exit_code: int | None, error_code: str | None) -> int | None:
        """The position that an ended task leads to: exit code first, then error code, then state."""
        targets = self.targets
        if not targets:
            return None
        if exit_code is not None and (found := targets.get(str(exit_code))) is not None:
            return found
        if error_code and (found := targets.get(error_code)) is not None:
            return found
        return targets.get(state)


def compile_routes(task: TaskDefinition, index: Mapping[str, int]) -> Routes:
    """The task's routes with names resolved to positions; unknown names were refused by validation."""
    actions: dict[str, str] = {}
    targets: dict[str, int] = {}
    for key, value in task.routes.items():
        if is_action(value):
            actions[key] = value
        elif value in index:
            targets[key] = index[value]
    return Routes(actions, targets)


class Plan:
    """What never changes between executions of one definition."""

    __slots__ = (
        "alarms", "dependencies", "dependents", "finals", "routes", "single", "size", "sources", "starts", "targets"
    )  # fmt: skip

    def __init__(self, definition: JobDefinition) -> None:
        tasks, index = definition.tasks, definition.index
        self.size = len(tasks)
        self.routes = tuple(compile_routes(task, index) for task in tasks)
        self.targets = tuple(_possible_targets(definition, position) for position in range(self.size))
        sources = [0] * self.size
        for targets in self.targets:
            for target in targets:
                sources[target] += 1
        self.sources = tuple(sources)
        self.dependencies = tuple(tuple(index[name] for name in task.dependencies if name in index) for task in tasks)
        dependents: list[list[int]] = [[] for _ in tasks]
        for position, dependencies in enumerate(self.dependencies):
            for dependency in dependencies:
                dependents[dependency].append(position)
        self.dependents = tuple(tuple(found) for found in dependents)
        self.finals = tuple(position for position, task in enumerate(tasks) if task.always_run)
        self.alarms = frozenset(
            position
            for position in self.finals
            if sources[position] and all(_only_failing(task, tasks[position].task_type) for task in tasks)
        )
        self.starts = tuple(
            position
            for position, task in enumerate(tasks)
            if not sources[position] and not self.dependencies[position] and not task.always_run
        )
        self.single = self.size == 1 and not self.finals


def _possible_targets(definition: JobDefinition, position: int) -> tuple[int, ...]:
    """Positions a task may lead to: its own routes, those of other template arms, and anything if it says so itself."""
    task, index = definition.tasks[position], definition.index
    if task.open_targets:
        return tuple(other for other in range(1, len(definition.tasks)) if other != position)
    return tuple(sorted({index[name] for name in task.targets if name in index}))


def _only_failing(task: TaskDefinition, name: str) -> bool:
    """Whether the task leads to the one of this name only where it has failed, if at all."""
    if task.open_targets or name in task.extra_targets:
        return False
    return all(key not in _GOOD for key, target in task.routes.items() if target == name)


_GOOD = frozenset(("COMPLETED", "APPROVED", "SKIPPED", "0"))
UNSTARTED, ACTIVE, ENDED, LEFT_OUT = range(4)


class Flow:
    """One execution's position in its plan."""

    __slots__ = ("followed", "plan", "routed", "sources_left", "status", "stopping", "waiting")

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.status = bytearray(plan.size)
        self.routed = bytearray(plan.size)
        self.stopping: set[int] = set()
        """Positions whose end skips their dependents."""
        self.followed: dict[int, set[int]] = {}
        """Failed positions by the position that their routes have led to, over any number of tasks."""
        self.waiting = [len(found) for found in plan.dependencies]
        self.sources_left = list(plan.sources)

    def begin(self) -> tuple[int, ...]:
        """Positions that start at once."""
        for position in self.plan.starts:
            self.status[position] = ACTIVE
        return self.plan.starts

    def ended(self, position: int, *, failed: bool, target: int | None) -> list[int]:
        """Takes one task's end and returns the positions that may start now, in file order.

        Args:
            position: the task that ended.
            failed: it FAILED and that was not allowed, so its dependents are skipped.
            target: the position its routes lead to, or None.
        """
        self.status[position] = ENDED
        plan = self.plan
        ready: list[int] = []
        ends: list[tuple[int, bool, int | None]] = [(position, failed, target)]
        while ends:
            ended, blocks, leads_to = ends.pop()
            if blocks:
                self.stopping.add(ended)
            if leads_to is not None:
                self.routed[leads_to] = 1
                self._follow(ended, leads_to, blocks)
            for other in plan.targets[ended]:
                self.sources_left[other] -= 1
            if leads_to is not None and leads_to not in plan.targets[ended]:
                self._check(leads_to, ready, ends)  # a route that only the rendered task has
            for other in plan.dependents[ended]:
                self.waiting[other] -= 1
            for other in (*plan.targets[ended], *plan.dependents[ended]):
                self._check(other, ready, ends)
        ready.sort()
        return ready

    def _check(self, position: int, ready: list[int], ends: list[tuple[int, bool, int | None]]) -> None:
        """Starts or skips one task that something has changed for."""
        if self.status[position] != UNSTARTED:
            return
        plan = self.plan
        final = position in plan.finals
        if plan.sources[position] and not self.routed[position]:
            if not self.sources_left[position] and not final:
                self._leave_out(position, ends, blocks=False)
            return
        if self.waiting[position] or (final and not self.routed[position]):
            return
        if self.stopping and self._is_stopped(position):
            if not final:
                self._leave_out(position, ends, blocks=True)
            return
        self.status[position] = ACTIVE
        ready.append(position)

    def _follow(self, ended: int, target: int, blocks: bool) -> None:
        """Notes which failures the routes to a task have come from."""
        behind = self.followed.get(ended)
        if blocks or behind:
            self.followed.setdefault(target, set()).update(behind or (), (ended,) if blocks else ())

    def _is_stopped(self, position: int) -> bool:
        """Whether a dependency failed from which no route has led here."""
        followed = self.followed.get(position, ())
        return any(other in self.stopping and other not in followed for other in self.plan.dependencies[position])

    def _leave_out(self, position: int, ends: list[tuple[int, bool, int | None]], *, blocks: bool) -> None:
        self.status[position] = LEFT_OUT
        ends.append((position, blocks, None))

    def put_back(self, positions: Iterable[int]) -> None:
        """Tasks whose turn has come do not start yet: `take` may start them, a later event or the final phase too."""
        for position in positions:
            self.status[position] = UNSTARTED

    def take(self, position: int) -> bool:
        """Starts a task that was put back; False where something else has started or left it out meanwhile."""
        if self.status[position] != UNSTARTED:
            return False
        self.status[position] = ACTIVE
        return True

    def next_final(self, *, failed: bool) -> int | None:
        """In the final phase: the next `always_run` task in file order that has not started.

        Args:
            failed: Something has failed, or the job was stopped: those that only failures route to run, too.
        """
        for position in self.plan.finals:
            if self.status[position] == UNSTARTED and (failed or position not in self.plan.alarms):
                self.status[position] = ACTIVE
                return position
        return None

    def replay(
        self, ends: Iterable[tuple[int, bool, int | None]], started: Iterable[int]
    ) -> tuple[list[int], list[int]]:
        """Rebuilds the state from recorded ends (in their order) and started tasks.

        Returns:
            The positions that should start now, and those that have run although no rule had started them (tasks of the
            final phase, or kept from an earlier execution).
        """
        ready, strays = list(self.begin()), []
        for position, failed, target in ends:
            if self.status[position] != ACTIVE:
                strays.append(position)
            ready += self.ended(position, failed=failed, target=target)
        begun = set(started)
        for position in begun:
            if self.status[position] == UNSTARTED or self.status[position] == LEFT_OUT:
                self.status[position] = ACTIVE
                strays.append(position)
        return sorted({p for p in ready if p not in begun and self.status[p] == ACTIVE}), strays
