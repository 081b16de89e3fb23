"""Every method of the contract is called over both protocols, as a plain caller without our client would.

The tables name each method that the descriptors have: a method without a call here fails the first test. What goes
with every call (ids of requests, traces, security headers) is asserted of each.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pkgutil import iter_modules
from queue import SimpleQueue
from typing import Any

import grpc
import pytest
from google.api.httpbody_pb2 import HttpBody
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from google.protobuf.struct_pb2 import Value

from formicary import v1
from formicary.client import Client, RestClient
from formicary.problems.rpc import from_trailing_metadata
from formicary.v1 import (
    alerts_pb2,
    ants_pb2,
    approvals_pb2,
    artifacts_pb2,
    audit_pb2,
    breakers_pb2,
    configs_pb2,
    dead_letters_pb2,
    definitions_pb2,
    error_codes_pb2,
    events_pb2,
    jobs_pb2,
    locks_pb2,
    notifications_pb2,
    queues_pb2,
    tokens_pb2,
    triggers_pb2,
    uploads_pb2,
)
from tests.acceptance.server import Up, until
from tests.integration.server.test_rest_api import JOB, ask

TRACE = "0af7651916cd43dd8448eb211c80319c"
SENT = {"x-request-id": "mine-1", "traceparent": f"00-{TRACE}-b7ad6b7169203331-01", "x-request-timeout": "60s"}
OK = "OK"
_NEVER = "0" * 26


def methods() -> dict[str, MethodDescriptor]:
    """Every method of the contract by `Service.Method`."""
    found = {}
    for module in iter_modules(v1.__path__):
        if module.name.endswith("_grpc"):
            continue
        contract = import_module(f"formicary.v1.{module.name}").DESCRIPTOR
        if contract.package != "formicary.v1":
            continue  # KEDA's contract has a port and tests of its own
        for service in contract.services_by_name.values():
            found |= {f"{service.name}.{method.name}": method for method in service.methods}
    return found


@dataclass(frozen=True, slots=True)
class Rest:
    """One call over REST and the code of its answer (`OK` or that of a problem)."""

    line: str
    body: object = None
    code: str = OK
    key: str = ""


REST: dict[str, list[Rest]] = {
    "AntService.ListAnts": [Rest("GET /v1/ants"), Rest("GET /api/ants")],
    "ArtifactService.ListArtifacts": [
        Rest("GET /v1/jobs/{job}/artifacts"),
        Rest(f"GET /v1/jobs/{_NEVER}/artifacts", None, "NOT_FOUND"),
        Rest("GET /v1/jobs/{job}/artifacts?token=1", None, "FAILED_PRECONDITION"),
    ],
    "ArtifactService.GetArtifact": [Rest("GET /v1/artifacts/none", None, "NOT_FOUND")],
    "ArtifactService.PutArtifact": [
        Rest("POST /v1/artifacts?name=a", {"any": "content"}),
        Rest("POST /v1/artifacts?name=../a", {}, "VALIDATION_FAILED"),
    ],
    "ArtifactService.DownloadArtifact": [Rest("GET /v1/artifacts/none:download", None, "NOT_FOUND")],
    "ConfigService.SetConfig": [
        Rest("POST /v1/configs", {"name": "REGION", "value": "eu"}),
        Rest("POST /api/configs", {"name": "N", "value": 7, "scope": "job", "owner": "hello"}),
        Rest("POST /v1/configs", {"name": "T", "value": "secret!", "secret": True}, "FAILED_PRECONDITION"),
        Rest("POST /v1/configs", {"name": "1", "value": 1}, "VALIDATION_FAILED"),
    ],
    "ConfigService.ListConfigs": [Rest("GET /v1/configs?page_size=1"), Rest("GET /api/configs")],
    "ConfigService.GetConfig": [
        Rest("GET /v1/configs/org/KEPT"),
        Rest("GET /v1/configs/job/KEPT?owner=none", None, "NOT_FOUND"),
    ],
    "ConfigService.DeleteConfig": [Rest("DELETE /v1/configs/org/none", None, "NOT_FOUND")],
    "ConfigService.RevealConfig": [Rest("POST /v1/configs/org/KEPT:reveal", {})],
    "ConfigService.RotateSecrets": [Rest("POST /v1/configs:rotate", {}, "FAILED_PRECONDITION")],
    "DefinitionService.RegisterDefinition": [
        Rest("POST /v1/definitions", {"source": JOB}),
        Rest("POST /v1/definitions", {}, "VALIDATION_FAILED"),
    ],
    "DefinitionService.GetDefinition": [
        Rest("GET /v1/definitions/{definition}"),
        Rest("GET /v1/job-types/hello/definition?view=DEFINITION_VIEW_BASIC"),
        Rest("GET /api/jobs/definitions/{definition}"),
        Rest("GET /v1/definitions/none", None, "NOT_FOUND"),
        Rest("GET /v1/job-types/hello/definition?version=1"),
        Rest("GET /v1/job-types/hello/definition?version=77", None, "NOT_FOUND"),
    ],
    "NotificationService.ListNotifications": [
        Rest("GET /v1/notifications?state=DEAD"),
        Rest("GET /v1/jobs/{job}/notifications?page_size=1"),
        Rest("GET /v1/notifications?state=MAYBE", None, "VALIDATION_FAILED"),
    ],
    "NotificationService.RetryNotification": [Rest("POST /v1/notifications/none:retry", {}, "NOT_FOUND")],
    "JobService.PurgeJobs": [
        Rest("POST /v1/jobs:purge", {"dry_run": True}),
        Rest("POST /api/admin/jobs/retention/purge"),
    ],
    "ErrorCodeService.SetErrorCode": [
        Rest("POST /v1/error-codes", {"name": "full", "code": "ERR_NO_SPACE", "exit_code": 28}),
        Rest("POST /api/errors", {"name": "full", "code": "ERR_NO_SPACE", "pattern": "No space"}),
        Rest("POST /v1/error-codes", {"name": "full", "code": "ERR_NO_SPACE", "pattern": "("}, "VALIDATION_FAILED"),
        Rest("POST /v1/error-codes", {"name": "full", "code": "oops"}, "VALIDATION_FAILED"),
    ],
    "ErrorCodeService.ListErrorCodes": [Rest("GET /v1/error-codes?page_size=1"), Rest("GET /api/errors")],
    "ErrorCodeService.GetErrorCode": [
        Rest("GET /v1/error-codes/full"),
        Rest("GET /api/errors/none", None, "NOT_FOUND"),
    ],
    "ErrorCodeService.DeleteErrorCode": [
        Rest("DELETE /v1/error-codes/none", None, "NOT_FOUND"),
        Rest("DELETE /api/errors/none", None, "NOT_FOUND"),
    ],
    "ErrorCodeService.MatchErrorCode": [Rest("POST /v1/error-codes:match", {"text": "No space left"})],
    "QueueService.GetQueues": [Rest("GET /v1/queues")],
    "QueueService.PutQueues": [
        Rest("PUT /v1/queues", {"source": "policy: priority\n"}),
        Rest("PUT /v1/queues", {"source": "policy: none\n"}, "VALIDATION_FAILED"),
    ],
    "QueueService.ValidateQueues": [Rest("POST /v1/queues:validate", {"source": "policy: none\n"})],
    "DefinitionService.ListDefinitions": [
        Rest("GET /v1/definitions?page_size=1"),
        Rest("GET /api/jobs/definitions"),
        Rest("GET /v1/definitions?page_size=1001", None, "VALIDATION_FAILED"),
    ],
    "AuditService.ListAuditRecords": [
        Rest("GET /v1/audit?page_size=1"),
        Rest("GET /v1/audit?page_size=1001", None, "VALIDATION_FAILED"),
    ],
    "EventService.WatchEvents": [Rest("GET /v1/events"), Rest("GET /v1/events?after=0")],
    "JobService.SubmitJob": [
        Rest("POST /v1/jobs", {"job_type": "hello", "params": {"name": "Ada"}}, key="every-1"),
        Rest("POST /api/jobs/requests", {"job_type": "hello", "job_priority": 5}),
        Rest("POST /v1/jobs", {"job_type": "none"}, "NOT_FOUND", key="every-2"),
        Rest("POST /v1/jobs", {"priority": 11, "id": "x"}, "VALIDATION_FAILED", key="every-3"),
    ],
    "JobService.SubmitJobs": [
        Rest("POST /v1/jobs:batchSubmit", {"job_type": "hello", "jobs": [{}, {}]}),
        Rest("POST /v1/jobs:batchSubmit", {"jobs": [{"priority": -1}]}, "VALIDATION_FAILED"),
    ],
    "JobService.GetJob": [
        Rest("GET /v1/jobs/{job}"),
        Rest("GET /api/jobs/requests/{job}"),
        Rest(f"GET /v1/jobs/{_NEVER}", None, "NOT_FOUND"),
    ],
    "JobService.ListJobs": [Rest("GET /v1/jobs?states=COMPLETED"), Rest("GET /api/jobs/requests?pageSize=5")],
    "JobService.ListElements": [
        Rest("GET /v1/jobs/{job}/tasks/none/elements", None, "NOT_FOUND"),
        Rest(f"GET /v1/jobs/{_NEVER}/tasks/t/elements", None, "NOT_FOUND"),
    ],
    "JobService.CancelJob": [
        Rest("POST /v1/jobs/{job}:cancel", {"reason": "no more"}),
        Rest("POST /api/jobs/requests/{job}/cancel"),
    ],
    "JobService.RetryJob": [
        Rest("POST /v1/jobs/{cancelled}:retry", {"hard": True}),
        Rest("POST /api/jobs/requests/{again}/restart?hard=true"),
        Rest(f"POST /v1/jobs/{_NEVER}:retry", {}, "NOT_FOUND"),
        Rest("POST /v1/jobs/{job}:retry", {"version": "99"}, "FAILED_PRECONDITION"),
    ],
    "JobService.PauseJob": [
        Rest("POST /v1/jobs/{cancelled}:pause", {}, "FAILED_PRECONDITION"),
        Rest("POST /api/jobs/requests/{cancelled}/pause", None, "FAILED_PRECONDITION"),
    ],
    "ApprovalService.Vote": [
        Rest("POST /v1/jobs/{job}/approvals:vote", {"decision": "APPROVED"}, "APPROVAL_NOT_OPEN"),
        Rest("POST /v1/jobs/{job}/approvals/none:vote", {"decision": "MAYBE"}, "VALIDATION_FAILED"),
        Rest("POST /api/jobs/requests/{job}/tasks/none/vote", {"decision": "REJECTED"}, "APPROVAL_NOT_OPEN"),
    ],
    "ApprovalService.GetApproval": [
        Rest("GET /v1/jobs/{job}/approvals/none", None, "NOT_FOUND"),
        Rest("GET /api/jobs/requests/{job}/tasks/none/approval", None, "NOT_FOUND"),
    ],
    "ApprovalService.ListApprovals": [
        Rest("GET /v1/approvals?mine=true"),
        Rest("GET /v1/jobs/{job}/approvals"),
        Rest("GET /api/approvals/pending"),
    ],
    "JobService.ResumeJob": [Rest("POST /v1/jobs/{job}:resume", {}, "FAILED_PRECONDITION")],
    "JobService.ExplainJob": [
        Rest("GET /v1/jobs/{job}:explain"),
        Rest(f"GET /v1/jobs/{_NEVER}:explain", None, "NOT_FOUND"),
    ],
    "JobService.EstimateJob": [
        Rest("POST /v1/jobs:estimate", {"source": "job_type: a\ntasks:\n  - task_type: t\n    script: [exit 0]\n"}),
        Rest("POST /v1/jobs:estimate", {"job_type": "none"}, "NOT_FOUND"),
        Rest("GET /v1/jobs/{job}:estimate"),
        Rest(f"GET /v1/jobs/{_NEVER}:estimate", None, "NOT_FOUND"),
    ],
    "JobService.FollowJob": [
        Rest("GET /v1/jobs/{job}:follow"),
        Rest(f"GET /v1/jobs/{_NEVER}:follow", None, "NOT_FOUND"),
    ],
    "JobService.ReadLogs": [Rest("GET /v1/jobs/{job}/logs")],
    "UploadService.CreateUpload": [
        Rest("POST /v1/uploads?name=a&size_bytes=3"),
        Rest("POST /v1/uploads?name=../a&size_bytes=3", None, "VALIDATION_FAILED"),
    ],
    "UploadService.GetUpload": [
        Rest("GET /v1/uploads/{upload}"),
        Rest("GET /v1/uploads/none", None, "NOT_FOUND"),
    ],
    "UploadService.AppendUpload": [
        Rest("PATCH /v1/uploads/{upload}?offset=0", b"abc"),
        Rest("PATCH /v1/uploads/{begun}?offset=1", b"abc", "CONFLICT"),
        Rest("PATCH /v1/uploads/none?offset=0", b"abc", "NOT_FOUND"),
    ],
    "UploadService.DeleteUpload": [Rest("DELETE /v1/uploads/none", None, "NOT_FOUND")],
    "TokenService.CreateToken": [
        Rest("POST /v1/tokens", {"role": "viewer", "name": "rest"}),
        Rest("POST /v1/tokens", {"role": "king", "lifetime": "-1s"}, "VALIDATION_FAILED"),
    ],
    "TokenService.ListTokens": [Rest("GET /v1/tokens")],
    "TokenService.RevokeToken": [Rest("DELETE /v1/tokens/{token}"), Rest("DELETE /v1/tokens/none", None, "NOT_FOUND")],
    "DeadLetterService.ListDeadLetters": [
        Rest("GET /v1/dead-letters?queue=none"),
        Rest("GET /v1/dead-letters?reason=BOREDOM", None, "VALIDATION_FAILED"),
    ],
    "DeadLetterService.GetDeadLetter": [
        Rest("GET /v1/dead-letters/{job}", None, "NOT_FOUND"),
        Rest(f"GET /v1/dead-letters/{_NEVER}", None, "NOT_FOUND"),
    ],
    "DeadLetterService.RedriveDeadLetters": [
        Rest("POST /v1/dead-letters:redrive", {"filter": {"queue": "none"}, "rate_per_s": 5}),
        Rest(f"POST /v1/dead-letters/{_NEVER}:redrive", {}, "NOT_FOUND"),
        Rest("POST /v1/dead-letters:redrive", {"rate_per_s": -1}, "VALIDATION_FAILED"),
    ],
    "DeadLetterService.PurgeDeadLetters": [
        Rest("POST /v1/dead-letters:purge", {"filter": {"queue": "none"}}),
        Rest(f"POST /v1/dead-letters/{_NEVER}:purge", {}, "NOT_FOUND"),
    ],
    "LockService.SetLock": [
        Rest("POST /v1/locks", {"name": "licence", "capacity": 2}),
        Rest("POST /v1/locks", {"name": "licence", "capacity": 0}, "VALIDATION_FAILED"),
        Rest("POST /v1/locks", {"name": "a/b", "capacity": 1}, "VALIDATION_FAILED"),
    ],
    "LockService.ListLocks": [Rest("GET /v1/locks?page_size=1")],
    "LockService.GetLock": [
        Rest("POST /v1/locks", {"name": "disc", "capacity": 2}),
        Rest("GET /v1/locks/disc"),
        Rest("GET /v1/locks/none", None, "NOT_FOUND"),
    ],
    "LockService.DeleteLock": [Rest("DELETE /v1/locks/none", None, "NOT_FOUND")],
    "AlertService.ListAlerts": [Rest("GET /v1/alerts")],
    "BreakerService.ListBreakers": [Rest("GET /v1/breakers")],
    "BreakerService.ResetBreaker": [Rest("POST /v1/breakers/none:reset", {}, "NOT_FOUND")],
    "TriggerService.ListTriggers": [Rest("GET /v1/triggers")],
    "TriggerService.FireTrigger": [Rest("POST /v1/triggers/none:fire", {}, "NOT_FOUND")],
    "TriggerService.ResetTrigger": [
        Rest("POST /v1/triggers/none:reset", {"name": "x"}, "NOT_FOUND"),
        Rest("POST /v1/triggers/none:reset", {}, "VALIDATION_FAILED"),
    ],
    "TriggerService.ListTriggerLetters": [
        Rest("GET /v1/trigger-letters"),
        Rest("GET /v1/trigger-letters?page_size=1001", None, "VALIDATION_FAILED"),
    ],
    "TriggerService.PauseTrigger": [Rest("POST /v1/triggers/none:pause", {}, "NOT_FOUND")],
    "TriggerService.ResumeTrigger": [Rest("POST /v1/triggers/none:resume", {}, "NOT_FOUND")],
}
ENDLESS = {"EventService.WatchEvents"}
GRPC_ALONE = {"AntService.Session", "ArtifactService.UploadArtifact", "JobService.Session"}
"""Streams of requests that have no rule for HTTP."""


def trigger_calls() -> dict[str, list[tuple[Message, str]]]:
    """The same of the triggers' service."""
    return {
        "TriggerService.ListTriggers": [(triggers_pb2.ListTriggersRequest(), OK)],
        "TriggerService.FireTrigger": [(triggers_pb2.FireTriggerRequest(job_type="none"), "NOT_FOUND")],
        "TriggerService.ResetTrigger": [
            (triggers_pb2.ResetTriggerRequest(job_type="none", name="x"), "NOT_FOUND"),
            (triggers_pb2.ResetTriggerRequest(job_type="none", name="cron"), "FAILED_PRECONDITION"),
        ],
        "TriggerService.ListTriggerLetters": [(triggers_pb2.ListTriggerLettersRequest(), OK)],
        "TriggerService.PauseTrigger": [(triggers_pb2.PauseTriggerRequest(job_type="none"), "NOT_FOUND")],
        "TriggerService.ResumeTrigger": [(triggers_pb2.ResumeTriggerRequest(job_type="none"), "NOT_FOUND")],
    }


