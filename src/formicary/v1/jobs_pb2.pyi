from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class RegisterDefinitionRequest(_message.Message):
    __slots__ = ("source", "methods", "path", "filename")
    class MethodsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    METHODS_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    FILENAME_FIELD_NUMBER: _ClassVar[int]
    source: str
    methods: _containers.ScalarMap[str, str]
    path: str
    filename: str
    def __init__(self, source: _Optional[str] = ..., methods: _Optional[_Mapping[str, str]] = ..., path: _Optional[str] = ..., filename: _Optional[str] = ...) -> None: ...

class RegisterDefinitionResponse(_message.Message):
    __slots__ = ("definition_id", "job_type", "version")
    DEFINITION_ID_FIELD_NUMBER: _ClassVar[int]
    JOB_TYPE_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    definition_id: str
    job_type: str
    version: int
    def __init__(self, definition_id: _Optional[str] = ..., job_type: _Optional[str] = ..., version: _Optional[int] = ...) -> None: ...

class JobSubmission(_message.Message):
    __slots__ = ("params", "id", "idempotency_key", "scheduled_at", "priority")
    PARAMS_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    IDEMPOTENCY_KEY_FIELD_NUMBER: _ClassVar[int]
    SCHEDULED_AT_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    params: bytes
    id: str
    idempotency_key: str
    scheduled_at: float
    priority: int
    def __init__(self, params: _Optional[bytes] = ..., id: _Optional[str] = ..., idempotency_key: _Optional[str] = ..., scheduled_at: _Optional[float] = ..., priority: _Optional[int] = ...) -> None: ...

class SubmitJobsRequest(_message.Message):
    __slots__ = ("definition_id", "job_type", "jobs", "resend")
    DEFINITION_ID_FIELD_NUMBER: _ClassVar[int]
    JOB_TYPE_FIELD_NUMBER: _ClassVar[int]
    JOBS_FIELD_NUMBER: _ClassVar[int]
    RESEND_FIELD_NUMBER: _ClassVar[int]
    definition_id: str
    job_type: str
    jobs: _containers.RepeatedCompositeFieldContainer[JobSubmission]
    resend: bool
    def __init__(self, definition_id: _Optional[str] = ..., job_type: _Optional[str] = ..., jobs: _Optional[_Iterable[_Union[JobSubmission, _Mapping]]] = ..., resend: _Optional[bool] = ...) -> None: ...

class SubmitJobsResponse(_message.Message):
    __slots__ = ("ids",)
    IDS_FIELD_NUMBER: _ClassVar[int]
    ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, ids: _Optional[_Iterable[str]] = ...) -> None: ...

class ClientMessage(_message.Message):
    __slots__ = ("submits", "watch")
    class Submit(_message.Message):
        __slots__ = ("sequence", "request", "watch")
        SEQUENCE_FIELD_NUMBER: _ClassVar[int]
        REQUEST_FIELD_NUMBER: _ClassVar[int]
        WATCH_FIELD_NUMBER: _ClassVar[int]
        sequence: int
        request: SubmitJobsRequest
        watch: bool
        def __init__(self, sequence: _Optional[int] = ..., request: _Optional[_Union[SubmitJobsRequest, _Mapping]] = ..., watch: _Optional[bool] = ...) -> None: ...
    SUBMITS_FIELD_NUMBER: _ClassVar[int]
    WATCH_FIELD_NUMBER: _ClassVar[int]
    submits: _containers.RepeatedCompositeFieldContainer[ClientMessage.Submit]
    watch: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, submits: _Optional[_Iterable[_Union[ClientMessage.Submit, _Mapping]]] = ..., watch: _Optional[_Iterable[str]] = ...) -> None: ...

