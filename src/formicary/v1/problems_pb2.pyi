from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ErrorDetail(_message.Message):
    __slots__ = ("code", "title", "detail", "status", "blame", "retryable", "remedy", "errors", "extensions", "retry", "instance", "trace_id", "timestamp", "derived")
    class ExtensionsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    CODE_FIELD_NUMBER: _ClassVar[int]
    TITLE_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    BLAME_FIELD_NUMBER: _ClassVar[int]
    RETRYABLE_FIELD_NUMBER: _ClassVar[int]
    REMEDY_FIELD_NUMBER: _ClassVar[int]
    ERRORS_FIELD_NUMBER: _ClassVar[int]
    EXTENSIONS_FIELD_NUMBER: _ClassVar[int]
    RETRY_FIELD_NUMBER: _ClassVar[int]
    INSTANCE_FIELD_NUMBER: _ClassVar[int]
    TRACE_ID_FIELD_NUMBER: _ClassVar[int]
    TIMESTAMP_FIELD_NUMBER: _ClassVar[int]
    DERIVED_FIELD_NUMBER: _ClassVar[int]
    code: str
    title: str
    detail: str
    status: int
    blame: str
    retryable: bool
    remedy: str
    errors: _containers.RepeatedCompositeFieldContainer[FieldProblem]
    extensions: _containers.ScalarMap[str, str]
    retry: RetryPolicy
    instance: str
    trace_id: str
    timestamp: str
    derived: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, code: _Optional[str] = ..., title: _Optional[str] = ..., detail: _Optional[str] = ..., status: _Optional[int] = ..., blame: _Optional[str] = ..., retryable: _Optional[bool] = ..., remedy: _Optional[str] = ..., errors: _Optional[_Iterable[_Union[FieldProblem, _Mapping]]] = ..., extensions: _Optional[_Mapping[str, str]] = ..., retry: _Optional[_Union[RetryPolicy, _Mapping]] = ..., instance: _Optional[str] = ..., trace_id: _Optional[str] = ..., timestamp: _Optional[str] = ..., derived: _Optional[_Iterable[str]] = ...) -> None: ...

class FieldProblem(_message.Message):
    __slots__ = ("field", "code", "message", "line", "column")
    FIELD_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    LINE_FIELD_NUMBER: _ClassVar[int]
    COLUMN_FIELD_NUMBER: _ClassVar[int]
    field: str
    code: str
    message: str
    line: int
    column: int
    def __init__(self, field: _Optional[str] = ..., code: _Optional[str] = ..., message: _Optional[str] = ..., line: _Optional[int] = ..., column: _Optional[int] = ...) -> None: ...

class RetryPolicy(_message.Message):
    __slots__ = ("after_s", "max_retries", "backoff_type", "backoff_ms")
    AFTER_S_FIELD_NUMBER: _ClassVar[int]
    MAX_RETRIES_FIELD_NUMBER: _ClassVar[int]
    BACKOFF_TYPE_FIELD_NUMBER: _ClassVar[int]
    BACKOFF_MS_FIELD_NUMBER: _ClassVar[int]
    after_s: float
    max_retries: int
    backoff_type: str
    backoff_ms: int
    def __init__(self, after_s: _Optional[float] = ..., max_retries: _Optional[int] = ..., backoff_type: _Optional[str] = ..., backoff_ms: _Optional[int] = ...) -> None: ...
