"""Jobs in Python: plain functions become tasks, a function that calls them becomes a job.

    from formicary import job, task

    @task(retry=3)
    def extract(year: int) -> list[float]: ...

    @task
    def combine(parts: list[list[float]]) -> float: ...

    @job
    def report(first: int = 1962) -> float:
        return combine(extract.map([first, first + 1]))

Calling a task inside of a job's function runs nothing: it notes a task and returns a handle. A handle that is given to
another task is a dependency and delivers what the first task returned. Outside of a job a task is the function it was.
Both front ends make one value: ``report.definition()`` is what the parser makes of ``report.definition().source``.
"""

from formicary.dsl.approvals import approval
from formicary.dsl.builder import DefinitionError, after, on_completed, on_exit_code, on_failed
from formicary.dsl.composing import fork, fork_each, join
from formicary.dsl.handles import Handle
from formicary.dsl.jobs import Job, job
from formicary.dsl.loading import load
from formicary.dsl.results import JobFailedError, JobResult, TaskResult
from formicary.dsl.tasks import Task, task

__all__ = [
    "DefinitionError",
    "Handle",
    "Job",
    "JobFailedError",
    "JobResult",
    "Task",
    "TaskResult",
    "after",
    "approval",
    "fork",
    "fork_each",
    "job",
    "join",
    "load",
    "on_completed",
    "on_exit_code",
    "on_failed",
    "task",
]
