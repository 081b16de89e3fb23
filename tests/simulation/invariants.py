"""What must hold: cheap questions at every step that matters, a full scan now and then, everything at the end.

The monitor keeps its own copy of what is committed and of what really ran on the ants; it trusts neither the core nor
the ants' own books.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from formicary.engine.jobs import lifecycle as life
from formicary.engine.jobs.fan_out import (
    MOST_OPEN,
    definition_position,
    definition_task,
    element_position,
    fans_out,
    is_element,
)
from formicary.engine.jobs.model import QUEEN_METHODS, TaskDefinition
from formicary.engine.queen.core.batch import Batch
from formicary.engine.queen.core.core import Core
from formicary.engine.queen.core.fanning import FanOut
from formicary.engine.queen.core.gangs import GangRun
from formicary.engine.queen.core.records import EPOCH_SHIFT, Job, Place, TaskRun
from formicary.engine.scheduling.queues.ledger import Ledger
from formicary.engine.storage.port import JOB_COLUMNS, TASK_COLUMNS, Changes, Row
from tests.simulation.ballots import Ballots
from tests.simulation.left import Left
from tests.simulation.locks import check_locks
from tests.simulation.loop import Violation
from tests.simulation.placed import Watch

if TYPE_CHECKING:
    from tests.simulation.ant import Attempt, SimulatedAnt
    from tests.simulation.client import Order
    from tests.simulation.jobs import Kind
    from tests.simulation.world import World

_NUMBER, _ID, _TYPE, _STATE, _EXECUTION, _RETRIES, _VERDICT = (
    JOB_COLUMNS.index(name) for name in ("number", "id", "job_type", "state", "execution", "retries", "verdict")
)
_TASK_STATE, _ATTEMPTS, _TOKEN, _ENDED_AT, _SKIPPED = (
    TASK_COLUMNS.index(name) for name in ("state", "attempts", "token", "ended_at", "skipped")
)
GANG_MEMBERS = frozenset({0, 1})
_RUNNING = frozenset({life.EXECUTING, life.PAUSED, life.APPROVAL})
_LEASED = frozenset({life.DISPATCHED, life.EXECUTING})


def _closure(table: life.Table) -> frozenset[tuple[str, str]]:
    """Pairs (from, to) that one commit may show: any number of steps of the table, none included."""
    steps = {(before, after) for (before, _), after in table.items()}
    pairs = steps | {(state, state) for pair in steps for state in pair}
    while more := {(a, d) for a, b in pairs for c, d in steps if b == c} - pairs:
        pairs |= more
    return frozenset(pairs)


JOB_PAIRS = _closure({key: state for key, state in life.JOB.items() if key[1] != "retry"})
TASK_PAIRS = _closure(life.TASK)


class Monitor:
    """Watches one world."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.jobs: dict[int, Row] = {}
        self.tasks: dict[tuple[int, int], Row] = {}
        self.numbers: dict[str, int] = {}
        self.children: dict[str, list[int]] = {}
        """Numbers of the jobs that a job has forked."""
        self.effects: dict[tuple[int, int], int] = {}
        """How often a task's process really began, by (job number, position)."""
        self.completions: dict[tuple[int, int, int], int] = {}
        """Completions by (job number, execution, position)."""
        self.indexes: dict[tuple[int, int], int] = {}
        """Completions of elements by (job number, position), over all executions."""
        self._again: set[tuple[int, int]] = set()
        """Tasks that fan out and begin again in the batch that is being looked at."""
        self.evidence: dict[int, float] = {}
        """When the attempt with this token ended, as its ant has told: no two alike."""
        self.accepted_ids: dict[str, None] = {}
        self.people = Ballots(self.fail)
        self.left = Left(self.fail)
        self.watch = Watch(world, self.fail) if world.setting.placed else None
        self._granted: dict[int, tuple[int, int]] = {}
        self._highest: dict[tuple[int, int], int] = {}
        self._released = 0
        self._running: dict[str, int] = {}
        self._processes: dict[tuple[str, int, int], dict[Attempt, SimulatedAnt]] = {}

    def fail(self, *words: object) -> None:
        """Ends the run."""
        sentence = " ".join(str(word) for word in words)
        self.world.loop.note("VIOLATION:", sentence)
        raise Violation(sentence)

    # --- commits ----------------------------------------------------------------------------------------------------

    def committed(self, changes: Changes) -> None:
        """Row by row: legal steps only, tokens that grow, one completion per execution, limits kept."""
        self.people.committed(changes)
        self.left.committed(changes, self.tasks)
        old_jobs = {number: self.jobs.get(number) for number in changes.jobs}
        for number, row in changes.jobs.items():
            self._job(number, old_jobs[number], row)
        for row in changes.jobs.values():
            self._joined(row)
        self._again = {key for key, row in changes.tasks.items() if self._begins_again(key, row)}
        for key, row in changes.tasks.items():
            self._task(key, row, old_jobs.get(key[0]))
        for job, position in {(job, definition_position(at)) for job, at in changes.tasks if is_element(at)}:
            self._fanned(job, position)
        check_locks(lambda name: self.world.kinds[name].definition, self.jobs, self.tasks, self.fail)
        for _, row in changes.definitions.items():
            if str(row[0]) not in self.world.kinds:
                self.fail("a definition that nobody made:", row[0])

    def _job(self, number: int, old: Row | None, row: Row) -> None:
        before, after = str(old[_STATE]) if old else life.PENDING, str(row[_STATE])
        if (before, after) not in JOB_PAIRS:
            self.fail("job", number, "went from", before, "to", after)
        if old is None:
            self.numbers[str(row[_ID])] = number
        elif before in life.JOB_ENDED and old != row:
            self.fail("job", number, "had ended and changed:", old, row)
        elif old[_ID] != row[_ID]:
            self.fail("job number", number, "was used twice")
        self.jobs[number] = row
        if old is None and "." in str(row[_ID]):
            self._forked(str(row[_ID]), number)
        kind = self.world.kinds[str(row[_TYPE])]
        limit = kind.definition.max_concurrency
        if limit is not None:
            change = (after in _RUNNING) - (before in _RUNNING)
            running = self._running[kind.definition.job_type] = self._running.get(kind.definition.job_type, 0) + change
            if change > 0 and running > limit + self._ending(kind.definition.job_type):
                self.fail(running, "jobs of type", kind.definition.job_type, "run at once, at most", limit)

    def _joined(self, row: Row) -> None:
        """A job completes after the jobs that it waits for."""
        if row[_STATE] != life.COMPLETED or not self.world.kinds[str(row[_TYPE])].joins:
            return
        for number in self.children.get(str(row[_ID]), ()):
            if self.jobs[number][_STATE] not in life.JOB_ENDED:
                self.fail("job", row[_ID], "completed before the job it has forked:", self.jobs[number])

    def _forked(self, job_id: str, number: int) -> None:
        """A job was forked: once per task, index and attempt, by a job that runs, and never too many at once."""
        parent = job_id.rpartition(".")[0]
        if parent not in self.numbers:
            self.fail("job", job_id, "was forked by nobody")
        self.children.setdefault(parent, []).append(number)
        kind = self.world.kinds[str(self.jobs[self.numbers[parent]][_TYPE])]
        spec = None if fans_out(kind.definition.tasks[0]) else kind.definition.tasks[0].fan_out
        limit = spec.get("max_parallel") if spec is not None else None
        is_open = [n for n in self.children[parent] if n == number or self._is_live(n)]
        if isinstance(limit, int) and len(is_open) > limit:
            self.fail("job", parent, "has", len(is_open), "forked jobs open, at most", limit)

    def _begins_again(self, key: tuple[int, int], row: Row) -> bool:
        """A task that fans out begins once more: its elements may, too."""
        old = self.tasks.get(key)
        return old is not None and row[_ATTEMPTS] != old[_ATTEMPTS] and self._fans(key)

    def _fans(self, key: tuple[int, int]) -> bool:
        return not is_element(key[1]) and fans_out(self._definition(key))

    def _definition(self, key: tuple[int, int]) -> TaskDefinition:
        return definition_task(self.world.kinds[str(self.jobs[key[0]][_TYPE])].definition, key[1])

    def _fanned(self, number: int, position: int) -> None:
        """Never more elements of a task are open than `max_parallel`."""
        spec = self._definition((number, position)).fan_out or {}
        limit = _int(spec.get("max_parallel")) or MOST_OPEN
        first = element_position(position, 0)
        states = [self.tasks[key][_TASK_STATE] for index in range(10) if (key := (number, first + index)) in self.tasks]
        is_open = [state for state in states if state != life.PENDING and state not in life.TASK_ENDED]
        if len(is_open) > limit:
            self.fail("task", (number, position), "has", len(is_open), "elements open, at most", limit)

    def _is_live(self, number: int) -> bool:
        row = self.world.queen_batch.get(number) or self.jobs[number]
        return row[_STATE] not in life.JOB_ENDED

    def _ending(self, job_type: str) -> int:
        """Jobs of the type that end in the very batch that is being looked at; order within a batch means nothing."""
        batch = self.world.queen_batch
        return sum(
            1
            for number, row in batch.items()
            if row[_TYPE] == job_type
            and row[_STATE] not in _RUNNING
            and str(self.jobs.get(number, row)[_STATE]) in _RUNNING
        )

    def _task(self, key: tuple[int, int], row: Row, old_job: Row | None) -> None:
        old = self.tasks.get(key)
        job = self.jobs[key[0]]
        self.tasks[key] = row
        before, after = str(old[_TASK_STATE]) if old else life.PENDING, str(row[_TASK_STATE])
        execution = _int(job[_EXECUTION])
        is_new_execution = old_job is not None and (
            job[_STATE] == life.PENDING
            or _int(old_job[_EXECUTION]) != execution
            or old_job[_RETRIES] != job[_RETRIES]  # restarted and cancelled in one batch
        )
        if is_element(key[1]) and (key[0], definition_position(key[1])) in self._again:
            self.completions.pop((key[0], execution, key[1]), None)
            is_new_execution = True
        if (before, after) not in TASK_PAIRS and not is_new_execution:
            again = self._definition(key).always_run and job[_VERDICT] is not None
            if not again or before == life.COMPLETED:
                self.fail("task", key, "went from", before, "to", after)
        token, highest = _int(row[_TOKEN]), self._highest.get(key, 0)
        if token and not self._fans(key):
            if token < highest:
                self.fail("task", key, "has token", token, "after", highest)
            self._highest[key] = token
            self._granted[token] = key
        if self.effects.get(key, 0) > _int(row[_ATTEMPTS]):
            self.fail("task", key, "began", self.effects[key], "times and counts", row[_ATTEMPTS], "attempts")
        if after == life.COMPLETED and (before != after or is_new_execution) and not row[_SKIPPED]:
            self._completed(key, row, execution, is_kept=before == after and old == row)

    def _completed(self, key: tuple[int, int], row: Row, execution: int, *, is_kept: bool) -> None:
        if is_kept:
            return
        job = self.jobs[key[0]]
        task = self._definition(key)
        asked = self.people.approved(key, _int(row[_ATTEMPTS])) or self._fans(key)
        if is_element(key[1]) and self.world.kinds[str(job[_TYPE])].state and not task.always_run:
            self.indexes[key] = self.indexes.get(key, 0) + 1
            if self.indexes[key] > 1:  # also over executions: what has completed is kept
                self.fail("element", key, "completed", self.indexes[key], "times")
        if task.method not in QUEEN_METHODS and not asked and self.evidence.get(_int(row[_TOKEN])) != row[_ENDED_AT]:
            self.fail("task", key, "completed by a result that is not of its token", row[_TOKEN])
        where = (key[0], execution, key[1])
        self.completions[where] = self.completions.get(where, 0) + 1
        if self.completions[where] > 1:
            self.fail("task", key, "completed twice in execution", execution)

    # --- effects ----------------------------------------------------------------------------------------------------

    def released(self, batch: Batch) -> None:
        """What the queen lets out rests on what is committed; tokens only grow."""
        highest = self._released
        granted: dict[tuple[str, int], set[int]] = {}
        for outgoing in batch.outgoing.values():
            for assignment in outgoing.assignments:
                token = assignment.token
                granted.setdefault((assignment.job_id, assignment.execution), set()).add(assignment.position)
                if token <= self._released:
                    self.fail("token", token, "was let out after", self._released)
                highest = max(highest, token)
                key = (self.numbers.get(assignment.job_id, 0), assignment.position)
                if self._highest.get(key, 0) < token and not self._may_copy(key):
                    self.fail("assignment", token, "of", key, "is not committed")
                if not self._may_copy(key):  # while a copy is on its way the task may leave more
                    self.left.handed_on(key, assignment)
                self._check_alone((assignment.job_id, assignment.execution, assignment.position))
            for token in outgoing.acknowledged:
                self._check_gone(token, "acknowledged")
        self._released = highest
        self._check_gangs(granted)
        for end in batch.ended:
            if self.jobs[self.numbers[end.id]][_STATE] != end.state:
                self.fail("job", end.id, "is said to be", end.state, "and is not committed so")

    def _check_gangs(self, granted: Mapping[tuple[str, int], set[int]]) -> None:
        """A gang begins whole: every member that has not ended is granted in the commit that grants one of them."""
        for (job_id, execution), positions in granted.items():
            number = self.numbers[job_id]
            kind = self.world.kinds[str(self.jobs[number][_TYPE])]
            if kind.definition.gang is None or not positions & GANG_MEMBERS:
                continue
            rows = {position: self.tasks.get((number, position)) for position in GANG_MEMBERS}
            missing = [
                position
                for position, row in rows.items()
                if position not in positions and (row is None or row[_TASK_STATE] not in life.TASK_ENDED)
            ]
            if missing:
                self.fail("gang", job_id, "execution", execution, "begins with", positions, "and without", missing)

    def _check_alone(self, where: tuple[str, int, int]) -> None:
        """A task that is given out runs nowhere on an ant that believes in its lease: the fence came before."""
        for attempt, ant in self._processes.get(where, {}).items():
            key = (self.numbers[where[0]], where[2])
            if not attempt.is_over and (ant.believes() or ant.overruns) and not self._may_copy(key):
                self.fail("task", where, "is given out again while", ant.name, "runs it and believes in its lease")

    def _may_copy(self, key: tuple[int, int]) -> bool:
        """The task allows a second copy: two attempts of it may run, on two ants, and one of them counts."""
        return key[0] in self.jobs and self._definition(key).speculative_backup is not None

    def _check_gone(self, token: int, how: str) -> None:
        key = self._granted.get(token)
        row = self.tasks[key] if key is not None else None
        if row is not None and row[_TOKEN] == token and row[_TASK_STATE] in _LEASED:
            self.fail("token", token, "of task", key, "is", how, "and by what is committed it still runs")

    def forgotten(self, ant: SimulatedAnt, token: int, how: str) -> None:
        """An ant throws a result away: nobody may want it any more."""
        self._check_gone(token, how)

    def acknowledged(self, orders: Iterable[Order]) -> None:
        """A client is told that its jobs are stored."""
        for order in orders:
            if order.key:
                stored = self.world.store.inner.find_keys("org", [order.key]).get(order.key)
                if stored is None:
                    self.fail("the key", order.key, "is acknowledged and not stored")
                    return
                order.id = stored[1]
            if order.id not in self.numbers:
                self.fail("job", order.id, "is acknowledged and not stored")
            self.accepted_ids[order.id] = None

    # --- ants -------------------------------------------------------------------------------------------------------

    def accepted(self, ant: SimulatedAnt) -> None:
        """An ant has taken an assignment."""
        if ant.held > ant.window:
            self.fail(ant.name, "holds", ant.held, "tasks, its window is", ant.window)

    def began(self, ant: SimulatedAnt, attempt: Attempt) -> None:
        """A task's process begins: the side effect of this attempt happens now."""
        assignment = attempt.assignment
        number = self.numbers.get(assignment.job_id)
        if number is None:
            self.fail(ant.name, "runs a task of job", assignment.job_id, "which is not committed")
            return
        key = (number, assignment.position)
        self.effects[key] = self.effects.get(key, 0) + 1
        if self.watch is not None:
            self.watch.began(ant, attempt)
        if len(ant.running) > ant.slots:
            self.fail(ant.name, "runs", len(ant.running), "tasks on", ant.slots, "slots")
        job, row = self.jobs[number], self.tasks[key]
        copies = self._may_copy(key)
        if row[_TASK_STATE] == life.COMPLETED and job[_EXECUTION] == assignment.execution and not copies:
            self.fail("task", key, "has completed and runs again in the same execution on", ant.name)
        where = (assignment.job_id, assignment.execution, assignment.position)
        processes = self._processes.get(where)
        if processes is None:
            self._processes[where] = {attempt: ant}
            return
        for other, on in list(processes.items()):
            if other.is_over:
                del processes[other]
            elif ((on.believes() and ant.believes()) or on.overruns) and not (copies and on is not ant):
                self.fail("task", key, "runs on", on.name, "and on", ant.name, "and both believe in their lease")
        processes[attempt] = ant

    # --- full scans -------------------------------------------------------------------------------------------------

    def scan(self) -> None:
        """Everything, now: the core's books against each other, accepted jobs against the store, ants' limits."""
        for job_id in self.accepted_ids:
            if job_id not in self.numbers:
                self.fail("the accepted job", job_id, "is lost")
        for ant in self.world.ants:
            if len(ant.running) > ant.slots or ant.held > ant.window:
                self.fail(ant.name, "holds more than it may:", len(ant.running), ant.held)
            if ant.running and ant.overruns:
                self.fail(ant.name, "runs", len(ant.running), "tasks after the end of its lease")
        if self.world.queen.is_ready:
            check_books(self.world.queen.core, self.fail)
            if self.watch is not None:
                self.watch.scan(self.world.queen.core)

    def decided(self, core: Core) -> None:
        """The queen has decided, and committed nothing of it yet."""
        if self.watch is not None:
            self.watch.decided(core)

    def recovered(self, core: Core) -> None:
        """A core was built from the store: its images are the store's, but for what falls due at once."""
        check_books(core, self.fail)
        for job in core.jobs.values():
            if job not in core.dirty_jobs and self.jobs[job.number] != job.row():
                self.fail("job", job.id, "was recovered as", job.row(), "and is stored as", self.jobs[job.number])
            runs = (*job.run.runs.values(), *job.run.elements.values()) if job.run is not None else ()
            for run in runs:
                if run not in core.dirty_tasks and self.tasks[job.number, run.position] != run.row():
                    self.fail("task", run.position, "of", job.id, "was not recovered as stored")

    def final(self, orders: Mapping[str, Order]) -> None:
        """After the faults: every accepted job has ended as its definition says, and nothing is left over."""
        self.scan()
        wanted = {order.id: order for order in orders.values()}
        for order in wanted.values():
            if order.id not in self.numbers:
                self.fail("job", order.id, "is lost")
        for number, row in self.jobs.items():
            if "." in str(row[_ID]):
                self._check_child(number, row)
                continue
            if str(row[_ID]) not in wanted:
                self.fail("job", row[_ID], "was made and nobody asked for it (or asked with the same key)")
            self._check_end(number, row, wanted[str(row[_ID])])
        for ant in self.world.ants:
            if ant.outbox or ant.held:
                self.fail(ant.name, "still keeps", list(ant.outbox), "and holds", ant.held)
        for key, count in self.effects.items():
            if count > _int(self.tasks[key][_ATTEMPTS]):
                self.fail("task", key, "began", count, "times, attempts are", self.tasks[key][_ATTEMPTS])

    def _check_child(self, number: int, row: Row) -> None:
        """A forked job ends as its kind does; or as cancelled, with the job that has forked it or by its fail_fast."""
        parent = self.jobs[self.numbers[str(row[_ID]).rpartition(".")[0]]]
        if row[_STATE] != life.CANCELLED:
            self._check_kind(number, row, self.world.kinds[str(row[_TYPE])])
        elif parent[_STATE] != life.CANCELLED and self.world.kinds[str(parent[_TYPE])].children != -1:
            self.fail("job", row[_ID], "was cancelled and its parent was not:", parent)

    def _check_end(self, number: int, row: Row, order: Order) -> None:
        if row[_STATE] != life.CANCELLED or not order.is_cancelled:
            self._check_kind(number, row, self.world.kinds[order.kind])

    def _check_kind(self, number: int, row: Row, kind: Kind) -> None:
        name = f"({kind.definition.job_type})"
        children = len(self.children.get(str(row[_ID]), ()))
        if kind.children != -1 and children != kind.children:
            self.fail("job", row[_ID], "has forked", children, "jobs, expected", kind.children)
        if not kind.state:
            if row[_STATE] not in life.JOB_ENDED:
                self.fail("job", row[_ID], name, "has not ended:", row)
            return
        if row[_STATE] != kind.state:
            self.fail("job", row[_ID], name, "ended", row[_STATE:], "expected", kind.state)
        for position, state in enumerate(kind.tasks):
            task = self.tasks.get((number, position))
            found = task[_TASK_STATE] if task is not None else None
            if (found if found not in (life.SKIPPED, life.PENDING) else None) != state:
                self.fail("job", row[_ID], name, "task", position, "is", found, "expected", state)
        for index, state in enumerate(kind.ends):
            element = self.tasks.get((number, element_position(0, index)))
            if element is None or element[_TASK_STATE] != state:
                self.fail("job", row[_ID], name, "element", index, "is", element, "expected", state)
        if row[_EXECUTION] != kind.executions or row[JOB_COLUMNS.index("dead_letter")] != kind.dead_letter:
            self.fail("job", row[_ID], name, "ended as", row)