def letter_calls(job: str) -> dict[str, list[tuple[Message, str]]]:
    """The same of the dead letters' service."""
    none = dead_letters_pb2.DeadLetterFilter(queue="none")
    return {
        "LockService.SetLock": [
            (locks_pb2.SetLockRequest(name="licence", capacity=2), OK),
            (locks_pb2.SetLockRequest(name="licence"), "VALIDATION_FAILED"),
        ],
        "LockService.ListLocks": [(locks_pb2.ListLocksRequest(), OK)],
        "LockService.GetLock": [(locks_pb2.GetLockRequest(name="none"), "NOT_FOUND")],
        "LockService.DeleteLock": [(locks_pb2.DeleteLockRequest(name="none"), "NOT_FOUND")],
        "AlertService.ListAlerts": [(alerts_pb2.ListAlertsRequest(), OK)],
        "BreakerService.ListBreakers": [(breakers_pb2.ListBreakersRequest(), OK)],
        "BreakerService.ResetBreaker": [(breakers_pb2.ResetBreakerRequest(name="none"), "NOT_FOUND")],
        "DeadLetterService.ListDeadLetters": [(dead_letters_pb2.ListDeadLettersRequest(), OK)],
        "DeadLetterService.GetDeadLetter": [(dead_letters_pb2.GetDeadLetterRequest(id=job), "NOT_FOUND")],
        "DeadLetterService.RedriveDeadLetters": [
            (dead_letters_pb2.RedriveDeadLettersRequest(filter=none), OK),
            (dead_letters_pb2.RedriveDeadLettersRequest(id=_NEVER), "NOT_FOUND"),
        ],
        "DeadLetterService.PurgeDeadLetters": [
            (dead_letters_pb2.PurgeDeadLettersRequest(filter=none), OK),
            (dead_letters_pb2.PurgeDeadLettersRequest(limit=-1), "VALIDATION_FAILED"),
        ],
    }


