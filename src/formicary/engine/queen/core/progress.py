"""How a job goes on: starts, attempts' ends, retries, the final phase, the job's end.

Everything here changes records in memory and marks them; the open batch gets their images when it is cut. Semantics are
those of the job sheet; the order of questions after an attempt is: was the job stopped meanwhile? does this very exit
code or error code ask for an action? are retries left? does the state ask for an action? — then the task has ended.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from formicary.engine.jobs import lifecycle as life
from formicary.engine.jobs.backoff import retry_delay
from formicary.engine.jobs.fan_out import as_element, has_template, index_of
from formicary.engine.jobs.flow import compile_routes
from formicary.engine.jobs.model import task_to_json
from formicary.engine.jobs.quality import asks
from formicary.engine.queen.core import error_coding
from formicary.engine.queen.core import outcome as ends
from formicary.engine.queen.core.batch import JobEnded, RenderRequest
from formicary.engine.queen.core.composing import to_reset
from formicary.engine.queen.core.dead_letters import note_death
from formicary.engine.queen.core.outcome import Outcome, decode_outputs, merged_outputs
from formicary.engine.queen.core.records import Ant, Execution, Job, TaskRun
from formicary.engine.queen.core.time_limits import is_late, until

if TYPE_CHECKING:
    from formicary.engine.jobs.rendering import RenderedTask
    from formicary.engine.queen.core.core import Core

FATAL = "FATAL"
"""Verdict of a job that failed for good: no retry at job level."""
TIMED_OUT = "TIMED_OUT"
"""Verdict of a job whose whole time is over: no retry at job level."""
RESTART = "RESTART"
"""Verdict of an execution, not of the job: a task has asked for a new one; it begins when the siblings have ended."""
KILLING = frozenset({life.CANCELLED, TIMED_OUT, RESTART})
"""Verdicts that end what runs; the others let running siblings finish."""


class Progress:
    """The moves of jobs and tasks over one core's state."""

    def __init__(self, core: Core) -> None:
        self.core = core

    # --- a job begins -----------------------------------------------------------------------------------------------

    def start(self, job: Job, ant: Ant | None = None) -> None:
        """Begins an execution; `ant` has room for its first task."""
        core = self.core
        job.state = life.job_state(job.state, "start")
        job.execution += 1
        if job.started_at is None:
            job.started_at = core.wall
            due = max(job.submitted_at, job.scheduled_at or 0.0)
            core.stats.waited(job.definition.demand.tags, max(0.0, core.wall - due))
        if job.deadline_at is None:
            job.deadline_at = core.wall + job.definition.model.timeout_s
        core.set_job_timer(job, job.deadline_at)
        core.count_running(job, +1)
        core.breaking.begun(job)
        core.notifying.job_started(job)
        core.dirty_jobs[job] = None
        kept = job.run
        job.run = run = Execution(job.definition.plan)
        if kept is not None:
            run.runs, run.elements = kept.runs, kept.elements
        if job.definition.needs_preparation and job.variables is None:
            run.preparing = True
            self.keep_room(job, ant)
            self.ask_preparation(job)
            return
        self.begin(job, ant)

    def keep_room(self, job: Job, ant: Ant | None) -> None:
        """The job's first task is rendered before it is granted: until then nobody else is started in its place."""
        if ant is not None:
            place = self.core.leases.keep(job, ant, self.core.wall)
            if self.core.queueing is not None:
                self.core.queueing.take(place)

    def ask_preparation(self, job: Job) -> None:
        """`skip_if` and the job's variables are to be rendered."""
        self.core.waiting.coming(job, job.definition.asks)
        self.core.batch.render.append(self._request(job, None, 0, 0))

    def prepared(self, job: Job, variables: bytes, skip: bool, problem: str | None) -> None:
        """`skip_if` and the job's variables have been rendered."""
        core, run = self.core, job.run
        ant = core.leases.leave(job)
        if run is None or not run.preparing or job.state != life.EXECUTING:
            return
        run.preparing = False
        job.variables = variables
        core.batch.changes.params[job.number] = (job.number, job.params or b"{}", variables)
        core.dirty_jobs[job] = None
        if problem is not None:
            self._decide(job, FATAL, "ERR_VALIDATION", problem)
            self.finish(job)
        elif skip:
            self._decide(job, FATAL, "ERR_FILTERED_JOB", "left out: skip_if was true")
            self.finish(job)
        elif job.verdict is not None:
            self.check_end(job)
        else:
            self.begin(job, ant)

    def begin(self, job: Job, ant: Ant | None) -> None:
        """Starts the first tasks; after a restart those that completed before are kept."""
        run = self._run(job)
        kept = [found for found in run.runs.values() if found.state == life.COMPLETED]
        if kept:
            kept.sort(key=lambda found: found.ended_order or 0)
            for found in kept:
                self.remember_outputs(run, found)
            ready, _ = run.flow.replay(
                [(found.position, False, found.routed_to) for found in kept], [found.position for found in kept]
            )
        else:
            ready = list(run.flow.begin())
        self.activate_all(job, ready, ant)  # an ant has room for one; the others take their turn
        if not run.active:
            self.check_end(job)

    def activate_all(self, job: Job, positions: Sequence[int], ant: Ant | None = None) -> None:
        """The turn of several tasks has come."""
        self._run(job).flow.put_back(positions)
        self.activate_held(job, positions, ant)

    def activate_held(self, job: Job, positions: Sequence[int], ant: Ant | None = None) -> None:
        """Starts tasks that were put back, until one that ends at once decides the job's end: then no more."""
        execution = self._run(job)
        for position in positions:
            if job.state in life.JOB_AT_REST or job.verdict is not None or execution.final or job.run is not execution:
                return
            if execution.flow.take(position):
                self.activate(job, position, ant)
                ant = None

    def activate(self, job: Job, position: int, ant: Ant | None = None) -> None:
        """A task's turn has come: it waits for its delay, is rendered, or is ready."""
        if job.state == life.APPROVAL:  # a sibling has just begun to wait for people, and this one begins too
            self.core.pausing.end(job, "resume")
        run = self._run(job)
        task_run = run.runs.get(position)
        if task_run is None:
            task_run = run.runs[position] = TaskRun(job, position, job.definition.model.tasks[position])
        run.active += 1
        if task_run.task.delay_s:
            self._wait(task_run, task_run.task.delay_s)
        else:
            self.proceed(task_run, ant)

    def proceed(self, run: TaskRun, ant: Ant | None = None) -> None:
        """Before each attempt: render where there are templates, then queue."""
        task = run.source
        if run.job.state == life.PAUSED:
            self.core.pausing.park(run)
        elif has_template(task) if run.fans else not task.is_static or task.except_ is not None:
            run.state = life.WAITING if run.state == life.WAITING else life.task_state(run.state, "wait")
            run.rendering = True
            self.keep_room(run.job, ant)
            self.core.waiting.coming(run, asks(task))
            self.core.dirty_tasks[run] = None
            self.core.batch.render.append(
                self._request(run.job, run.position, run.attempts, run.failures + run.polls, element=run.element)
            )
        else:
            self.ready(run, ant)

    def rendered(self, run: TaskRun, answer: RenderedTask | None, problem: str | None) -> None:
        """The attempt's text has been rendered and parsed."""
        ant = self.core.leases.leave(run.job)
        run.rendering = False
        self.core.dirty_tasks[run] = None
        if answer is None:
            run.error_message = problem
            self._end(run, life.FAILED, "ERR_VALIDATION")
            return
        run.task = as_element(answer.task, index_of(run.position)) if run.is_element else answer.task
        run.rendered = task_to_json(run.task)
        if answer.skipped:
            run.skipped = 1
            self._end(run, life.COMPLETED, None, decision=life.SKIPPED)
            return
        self._run(run.job).routes[run.position] = compile_routes(answer.task, run.job.definition.model.index)
        self.ready(run, ant)

    def ready(self, run: TaskRun, ant: Ant | None = None) -> None:
        """Queues the task, or grants it at once to an ant that was chosen for it; what composes jobs begins here."""
        if run.composes:
            self.core.composing.begin(run)
            return
        if run.fans:
            self.core.fanning.begin(run)
            return
        if run.task.method in ("MANUAL", "EXPIRE_ARTIFACTS"):
            (self.core.approving if run.task.method == "MANUAL" else self.core.chores).begin(run)
            return
        if run.is_element and run.rendered is None:
            run.task, run.rendered = run.job.definition.element(run.position)
        if run.state != life.READY:
            run.state = life.task_state(run.state, "activate")
        run.timer_at = None
        self.core.dirty_tasks[run] = None
        if run.job.definition.gang is not None and self.core.gangs.holds(run):
            self.core.gangs.gather(run)
            return
        demand = self.core.neighbouring.of_task(run, run.demand)
        may_begin = demand.gate is None or self.core.breaking.permits(demand.gate)
        if ant is not None and may_begin and self.core.locking.admits(run, ant, demand):
            self.core.grant(run, ant)
        else:
            self.core.waiting.queue_task(run, demand)

    # --- an attempt ends --------------------------------------------------------------------------------------------

    def result(self, run: TaskRun, result: Outcome, *, fatal: bool = False) -> None:
        """An attempt has ended; its token is already taken out. With `fatal` nothing can be mapped any more."""
        self._note(run, result)
        kind = result.outcome
        if kind == ends.LOST or (kind == ends.CANCELLED and not run.cancelling):
            self.lost(run, made_room=kind == ends.CANCELLED and run.preempting)
            return
        if kind == ends.CANCELLED:
            self._end(run, life.CANCELLED, "ERR_CANCELLED")
            return
        state = life.COMPLETED if kind == ends.COMPLETED else life.FAILED
        error, rule = None, None
        if state == life.FAILED:
            error = result.error_code or ("ERR_TIMEOUT" if kind == ends.TIMED_OUT else "ERR_EXIT_CODE")
            rule = None if run.fans else error_coding.rule_of(self.core.error_rules, run, result)
            if rule is not None:
                error = rule.code
        if fatal or self.stopping(run):
            run.failures += state == life.FAILED
            self._end(run, state, error, fatal=fatal)
            return
        action = run.routes.action(run.exit_code, error)
        if action is not None and self._act(run, action, error):
            return
        asks = rule is not None and rule.action and not run.routes.names(run.exit_code, error)
        if rule is not None and asks and error_coding.obey(self, run, rule):
            return
        self._attempt_over(run, state, error)

    def _attempt_over(self, run: TaskRun, state: str, error: str | None) -> None:
        """No action of this very exit code: retries, then what the state asks for, then the task's end."""
        if state == life.FAILED:
            run.failures += 1
            if run.failures <= (run.task.retry or 0) and self.again(
                run, retry_delay(run.task, run.failures, self.core.rng)
            ):
                return
        action = run.routes.actions.get(state)
        if action is not None and action not in (life.COMPLETED, life.FAILED) and self._act(run, action, error):
            return
        if action == life.COMPLETED and state == life.FAILED:
            state, error = life.COMPLETED, None
        elif action == life.FAILED and state == life.COMPLETED:
            state, error = life.FAILED, "ERR_EXIT_CODE"
        self._end(run, state, error)

    def _act(self, run: TaskRun, action: str, error: str | None) -> bool:
        """Does what an exit code asks for; False where it only names a plain failure."""
        if action == life.COMPLETED:
            run.error_message = run.traceback = None
            self._end(run, life.COMPLETED, None)
        elif action in ("EXECUTING", "RESTART_TASK"):
            self._poll(run, is_restart=action == "RESTART_TASK")
        elif action == "WAIT_FOR_APPROVAL" and not run.is_element:
            self.core.approving.ask(run)
        elif action in ("RESTART_JOB", "PAUSE_JOB"):
            if (
                run.job.verdict is not None or self._run(run.job).final or is_late(run, self.core.wall)
            ):  # too late: it ends
                return False
            if action == "PAUSE_JOB":
                self.core.pausing.ask(run)
            else:
                self.restart_by_task(run, run.job.definition.model.retry)
        elif action == FATAL:
            run.failures += 1
            self._end(run, life.FAILED, error or "ERR_EXIT_CODE", fatal=True)
        elif action == life.FAILED:
            self._attempt_failed(run, error or "ERR_EXIT_CODE")
        elif action.startswith("ERR_"):
            self._attempt_failed(run, action)
        else:
            return False
        return True

    def failed(self, run: TaskRun, error: str) -> None:
        """The task has failed for good, before any attempt or instead of it."""
        self._end(run, life.FAILED, error, fatal=True)

    def decided(self, run: TaskRun, decision: str, why: str | None) -> None:
        """People have decided: the task COMPLETED or FAILED, unless an action is mapped to their word."""
        self.core.dirty_tasks[run] = None
        run.error_message, run.traceback = why, None
        state, error = (life.COMPLETED, None) if why is None else (life.FAILED, "ERR_REJECTED")
        actions = run.routes.actions
        action = actions.get(decision) or actions.get(error or "") or actions.get(state)
        if action == life.FAILED or (action or "").startswith("ERR_"):  # people are not asked again by `retry`
            state, error = life.FAILED, action if action != life.FAILED else "ERR_REJECTED"
        elif action not in (None, "WAIT_FOR_APPROVAL") and self._act(run, str(action), error):
            return
        self._end(run, state, error, decision=decision)

    def _attempt_failed(self, run: TaskRun, error: str) -> None:
        """An exit code that is mapped to FAILED or ERR_*: a failure like any other."""
        run.failures += 1
        if run.failures <= (run.task.retry or 0) and self.again(
            run, retry_delay(run.task, run.failures, self.core.rng)
        ):
            return
        self._end(run, life.FAILED, error)

    def _poll(self, run: TaskRun, *, is_restart: bool) -> None:
        """Run it again: `retry` polls (EXECUTING) or restarts (RESTART_TASK), else as long as the total time-out is."""
        run.polls += 1
        if run.task.retry is not None and run.polls >= run.task.retry + is_restart:
            told = "asked to be restarted again after {} restarts" if is_restart else "still not done after {} polls"
            run.error_message = f"{told.format(run.polls - is_restart)} (retry: {run.task.retry})"
            self._end(run, life.FAILED, "ERR_TIMEOUT")
        elif not self.again(run, retry_delay(run.task, 1, self.core.rng)):
            self._end(run, life.FAILED, "ERR_TIMEOUT")

    def again(self, run: TaskRun, delay_s: float) -> bool:
        """Another attempt after a delay; False where the total time-out would be over by then."""
        if until(run) <= self.core.wall + delay_s:
            run.error_message = run.error_message or "the total time-out leaves no room for another attempt"
            return False
        self.core.stats.retries += 1
        self._wait(run, delay_s)
        return True

    def _wait(self, run: TaskRun, delay_s: float) -> None:
        core = self.core
        if run.state != life.WAITING:
            run.state = life.task_state(run.state, "wait")
        run.timer_at = core.wall + delay_s
        run.timer = core.timers.set(core.mono + delay_s, run)
        core.dirty_tasks[run] = None

    def lost(self, run: TaskRun, *, made_room: bool = False) -> None:
        """The attempt's ant is gone: again at once, a bounded number of times; what has made room is not counted."""
        run.lost += not made_room
        self.core.dirty_tasks[run] = None
        if run.cancelling or self.stopping(run):
            self._end(run, life.CANCELLED, "ERR_CANCELLED")
        elif run.lost >= run.task.max_lost_attempts and not made_room:
            run.error_message = f"lost with its ant {run.lost} times (max_lost_attempts)"
            self._end(run, life.FAILED, "ERR_POISON", fatal=True)
        else:
            run.state = life.task_state(run.state, "lose")
            self._requeue(run)

    def returned(self, run: TaskRun, *, is_unstarted: bool) -> None:
        """The ant does not hold the attempt: it gave it back unstarted, which costs nothing, or says nothing of it.

        In the second case it may have begun and been ended by the ant itself when its own copy of the lease ran out:
        the attempt stays counted, so that there are never more effects than attempts.
        """
        if is_unstarted:
            run.attempts -= 1
        self.core.dirty_tasks[run] = None
        if run.cancelling or self.stopping(run):
            run.state = life.task_state(run.state, "return")
            self.withdraw(run)
            self.look_for_final(run.job)
            self.check_end(run.job)
            return
        run.state = life.task_state(run.state, "return")
        self._requeue(run)

    def _requeue(self, run: TaskRun) -> None:
        if run.job.state == life.PAUSED:
            self.core.pausing.park(run)
        else:
            self.ready(run)

    def _note(self, run: TaskRun, result: Outcome) -> None:
        """Copies what the ant reported."""
        if run.started_at is None:
            run.started_at = result.started_at
            self.core.book.began(run.job.id, min(result.started_at or self.core.wall, self.core.wall))
        run.exit_code, run.signal = result.exit_code, result.signal or None
        run.error_message = result.error_message or None
        run.traceback = result.traceback or None
        run.outputs = result.outputs or None
        run.ended_at = result.ended_at or self.core.wall
        self.core.dirty_tasks[run] = None

    # --- a task ends ------------------------------------------------------------------------------------------------

    def _end(
        self, run: TaskRun, state: str, error: str | None, *, fatal: bool = False, decision: str | None = None
    ) -> None:
        """The task has ended; its routes and dependents, or the final phase, go on."""
        core, job = self.core, run.job
        execution = self._run(job)
        event = {life.COMPLETED: "complete", life.FAILED: "fail", life.CANCELLED: "cancel"}[state]
        run.state = life.task_state(run.state, event)
        run.error_code = error
        run.clear_timer()
        run.ended_at = run.ended_at or core.wall
        core.order += 1
        run.ended_order = core.order
        core.dirty_tasks[run] = None
        core.stats.tasks_ended += 1
        if state == life.COMPLETED and core.checkpoints.kept:
            core.checkpoints.drop(run)
        if run.is_element:
            execution.routes.pop(run.position, None)
            core.fanning.ended(run, fatal=fatal)
            return
        core.notifying.task_ended(run)
        execution.active -= 1
        if job.definition.gang is not None:
            self.core.gangs.ended(run)
        self.look_for_final(job)
        self.remember_outputs(execution, run)
        failed = run.failed_hard()
        target = None if fatal else self._target(run, state, error, decision)
        run.routed_to = target
        if failed and not execution.final and (fatal or target is None) and job.verdict is None:
            self._decide(job, FATAL if fatal else life.FAILED, error, run.error_message, run)
            if job.state == life.PAUSED:
                self.core.pausing.end(job, "wind_up")
            self.wind_up(job)
        if job.definition.plan.single:
            self.check_end(job)
            return
        ready = execution.flow.ended(run.position, failed=failed, target=target)
        if job.state == life.PAUSED:
            execution.parked += ready
        else:
            self.activate_all(job, ready)
        self.check_end(job)

    def _target(self, run: TaskRun, state: str, error: str | None, decision: str | None) -> int | None:
        routes = run.routes
        target = routes.targets.get(decision) if decision else None
        if target is None:
            target = routes.target(state, run.exit_code, error)
        if target is None and state == life.FAILED and run.task.allow_failure:
            target = routes.targets.get(life.COMPLETED)
        return target

    def remember_outputs(self, execution: Execution, run: TaskRun) -> None:
        """Later tasks see what it has handed on."""
        if run.outputs and run.state in (life.COMPLETED, life.FAILED):
            execution.version += 1
            execution.outputs.pop(run.task.task_type, None)
            made, execution.made = execution.made, None
            is_made = made is not None and made[0] is run.outputs
            execution.outputs[run.task.task_type] = made[1] if made and is_made else decode_outputs(run.outputs)

    # --- a job ends -------------------------------------------------------------------------------------------------

    def stopping(self, run: TaskRun) -> bool:
        """The job's end is decided and this task's attempt is its last; `always_run` tasks keep their retries."""
        if run.is_element and self.core.fanning.is_stopping(run):
            return True
        return run.job.verdict is not None and not run.task.always_run

    def look_for_final(self, job: Job) -> None:
        """The end is decided and only `always_run` tasks are active any more: that is the final phase."""
        execution = self._run(job)
        if job.verdict not in (None, RESTART) and not execution.final and execution.active:
            execution.final = all(run.task.always_run for run in execution.runs.values() if run.is_active())

    def _decide(
        self, job: Job, verdict: str, code: str | None, message: str | None, run: TaskRun | None = None
    ) -> None:
        job.verdict = verdict
        job.error_code = code
        job.error_message = f"task {run.task.task_type}: {message or code}" if run is not None else message
        self.core.dirty_jobs[job] = None

    def wind_up(self, job: Job, *, kill: bool = False) -> None:
        """Nothing new starts: what has not begun is withdrawn; with `kill` what runs is ended too, but `always_run`."""
        execution = self._run(job)
        waiting: list[TaskRun] = []
        for run in list(execution.runs.values()):
            if run.awaits:
                waiting.append(run)
            elif run.state in (life.READY, life.WAITING, life.APPROVAL):
                if not execution.final or run.position in execution.parked:
                    self.withdraw(run)
            elif kill and run.state in (life.DISPATCHED, life.EXECUTING) and not run.task.always_run:
                self.core.cancel_attempt(run)
        execution.flow.put_back(execution.unbegun(execution.parked))
        execution.parked.clear()
        self.look_for_final(job)
        for run in waiting:
            if run.fans:
                self.core.fanning.wind_up(run, kill=kill)
            elif kill and not run.task.always_run:
                self.core.composing.stop(run)

    def withdraw(self, run: TaskRun) -> None:
        """A task that waits or is queued will not run."""
        if run.state == life.APPROVAL:
            self.core.approving.close(run)
        run.clear_timer()
        self.core.leases.leave(run.job)
        run.rendering = False
        run.state = life.task_state(run.state, "cancel" if run.attempts else "skip")
        run.ended_at = self.core.wall if run.attempts else None
        self.core.dirty_tasks[run] = None
        if run.is_element:
            self.core.fanning.ended(run)
            return
        execution = self._run(run.job)
        execution.active -= 1
        if run.task.always_run:  # it gets its turn in the final phase
            run.reset()
            execution.flow.status[run.position] = 0

    def check_end(self, job: Job) -> None:
        """When nothing is active: the final phase's next task, or the job's end."""
        execution = job.run
        if execution is None or execution.preparing or job.state != life.EXECUTING:
            return
        if execution.active:
            if execution.active == execution.asking:
                self.core.approving.stand_still(job)
            return
        if job.verdict == RESTART:
            self._restart_asked(job)
            return
        execution.final = True
        flow = execution.flow
        is_good = bool(flow.plan.alarms) and job.verdict is None
        failed = not is_good or any(run.failed_hard() for run in execution.runs.values())
        position = flow.next_final(failed=failed)
        if position is None:
            self.finish(job)
        else:
            self.activate(job, position)

    def finish(self, job: Job) -> None:
        """All tasks have ended: the job's state, a retry at job level, or its end."""
        core, execution = self.core, self._run(job)
        failed = next((run for run in execution.runs.values() if run.failed_hard()), None)
        if job.verdict is None and failed is not None:
            self._decide(job, life.FAILED, failed.error_code, failed.error_message, failed)
        core.breaking.ended(job)
        if job.verdict == life.FAILED and job.retries < (job.definition.model.retry or 0):
            job.retries += 1
            if self.restart(job, retry_delay(job.definition.model, job.retries, core.rng)):
                return
            job.retries -= 1
        event = {None: "complete", life.CANCELLED: "cancel"}.get(job.verdict, "fail")
        job.state = life.job_state(job.state, event)
        core.count_running(job, -1)
        note_death(core, job)
        self.ended(job)

    def ended(self, job: Job) -> None:
        """The job leaves memory; whoever waits for it is told after the commit."""
        core = self.core
        job.ended_at = core.wall
        job.verdict = job.deadline_at = job.timer_at = job.clock_left_s = None
        if job.timer is not None:
            job.timer.cancel()
            job.timer = None
        core.dirty_jobs[job] = None
        core.notifying.job_ended(job)
        core.leases.leave(job)
        if core.queueing is not None:
            core.queueing.overload.ended(job)
        core.forget(job)
        core.leaving.add(job.id)
        end = JobEnded(job.id, job.state, merged_outputs(job), job.error_code or "", job.error_message or "")
        core.batch.ended.append(end)
        core.composing.ended(end)

    def restart(self, job: Job, delay_s: float, *, hard: bool = False) -> bool:
        """Back to PENDING for another execution; False where the job's time-out would be over by then."""
        core, execution = self.core, self._run(job)
        if job.deadline_at is not None and core.wall + delay_s >= job.deadline_at:
            return False
        every = job.definition.model.hard_reset_after_retries + 1
        hard = hard or (job.retries > 0 and job.retries % every == 0)
        for run in to_reset([*execution.runs.values(), *execution.elements.values()], hard=hard):
            run.reset(hard=hard)
            core.dirty_tasks[run] = None
        if hard:
            core.checkpoints.drop_all(job)
        job.state = life.job_state(job.state, "restart")
        job.params = None  # as for every pending job: asked for again shortly before its turn
        job.verdict = job.error_code = job.error_message = None
        core.count_running(job, -1)
        core.dirty_jobs[job] = None
        job.timer_at = core.wall + delay_s
        core.set_job_timer(job, job.timer_at)
        return True

    def restart_by_task(self, run: TaskRun, limit: int | None) -> None:
        """RESTART_JOB: running siblings are ended, then the job begins again; bounded by `limit` if given."""
        job = run.job
        if limit is not None and job.retries >= limit:
            run.error_message = f"asked to restart the job more than {limit} times (retry)"
            self._end(run, life.FAILED, "ERR_EXIT_CODE", fatal=True)
            return
        if job.state == life.PAUSED:
            self.core.pausing.end(job, "wind_up")
        job.verdict = RESTART
        self.core.dirty_jobs[job] = None
        self.wind_up(job, kill=True)
        self._end(run, life.CANCELLED, None)

    def _restart_asked(self, job: Job) -> None:
        """The siblings of the task that asked for RESTART_JOB have ended."""
        self.core.breaking.ended(job)
        job.retries += 1
        if not self.restart(job, retry_delay(job.definition.model, job.retries, self.core.rng)):
            job.retries -= 1
            self._decide(job, FATAL, "ERR_TIMEOUT", "the job's time-out leaves no room for the restart asked for")
            self.check_end(job)

    # --- cancel and time-out ----------------------------------------------------------------------------------------

    def cancel(self, job: Job, reason: str) -> None:
        """Ends the job: at once if it is pending, else after its running tasks are ended and `always_run` has run."""
        if job.state == life.PENDING:
            job.state = life.job_state(job.state, "cancel")
            job.error_code, job.error_message = "ERR_CANCELLED", reason
            self.ended(job)
            return
        if job.state in (life.PAUSED, life.APPROVAL):
            self.core.pausing.end(job, "wind_up")
        self._decide(job, life.CANCELLED, "ERR_CANCELLED", reason)
        self._stop_now(job)

    def timed_out(self, job: Job) -> None:
        """The job's whole time is over."""
        if self._run(job).final or job.verdict == life.CANCELLED:
            return
        limit_s = job.definition.model.timeout_s
        self._decide(job, TIMED_OUT, "ERR_TIMEOUT", f"the job's time-out of {limit_s:g} s is over")
        self._stop_now(job)

    def _stop_now(self, job: Job) -> None:
        self._run(job).preparing = False
        if job.timer is not None:
            job.timer.cancel()
            job.timer = None
        self.core.composing.cancel_forked(job)
        self.wind_up(job, kill=True)
        self.check_end(job)

    # --- small things -----------------------------------------------------------------------------------------------

    def _request(
        self,
        job: Job,
        position: int | None,
        attempt: int,
        task_retries: int,
        *,
        element: Mapping[str, object] | None = None,
    ) -> RenderRequest:
        return RenderRequest(
            job_id=job.id,
            execution=job.execution,
            position=position,
            attempt=attempt,
            definition=job.definition.model,
            row=job.definition.row,
            org=job.org,
            retries=job.retries + job.pauses,
            task_retries=task_retries,
            started_at=job.started_at or self.core.wall,
            params=job.params or b"{}",
            variables=job.variables,
            outputs=dict(self._run(job).outputs),
            now=self.core.wall,
            seed=int(self.core.rng.random() * 2**32),
            configs=self.core.view(job),
            user=job.submitted_by or "",
            element=element,
        )

    def _run(self, job: Job) -> Execution:
        assert job.run is not None, "a job that has begun has an execution"
        return job.run
