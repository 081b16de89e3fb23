"""How long to wait before a retry."""

from __future__ import annotations

from random import Random

from formicary.engine.jobs.model import Backoff, JobDefinition, TaskDefinition

TASK_DELAY_S = (1.0, 2.0)
"""Default range of the wait between attempts of a task, in seconds."""

JOB_DELAY_S = (5.0, 14.0)
"""Default range of the wait between executions of a job, in seconds."""


def retry_delay(item: TaskDefinition | JobDefinition, failures: int, rng: Random) -> float:
    """Returns the seconds to wait before the next attempt.

    Args:
        item: The task, or the job for retries of the whole job.
        failures: Failures so far, from 1.
        rng: Source of randomness.
    """
    if item.retry_backoff is not None:
        return backoff_delay(item.retry_backoff, failures, rng)
    default = JOB_DELAY_S if isinstance(item, JobDefinition) else TASK_DELAY_S
    least, most = item.delay_between_retries_s or default
    return least if least >= most else rng.uniform(least, most)


def backoff_delay(policy: Backoff, failures: int, rng: Random) -> float:
    """Returns ``min * factor ** (failures - 1)``, at most ``max``; jitter takes up to half of it off."""
    wait = policy.min_s
    for _ in range(min(max(failures, 1) - 1, 1000)):
        wait *= policy.factor
        if wait >= policy.max_s or wait <= 0 or policy.factor <= 1:
            break
    wait = min(wait, policy.max_s)
    return wait * rng.uniform(0.5, 1.0) if policy.jitter else wait
