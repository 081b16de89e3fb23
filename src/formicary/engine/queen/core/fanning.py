"""How a task runs once per element of a list, in its own job.

Theory of operation. A task with `fan_out` whose method is an ant's becomes WAITING when its turn comes, holds no slot,
and keeps the list in its rendered text. Its elements are tasks of the same job at positions beyond the definition's:
rows, leases, retries, time-outs and cancelling of an element are those of any task. At most `max_parallel` of them have
begun and not ended; the end of one and the start of the next are one event and one commit. When the last has ended, so
does the task.

What is not in the elements' rows is in two fields of the task's own: `rendered` holds the list, and `token`, which has
no other use without a lease, a digest of the list (elements that completed count again for the same list only) and why
nothing more starts. A core that is built again from rows goes on from there.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from hashlib import sha256
from typing import TYPE_CHECKING

import msgspec

from formicary.engine.jobs import lifecycle as life
from formicary.engine.jobs.fan_out import (
    CHILD_FAILED,
    MOST_OPEN,
    definition_position,
    element_name,
    element_position,
    element_variables,
    has_template,
    index_of,
    is_set,
    item_name,
)
from formicary.engine.jobs.flow import compile_routes
from formicary.engine.jobs.model import task_from_json, task_to_json
from formicary.engine.queen.core import outcome as ends
from formicary.engine.queen.core.family import (
    MAX_OUTPUT_BYTES,
    MOST_MESSAGE,
    MOST_NAMED,
    CannotCompose,
    items_of,
    limit_of,
)
from formicary.engine.queen.core.outcome import Outcome, decode_outputs
from formicary.engine.queen.core.records import Execution, TaskRun

if TYPE_CHECKING:
    from formicary.engine.queen.core.core import Core

GOES_ON, CUT, LATE, CANCELLED, WINDS_UP, FATAL = range(6)
"""Why no element starts any more: an element failed and `fail_fast` is set; the whole time is over; the job is being
cancelled; a sibling has decided the job's end; an element failed for good. The first: it goes on."""
_KILLING = frozenset({CUT, LATE, CANCELLED})
"""These end the elements that run, too."""
_KILLS = 8
_STOP_BITS = 4
"""Of the token: the reason, and whether what runs is being ended."""
MOST_FAILURES = 100
"""Failures that are told in words."""


@dataclass(slots=True)
class FanOut:
    """The elements of one attempt.

    Attributes:
        run: The task.
        items: The elements' values by index.
        limit: Elements that may have begun and not ended.
        fail_fast: The first that fails ends the others.
        open: Indexes of those.
        next: First index that may still have to be started.
        stopped: Why nothing more starts, GOES_ON = it does.
        kills: What runs is being ended.
    """

    run: TaskRun
    items: list[object]
    limit: int
    fail_fast: bool
    open: set[int] = field(default_factory=set)
    next: int = 0
    stopped: int = GOES_ON
    kills: bool = False

    def begun(self) -> Iterator[tuple[int, TaskRun]]:
        """Those that have begun and not ended, in order of their index."""
        for index in sorted(self.open):
            element = self.at(index)
            assert element is not None, "an open element has begun"
            yield index, element

    def at(self, index: int) -> TaskRun | None:
        """An element, None where it has never begun."""
        return _execution(self.run).elements.get(element_position(self.run.position, index))