def _check_place(core: Core, place: Place, fail: Callable[..., object]) -> None:
    """Room is kept for a job only as long as something of it is being rendered."""
    run = place.job.run if place.job.id in core.jobs else None
    renders = run is not None and (run.preparing or any(one.rendering for one in run.runs.values()))
    if not renders or core.leases.places.get(place.job) is not place:
        fail("room is kept for", place.job.id, "that renders nothing")


def check_books(core: Core, fail: object) -> None:
    """The core's records agree with each other: leases, queues, timers, counts. `fail` is called with what is wrong."""
    assert callable(fail)
    leases = core.leases
    held = 0
    for ant in leases.ants.values():
        held += len(ant.attempts())
        if ant.timer is None or ant.timer.what is not ant:
            fail("the lease of", ant.key, "has no timer")
        for token, run in ant.held.items():
            if isinstance(run, Place):
                _check_place(core, run, fail)
            elif run.token != token or run.holder is not ant or leases.tokens.get(token) is not run:
                fail("the books about token", token, "disagree")
    if held != len(leases.tokens):
        fail(held, "tokens are held,", len(leases.tokens), "are known")
    queued = {id(entry[4]) for queue in core.queues.values() for entry in queue.entries()}
    for queue in core.queues.values():
        for entry in queue.entries():
            if isinstance(entry[4], GangRun) and entry[4].state == life.READY:
                queued.update(id(run) for run in entry[4].runs)
    _check_ledger(core, fail)
    running: dict[tuple[str, str], int] = {}
    hot_bytes = 0
    for job in core.jobs.values():
        if job.state == life.PENDING:
            hot_bytes += len(job.params or b"")
            if id(job) not in queued and (job.timer is None or job.timer.what is not job):
                fail("job", job.id, "is pending and nothing will start it")
            continue
        if job.definition.gate is not None:
            running[job.definition.gate] = running.get(job.definition.gate, 0) + 1
        _check_running(job, queued, fail)
        for run in job.run.runs.values() if job.run is not None else ():
            if (run.state == life.APPROVAL) != (run in core.approving.open):
                fail("task", run.position, "of", job.id, "and the books about questions to people disagree")
            if run.awaits != (run in core.composing.families or run in core.fanning.families):
                fail("task", run.position, "of", job.id, "and the books about forked jobs disagree")
    for family in core.fanning.families.values():
        _check_elements(family, fail)
    if any(running.get(gate, 0) != count for gate, count in core.running.items()):
        fail("running executions are", running, "and counted as", core.running)
    if hot_bytes != core._hot_bytes:
        fail("parameters in memory are", hot_bytes, "bytes and counted as", core._hot_bytes)
    for counter in (leases.counter >> EPOCH_SHIFT,):
        if counter:
            fail("the token counter runs into the epoch")


