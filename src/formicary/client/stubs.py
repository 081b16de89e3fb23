"""The methods of all services that a client calls, by their last names."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import grpc.aio

from formicary.v1 import (
    alerts_pb2_grpc,
    approvals_pb2_grpc,
    artifacts_pb2_grpc,
    audit_pb2_grpc,
    breakers_pb2_grpc,
    configs_pb2_grpc,
    dead_letters_pb2_grpc,
    definitions_pb2_grpc,
    error_codes_pb2_grpc,
    events_pb2_grpc,
    jobs_pb2_grpc,
    locks_pb2_grpc,
    notifications_pb2_grpc,
    queues_pb2_grpc,
    tokens_pb2_grpc,
    triggers_pb2_grpc,
    uploads_pb2_grpc,
)

_STUBS: tuple[Any, ...] = (  # generated, without types
    approvals_pb2_grpc.ApprovalServiceStub,
    artifacts_pb2_grpc.ArtifactServiceStub,
    audit_pb2_grpc.AuditServiceStub,
    alerts_pb2_grpc.AlertServiceStub,
    breakers_pb2_grpc.BreakerServiceStub,
    configs_pb2_grpc.ConfigServiceStub,
    dead_letters_pb2_grpc.DeadLetterServiceStub,
    definitions_pb2_grpc.DefinitionServiceStub,
    error_codes_pb2_grpc.ErrorCodeServiceStub,
    events_pb2_grpc.EventServiceStub,
    jobs_pb2_grpc.JobServiceStub,
    locks_pb2_grpc.LockServiceStub,
    notifications_pb2_grpc.NotificationServiceStub,
    queues_pb2_grpc.QueueServiceStub,
    tokens_pb2_grpc.TokenServiceStub,
    triggers_pb2_grpc.TriggerServiceStub,
    uploads_pb2_grpc.UploadServiceStub,
)


def every_method(channel: grpc.aio.Channel) -> Any:
    """An object with the methods of every service as attributes; no two services have one of the same name."""
    found = SimpleNamespace()
    for stub in _STUBS:
        methods = vars(stub(channel))
        if twice := vars(found).keys() & methods:
            raise TypeError(f"two services have a method {', '.join(sorted(twice))}")
        vars(found).update(methods)
    return found
