"""Jobs as the documents that the command line prints, made from the messages of the contract."""

from __future__ import annotations

from typing import Any

import msgspec
from google.protobuf.json_format import MessageToDict
from google.protobuf.timestamp_pb2 import Timestamp

from formicary.problems import Problem
from formicary.v1 import (
    alerts_pb2,
    approvals_pb2,
    artifacts_pb2,
    audit_pb2,
    breakers_pb2,
    configs_pb2,
    dead_letters_pb2,
    definitions_pb2,
    error_codes_pb2,
    locks_pb2,
    notifications_pb2,
    queues_pb2,
    tokens_pb2,
    triggers_pb2,
)
from formicary.v1 import jobs_pb2 as pb

_decode = msgspec.json.Decoder(dict[str, Any]).decode


def summary(job: pb.Job) -> dict[str, Any]:
    """A job without tasks and outputs."""
    return {
        "id": job.id,
        "job_type": job.job_type,
        "state": job.state,
        "priority": job.priority,
        "submitted_at": _time(job, "submitted_at"),
        "scheduled_at": _time(job, "scheduled_at"),
        "started_at": _time(job, "started_at"),
        "ended_at": _time(job, "ended_at"),
        "execution": job.execution,
        "retries": job.retries,
        "dead_letter": job.dead_letter,
        "error": Problem.from_document(MessageToDict(job.error)).to_document() if job.HasField("error") else None,
    }


def explanation(found: pb.Explanation) -> dict[str, Any]:
    """Why a job does not run now."""
    document: dict[str, Any] = {
        "id": found.id,
        "state": found.state,
        "summary": found.summary,
        "reasons": [
            {
                "task_type": one.task_type,
                "gate": one.gate,
                "passed": one.passed,
                "message": one.message,
                "figures": dict(sorted(one.figures.items())),
            }
            for one in found.reasons
        ],
    }
    if found.HasField("estimate"):
        document["estimate"] = estimate(found.estimate)
    return document


def estimate(found: pb.Estimate) -> dict[str, Any]:
    """When a job would start."""
    document: dict[str, Any] = {
        "job_type": found.job_type,
        "reason": found.reason or None,
        "starts_at": _time(found, "starts_at"),
        "earliest_at": _time(found, "earliest_at"),
        "latest_at": _time(found, "latest_at"),
        "wait_s": None if found.reason else found.wait_s,
        "article_wait_s": None if found.reason else found.article_wait_s,
        "run_s": found.run_s if found.HasField("run_s") else None,
        "ahead": found.ahead,
        "slots": found.slots,
        "limited": found.limited,
        "limited_by": found.limited_by,
    }
    if found.pools:
        document["pools"] = [
            {
                "tags": list(pool.tags),
                "ants": pool.ants,
                "slots": pool.slots,
                "busy": pool.busy,
                "ahead": pool.ahead,
                "serves": pool.serves,
                "starts_at": _time(pool, "starts_at"),
                "wait_s": pool.wait_s,
            }
            for pool in found.pools
        ]
    if found.HasField("in_time"):
        document["in_time"] = found.in_time
    if found.HasField("dry_run"):
        dry = found.dry_run
        document["dry_run"] = {"fits": dry.fits, "places": dict(sorted(dry.places.items())), "lacks": list(dry.lacks)}
        document["dry_run"]["never"] = list(dry.never)
    return document


def element(task: pb.Task) -> dict[str, Any]:
    """An element of a task that fans out."""
    return _task(task)


def full(job: pb.Job) -> dict[str, Any]:
    """A job with outputs and every task."""
    document = summary(job)
    if job.HasField("estimate"):
        document["estimate"] = estimate(job.estimate)
    document["definition_id"], document["definition_version"] = job.definition_id, job.definition_version
    document["outputs"] = _outputs(job)
    document["tasks"] = [_task(task) for task in job.tasks]
    return document


