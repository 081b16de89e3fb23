"""What rules of error codes do to a failed attempt: they name it, and what they ask for is done.

The job file comes first: an action or a task that it maps to the exit code or to the code of the rule counts instead.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from formicary.engine.jobs.backoff import retry_delay
from formicary.engine.jobs.error_rules import HARD_FAILURE, RETRY_JOB, RETRY_TASK, ErrorRule, ErrorRules, Failure
from formicary.engine.queen.core.outcome import Outcome
from formicary.engine.queen.core.records import Job, TaskRun

if TYPE_CHECKING:
    from formicary.engine.queen.core.progress import Progress


def rule_of(rules: ErrorRules, run: TaskRun, result: Outcome) -> ErrorRule | None:
    """The rule that names this failure; its words are put before those of the attempt."""
    definition, said = run.job.definition, run.error_message or ""
    failure = Failure(
        run.job.org,
        definition.job_type,
        run.source.task_type,
        definition.model.platform or "",
        result.exit_code,
        f"{said}\n{result.recent}" if result.recent else said,
    )
    rule = rules.find(failure)
    if rule is not None and rule.message:
        run.error_message = f"{rule.message} ({said})" if said else rule.message
    return rule


def obey(progress: Progress, run: TaskRun, rule: ErrorRule) -> bool:
    """Does what a rule asks for; False where its repetitions are used up and the task fails as any other."""
    job = run.job
    if rule.action == HARD_FAILURE:
        run.failures += 1
        progress.failed(run, rule.code)
        return True
    if rule.action == RETRY_TASK and run.failures < rule.retry:
        run.failures += 1
        if progress.again(run, retry_delay(run.task, run.failures, progress.core.rng)):
            return True
        run.failures -= 1
    elif rule.action == RETRY_JOB and job.retries < rule.retry and job.verdict is None and not _is_final(job):
        run.failures += 1
        progress.restart_by_task(run, rule.retry)
        return True
    return False


def _is_final(job: Job) -> bool:
    return job.run is None or job.run.final
