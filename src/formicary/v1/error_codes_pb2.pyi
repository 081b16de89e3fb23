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

class SetErrorCodeRequest(_message.Message):
    __slots__ = ("name", "code", "exit_code", "pattern", "job_type", "task_type", "platform", "message", "action", "retry", "system")
    NAME_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    EXIT_CODE_FIELD_NUMBER: _ClassVar[int]
    PATTERN_FIELD_NUMBER: _ClassVar[int]
    JOB_TYPE_FIELD_NUMBER: _ClassVar[int]
    TASK_TYPE_FIELD_NUMBER: _ClassVar[int]
    PLATFORM_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    RETRY_FIELD_NUMBER: _ClassVar[int]
    SYSTEM_FIELD_NUMBER: _ClassVar[int]
    name: str
    code: str
    exit_code: int
    pattern: str
    job_type: str
    task_type: str
    platform: str
    message: str
    action: str
    retry: int
    system: bool
    def __init__(self, name: _Optional[str] = ..., code: _Optional[str] = ..., exit_code: _Optional[int] = ..., pattern: _Optional[str] = ..., job_type: _Optional[str] = ..., task_type: _Optional[str] = ..., platform: _Optional[str] = ..., message: _Optional[str] = ..., action: _Optional[str] = ..., retry: _Optional[int] = ..., system: _Optional[bool] = ...) -> None: ...

class ListErrorCodesRequest(_message.Message):
    __slots__ = ("page_size", "page_token")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListErrorCodesResponse(_message.Message):
    __slots__ = ("error_codes", "next_page_token")
    ERROR_CODES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    error_codes: _containers.RepeatedCompositeFieldContainer[ErrorCode]
    next_page_token: str
    def __init__(self, error_codes: _Optional[_Iterable[_Union[ErrorCode, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class GetErrorCodeRequest(_message.Message):
    __slots__ = ("name", "system")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SYSTEM_FIELD_NUMBER: _ClassVar[int]
    name: str
    system: bool
    def __init__(self, name: _Optional[str] = ..., system: _Optional[bool] = ...) -> None: ...

class DeleteErrorCodeRequest(_message.Message):
    __slots__ = ("name", "system")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SYSTEM_FIELD_NUMBER: _ClassVar[int]
    name: str
    system: bool
    def __init__(self, name: _Optional[str] = ..., system: _Optional[bool] = ...) -> None: ...

class MatchErrorCodeRequest(_message.Message):
    __slots__ = ("job_type", "task_type", "platform", "exit_code", "text")
    JOB_TYPE_FIELD_NUMBER: _ClassVar[int]
    TASK_TYPE_FIELD_NUMBER: _ClassVar[int]
    PLATFORM_FIELD_NUMBER: _ClassVar[int]
    EXIT_CODE_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    job_type: str
    task_type: str
    platform: str
    exit_code: int
    text: str
    def __init__(self, job_type: _Optional[str] = ..., task_type: _Optional[str] = ..., platform: _Optional[str] = ..., exit_code: _Optional[int] = ..., text: _Optional[str] = ...) -> None: ...

class MatchErrorCodeResponse(_message.Message):
    __slots__ = ("error_code",)
    ERROR_CODE_FIELD_NUMBER: _ClassVar[int]
    error_code: ErrorCode
    def __init__(self, error_code: _Optional[_Union[ErrorCode, _Mapping]] = ...) -> None: ...

class ErrorCode(_message.Message):
    __slots__ = ("name", "code", "exit_code", "pattern", "job_type", "task_type", "platform", "message", "action", "retry", "system", "created_at", "updated_at", "updated_by")
    NAME_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    EXIT_CODE_FIELD_NUMBER: _ClassVar[int]
    PATTERN_FIELD_NUMBER: _ClassVar[int]
    JOB_TYPE_FIELD_NUMBER: _ClassVar[int]
    TASK_TYPE_FIELD_NUMBER: _ClassVar[int]
    PLATFORM_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    RETRY_FIELD_NUMBER: _ClassVar[int]
    SYSTEM_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    UPDATED_AT_FIELD_NUMBER: _ClassVar[int]
    UPDATED_BY_FIELD_NUMBER: _ClassVar[int]
    name: str
    code: str
    exit_code: int
    pattern: str
    job_type: str
    task_type: str
    platform: str
    message: str
    action: str
    retry: int
    system: bool
    created_at: _timestamp_pb2.Timestamp
    updated_at: _timestamp_pb2.Timestamp
    updated_by: str
    def __init__(self, name: _Optional[str] = ..., code: _Optional[str] = ..., exit_code: _Optional[int] = ..., pattern: _Optional[str] = ..., job_type: _Optional[str] = ..., task_type: _Optional[str] = ..., platform: _Optional[str] = ..., message: _Optional[str] = ..., action: _Optional[str] = ..., retry: _Optional[int] = ..., system: _Optional[bool] = ..., created_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., updated_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., updated_by: _Optional[str] = ...) -> None: ...
