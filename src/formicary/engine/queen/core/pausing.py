"""How a job stops between two tasks and goes on: PAUSE_JOB, a pause by request, and the job's clock meanwhile.

While a job is PAUSED, what runs finishes and nothing new starts: tasks whose turn comes are parked. A task asks for a
pause of `pause_time`; one that somebody else asks for lasts until it is ended by request.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from formicary.engine.jobs import lifecycle as life
from formicary.engine.jobs.model import PAUSE_S
from formicary.engine.queen.core.records import Execution, Job, TaskRun

if TYPE_CHECKING:
    from formicary.engine.queen.core.core import Core


class Pausing:
    """The pauses of one core's jobs."""

    def __init__(self, core: Core) -> None:
        self.core = core

    def ask(self, run: TaskRun) -> None:
        """PAUSE_JOB: the job's clock stops; it goes on after `pause_time` or by `resume`.

        Where the job names no `pause_time`, the task's `delay` is how long it rests: so a poll says when it asks again.
        """
        core, job = self.core, run.job
        if job.state == life.PAUSED:  # a sibling was first
            self.park(run)
            return
        job.state = life.job_state(job.state, "pause")
        self.park(run)
        self._park_queued(job)
        self.stop_clock(job)
        pause, delay_s = job.definition.model.pause_time_s, run.task.delay_s
        job.timer_at = core.wall + (delay_s if delay_s and pause == PAUSE_S else core.rng.uniform(*pause))
        core.set_job_timer(job, job.timer_at)
        core.notifying.job_paused(job)

    def begin(self, job: Job) -> None:
        """Somebody asks for a pause, until `resume`; a pause that a task has asked for does not end by itself any more.

        Raises:
            IllegalTransition: The job has not begun, or its end is decided.
        """
        if job.state == life.PAUSED:
            self.stop_clock(job)
            return
        if job.verdict is not None or (job.run is not None and job.run.final):
            raise life.IllegalTransition("job", "about to end", "pause")
        job.state = life.job_state(job.state, "pause")
        self._park_queued(job)
        self.stop_clock(job)
        self.core.notifying.job_paused(job)

    def _park_queued(self, job: Job) -> None:
        execution = _execution(job)
        for other in (*execution.runs.values(), *execution.elements.values()):
            if other.state == life.READY or other.rendering:  # what is rendered now may be another text then
                self.park(other)

    def stop_clock(self, job: Job) -> None:
        """The time that is left stays as it is until the job goes on."""
        if job.timer is not None:
            job.timer.cancel()
            job.timer = None
        if job.clock_left_s is None:
            job.clock_left_s = max(0.0, (job.deadline_at or self.core.wall) - self.core.wall)
        job.deadline_at = job.timer_at = None
        self.core.dirty_jobs[job] = None

    def park(self, run: TaskRun) -> None:
        """The task waits for the end of the pause."""
        if run.state != life.WAITING:
            run.state = life.task_state(run.state, "wait")
        run.clear_timer()
        self.core.leases.leave(run.job)
        run.rendering = False
        _execution(run.job).parked.append(run.position)
        self.core.dirty_tasks[run] = None

    def resume(self, job: Job) -> None:
        """A paused job goes on; raises IllegalTransition in any other state."""
        if job.state != life.PAUSED:
            raise life.IllegalTransition("job", job.state, "resume")
        by_task = job.timer_at is not None
        self.end(job, "resume")
        job.pauses += by_task
        execution = _execution(job)
        parked, execution.parked = execution.parked, []
        progress = self.core.progress
        if execution.preparing:  # an answer that came meanwhile was not taken
            progress.ask_preparation(job)
            return
        fresh = execution.unbegun(parked)
        execution.flow.put_back(fresh)
        for position in parked:
            run = execution.at(position)
            if run is not None and run.state == life.WAITING and job.run is execution:  # one before may have ended all
                progress.proceed(run)
        progress.activate_held(job, fresh)
        progress.check_end(job)

    def end(self, job: Job, event: str) -> None:
        """The job's clock goes on."""
        core = self.core
        job.state = life.job_state(job.state, event)
        job.timer_at = None
        job.deadline_at = core.wall + (job.clock_left_s or 0.0)
        job.clock_left_s = None
        core.set_job_timer(job, job.deadline_at)
        core.dirty_jobs[job] = None


def _execution(job: Job) -> Execution:
    assert job.run is not None, "a job that has begun has an execution"
    return job.run