def _people_calls(job: str) -> dict[str, list[tuple[Message, str]]]:
    """Requests of pauses and approvals, of what explains a job and its elements."""
    return {
        "JobService.ListElements": [
            (jobs_pb2.ListElementsRequest(id=_NEVER, task_type="t"), "NOT_FOUND"),
            (jobs_pb2.ListElementsRequest(id=job, task_type="none"), "NOT_FOUND"),
            (jobs_pb2.ListElementsRequest(id=job, task_type="t", states=["FLYING"]), "VALIDATION_FAILED"),
            (jobs_pb2.ListElementsRequest(id=job), "VALIDATION_FAILED"),
        ],
        "JobService.ExplainJob": [
            (jobs_pb2.ExplainJobRequest(id=job), OK),
            (jobs_pb2.ExplainJobRequest(id=_NEVER), "NOT_FOUND"),
            (jobs_pb2.ExplainJobRequest(), "VALIDATION_FAILED"),
        ],
        "JobService.EstimateJob": [
            (jobs_pb2.EstimateJobRequest(id=job), OK),
            (jobs_pb2.EstimateJobRequest(id=_NEVER), "NOT_FOUND"),
            (jobs_pb2.EstimateJobRequest(job_type="none"), "NOT_FOUND"),
            (jobs_pb2.EstimateJobRequest(source="tasks: 1"), "VALIDATION_FAILED"),
        ],
        "JobService.PauseJob": [(jobs_pb2.PauseJobRequest(id=_NEVER), "NOT_FOUND")],
        "ApprovalService.Vote": [
            (approvals_pb2.VoteRequest(id=job, decision="APPROVED"), "APPROVAL_NOT_OPEN"),
            (approvals_pb2.VoteRequest(id=_NEVER, decision="APPROVED"), "NOT_FOUND"),
        ],
        "ApprovalService.GetApproval": [(approvals_pb2.GetApprovalRequest(id=job, task_type="none"), "NOT_FOUND")],
        "ApprovalService.ListApprovals": [
            (approvals_pb2.ListApprovalsRequest(mine=True), OK),
            (approvals_pb2.ListApprovalsRequest(page_size=-1), "VALIDATION_FAILED"),
        ],
    }


