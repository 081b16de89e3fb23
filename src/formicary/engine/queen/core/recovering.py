"""How a queen takes over what the store holds: jobs, the executions that their rows describe, and open leases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, cast

from formicary.engine.jobs import lifecycle as life
from formicary.engine.jobs.flow import Flow, compile_routes
from formicary.engine.jobs.model import JobDefinition, task_from_json
from formicary.engine.queen.core.progress import KILLING, TIMED_OUT
from formicary.engine.queen.core.records import Execution, Job, TaskRun, runs_of
from formicary.engine.storage.port import Row, Snapshot

if TYPE_CHECKING:
    from formicary.engine.queen.core.core import Core


def recover(core: Core, snapshot: Snapshot, models: Mapping[str, JobDefinition]) -> None:
    """Takes over what the store holds; open leases get one fresh full lease from now."""
    core.number, core.order = snapshot.last_number, snapshot.last_order
    core.breaking.recover(snapshot.states)
    core.locking.recover(snapshot.states)
    core.waiting.recover(snapshot.states)
    for row in snapshot.definitions:
        core.admit(row, models[str(row[0])])
    core.approving.recover(snapshot.approvals, snapshot.votes)
    core.notifying.recover(snapshot.states)
    core.checkpoints.recover(snapshot.checkpoints)
    tasks: dict[int, list[Row]] = {}
    for row in snapshot.tasks:
        tasks.setdefault(cast(int, row[0]), []).append(row)
    for row in snapshot.jobs:
        job = Job.from_row(row, core.definitions[str(row[3])])
        core.jobs[job.id] = job
        job.params, job.variables = snapshot.params.get(job.number, (None, None))
        _recover_job(core, job, tasks.get(job.number, ()))


def _recover_job(core: Core, job: Job, rows: Sequence[Row]) -> None:
    runs = runs_of(job, rows)  # elements after their tasks, as their positions are
    for run in runs:
        if run.rendered is not None:
            run.task = task_from_json(run.rendered)
    if runs or job.state != life.PENDING:
        rebuild(core, job, runs)
    if job.state == life.PENDING:
        due = job.timer_at if job.timer_at is not None else job.scheduled_at
        if due is not None and due > core.wall:
            core.set_job_timer(job, due)
        else:
            core.enqueue(job, None)
        return
    core.count_running(job, +1)
    due = job.timer_at if job.state == life.PAUSED else job.deadline_at
    if due is not None and job.verdict not in (life.CANCELLED, TIMED_OUT):
        core.set_job_timer(job, due)
    for run in sorted(runs, key=lambda run: not run.is_element):  # a task that fans out goes on from its elements
        _recover_run(core, run)
    core.progress.check_end(job)


def _recover_run(core: Core, run: TaskRun) -> None:
    if run.state in (life.DISPATCHED, life.EXECUTING):
        core.leases.adopt(run, core.mono)
        known = run.started_at if run.attempts == 1 else None
        run.granted_at = min(core.wall, known or core.wall)
        if core.queueing is not None:
            core.queueing.take(run)
        if run.task.speculative_backup is not None:
            core.backups.watch(run)
        run.cancelling = run.job.verdict in KILLING and not run.task.always_run
    elif run.state == life.READY:
        if core.gangs.holds(run):
            core.gangs.gather(run)
        else:
            core.waiting.queue_task(run, run.demand)
    elif run.awaits:
        (core.fanning if run.fans else core.composing).resume(run)
    elif run.state == life.APPROVAL:
        core.approving.resume(run)
    elif run.state == life.WAITING and run.timer_at is not None:
        run.timer = core.timers.set(core.mono + max(0.0, run.timer_at - core.wall), run)
    elif run.state == life.WAITING and run.job.state == life.EXECUTING:
        core.progress.proceed(run)  # its text was being rendered


def rebuild(core: Core, job: Job, runs: list[TaskRun]) -> None:
    """After a restart: the execution that the rows of a begun job describe."""
    progress = core.progress
    job.run = execution = Execution(job.definition.plan)
    every = runs
    runs = [run for run in every if not run.is_element]
    execution.runs = {run.position: run for run in runs}
    execution.elements = {run.position: run for run in every if run.is_element}
    for run in every:
        if run.rendered is not None and not run.source.is_static:
            execution.routes[run.position] = compile_routes(run.task, job.definition.model.index)
    if job.state == life.PENDING:
        return
    core.fanning.rebuild(execution)
    begun = [run for run in runs if run.state not in (life.PENDING, life.SKIPPED)]
    done = sorted((run for run in begun if run.ended_order is not None), key=lambda run: run.ended_order or 0)
    for run in done:
        progress.remember_outputs(execution, run)
    flow: Flow = execution.flow
    startable, strays = flow.replay(
        [(run.position, run.failed_hard(), run.routed_to) for run in done], [run.position for run in begun]
    )
    execution.active = sum(run.state not in life.TASK_ENDED for run in begun)
    execution.asking = sum(run.state == life.APPROVAL for run in begun)
    execution.final = any(execution.runs[position].task.always_run for position in strays)
    progress.look_for_final(job)
    if job.definition.needs_preparation and job.variables is None and job.verdict is None:
        execution.preparing = True
        progress.ask_preparation(job)
        return
    if job.verdict is not None or execution.final:
        flow.put_back(startable)
        startable = []
    if job.state == life.PAUSED:
        parked = [r.position for r in every if r.state == life.WAITING and r.timer_at is None and not r.awaits]
        execution.parked = startable + parked
    else:
        progress.activate_all(job, startable)
