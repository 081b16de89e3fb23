"""How jobs fork jobs and wait for them.

Theory of operation. A task whose method is the queen's never becomes READY: it goes to WAITING with an attempt counted,
holds no slot, and asks for the definition to fork (`Batch.children`). The answer starts its jobs. Their ids follow from
the parent's id, the task, the index and the attempt, so that whatever is done again after a crash finds them. A child's
end and what it means for the parent are one event of one core and one commit: nobody polls, and nothing can get lost in
between. After a restart of the queen the waiting task asks once more, with the ids of its jobs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec

from formicary.engine.jobs import lifecycle as life
from formicary.engine.jobs.configs import ConfigView
from formicary.engine.jobs.fan_out import definition_position
from formicary.engine.jobs.model import JobDefinition, task_to_json
from formicary.engine.jobs.variables import missing_params, wrong_params
from formicary.engine.queen.core import outcome as ends
from formicary.engine.queen.core.batch import Children, ChildrenRequest, ExpandRequest, JobEnded, TemplateJob
from formicary.engine.queen.core.circles import stuck
from formicary.engine.queen.core.family import (
    AWAIT,
    FAN_OUT,
    FORK,
    CannotCompose,
    Family,
    child_id,
    depth_of,
    family_of,
    forked_type,
    outputs_of,
    params_of,
)
from formicary.engine.queen.core.outcome import Outcome, decode_outputs
from formicary.engine.queen.core.passing import per_element
from formicary.engine.queen.core.records import Definition, Job, TaskRun
from formicary.engine.queen.core.submission import Submission
from formicary.engine.queen.core.time_limits import attempt_timeout
from formicary.engine.storage.port import Row

if TYPE_CHECKING:
    from formicary.engine.queen.core.core import Core

OVER_S = 1.0
"""So long ago was the time-out of a task whose jobs are being cancelled for it: a queen that starts again sees it."""


def to_reset(runs: Iterable[TaskRun], *, hard: bool) -> list[TaskRun]:
    """The tasks that run again in another execution: also those whose forked job was waited for and had failed."""
    every = list(runs)
    failed: set[str] = set()
    for run in every:
        if run.is_element:
            continue
        if run.task.method == "AWAIT_FORKED_JOB" and not run.kept():
            for key, state in decode_outputs(run.outputs).items():
                name, dot, field = key.rpartition(".")
                if dot and field == "ForkedJobState" and state != life.COMPLETED:
                    failed.add(name)
    again = {
        run.position for run in every if not run.is_element and (hard or not run.kept() or run.task.task_type in failed)
    }
    return [
        run
        for run in every
        if definition_position(run.position) in again and (hard or not run.is_element or not run.kept())
    ]


def _lacks(model: JobDefinition, params: dict[str, object], configs: ConfigView) -> str:
    """What is wrong with the parameters of a job that another one starts; empty = nothing."""
    wrong = list(wrong_params(model, params))
    if missing := missing_params(model, params, configs.names):
        wrong.append(f"{model.job_type} needs the parameters {', '.join(missing)}")
    return " ".join(wrong)


class Composing:
    """The families of one core."""

    def __init__(self, core: Core) -> None:
        self.core = core
        self.families: dict[TaskRun, Family] = {}
        self._waiting: dict[str, list[tuple[Family, int]]] = {}
        """Who waits for the end of a job."""

    # --- a task begins ----------------------------------------------------------------------------------------------

    def begin(self, run: TaskRun) -> None:
        """An attempt begins: its jobs are listed, and what has to be known is asked for."""
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
        if run.task.timeout_s:
            seconds = attempt_timeout(run, core.wall)
            run.timer_at = core.wall + seconds
            run.timer = core.timers.set(core.mono + seconds, run)
        family.listens = family.kind == AWAIT  # those of its own are not there yet
        self._ask(family, [*(family.ids if family.kind == AWAIT else ()), *self._every_earlier(family)])

    def resume(self, run: TaskRun) -> None:
        """After a restart of the queen: the task goes on to wait."""
        core = self.core
        try:
            family = self._family(run)
        except CannotCompose as error:
            self._over(run, Outcome(0, ends.FAILED, 1, error_code=error.code, error_message=str(error)))
            return
        if run.timer_at is not None and run.timer_at < core.wall and family.kind != AWAIT:
            self._run_out(family)
        elif run.timer_at is not None:
            run.timer = core.timers.set(core.mono + max(0.0, run.timer_at - core.wall), run)
        self._ask(family, [*family.ids, *self._every_earlier(family)])
        if run.job.verdict in (life.CANCELLED, "TIMED_OUT", "RESTART") and not run.task.always_run:
            self.stop(run)

    def _family(self, run: TaskRun) -> Family:
        core, job = self.core, run.job
        assert job.run is not None, "a job whose task begins has an execution"
        most = core.config.children - job.run.children
        family = family_of(run, most=most, configs=core.view(job))
        if family.kind == FAN_OUT and run.task.fan_out is not None and "source_name" not in run.task.fan_out:
            named = {"source": list(family.items), "source_name": run.task.fan_out.get("source")}
            run.task = replace(run.task, fan_out={**run.task.fan_out, **named})
        if family.kind != AWAIT:
            if depth_of(job.id) >= core.config.fork_depth:
                deepest = core.config.fork_depth
                raise CannotCompose("ERR_FORK_LIMIT", f"jobs fork jobs more than {deepest} deep: is there a circle?")
            if len(family.ids) > most:
                raise CannotCompose("ERR_FORK_LIMIT", f"the job forks more than {core.config.children} jobs")
            job.run.children += len(family.ids)
        self.families[run] = family
        return family

    def _every_earlier(self, family: Family) -> list[str]:
        """The same for all of its indexes."""
        run = family.run
        if family.kind == AWAIT or run.attempts - 1 <= run.token:
            return []
        return [job for index in range(len(family.ids)) for job in self._earlier(run, index)]

    def _earlier(self, run: TaskRun, index: int) -> list[str]:
        """Ids of the jobs that earlier attempts have forked for this index, newest first."""
        return [child_id(run.job.id, run.position, index, n) for n in range(run.attempts - 1, run.token, -1)]

    def _ask(self, family: Family, ids: list[str]) -> None:
        run = family.run
        for index, job_id in enumerate(family.ids if family.listens else ()):
            self._waiting.setdefault(job_id, []).append((family, index))
        job_type, version = forked_type(run.task) if family.kind != AWAIT else ("", "")
        own, live = set(family.ids), self.core.jobs  # of its own the end of a live one will come as an event
        self.core.batch.children.append(
            ChildrenRequest(
                run.job.id,
                run.job.execution,
                run.position,
                run.attempts,
                run.job.org,
                job_type,
                version,
                tuple(dict.fromkeys(one for one in ids if one not in own or one not in live)),
            )
        )

    # --- its jobs begin and end -------------------------------------------------------------------------------------

    def found(self, run: TaskRun, answer: Children) -> None:
        """It is known which jobs exist and what to fork: starts as many as may be open."""
        family = self.families.get(run)
        if family is None or family.answered:
            return
        family.answered = True
        self._take(family, answer)
        if family.fail_fast and family.failed is not None and not family.stopped:
            family.stopped = "ERR_CHILD_FAILED"  # the queen was killed while she cancelled the others
        if answer.definition is not None:
            row, model = answer.definition
            family.definition = self.core.definitions.get(str(row[0])) or self.core.define(row, model)
        if len(family.ends) < len(family.ids) and not family.stopped:
            if answer.problem:
                run.error_message, family.stopped = answer.problem, "ERR_FORK"
            elif self._has_to_be_checked(family):
                family.checked = False
                self.core.slices.drive(run, self._checking(family))
                return
        if family.stopped:
            self._cancel_open(family)
        self._go_on(family)

    def _take(self, family: Family, answer: Children) -> None:
        run, jobs = family.run, self.core.jobs
        family.open.update(index for index, job_id in enumerate(family.ids) if job_id in jobs)
        family.fresh = sorted(family.open)
        for index, job_id in enumerate(family.ids if answer.ended else ()):
            if index in family.open:
                continue
            if index not in family.ends and job_id in answer.ended:
                family.ends[index] = answer.ended[job_id]
            elif family.kind != AWAIT and index not in family.ends:
                for earlier in self._earlier(run, index):
                    end = answer.ended.get(earlier)
                    if end is not None and end.state == life.COMPLETED:
                        family.ends[index] = end
                        family.ids[index] = earlier
                        break

    def _has_to_be_checked(self, family: Family) -> bool:
        """Whether its jobs may lack parameters, or have some that cannot be made."""
        if family.kind == AWAIT or family.definition is None:
            return False
        model = family.definition.model
        has_templates = family.kind == FAN_OUT and bool(per_element(family.run.source))
        return bool(model.required_params or model.parameters or has_templates)

    def _checking(self, family: Family) -> Iterator[None]:
        """Looks at the parameters of all its jobs, in slices, before the first of them starts."""
        run, definition = family.run, family.definition
        assert definition is not None, "a family without a definition has nothing to look at"
        model = definition.model
        configs = self.core.configs.view(run.job.org, run.job.submitted_by or "", model.job_type)
        problem = ""
        for index in range(len(family.ids)):
            try:
                problem = _lacks(model, params_of(family, index, self.core.wall), configs)
            except CannotCompose as error:
                problem = str(error)
            if problem:
                break
            yield
        family.checked = True
        if problem:
            run.error_message, family.stopped = problem, "ERR_FORK"
            self._cancel_open(family)
        self._go_on(family)

    def _go_on(self, family: Family) -> None:
        """Starts what may start, in slices; ends the task when nothing is left to wait for. Nothing before the answer
        has come.
        """
        if not (family.answered and (family.checked or family.stopped)):
            return
        while (
            not family.stopped
            and family.kind != AWAIT
            and family.next < len(family.ids)
            and len(family.open) < family.limit
        ):
            index = family.next
            if index in family.ends or index in family.open:
                family.next += 1
                continue
            if not self.core.slices.take():
                self._later(family)
                return
            family.next += 1
            self._start(family, index)
        if self.families.get(family.run) is not family:
            return
        is_forked = family.kind == FORK and not family.joins and not (family.stopped or family.expanding)
        if is_forked or not family.open:
            self._join(family)
        elif family.fresh:
            self._break_circle(family)

    def _break_circle(self, family: Family) -> None:
        """Ends the task, and the job that can never start, where the task would wait for ever."""
        fresh, family.fresh = family.fresh, []
        found = None if family.stopped else stuck(self, family, fresh)
        if found is None:
            return
        job, why = found
        family.run.error_message = why
        self.core.dirty_tasks[family.run] = None
        self._stop(family, "ERR_FORK_LIMIT")
        if job.id in self.core.jobs:
            self.core.cancel(job.id, why)

    def awaits(self, parent: str, child: str) -> bool:
        """Says whether a task of one job waits for the end of another job."""
        return any(family.run.job.id == parent for family, _ in self._waiting.get(child, ()))

    def _later(self, family: Family) -> None:
        """What is left to start or to cancel has its turn in a later batch."""

        def again() -> None:
            if self.families.get(family.run) is family:
                if family.stopped:
                    self._cancel_open(family)
                self._go_on(family)

        self.core.slices.later(family.run, again)

    def _start(self, family: Family, index: int) -> None:
        definition, run = family.definition, family.run
        assert definition is not None, "an answer without a definition stops the family"
        family.open.add(index)
        family.fresh.append(index)
        if not family.listens:
            self._waiting.setdefault(family.ids[index], []).append((family, index))
        params = msgspec.json.encode(params_of(family, index, self.core.wall))
        if not definition.model.dynamic_template_tasks:
            self._submit(family, index, definition, params)
            return
        family.expanding.add(index)
        job, row, model = run.job, definition.row, definition.model
        configs = self.core.configs.view(job.org, job.submitted_by or "", definition.job_type)
        place = (job.id, job.execution, run.position, run.attempts, index)
        self.core.batch.expand.append(ExpandRequest(*place, row, model, params, configs))

    def _submit(self, family: Family, index: int, definition: Definition, params: bytes) -> None:
        job = family.run.job
        priority = max(job.priority, definition.model.priority)
        self.core.submit(
            definition, job.org, [Submission(family.ids[index], params, priority, user=job.submitted_by or "")]
        )

    def expanded(self, request: ExpandRequest, answer: tuple[Row, JobDefinition] | None, problem: str = "") -> None:
        """The tasks of a job to fork have been made by its template, or could not be; then no more are forked."""
        run = self._asking(request)
        family = self.families.get(run) if run is not None else None
        if family is None or request.index not in family.expanding:
            return
        family.expanding.discard(request.index)
        if answer is None:
            family.open.discard(request.index)
            family.run.error_message, family.stopped = problem, "ERR_FORK"
            self._cancel_open(family)
        else:
            row, model = answer
            definition = self.core.definitions.get(str(row[0])) or self.core.define(row, model)
            self._submit(family, request.index, definition, request.params)
        self._go_on(family)

    def _asking(self, request: ExpandRequest) -> TaskRun | None:
        """The task that has asked, in the very attempt."""
        job = self.core.jobs.get(request.job_id)
        if job is None or job.run is None or job.execution != request.execution:
            return None
        run = job.run.runs.get(request.position)
        return run if run is not None and run.attempts == request.attempt else None

    def submit(self, job: Job, jobs: Sequence[TemplateJob]) -> str:
        """Submits what a template of the job asks for; why it cannot be, empty = it is done."""
        core = self.core
        assert job.run is not None, "a job whose templates are rendered has an execution"
        if depth_of(job.id) >= core.config.fork_depth:
            return f"jobs submit jobs more than {core.config.fork_depth} deep: is there a circle?"
        fresh = [
            one
            for one in jobs
            if one.id not in core.jobs and one.id not in core.leaving and (job.org, one.key) not in core.keys
        ]
        if job.run.children + len(fresh) > core.config.children:
            return f"the job submits more than {core.config.children} jobs"
        user = job.submitted_by or ""
        for one in fresh:
            configs = core.configs.view(job.org, user, one.model.job_type)
            if refusal := _lacks(one.model, decode_outputs(one.params), configs):
                return refusal
        job.run.children += len(fresh)
        for one in fresh:
            definition = core.definitions.get(str(one.row[0])) or core.define(one.row, one.model)
            priority = max(job.priority, one.model.priority)
            core.submit(definition, job.org, [Submission(one.id, one.params, priority, key=one.key, user=user)])
        return ""

    def ended(self, end: JobEnded) -> None:
        """A job has ended: whoever waits for it goes on."""
        for family, index in self._waiting.pop(end.id, ()):
            family.open.discard(index)
            family.ends[index] = end
            if family.fail_fast and end.state != life.COMPLETED and not family.stopped:
                family.stopped = "ERR_CHILD_FAILED"
                self._cancel_open(family)
            if self.families.get(family.run) is family:
                self._go_on(family)

    # --- the task ends ----------------------------------------------------------------------------------------------

    def _join(self, family: Family) -> None:
        run, failed = family.run, family.failed
        if family.stopped == "ERR_CANCELLED":
            run.cancelling = True
            self._over(run, Outcome(0, ends.CANCELLED))
            return
        code = message = ""
        if family.stopped and family.stopped != "ERR_CHILD_FAILED":
            code, message = family.stopped, run.error_message or ""
        elif failed is not None and family.joins:
            code = "ERR_CHILD_FAILED"
            message = f"the job {failed.id} is {failed.state}: {failed.error_message or failed.error_code}"
        self.core.slices.drive(run, self._joining(family, code, message))

    def _joining(self, family: Family, code: str, message: str) -> Iterator[None]:
        """Puts the outputs together, in slices, and ends the task."""
        run, outputs = family.run, b""
        try:
            if code in ("", "ERR_CHILD_FAILED"):
                outputs, found = yield from outputs_of(family, self.core.wall)
                assert run.job.run is not None, "a job whose task waits has an execution"
                run.job.run.made = (outputs, found)
        except CannotCompose as error:
            code, message = error.code, str(error)
        kind = ends.TIMED_OUT if code == "ERR_TIMEOUT" else ends.FAILED if code else ends.COMPLETED
        self._over(
            run, Outcome(0, kind, 1 if code else 0, outputs=outputs, error_code=code, error_message=message[:2000])
        )

    def _over(self, run: TaskRun, outcome: Outcome) -> None:
        self.drop(run)
        run.rendered = None
        run.ended_at = self.core.wall
        run.state = life.EXECUTING  # for the length of this event: its attempt ends as any other
        self.core.progress.result(run, outcome)

    def drop(self, run: TaskRun) -> None:
        """The task waits no longer."""
        run.clear_timer()
        self.core.slices.drop(run)
        family = self.families.pop(run, None)
        for job_id in family.ids if family is not None and self._waiting else ():
            waiting = self._waiting.get(job_id)
            if waiting is None:
                continue
            left = [entry for entry in waiting if entry[0] is not family]
            if left:
                self._waiting[job_id] = left
            else:
                del self._waiting[job_id]

    def timed_out(self, run: TaskRun) -> None:
        """The attempt's time is over."""
        run.timer_at = self.core.wall - OVER_S
        self._run_out(self.families[run])

    def _run_out(self, family: Family) -> None:
        run = family.run
        self.core.dirty_tasks[run] = None
        run.error_message = f"its jobs have not ended within the time-out of {run.task.timeout_s or 0:g} s"
        self._stop(family, "ERR_TIMEOUT")

    def stop(self, run: TaskRun) -> None:
        """The job is being ended: so are the jobs of this task, and the task ends after them."""
        family = self.families[run]
        if family.kind == AWAIT:
            self.drop(run)
            self.core.progress.withdraw(run)
        else:
            self._stop(family, "ERR_CANCELLED")

    def _stop(self, family: Family, code: str) -> None:
        if family.stopped == "ERR_CANCELLED":
            return
        family.stopped = code
        if family.kind == AWAIT:  # the jobs are those of other tasks
            family.open.clear()
            family.answered = True
            self._join(family)
        elif family.answered:
            self._cancel_open(family)
            self._go_on(family)

    def _cancel_open(self, family: Family) -> None:
        if family.kind != AWAIT:
            family.open -= family.expanding  # what comes of them is looked at no more
            family.expanding.clear()
            for index in sorted(family.open):
                child = self.core.jobs.get(family.ids[index])
                if child is None or child.verdict == life.CANCELLED:
                    continue
                if not self.core.slices.take():
                    self._later(family)
                    return
                self._cancel(child.id, family.run.job.id)

    def cancel_forked(self, job: Job) -> None:
        """A job is cancelled or out of time: so is every job it has forked and not waited for."""
        for run in list(job.run.runs.values()) if job.run is not None else ():
            if run.task.method == "FORK_JOB" and run.state == life.COMPLETED:
                found = decode_outputs(run.outputs).get("ForkedJobID")
                if isinstance(found, str):
                    self._cancel(found, job.id)

    def _cancel(self, job_id: str, parent: str) -> None:
        if job_id in self.core.jobs:
            self.core.cancel(job_id, f"cancelled with {parent}, which forked it")