def config_calls() -> dict[str, list[tuple[Message, str]]]:
    """The same for the service of configurations."""
    return {
        "ConfigService.SetConfig": [
            (configs_pb2.SetConfigRequest(name="GRPC", value=Value(bool_value=True)), OK),
            (configs_pb2.SetConfigRequest(name="GRPC"), "VALIDATION_FAILED"),
        ],
        "ConfigService.ListConfigs": [(configs_pb2.ListConfigsRequest(), OK)],
        "ConfigService.GetConfig": [(configs_pb2.GetConfigRequest(scope="org", name="KEPT"), OK)],
        "ConfigService.DeleteConfig": [(configs_pb2.DeleteConfigRequest(scope="org", name="none"), "NOT_FOUND")],
        "ConfigService.RevealConfig": [(configs_pb2.RevealConfigRequest(scope="org", name="none"), "NOT_FOUND")],
        "ConfigService.RotateSecrets": [(configs_pb2.RotateSecretsRequest(), "FAILED_PRECONDITION")],
    }


def operation_calls() -> dict[str, list[tuple[Message, str]]]:
    """The same for error codes, queues, notices and the purge."""
    return {
        "NotificationService.ListNotifications": [(notifications_pb2.ListNotificationsRequest(), OK)],
        "NotificationService.RetryNotification": [
            (notifications_pb2.RetryNotificationRequest(id="none"), "NOT_FOUND"),
            (notifications_pb2.RetryNotificationRequest(), "VALIDATION_FAILED"),
        ],
        "JobService.PurgeJobs": [(jobs_pb2.PurgeJobsRequest(dry_run=True), OK)],
        "ErrorCodeService.SetErrorCode": [
            (error_codes_pb2.SetErrorCodeRequest(name="grpc", code="ERR_BUSY", exit_code=75), OK),
            (error_codes_pb2.SetErrorCodeRequest(name="grpc", code="ERR_BUSY"), "VALIDATION_FAILED"),
        ],
        "ErrorCodeService.ListErrorCodes": [(error_codes_pb2.ListErrorCodesRequest(), OK)],
        "ErrorCodeService.GetErrorCode": [(error_codes_pb2.GetErrorCodeRequest(name="none"), "NOT_FOUND")],
        "ErrorCodeService.DeleteErrorCode": [(error_codes_pb2.DeleteErrorCodeRequest(name="none"), "NOT_FOUND")],
        "QueueService.GetQueues": [(queues_pb2.GetQueuesRequest(), OK)],
        "QueueService.PutQueues": [
            (queues_pb2.PutQueuesRequest(source="policy: priority\n"), OK),
            (queues_pb2.PutQueuesRequest(source="queues: 1\n"), "VALIDATION_FAILED"),
        ],
        "QueueService.ValidateQueues": [(queues_pb2.ValidateQueuesRequest(source="queues: 1\n"), OK)],
        "ErrorCodeService.MatchErrorCode": [(error_codes_pb2.MatchErrorCodeRequest(exit_code=1), OK)],
    }