def _task(task: pb.Task) -> dict[str, Any]:
    document: dict[str, Any] = {
        "task_type": task.task_type,
        "state": task.state,
        "exit_code": task.exit_code if task.HasField("exit_code") else None,
        "attempts": task.attempts,
        "ant": task.ant if task.HasField("ant") else None,
        "started_at": _time(task, "started_at"),
        "ended_at": _time(task, "ended_at"),
        "outputs": _outputs(task),
    }
    if task.HasField("signal"):
        document["signal"] = task.signal
    if task.skipped:
        document["skipped"] = True
    if task.HasField("error"):
        document["error"] = {"code": task.error.code or None, "message": task.error.message or None}
        if task.error.traceback:
            document["error"]["traceback"] = task.error.traceback
    document.update(
        (name, value)
        for name, value in (("failures", task.failures), ("lost", task.lost), ("polls", task.polls))
        if value
    )
    if task.HasField("approval"):
        document["approval"] = approval(task.approval)
    if task.HasField("children"):
        document["children"] = _children(task.children)
    if task.HasField("progress"):
        document["progress"] = {"fraction": task.progress.fraction, "message": task.progress.message}
    if task.HasField("checkpoint"):
        left = task.checkpoint
        document["checkpoint"] = {
            "attempt": left.attempt,
            "written_at": _time(left, "written_at"),
            "size_bytes": left.size_bytes,
            "value": left.value,
        }
    return document


def _children(found: pb.Children) -> dict[str, Any]:
    names = ("kind", "total", "waiting", "open", "running", "completed", "failed", "cancelled", "skipped")
    document: dict[str, Any] = {name: getattr(found, name) for name in names}
    document["shown"] = [_child(child) for child in found.shown]
    return document


def _child(found: pb.Child) -> dict[str, Any]:
    document: dict[str, Any] = {"index": found.index}
    if found.job_id:
        document |= {"job_id": found.job_id, "state": found.state}
    else:
        code = found.exit_code if found.HasField("exit_code") else None
        document |= {"name": found.name, "state": found.state, "attempts": found.attempts, "exit_code": code}
    if found.HasField("error"):
        document["error"] = {"code": found.error.code or None, "message": found.error.message or None}
    return document


def definition(message: definitions_pb2.Definition) -> dict[str, Any]:
    """The document of a definition; its text is there where it was asked for."""
    found = {"id": message.id, "job_type": message.job_type, "version": message.version}
    found["created_at"] = message.created_at.ToJsonString()
    return found | ({"source": message.source} if message.source else {})


def token(message: tokens_pb2.ApiToken) -> dict[str, Any]:
    """What lists say of a token."""
    return {
        "id": message.id,
        "org": message.org,
        "role": message.role,
        "name": message.name,
        "last4": message.last4,
        "created_at": _time(message, "created_at"),
        "expires_at": _time(message, "expires_at"),
        "revoked_at": _time(message, "revoked_at"),
    }


def trigger(message: triggers_pb2.Trigger) -> dict[str, Any]:
    """What lists say of a trigger."""
    return {
        "job_type": message.job_type,
        "name": message.name,
        "type": message.type,
        "definition_id": message.definition_id,
        "version": message.version,
        "schedule": message.schedule,
        "time_zone": message.time_zone,
        "missed": message.missed,
        "overlap": message.overlap,
        "paused": message.paused,
        "next_at": _time(message, "next_at"),
        "last_at": _time(message, "last_at"),
        "last_job": message.last_job,
        "waiting": message.waiting,
        "source": message.source,
        "fired": message.fired,
        "repeated": message.repeated,
        "filtered": message.filtered,
        "limited": message.limited,
        "refused": message.refused,
        "error": message.error,
    }


def trigger_letter(message: triggers_pb2.TriggerLetter) -> dict[str, Any]:
    """An event that could start no job."""
    return {
        "id": message.id,
        "job_type": message.job_type,
        "name": message.name,
        "event": message.event,
        "reason": message.reason,
        "content": message.content.decode("utf-8", "replace"),
        "created_at": _time(message, "created_at"),
    }


