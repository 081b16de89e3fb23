import datetime

from google.api import annotations_pb2 as _annotations_pb2
from google.api import field_behavior_pb2 as _field_behavior_pb2
from google.protobuf import struct_pb2 as _struct_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ListTriggersRequest(_message.Message):
    __slots__ = ("job_type", "page_size", "page_token")
    JOB_TYPE_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    job_type: str
    page_size: int
    page_token: str
    def __init__(self, job_type: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListTriggersResponse(_message.Message):
    __slots__ = ("triggers", "next_page_token")
    TRIGGERS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    triggers: _containers.RepeatedCompositeFieldContainer[Trigger]
    next_page_token: str
    def __init__(self, triggers: _Optional[_Iterable[_Union[Trigger, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class FireTriggerRequest(_message.Message):
    __slots__ = ("job_type", "name", "params", "idempotency_key")
    JOB_TYPE_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    PARAMS_FIELD_NUMBER: _ClassVar[int]
    IDEMPOTENCY_KEY_FIELD_NUMBER: _ClassVar[int]
    job_type: str
    name: str
    params: _struct_pb2.Struct
    idempotency_key: str
    def __init__(self, job_type: _Optional[str] = ..., name: _Optional[str] = ..., params: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., idempotency_key: _Optional[str] = ...) -> None: ...

class FireTriggerResponse(_message.Message):
    __slots__ = ("id",)
    ID_FIELD_NUMBER: _ClassVar[int]
    id: str
    def __init__(self, id: _Optional[str] = ...) -> None: ...

class PauseTriggerRequest(_message.Message):
    __slots__ = ("job_type", "name")
    JOB_TYPE_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    job_type: str
    name: str
    def __init__(self, job_type: _Optional[str] = ..., name: _Optional[str] = ...) -> None: ...

class ResumeTriggerRequest(_message.Message):
    __slots__ = ("job_type", "name")
    JOB_TYPE_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    job_type: str
    name: str
    def __init__(self, job_type: _Optional[str] = ..., name: _Optional[str] = ...) -> None: ...

class ResetTriggerRequest(_message.Message):
    __slots__ = ("job_type", "name")
    JOB_TYPE_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    job_type: str
    name: str
    def __init__(self, job_type: _Optional[str] = ..., name: _Optional[str] = ...) -> None: ...

class ListTriggerLettersRequest(_message.Message):
    __slots__ = ("job_type", "page_size")
    JOB_TYPE_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    job_type: str
    page_size: int
    def __init__(self, job_type: _Optional[str] = ..., page_size: _Optional[int] = ...) -> None: ...

class ListTriggerLettersResponse(_message.Message):
    __slots__ = ("letters",)
    LETTERS_FIELD_NUMBER: _ClassVar[int]
    letters: _containers.RepeatedCompositeFieldContainer[TriggerLetter]
    def __init__(self, letters: _Optional[_Iterable[_Union[TriggerLetter, _Mapping]]] = ...) -> None: ...

class TriggerLetter(_message.Message):
    __slots__ = ("id", "job_type", "name", "event", "reason", "content", "created_at")
    ID_FIELD_NUMBER: _ClassVar[int]
    JOB_TYPE_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    EVENT_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    id: str
    job_type: str
    name: str
    event: str
    reason: str
    content: bytes
    created_at: _timestamp_pb2.Timestamp
    def __init__(self, id: _Optional[str] = ..., job_type: _Optional[str] = ..., name: _Optional[str] = ..., event: _Optional[str] = ..., reason: _Optional[str] = ..., content: _Optional[bytes] = ..., created_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class Trigger(_message.Message):
    __slots__ = ("job_type", "name", "type", "definition_id", "version", "schedule", "time_zone", "missed", "overlap", "paused", "next_at", "last_at", "last_job", "waiting", "source", "fired", "repeated", "filtered", "limited", "refused", "error")
    JOB_TYPE_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    DEFINITION_ID_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    SCHEDULE_FIELD_NUMBER: _ClassVar[int]
    TIME_ZONE_FIELD_NUMBER: _ClassVar[int]
    MISSED_FIELD_NUMBER: _ClassVar[int]
    OVERLAP_FIELD_NUMBER: _ClassVar[int]
    PAUSED_FIELD_NUMBER: _ClassVar[int]
    NEXT_AT_FIELD_NUMBER: _ClassVar[int]
    LAST_AT_FIELD_NUMBER: _ClassVar[int]
    LAST_JOB_FIELD_NUMBER: _ClassVar[int]
    WAITING_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    FIRED_FIELD_NUMBER: _ClassVar[int]
    REPEATED_FIELD_NUMBER: _ClassVar[int]
    FILTERED_FIELD_NUMBER: _ClassVar[int]
    LIMITED_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    job_type: str
    name: str
    type: str
    definition_id: str
    version: int
    schedule: str
    time_zone: str
    missed: str
    overlap: str
    paused: bool
    next_at: _timestamp_pb2.Timestamp
    last_at: _timestamp_pb2.Timestamp
    last_job: str
    waiting: int
    source: str
    fired: int
    repeated: int
    filtered: int
    limited: int
    refused: int
    error: str
    def __init__(self, job_type: _Optional[str] = ..., name: _Optional[str] = ..., type: _Optional[str] = ..., definition_id: _Optional[str] = ..., version: _Optional[int] = ..., schedule: _Optional[str] = ..., time_zone: _Optional[str] = ..., missed: _Optional[str] = ..., overlap: _Optional[str] = ..., paused: _Optional[bool] = ..., next_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., last_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., last_job: _Optional[str] = ..., waiting: _Optional[int] = ..., source: _Optional[str] = ..., fired: _Optional[int] = ..., repeated: _Optional[int] = ..., filtered: _Optional[int] = ..., limited: _Optional[int] = ..., refused: _Optional[int] = ..., error: _Optional[str] = ...) -> None: ...
