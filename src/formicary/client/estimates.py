"""The request of an estimate, for both protocols."""

from __future__ import annotations

from formicary.v1 import jobs_pb2 as pb


def request(
    job_id: str,
    job_type: str,
    source: str,
    priority: int | None,
    scheduled_at: float | None,
    deadline: float | None,
    dry_run: bool,
) -> pb.EstimateJobRequest:
    """As the caller gave it; times are seconds since the epoch."""
    found = pb.EstimateJobRequest(id=job_id, job_type=job_type, source=source, dry_run=dry_run)
    if priority is not None:
        found.priority = priority
    if scheduled_at is not None:
        found.scheduled_at.FromMilliseconds(int(scheduled_at * 1000))
    if deadline is not None:
        found.deadline.FromMilliseconds(int(deadline * 1000))
    return found