def _check_elements(family: FanOut, fail: object) -> None:
    """As many elements are open as may be, and each of them is."""
    assert callable(fail)
    elements = [family.at(index) for index in range(len(family.items))]
    is_open = {index for index, one in enumerate(elements) if one is not None and one.is_active()}
    name = f"{family.run.job.id}/{family.run.name}"
    if is_open != family.open:
        fail("elements of", name, "are open:", is_open, "and the books say", family.open)
    left = any(one is None or one.state == life.PENDING for one in elements)
    if len(is_open) > family.limit or (left and len(is_open) < family.limit and not family.stopped):
        fail(len(is_open), "elements of", name, "are open, possible are", family.limit)
    if not is_open:
        fail("the elements of", name, "have ended, and the task waits")


def _check_ledger(core: Core, fail: object) -> None:
    """What queues and ants are said to hold is what the granted attempts hold."""
    assert callable(fail)
    if core.queueing is None:
        return
    ledger = Ledger()
    for run in core.leases.tokens.values():
        if run.charge is None:
            fail("task", run.position, "of", run.job.id, "is granted and charged to nobody")
            return
        ledger.take(run.charge)
    for place in core.leases.places.values():
        if place.charge is None:
            fail("room is kept for", place.job.id, "and charged to nobody")
            return
        ledger.take(place.charge)
    mine = core.queueing.ledger
    if (ledger.queues, ledger.tenants) != ({k: v for k, v in mine.queues.items() if v}, mine.tenants):
        fail("queues hold", mine.queues, mine.tenants, "and should", ledger.queues, ledger.tenants)
    if any(count != ledger.running.get(name, 0) for name, count in mine.running.items()):
        fail("queues run", mine.running, "and should", ledger.running)