def artifact_calls(job: str) -> dict[str, list[tuple[Message, str]]]:
    """The same of the artifacts' service."""
    return {
        "ArtifactService.ListArtifacts": [
            (artifacts_pb2.ListArtifactsRequest(job_id=job), OK),
            (artifacts_pb2.ListArtifactsRequest(token=1), "FAILED_PRECONDITION"),
        ],
        "ArtifactService.GetArtifact": [(artifacts_pb2.GetArtifactRequest(id="none"), "NOT_FOUND")],
        "ArtifactService.DownloadArtifact": [(artifacts_pb2.DownloadArtifactRequest(id="none"), "NOT_FOUND")],
        "ArtifactService.PutArtifact": [
            (artifacts_pb2.PutArtifactRequest(name="a"), OK),
            (artifacts_pb2.PutArtifactRequest(), "VALIDATION_FAILED"),
        ],
        "ArtifactService.UploadArtifact": [
            (artifacts_pb2.UploadArtifactRequest(data=b"x"), "VALIDATION_FAILED"),
            (
                artifacts_pb2.UploadArtifactRequest(
                    begin=artifacts_pb2.UploadBegin(token=1, name="a", form="file", expires_after_s=1)
                ),
                "FAILED_PRECONDITION",
            ),
        ],
    }