class ServerMessage(_message.Message):
    __slots__ = ("accepted", "ended")
    class Accepted(_message.Message):
        __slots__ = ("sequence", "ids", "problem")
        SEQUENCE_FIELD_NUMBER: _ClassVar[int]
        IDS_FIELD_NUMBER: _ClassVar[int]
        PROBLEM_FIELD_NUMBER: _ClassVar[int]
        sequence: int
        ids: _containers.RepeatedScalarFieldContainer[str]
        problem: bytes
        def __init__(self, sequence: _Optional[int] = ..., ids: _Optional[_Iterable[str]] = ..., problem: _Optional[bytes] = ...) -> None: ...
    ACCEPTED_FIELD_NUMBER: _ClassVar[int]
    ENDED_FIELD_NUMBER: _ClassVar[int]
    accepted: _containers.RepeatedCompositeFieldContainer[ServerMessage.Accepted]
    ended: _containers.RepeatedCompositeFieldContainer[JobEnd]
    def __init__(self, accepted: _Optional[_Iterable[_Union[ServerMessage.Accepted, _Mapping]]] = ..., ended: _Optional[_Iterable[_Union[JobEnd, _Mapping]]] = ...) -> None: ...

class JobEnd(_message.Message):
    __slots__ = ("id", "state", "outputs", "error_code", "error_message")
    ID_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    OUTPUTS_FIELD_NUMBER: _ClassVar[int]
    ERROR_CODE_FIELD_NUMBER: _ClassVar[int]
    ERROR_MESSAGE_FIELD_NUMBER: _ClassVar[int]
    id: str
    state: str
    outputs: bytes
    error_code: str
    error_message: str
    def __init__(self, id: _Optional[str] = ..., state: _Optional[str] = ..., outputs: _Optional[bytes] = ..., error_code: _Optional[str] = ..., error_message: _Optional[str] = ...) -> None: ...

class GetJobRequest(_message.Message):
    __slots__ = ("id",)
    ID_FIELD_NUMBER: _ClassVar[int]
    id: str
    def __init__(self, id: _Optional[str] = ...) -> None: ...

class ListJobsRequest(_message.Message):
    __slots__ = ("states", "job_type", "limit")
    STATES_FIELD_NUMBER: _ClassVar[int]
    JOB_TYPE_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    states: _containers.RepeatedScalarFieldContainer[str]
    job_type: str
    limit: int
    def __init__(self, states: _Optional[_Iterable[str]] = ..., job_type: _Optional[str] = ..., limit: _Optional[int] = ...) -> None: ...

class CancelJobRequest(_message.Message):
    __slots__ = ("id", "reason")
    ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    id: str
    reason: str
    def __init__(self, id: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class RetryJobRequest(_message.Message):
    __slots__ = ("id", "hard")
    ID_FIELD_NUMBER: _ClassVar[int]
    HARD_FIELD_NUMBER: _ClassVar[int]
    id: str
    hard: bool
    def __init__(self, id: _Optional[str] = ..., hard: _Optional[bool] = ...) -> None: ...

class ResumeJobRequest(_message.Message):
    __slots__ = ("id",)
    ID_FIELD_NUMBER: _ClassVar[int]
    id: str
    def __init__(self, id: _Optional[str] = ...) -> None: ...

class Job(_message.Message):
    __slots__ = ("id", "state", "document")
    ID_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    DOCUMENT_FIELD_NUMBER: _ClassVar[int]
    id: str
    state: str
    document: bytes
    def __init__(self, id: _Optional[str] = ..., state: _Optional[str] = ..., document: _Optional[bytes] = ...) -> None: ...

class ReadLogsRequest(_message.Message):
    __slots__ = ("id", "task_type", "follow")
    ID_FIELD_NUMBER: _ClassVar[int]
    TASK_TYPE_FIELD_NUMBER: _ClassVar[int]
    FOLLOW_FIELD_NUMBER: _ClassVar[int]
    id: str
    task_type: str
    follow: bool
    def __init__(self, id: _Optional[str] = ..., task_type: _Optional[str] = ..., follow: _Optional[bool] = ...) -> None: ...

class LogRecord(_message.Message):
    __slots__ = ("task_type", "attempt", "time", "stream", "text")
    TASK_TYPE_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    STREAM_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    task_type: str
    attempt: int
    time: float
    stream: int
    text: str
    def __init__(self, task_type: _Optional[str] = ..., attempt: _Optional[int] = ..., time: _Optional[float] = ..., stream: _Optional[int] = ..., text: _Optional[str] = ...) -> None: ...