class Fanning:
    """The fan-outs over tasks of one core."""

    def __init__(self, core: Core) -> None:
        self.core = core
        self.families: dict[TaskRun, FanOut] = {}

    # --- the task begins --------------------------------------------------------------------------------------------

    def begin(self, run: TaskRun) -> None:
        """The task's turn has come: its list is taken, and as many elements begin as may."""
        core = self.core
        run.attempts += 1
        run.error_code = run.error_message = run.outputs = run.exit_code = run.ended_at = None
        run.cancelling = False
        run.started_at = core.wall if run.started_at is None else run.started_at
        if run.state != life.WAITING:
            run.state = life.task_state(run.state, "wait")
        run.timer_at = None
        core.dirty_tasks[run] = None
        try:
            family = self._family(run)
        except CannotCompose as error:
            self._over(run, Outcome(0, ends.FAILED, 1, error_code=error.code, error_message=str(error)))
            return
        run.rendered = task_to_json(run.task)
        if run.task.total_timeout_s:
            run.timer_at = run.started_at + run.task.total_timeout_s
            run.timer = core.timers.set(core.mono + max(0.0, run.timer_at - core.wall), run)
        self.families[run] = family
        self._go_on(family)

    def _family(self, run: TaskRun) -> FanOut:
        """The list and its bounds; elements that do not count are as before their first attempt again."""
        source = run.source
        if not has_template(source):
            run.task = source  # what an earlier attempt has made of it holds its list
        limit = limit_of(run.task) or MOST_OPEN
        items = items_of(run, self.core.view(run.job))
        given = dict(run.task.fan_out or {})
        name = str(given.get("source"))[:60]
        execution, most = _execution(run), self.core.config.children
        others = sum(definition_position(position) != run.position for position in execution.elements)
        if len(items) + others + execution.children > most:
            text = f"{len(items)} elements to fan out over: one execution of a job has at most {most} elements and jobs"
            raise CannotCompose("ERR_FORK_LIMIT", text)
        given |= {"source": items, "source_name": name}
        run.task = replace(run.task, fan_out=given, retry=None)  # retries are those of each element
        digest = int.from_bytes(sha256(msgspec.json.encode(items)).digest()[:5]) << _STOP_BITS
        is_same, run.token = run.token >> _STOP_BITS == digest >> _STOP_BITS, digest
        for position, element in execution.elements.items():
            if definition_position(position) == run.position and not (is_same and element.kept()):
                element.reset()
                self.core.dirty_tasks[element] = None
                if not is_same:
                    self.core.checkpoints.drop(element)
        return FanOut(run, items, min(limit, MOST_OPEN), is_set(given, "fail_fast"))

    def rebuild(self, execution: Execution) -> None:
        """After a restart of the queen: elements know their values again, before anything of them goes on."""
        for position, element in execution.elements.items():
            run = execution.runs.get(definition_position(position))
            if run is None or run.rendered is None:
                continue
            items = (run.task.fan_out or {}).get("source")
            if isinstance(items, list | tuple) and index_of(position) < len(items):
                element.element = element_variables(run.task, index_of(position), items[index_of(position)])

    def resume(self, run: TaskRun) -> None:
        """After a restart of the queen: the task goes on with the elements that its job's rows tell of."""
        core = self.core
        if run.timer_at is not None:
            run.timer = core.timers.set(core.mono + max(0.0, run.timer_at - core.wall), run)
        spec = run.task.fan_out or {}
        items: list[object] = list(spec["source"])  # type: ignore[call-overload]  # it was stored with its list
        family = FanOut(run, items, min(limit_of(run.task) or MOST_OPEN, MOST_OPEN), is_set(spec, "fail_fast"))
        family.stopped, family.kills = run.token & (_KILLS - 1), bool(run.token & _KILLS)
        self.families[run] = family
        for index in range(len(items)):
            element = family.at(index)
            if element is not None and element.is_active():
                family.open.add(index)
                element.cancelling = element.cancelling or family.kills
        core.slices.later(run, partial(self._again, family))

    # --- its elements begin and end ---------------------------------------------------------------------------------

    def _go_on(self, family: FanOut) -> None:
        """Starts what may start, in slices; ends the task when nothing is left to wait for."""
        run, last, slices = family.run, len(family.items), self.core.slices
        while family.stopped == GOES_ON and family.next < last and len(family.open) < family.limit:
            index = family.next
            element = family.at(index)
            if element is not None and element.state != life.PENDING:
                family.next += 1
                continue
            if not slices.take():
                slices.later(run, partial(self._again, family))
                return
            family.next += 1
            if element is None:
                position = element_position(run.position, index)
                element = _execution(run).elements[position] = TaskRun(run.job, position, run.source)
            family.open.add(index)
            element.element = element_variables(run.task, index, family.items[index])
            self.core.progress.proceed(element)
        if not family.open and (family.stopped != GOES_ON or family.next >= last) and run in self.families:
            self._join(family)

    def _again(self, family: FanOut) -> None:
        """There is room for more of a task that still waits."""
        if self.families.get(family.run) is family:
            self._go_on(family)

    def ended(self, element: TaskRun, *, fatal: bool = False) -> None:
        """An element has ended, or was withdrawn."""
        run, index = _execution(element).runs[definition_position(element.position)], index_of(element.position)
        if index or run.source.is_static:  # the task's routes are those of the first element
            element.rendered = None
        family = self.families.get(run)
        if family is None:
            return
        family.open.discard(index)
        if fatal:
            self._stop(family, FATAL)
        elif element.state == life.FAILED and family.fail_fast:
            self._stop(family, CUT)
        else:
            self._go_on(family)

    def is_stopping(self, element: TaskRun) -> bool:
        """Nothing more starts of what it belongs to: its attempt is its last."""
        family = self.families.get(_execution(element).runs[definition_position(element.position)])
        return family is not None and family.stopped != GOES_ON

    # --- the task ends ----------------------------------------------------------------------------------------------

    def timed_out(self, run: TaskRun) -> None:
        """The task's whole time is over."""
        self.core.dirty_tasks[run] = None
        self._stop(self.families[run], LATE)

    def wind_up(self, run: TaskRun, *, kill: bool) -> None:
        """The job's end is decided: nothing more starts, and with `kill` what runs is ended; `always_run` goes on."""
        family = self.families[run]
        if not run.task.always_run:
            self._stop(family, CANCELLED if kill else WINDS_UP)
            return
        for _, element in list(family.begun()):  # those that a pause has kept
            if element.state == life.WAITING and element.timer is None and not element.rendering:
                self.core.progress.proceed(element)

    def _stop(self, family: FanOut, why: int) -> None:
        """Nothing more starts. The first reason is kept; being cancelled beats all but what fails for good."""
        run = family.run
        if family.stopped == GOES_ON or (why == CANCELLED and family.stopped != FATAL):
            family.stopped = why
        family.kills = family.kills or why in _KILLING
        run.token = run.token >> _STOP_BITS << _STOP_BITS | family.stopped | _KILLS * family.kills
        self.core.dirty_tasks[run] = None
        for _, element in list(family.begun()):
            if element.state in (life.READY, life.WAITING):
                self.core.progress.withdraw(element)
            elif why in _KILLING and element.state in (life.DISPATCHED, life.EXECUTING):
                self.core.cancel_attempt(element)
        self._go_on(family)

    def _join(self, family: FanOut) -> None:
        run, count = family.run, len(family.items)
        elements = _execution(run).elements
        runs = [elements.get(element_position(run.position, index)) for index in range(count)]
        bad = [index for index, one in enumerate(runs) if one is None or one.state != life.COMPLETED]
        self._take_rendered(run, runs[0] if runs else None)
        if bad and family.stopped in (CANCELLED, WINDS_UP):
            run.cancelling = True
            self._over(run, Outcome(0, ends.CANCELLED))
            return
        code = message = ""
        exit_code = 0
        if bad:
            first = next((at for at in bad if (one := runs[at]) is not None and one.state == life.FAILED), bad[0])
            code, message, exit_code = _failure(family, len(bad), first)
        kind = ends.TIMED_OUT if code == "ERR_TIMEOUT" else ends.FAILED if code else ends.COMPLETED
        outcome = Outcome(0, kind, exit_code, error_code=code, error_message=message[:2000])
        self.core.slices.drive(run, self._joining(family, runs, bad, outcome))

    def _joining(self, family: FanOut, runs: list[TaskRun | None], bad: list[int], outcome: Outcome) -> Iterator[None]:
        """Puts the outputs together, in slices, and ends the task."""
        run = family.run
        try:
            outputs, found = yield from _outputs(family, runs, bad)
            outcome = msgspec.structs.replace(outcome, outputs=outputs)
            _execution(run).made = (outputs, found)
        except CannotCompose as error:
            outcome = Outcome(0, ends.FAILED, 1, error_code=error.code, error_message=str(error)[:2000])
        self._over(run, outcome, fatal=family.stopped == FATAL)

    def _take_rendered(self, run: TaskRun, first: TaskRun | None) -> None:
        """What the task says of itself in templates is as the first element was rendered."""
        if first is not None and first.rendered is not None and not run.source.is_static:
            task, own = task_from_json(first.rendered), run.task
            run.task = replace(
                task, task_type=own.task_type, fan_out=own.fan_out, retry=None, total_timeout_s=own.total_timeout_s
            )
            _execution(run).routes[run.position] = compile_routes(task, run.job.definition.model.index)

    def _over(self, run: TaskRun, outcome: Outcome, *, fatal: bool = False) -> None:
        run.clear_timer()
        self.core.slices.drop(run)
        self.families.pop(run, None)
        run.rendered = None
        run.ended_at = self.core.wall
        run.state = life.EXECUTING  # for the length of this event: its attempt ends as any other
        self.core.progress.result(run, outcome, fatal=fatal)


