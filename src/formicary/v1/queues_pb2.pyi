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

class GetQueuesRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class PutQueuesRequest(_message.Message):
    __slots__ = ("source", "filename")
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    FILENAME_FIELD_NUMBER: _ClassVar[int]
    source: str
    filename: str
    def __init__(self, source: _Optional[str] = ..., filename: _Optional[str] = ...) -> None: ...

class ValidateQueuesRequest(_message.Message):
    __slots__ = ("source",)
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    source: str
    def __init__(self, source: _Optional[str] = ...) -> None: ...

class ValidateQueuesResponse(_message.Message):
    __slots__ = ("violations",)
    VIOLATIONS_FIELD_NUMBER: _ClassVar[int]
    violations: _containers.RepeatedCompositeFieldContainer[QueueViolation]
    def __init__(self, violations: _Optional[_Iterable[_Union[QueueViolation, _Mapping]]] = ...) -> None: ...

class QueueViolation(_message.Message):
    __slots__ = ("line", "column", "path", "code", "message")
    LINE_FIELD_NUMBER: _ClassVar[int]
    COLUMN_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    line: int
    column: int
    path: str
    code: str
    message: str
    def __init__(self, line: _Optional[int] = ..., column: _Optional[int] = ..., path: _Optional[str] = ..., code: _Optional[str] = ..., message: _Optional[str] = ...) -> None: ...

class Queues(_message.Message):
    __slots__ = ("source", "policy", "placement", "queues", "updated_at", "updated_by", "usage")
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    POLICY_FIELD_NUMBER: _ClassVar[int]
    PLACEMENT_FIELD_NUMBER: _ClassVar[int]
    QUEUES_FIELD_NUMBER: _ClassVar[int]
    UPDATED_AT_FIELD_NUMBER: _ClassVar[int]
    UPDATED_BY_FIELD_NUMBER: _ClassVar[int]
    USAGE_FIELD_NUMBER: _ClassVar[int]
    source: str
    policy: str
    placement: str
    queues: _containers.RepeatedCompositeFieldContainer[Queue]
    updated_at: _timestamp_pb2.Timestamp
    updated_by: str
    usage: _containers.RepeatedCompositeFieldContainer[TenantUsage]
    def __init__(self, source: _Optional[str] = ..., policy: _Optional[str] = ..., placement: _Optional[str] = ..., queues: _Optional[_Iterable[_Union[Queue, _Mapping]]] = ..., updated_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., updated_by: _Optional[str] = ..., usage: _Optional[_Iterable[_Union[TenantUsage, _Mapping]]] = ...) -> None: ...

class TenantUsage(_message.Message):
    __slots__ = ("org", "user", "limit", "used", "hard", "soft", "burst", "burst_for_s", "resets_at", "job_type")
    ORG_FIELD_NUMBER: _ClassVar[int]
    USER_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    USED_FIELD_NUMBER: _ClassVar[int]
    HARD_FIELD_NUMBER: _ClassVar[int]
    SOFT_FIELD_NUMBER: _ClassVar[int]
    BURST_FIELD_NUMBER: _ClassVar[int]
    BURST_FOR_S_FIELD_NUMBER: _ClassVar[int]
    RESETS_AT_FIELD_NUMBER: _ClassVar[int]
    JOB_TYPE_FIELD_NUMBER: _ClassVar[int]
    org: str
    user: str
    limit: str
    used: float
    hard: float
    soft: float
    burst: float
    burst_for_s: float
    resets_at: _timestamp_pb2.Timestamp
    job_type: str
    def __init__(self, org: _Optional[str] = ..., user: _Optional[str] = ..., limit: _Optional[str] = ..., used: _Optional[float] = ..., hard: _Optional[float] = ..., soft: _Optional[float] = ..., burst: _Optional[float] = ..., burst_for_s: _Optional[float] = ..., resets_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., job_type: _Optional[str] = ...) -> None: ...

class Queue(_message.Message):
    __slots__ = ("name", "parent", "policy", "guaranteed", "maximum", "running", "waiting", "share")
    NAME_FIELD_NUMBER: _ClassVar[int]
    PARENT_FIELD_NUMBER: _ClassVar[int]
    POLICY_FIELD_NUMBER: _ClassVar[int]
    GUARANTEED_FIELD_NUMBER: _ClassVar[int]
    MAXIMUM_FIELD_NUMBER: _ClassVar[int]
    RUNNING_FIELD_NUMBER: _ClassVar[int]
    WAITING_FIELD_NUMBER: _ClassVar[int]
    SHARE_FIELD_NUMBER: _ClassVar[int]
    name: str
    parent: str
    policy: str
    guaranteed: float
    maximum: float
    running: int
    waiting: int
    share: float
    def __init__(self, name: _Optional[str] = ..., parent: _Optional[str] = ..., policy: _Optional[str] = ..., guaranteed: _Optional[float] = ..., maximum: _Optional[float] = ..., running: _Optional[int] = ..., waiting: _Optional[int] = ..., share: _Optional[float] = ...) -> None: ...