def rpc_calls(names: dict[str, str]) -> dict[str, list[tuple[Message, str]]]:
    """Requests over gRPC and the codes of their answers, by method."""
    job, definition = names["job"], names["definition"]
    hello = ants_pb2.Hello(ant_id="visitor", incarnation="1", methods=["SHELL"], slots=1, stream=1)
    return {
        "AntService.Session": [(ants_pb2.AntMessage(hello=hello), OK)],
        **artifact_calls(job),
        "AntService.ListAnts": [(ants_pb2.ListAntsRequest(), OK)],
        **config_calls(),
        **operation_calls(),
        "DefinitionService.RegisterDefinition": [
            (definitions_pb2.RegisterDefinitionRequest(source=JOB), OK),
            (definitions_pb2.RegisterDefinitionRequest(), "VALIDATION_FAILED"),
        ],
        "DefinitionService.GetDefinition": [(definitions_pb2.GetDefinitionRequest(id=definition), OK)],
        "DefinitionService.ListDefinitions": [
            (definitions_pb2.ListDefinitionsRequest(), OK),
            (definitions_pb2.ListDefinitionsRequest(page_size=-1), "VALIDATION_FAILED"),
        ],
        "AuditService.ListAuditRecords": [
            (audit_pb2.ListAuditRecordsRequest(), OK),
            (audit_pb2.ListAuditRecordsRequest(page_size=-1), "VALIDATION_FAILED"),
        ],
        "EventService.WatchEvents": [(events_pb2.WatchEventsRequest(), OK)],
        "JobService.SubmitJob": [
            (jobs_pb2.SubmitJobRequest(job_type="hello"), OK),
            (jobs_pb2.SubmitJobRequest(), "VALIDATION_FAILED"),
        ],
        "JobService.SubmitJobs": [
            (jobs_pb2.SubmitJobsRequest(definition_id=definition, jobs=[jobs_pb2.JobSubmission()]), OK)
        ],
        "JobService.Session": [(jobs_pb2.ClientMessage(watch=[job]), OK)],
        "JobService.GetJob": [(jobs_pb2.GetJobRequest(id=job), OK), (jobs_pb2.GetJobRequest(), "VALIDATION_FAILED")],
        "JobService.ListJobs": [
            (jobs_pb2.ListJobsRequest(), OK),
            (jobs_pb2.ListJobsRequest(states=["FLYING"]), "VALIDATION_FAILED"),
        ],
        "JobService.CancelJob": [(jobs_pb2.CancelJobRequest(id=job), OK)],
        "JobService.RetryJob": [(jobs_pb2.RetryJobRequest(id=_NEVER), "NOT_FOUND")],
        **_people_calls(job),
        "JobService.ResumeJob": [(jobs_pb2.ResumeJobRequest(id=job), "FAILED_PRECONDITION")],
        "JobService.FollowJob": [(jobs_pb2.FollowJobRequest(id=job), OK)],
        "JobService.ReadLogs": [
            (jobs_pb2.ReadLogsRequest(id=job), OK),
            (jobs_pb2.ReadLogsRequest(id=_NEVER), "NOT_FOUND"),
        ],
        "TokenService.CreateToken": [
            (tokens_pb2.CreateTokenRequest(role="viewer", name="grpc"), OK),
            (tokens_pb2.CreateTokenRequest(role="ant", org="acme"), "VALIDATION_FAILED"),
        ],
        "TokenService.ListTokens": [(tokens_pb2.ListTokensRequest(), OK)],
        "TokenService.RevokeToken": [(tokens_pb2.RevokeTokenRequest(id="none"), "NOT_FOUND")],
        **trigger_calls(),
        **letter_calls(job),
        **upload_calls(names["begun"]),
    }