def dead_letter(message: dead_letters_pb2.DeadLetter) -> dict[str, Any]:
    """A job that no retry will help."""
    return {
        "id": message.id,
        "job_type": message.job_type,
        "queue": message.queue,
        "reason": message.reason,
        "task_type": message.task_type,
        "error_code": message.error_code,
        "error_message": message.error_message,
        "execution": message.execution,
        "attempts": message.attempts,
        "dead_at": _time(message, "dead_at"),
        "state": message.state,
        "changed_at": _time(message, "changed_at"),
    }


def alert(message: alerts_pb2.Alert) -> dict[str, Any]:
    """An alert rule and its state."""
    return {
        "name": message.name,
        "state": message.state,
        "since": _time(message, "since"),
        "episodes": message.episodes,
        "action": message.action,
        "acted_at": _time(message, "acted_at"),
        "condition": message.condition,
        "message": message.message,
    }


def breaker(message: breakers_pb2.Breaker) -> dict[str, Any]:
    """A circuit breaker."""
    return {
        "name": message.name,
        "state": message.state,
        "since": _time(message, "since"),
        "half_open_at": _time(message, "half_open_at"),
        "job_types": list(message.job_types),
        "failures_in_a_row": message.failures_in_a_row,
        "failure_rate": message.failure_rate,
        "ended_in_window": message.ended_in_window,
        "trials": list(message.trials),
        "opened": message.opened,
    }


def lock(message: locks_pb2.Lock) -> dict[str, Any]:
    """A virtual resource with its holders."""
    return {
        "name": message.name,
        "capacity": message.capacity,
        "configured": message.configured,
        "held": message.held,
        "waiting": message.waiting,
        "holders": [
            {"job_id": one.job_id, "job_type": one.job_type, "task_type": one.task_type, "amount": one.amount}
            for one in message.holders
        ],
        "description": message.description,
        "updated_by": message.updated_by,
        "updated_at": _time(message, "updated_at"),
    }


def approval(message: approvals_pb2.Approval) -> dict[str, Any]:
    """A question to people with its votes."""
    policy = message.policy
    return {
        "id": message.id,
        "job_type": message.job_type,
        "task_type": message.task_type,
        "attempt": message.attempt,
        "state": message.state,
        "asked_at": _time(message, "asked_at"),
        "deadline_at": _time(message, "deadline_at"),
        "escalated_at": _time(message, "escalated_at"),
        "decided_at": _time(message, "decided_at"),
        "decided_by": message.decided_by or None,
        "missing": message.missing,
        "policy": {
            "min_approvals": policy.min_approvals,
            "allowed_roles": list(policy.allowed_roles),
            "allowed_users": list(policy.allowed_users),
            "require_unanimous": policy.require_unanimous,
            "sla_deadline_s": policy.sla_deadline_s if policy.HasField("sla_deadline_s") else None,
            "timeout_action": policy.timeout_action or None,
            "escalation_recipients": list(policy.escalation_recipients),
            "escalation_message": policy.escalation_message,
        },
        "votes": [
            {
                "voter": vote.voter,
                "decision": vote.decision,
                "comment": vote.comment,
                "voted_at": _time(vote, "voted_at"),
            }
            for vote in message.votes
        ],
    }


def config(message: configs_pb2.Config) -> dict[str, Any]:
    """What is shown of a configuration; the value of a secret is ``***`` unless it was asked for."""
    return {
        "scope": message.scope,
        "owner": message.owner,
        "name": message.name,
        "type": message.type,
        "secret": message.secret,
        "value": whole(MessageToDict(message.value)),
        "key_id": message.key_id,
        "created_at": _time(message, "created_at"),
        "updated_at": _time(message, "updated_at"),
        "updated_by": message.updated_by,
    }