def _gathers(job: Job, run: TaskRun) -> bool:
    """A member of a gang waits for another one that is still to become ready."""
    gang = job.definition.gang
    if gang is None or run.position not in gang.members or job.run is None:
        return False
    others = [job.run.runs.get(position) for position in gang.members if position != run.position]
    return any(one is None or (one.state != life.READY and one.is_active()) for one in others)


def _check_running(job: Job, queued: set[int], fail: object) -> None:
    assert callable(fail)
    execution = job.run
    if execution is None:
        fail("job", job.id, "runs without an execution")
        return
    active = 0
    for run in execution.runs.values():
        if not run.is_active():
            if run.holder is not None:
                fail("task", run.position, "of", job.id, "is", run.state, "and held by an ant")
            continue
        active += 1
        if not _goes_on(job, run, queued):
            fail("task", run.position, "of", job.id, "is", run.state, "and nothing will move it")
    for run in execution.elements.values():
        if run.is_active() and not _goes_on(job, run, queued):
            fail("element", run.name, "of", job.id, "is", run.state, "and nothing will move it")
    asking = sum(run.state == life.APPROVAL for run in execution.runs.values())
    if asking != execution.asking or (job.state == life.APPROVAL and active != asking):
        fail("job", job.id, "waits for people in", asking, "of", active, "tasks and counts", execution.asking)
    if job.state == life.EXECUTING and active and active == asking:
        fail("job", job.id, "waits for nothing but people, and its clock runs")
    if active != execution.active:
        fail("job", job.id, "has", active, "active tasks and counts", execution.active)
    if not active and not execution.preparing and job.state == life.EXECUTING:
        fail("job", job.id, "runs and none of its tasks does")


def _goes_on(job: Job, run: TaskRun, queued: set[int]) -> bool:
    """Something will happen to an active task: a result, a decision, a timer, an answer."""
    if run.state in _LEASED:
        return run.holder is not None
    if run.state == life.READY:
        return id(run) in queued or _gathers(job, run)
    if (run.timer is not None and run.timer.what is run) or run.awaits or run.state == life.APPROVAL:
        return True
    assert job.run is not None
    return run.rendering or (job.state == life.PAUSED and run.position in job.run.parked)


def _int(value: object) -> int:
    return value if isinstance(value, int) else 0