def upload_calls(begun: str) -> dict[str, list[tuple[Message, str]]]:
    """Calls of uploads: of one that has begun, and of one that there is not."""
    part = {"content": HttpBody(data=b"abc")}
    return {
        "UploadService.CreateUpload": [
            (uploads_pb2.CreateUploadRequest(name="a", size_bytes=3), OK),
            (uploads_pb2.CreateUploadRequest(size_bytes=3), "VALIDATION_FAILED"),
        ],
        "UploadService.GetUpload": [
            (uploads_pb2.GetUploadRequest(id=begun), OK),
            (uploads_pb2.GetUploadRequest(id="none"), "NOT_FOUND"),
        ],
        "UploadService.AppendUpload": [
            (uploads_pb2.AppendUploadRequest(id=begun, offset=1, **part), "CONFLICT"),
            (uploads_pb2.AppendUploadRequest(id=begun, offset=0, **part), OK),
        ],
        "UploadService.DeleteUpload": [(uploads_pb2.DeleteUploadRequest(id="none"), "NOT_FOUND")],
    }


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """One server for all tests of this file."""
    server = Up(tmp_path_factory.mktemp("every") / "data", "--ants", "1")
    server.start()
    yield server
    server.clear()


@pytest.fixture(scope="module")
def names(up: Up) -> dict[str, str]:
    """A definition, a job that has completed, two that were cancelled, a token."""
    _, _, registered = ask(up, "POST", "/v1/definitions", {"source": JOB})
    found = {"definition": registered["definition_id"]}
    later = "2199-01-01T00:00:00Z"
    for name, more in (("job", {}), ("cancelled", {"scheduled_at": later}), ("again", {"scheduled_at": later})):
        status, _, job = ask(up, "POST", "/v1/jobs", {"job_type": "hello", **more}, idempotency_key=f"names-{name}")
        assert status == 200, job
        found[name] = job["id"]
        if more:
            assert ask(up, "POST", f"/v1/jobs/{job['id']}:cancel", {})[0] == 200
    until(lambda: ask(up, "GET", f"/v1/jobs/{found['job']}")[2]["state"] == "COMPLETED", 20, "the job completes")
    assert ask(up, "POST", "/v1/configs", {"name": "KEPT", "value": "a"})[0] == 200
    assert ask(up, "POST", "/v1/error-codes", {"name": "full", "code": "ERR_NO_SPACE", "exit_code": 28})[0] == 200
    for name in ("upload", "begun"):
        found[name] = ask(up, "POST", f"/v1/uploads?name={name}&size_bytes=3")[2]["id"]
    found["token"] = ask(up, "POST", "/v1/tokens", {"role": "viewer"})[2]["record"]["id"]
    return found


def test_each_method_has_a_call() -> None:
    """A method that is added to the contract is called here, over REST and gRPC."""
    every = set(methods())
    assert set(REST) | GRPC_ALONE == every
    assert set(rpc_calls({"job": "", "definition": "", "begun": ""})) == every


@pytest.mark.parametrize("method", sorted(REST))
def test_over_rest(up: Up, names: dict[str, str], method: str) -> None:
    """The answer has the code that is expected, and the headers that every answer has."""
    for call in REST[method]:
        verb, _, path = call.line.format(**names).partition(" ")
        headers = SENT | ({"idempotency-key": call.key} if call.key else {})
        if method in ENDLESS:
            headers["x-request-timeout"] = "3s"
        status, answered, body = ask(up, verb, path, call.body, **headers)
        code = OK if status in (200, 201) else body["code"]
        assert code == call.code, (call.line, status, body)
        assert answered["x-request-id"] == SENT["x-request-id"] and answered["x-trace-id"] == TRACE, answered
        assert answered["x-content-type-options"] == "nosniff"
        if code != OK:
            assert answered["content-type"] == "application/problem+json" and body["status"] == status
            assert body["traceId"] == TRACE


@pytest.mark.parametrize("method", sorted(methods()))
def test_over_grpc(up: Up, names: dict[str, str], method: str) -> None:
    """The same over gRPC: the status, its details, the metadata."""
    descriptor = methods()[method]
    with grpc.insecure_channel(up.address) as channel:
        for request, code in rpc_calls(names)[method]:
            found, answered = _call(channel, descriptor, request)
            assert found == code, (method, request)
            assert answered["x-request-id"] == SENT["x-request-id"] and answered["x-trace-id"] == TRACE, answered


