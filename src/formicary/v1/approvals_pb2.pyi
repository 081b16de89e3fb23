import datetime

from google.api import annotations_pb2 as _annotations_pb2
from google.api import field_behavior_pb2 as _field_behavior_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class VoteRequest(_message.Message):
    __slots__ = ("id", "task_type", "decision", "comment", "idempotency_key", "voter", "roles")
    ID_FIELD_NUMBER: _ClassVar[int]
    TASK_TYPE_FIELD_NUMBER: _ClassVar[int]
    DECISION_FIELD_NUMBER: _ClassVar[int]
    COMMENT_FIELD_NUMBER: _ClassVar[int]
    IDEMPOTENCY_KEY_FIELD_NUMBER: _ClassVar[int]
    VOTER_FIELD_NUMBER: _ClassVar[int]
    ROLES_FIELD_NUMBER: _ClassVar[int]
    id: str
    task_type: str
    decision: str
    comment: str
    idempotency_key: str
    voter: str
    roles: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, id: _Optional[str] = ..., task_type: _Optional[str] = ..., decision: _Optional[str] = ..., comment: _Optional[str] = ..., idempotency_key: _Optional[str] = ..., voter: _Optional[str] = ..., roles: _Optional[_Iterable[str]] = ...) -> None: ...

class GetApprovalRequest(_message.Message):
    __slots__ = ("id", "task_type")
    ID_FIELD_NUMBER: _ClassVar[int]
    TASK_TYPE_FIELD_NUMBER: _ClassVar[int]
    id: str
    task_type: str
    def __init__(self, id: _Optional[str] = ..., task_type: _Optional[str] = ...) -> None: ...

class ListApprovalsRequest(_message.Message):
    __slots__ = ("id", "mine", "voter", "roles", "page_size", "page_token")
    ID_FIELD_NUMBER: _ClassVar[int]
    MINE_FIELD_NUMBER: _ClassVar[int]
    VOTER_FIELD_NUMBER: _ClassVar[int]
    ROLES_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    id: str
    mine: bool
    voter: str
    roles: _containers.RepeatedScalarFieldContainer[str]
    page_size: int
    page_token: str
    def __init__(self, id: _Optional[str] = ..., mine: _Optional[bool] = ..., voter: _Optional[str] = ..., roles: _Optional[_Iterable[str]] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListApprovalsResponse(_message.Message):
    __slots__ = ("approvals", "next_page_token")
    APPROVALS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    approvals: _containers.RepeatedCompositeFieldContainer[Approval]
    next_page_token: str
    def __init__(self, approvals: _Optional[_Iterable[_Union[Approval, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class Approval(_message.Message):
    __slots__ = ("id", "job_type", "task_type", "attempt", "state", "asked_at", "deadline_at", "escalated_at", "decided_at", "decided_by", "missing", "policy", "votes")
    ID_FIELD_NUMBER: _ClassVar[int]
    JOB_TYPE_FIELD_NUMBER: _ClassVar[int]
    TASK_TYPE_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    ASKED_AT_FIELD_NUMBER: _ClassVar[int]
    DEADLINE_AT_FIELD_NUMBER: _ClassVar[int]
    ESCALATED_AT_FIELD_NUMBER: _ClassVar[int]
    DECIDED_AT_FIELD_NUMBER: _ClassVar[int]
    DECIDED_BY_FIELD_NUMBER: _ClassVar[int]
    MISSING_FIELD_NUMBER: _ClassVar[int]
    POLICY_FIELD_NUMBER: _ClassVar[int]
    VOTES_FIELD_NUMBER: _ClassVar[int]
    id: str
    job_type: str
    task_type: str
    attempt: int
    state: str
    asked_at: _timestamp_pb2.Timestamp
    deadline_at: _timestamp_pb2.Timestamp
    escalated_at: _timestamp_pb2.Timestamp
    decided_at: _timestamp_pb2.Timestamp
    decided_by: str
    missing: str
    policy: ApprovalPolicy
    votes: _containers.RepeatedCompositeFieldContainer[Vote]
    def __init__(self, id: _Optional[str] = ..., job_type: _Optional[str] = ..., task_type: _Optional[str] = ..., attempt: _Optional[int] = ..., state: _Optional[str] = ..., asked_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., deadline_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., escalated_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., decided_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., decided_by: _Optional[str] = ..., missing: _Optional[str] = ..., policy: _Optional[_Union[ApprovalPolicy, _Mapping]] = ..., votes: _Optional[_Iterable[_Union[Vote, _Mapping]]] = ...) -> None: ...

class ApprovalPolicy(_message.Message):
    __slots__ = ("min_approvals", "allowed_roles", "allowed_users", "require_unanimous", "sla_deadline_s", "timeout_action", "escalation_recipients", "escalation_message")
    MIN_APPROVALS_FIELD_NUMBER: _ClassVar[int]
    ALLOWED_ROLES_FIELD_NUMBER: _ClassVar[int]
    ALLOWED_USERS_FIELD_NUMBER: _ClassVar[int]
    REQUIRE_UNANIMOUS_FIELD_NUMBER: _ClassVar[int]
    SLA_DEADLINE_S_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_ACTION_FIELD_NUMBER: _ClassVar[int]
    ESCALATION_RECIPIENTS_FIELD_NUMBER: _ClassVar[int]
    ESCALATION_MESSAGE_FIELD_NUMBER: _ClassVar[int]
    min_approvals: int
    allowed_roles: _containers.RepeatedScalarFieldContainer[str]
    allowed_users: _containers.RepeatedScalarFieldContainer[str]
    require_unanimous: bool
    sla_deadline_s: float
    timeout_action: str
    escalation_recipients: _containers.RepeatedScalarFieldContainer[str]
    escalation_message: str
    def __init__(self, min_approvals: _Optional[int] = ..., allowed_roles: _Optional[_Iterable[str]] = ..., allowed_users: _Optional[_Iterable[str]] = ..., require_unanimous: _Optional[bool] = ..., sla_deadline_s: _Optional[float] = ..., timeout_action: _Optional[str] = ..., escalation_recipients: _Optional[_Iterable[str]] = ..., escalation_message: _Optional[str] = ...) -> None: ...

class Vote(_message.Message):
    __slots__ = ("voter", "decision", "comment", "voted_at")
    VOTER_FIELD_NUMBER: _ClassVar[int]
    DECISION_FIELD_NUMBER: _ClassVar[int]
    COMMENT_FIELD_NUMBER: _ClassVar[int]
    VOTED_AT_FIELD_NUMBER: _ClassVar[int]
    voter: str
    decision: str
    comment: str
    voted_at: _timestamp_pb2.Timestamp
    def __init__(self, voter: _Optional[str] = ..., decision: _Optional[str] = ..., comment: _Optional[str] = ..., voted_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...