def queues(message: queues_pb2.Queues) -> dict[str, Any]:
    """The queues of a server and what each holds."""
    return {
        "policy": message.policy,
        "placement": message.placement,
        "updated_at": _time(message, "updated_at"),
        "updated_by": message.updated_by,
        "queues": [
            {
                "name": one.name,
                "parent": one.parent,
                "policy": one.policy,
                "guaranteed": one.guaranteed,
                "maximum": one.maximum,
                "running": one.running,
                "waiting": one.waiting,
                "share": one.share,
            }
            for one in message.queues
        ],
        "usage": [_usage(one) for one in message.usage],
        "source": message.source,
    }


def _usage(one: queues_pb2.TenantUsage) -> dict[str, Any]:
    """What a tenant uses of one of its limits."""
    return {
        "org": one.org,
        "user": one.user,
        "job_type": one.job_type,
        "limit": one.limit,
        "used": one.used,
        "hard": one.hard if one.HasField("hard") else None,
        "soft": one.soft if one.HasField("soft") else None,
        "burst": one.burst if one.HasField("burst") else None,
        "burst_for_s": one.burst_for_s,
        "resets_at": _time(one, "resets_at"),
    }


def notification(message: notifications_pb2.Notification) -> dict[str, Any]:
    """A notice and what became of it."""
    return {
        "id": message.id,
        "job_id": message.job_id,
        "job_type": message.job_type,
        "event": message.event,
        "outcome": message.outcome,
        "kind": message.kind,
        "to": list(message.to),
        "state": message.state,
        "attempts": message.attempts,
        "created_at": _time(message, "created_at"),
        "next_at": _time(message, "next_at"),
        "sent_at": _time(message, "sent_at"),
        "error": message.error,
    }


def error_code(message: error_codes_pb2.ErrorCode) -> dict[str, Any]:
    """A rule of error codes."""
    return {
        "name": message.name,
        "code": message.code,
        "exit_code": message.exit_code if message.HasField("exit_code") else None,
        "pattern": message.pattern,
        "job_type": message.job_type,
        "task_type": message.task_type,
        "platform": message.platform,
        "message": message.message,
        "action": message.action,
        "retry": message.retry,
        "system": message.system,
        "created_at": _time(message, "created_at"),
        "updated_at": _time(message, "updated_at"),
        "updated_by": message.updated_by,
    }


def whole(value: object) -> object:
    """The value with whole numbers as such: JSON in protobuf has doubles only."""
    if isinstance(value, float) and value.is_integer() and abs(value) <= 2**53:
        return int(value)
    if isinstance(value, dict):
        return {key: whole(one) for key, one in value.items()}
    return [whole(one) for one in value] if isinstance(value, list) else value


def artifact(message: artifacts_pb2.Artifact) -> dict[str, Any]:
    """What is known of an artifact."""
    return {
        "id": message.id,
        "job_id": message.job_id,
        "task_type": message.task_type,
        "attempt": message.attempt,
        "name": message.name,
        "form": message.form,
        "size_bytes": message.size_bytes,
        "sha256": message.sha256,
        "created_at": _time(message, "created_at"),
        "expires_at": _time(message, "expires_at"),
    }


def audit_record(message: audit_pb2.AuditRecord) -> dict[str, Any]:
    """What the audit log says of a call."""
    return {
        "number": message.number,
        "time": _time(message, "time"),
        "org": message.org,
        "principal": message.principal,
        "method": message.method,
        "resource": message.resource,
        "code": message.code,
        "trace_id": message.trace_id,
        "remote": message.remote,
        "protocol": message.protocol,
        "suppressed": message.suppressed,
    }


def _outputs(message: pb.Job | pb.Task) -> dict[str, Any]:
    if message.exact_outputs:
        return _decode(message.exact_outputs)
    return MessageToDict(message.outputs)


def _time(message: Any, name: str) -> str | None:
    """RFC 3339 in UTC with milliseconds, None where it is not set."""
    if not message.HasField(name):
        return None
    found: Timestamp = getattr(message, name)
    return found.ToDatetime().isoformat(timespec="milliseconds") + "Z"