def _execution(run: TaskRun) -> Execution:
    assert run.job.run is not None, "a job whose task has begun has an execution"
    return run.job.run


def _failure(family: FanOut, count: int, first: int) -> tuple[str, str, int]:
    """Code, sentence and exit code of a fan-out that has not completed; `first` is the element to name."""
    task, element = family.run.task, family.at(first)
    total = len(family.items)
    if family.stopped == LATE:
        late = f"{count} of {total} elements have not completed within the total time-out of"
        return "ERR_TIMEOUT", f"{late} {task.total_timeout_s or 0:g} s", 1
    name = element_name(task.task_type, first)
    state = element.state if element is not None else life.SKIPPED
    why = (element.error_message or element.error_code or "") if element is not None else ""
    text = f"{count} of {total} elements have not completed; {name} is {state}" + (f": {why}" if why else "")
    code = element.error_code if element is not None and family.stopped == FATAL else None
    return code or CHILD_FAILED, text, (element.exit_code if element is not None else None) or 1


def _outputs(
    family: FanOut, runs: list[TaskRun | None], bad: list[int]
) -> Generator[None, None, tuple[bytes, dict[str, object]]]:
    """What the task gives its job, as JSON and as it is: results by index; a step for each of them.

    Raises CannotCompose where that is too much.
    """
    task = family.run.task
    name = item_name(task)
    found: dict[str, object] = {}
    results: list[object] = []
    texts: list[bytes] = []  # each in its own step: all at once would hold the loop
    for index, one in enumerate(runs):
        state = life.SKIPPED if one is None or one.state == life.PENDING else one.state
        outputs = decode_outputs(one.outputs) if one is not None else {}
        results.append({"index": index, "state": state, "outputs": outputs})
        texts.append(msgspec.json.encode(results[-1]))
        if len(runs) <= MOST_NAMED:
            said: dict[str, object] = {"status": state}
            if one is not None and one.exit_code is not None:
                said["exit_code"] = one.exit_code
            if one is not None and state == life.FAILED:
                said["error_message"] = (one.error_message or one.error_code or "")[:MOST_MESSAGE]
            # an output of one of these names says more
            found.update({f"{name}_{index}_{key}": value for key, value in {**outputs, **said, **outputs}.items()})
        yield
    failures = [_told(index, one) for index in bad if (one := runs[index]) is not None and one.state == life.FAILED]
    found |= {
        "FanOutItemCount": len(runs),
        "FanOutMode": "task",
        "FanOutSource": (task.fan_out or {}).get("source_name"),
        "FanOutResults": results,
        "FanOutFailures": failures[:MOST_FAILURES],
    }
    data = msgspec.json.encode(found | {"FanOutResults": msgspec.Raw(b"[" + b",".join(texts) + b"]")})
    if len(data) > MAX_OUTPUT_BYTES:
        text = f"the outputs of its {len(runs)} elements exceed 1 MB together: let them write files (artifacts)"
        raise CannotCompose("ERR_RESULT_TOO_LARGE", text)
    return data, found


def _told(index: int, element: TaskRun) -> dict[str, object]:
    message = (element.error_message or "")[:MOST_MESSAGE]
    return {"index": index, "exit_code": element.exit_code, "code": element.error_code, "message": message}