def _call(channel: grpc.Channel, method: MethodDescriptor, request: Message) -> tuple[str, dict[str, Any]]:
    """The code of an answer, and the metadata before it or with its status."""
    kind = ("stream" if method.client_streaming else "unary") + ("_stream" if method.server_streaming else "_unary")
    stub = getattr(channel, kind)(
        f"/{method.containing_service.full_name}/{method.name}",
        request_serializer=GetMessageClass(method.input_type).SerializeToString,
        response_deserializer=GetMessageClass(method.output_type).FromString,
    )
    metadata = [(name, value) for name, value in SENT.items() if name != "x-request-timeout"]
    open_end: SimpleQueue[Message | None] = SimpleQueue()  # a session is over when its caller closes its side
    open_end.put(request)
    if not method.server_streaming:
        open_end.put(None)
    given = iter(open_end.get, None) if method.client_streaming else request
    try:
        if method.server_streaming:
            call = stub(given, metadata=metadata, timeout=60)
            assert next(call) is not None
            answered = call.initial_metadata()
            call.cancel()
            open_end.put(None)
        else:
            _, call = stub.with_call(given, metadata=metadata, timeout=60)
            answered = call.initial_metadata()
    except grpc.RpcError as error:
        problem = from_trailing_metadata(error.trailing_metadata())
        assert problem is not None, error
        assert problem.trace_id == TRACE
        return problem.code, dict((*error.initial_metadata(), *error.trailing_metadata()))
    return OK, dict(answered)


def test_a_deadline_that_has_passed_is_told(up: Up, names: dict[str, str]) -> None:
    """X-Request-Timeout bounds a call over REST: a job that waits for years is not followed longer."""
    _, _, job = ask(
        up, "POST", "/v1/jobs", {"job_type": "hello", "scheduled_at": "2199-01-01T00:00:00Z"}, idempotency_key="late"
    )
    status, _, body = ask(up, "GET", f"/v1/jobs/{job['id']}:follow", x_request_timeout="3s", **{"x-request-id": "late"})
    lines = [json.loads(line) for line in body.splitlines()]
    assert status == 200 and lines[-1]["@problem"]["code"] == "DEADLINE_EXCEEDED"


def test_a_definition_is_registered_by_its_yaml(up: Up) -> None:
    """As clients of the older engine do; what is wrong with the text is told as ever."""
    status, _, first = ask(up, "POST", "/api/jobs/definitions", JOB.encode(), content_type="application/yaml")
    assert status == 200
    assert first == ask(up, "POST", "/v1/definitions", {"source": JOB})[2]
    for body, code in (
        (b"tasks: 1", "VALIDATION_FAILED"),
        (b"\xff", "MALFORMED_JSON"),
        (b"#" * 300_000, "VALIDATION_FAILED"),
    ):
        status, _, problem = ask(up, "POST", "/api/jobs/definitions", body, content_type="application/yaml")
        assert (status, problem["code"]) == (400, code)
    assert ask(up, "GET", "/api/health")[0] == 200


def test_jobs_of_a_batch_succeed_each_for_itself(up: Up, names: dict[str, str]) -> None:
    """With allow_partial the answer has an item per job, in order; without it one bad job refuses the batch."""
    jobs = [{}, {"params": "bm90IEpTT04="}, {"params": "e30="}]
    request = {"job_type": "hello", "jobs": jobs}
    status, _, refused = ask(up, "POST", "/v1/jobs:batchSubmit", request)
    assert (status, refused["code"]) == (400, "VALIDATION_FAILED")
    status, _, body = ask(up, "POST", "/v1/jobs:batchSubmit", request | {"allow_partial": True})
    first, bad, last = body["results"]
    assert status == 200 and body["ids"] == [first["id"], "", last["id"]] and first["id"] != last["id"]
    assert bad["status"]["code"] == grpc.StatusCode.INVALID_ARGUMENT.value[0] and "JSON" in bad["status"]["message"]
    assert ask(up, "GET", f"/v1/jobs/{last['id']}")[0] == 200


def _listed(client: Client | RestClient) -> list[dict[str, Any]]:
    async def listing() -> list[dict[str, Any]]:
        async with client:
            return [one async for one in client.definitions(sources=True)]

    return asyncio.run(listing())


def test_pages_of_definitions_hold_each_once(up: Up, names: dict[str, str]) -> None:
    """Texts are there where they are asked for; a token of one list is refused by another."""
    for number in range(3):
        assert ask(up, "POST", "/v1/definitions", {"source": JOB + f"# {number}\n"})[0] == 200
    seen, query = [], "page_size=2&view=DEFINITION_VIEW_FULL"
    token = ""
    while True:
        _, _, page = ask(up, "GET", f"/v1/definitions?{query}&page_token={token}")
        seen += page["definitions"]
        token = page["next_page_token"]
        if not token:
            break
        last = token
    assert _listed(Client(up.address)) == _listed(RestClient(f"http://127.0.0.1:{up.http}"))
    assert [one["id"] for one in _listed(Client(up.address))] == [one["id"] for one in seen]
    assert len({one["id"] for one in seen}) == len(seen) >= 4
    assert [int(one["version"]) for one in seen] == sorted((int(one["version"]) for one in seen), reverse=True)
    assert all(one["source"].startswith(JOB) for one in seen)
    status, _, body = ask(up, "GET", f"/v1/definitions?page_token={last}")
    assert (status, body["errors"][0]["field"]) == (400, "page_token")
