from google.api import annotations_pb2 as _annotations_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ListAntsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListAntsResponse(_message.Message):
    __slots__ = ("ants",)
    ANTS_FIELD_NUMBER: _ClassVar[int]
    ants: _containers.RepeatedCompositeFieldContainer[Ant]
    def __init__(self, ants: _Optional[_Iterable[_Union[Ant, _Mapping]]] = ...) -> None: ...

class Ant(_message.Message):
    __slots__ = ("id", "slots", "held", "connected", "tags", "labels", "resources", "used", "devices")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    class ResourcesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    class UsedEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    ID_FIELD_NUMBER: _ClassVar[int]
    SLOTS_FIELD_NUMBER: _ClassVar[int]
    HELD_FIELD_NUMBER: _ClassVar[int]
    CONNECTED_FIELD_NUMBER: _ClassVar[int]
    TAGS_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    RESOURCES_FIELD_NUMBER: _ClassVar[int]
    USED_FIELD_NUMBER: _ClassVar[int]
    DEVICES_FIELD_NUMBER: _ClassVar[int]
    id: str
    slots: int
    held: int
    connected: bool
    tags: _containers.RepeatedScalarFieldContainer[str]
    labels: _containers.ScalarMap[str, str]
    resources: _containers.ScalarMap[str, float]
    used: _containers.ScalarMap[str, float]
    devices: _containers.RepeatedCompositeFieldContainer[Device]
    def __init__(self, id: _Optional[str] = ..., slots: _Optional[int] = ..., held: _Optional[int] = ..., connected: _Optional[bool] = ..., tags: _Optional[_Iterable[str]] = ..., labels: _Optional[_Mapping[str, str]] = ..., resources: _Optional[_Mapping[str, float]] = ..., used: _Optional[_Mapping[str, float]] = ..., devices: _Optional[_Iterable[_Union[Device, _Mapping]]] = ...) -> None: ...

class AntMessage(_message.Message):
    __slots__ = ("hello", "beat", "results", "started", "logs", "progress", "returned", "window", "draining", "checkpoints", "uses")
    HELLO_FIELD_NUMBER: _ClassVar[int]
    BEAT_FIELD_NUMBER: _ClassVar[int]
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    STARTED_FIELD_NUMBER: _ClassVar[int]
    LOGS_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    RETURNED_FIELD_NUMBER: _ClassVar[int]
    WINDOW_FIELD_NUMBER: _ClassVar[int]
    DRAINING_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINTS_FIELD_NUMBER: _ClassVar[int]
    USES_FIELD_NUMBER: _ClassVar[int]
    hello: Hello
    beat: int
    results: _containers.RepeatedCompositeFieldContainer[TaskResult]
    started: _containers.RepeatedCompositeFieldContainer[TaskStarted]
    logs: _containers.RepeatedCompositeFieldContainer[LogChunk]
    progress: _containers.RepeatedCompositeFieldContainer[TaskProgress]
    returned: _containers.RepeatedScalarFieldContainer[int]
    window: int
    draining: bool
    checkpoints: _containers.RepeatedCompositeFieldContainer[TaskCheckpoint]
    uses: _containers.RepeatedCompositeFieldContainer[TaskUse]
    def __init__(self, hello: _Optional[_Union[Hello, _Mapping]] = ..., beat: _Optional[int] = ..., results: _Optional[_Iterable[_Union[TaskResult, _Mapping]]] = ..., started: _Optional[_Iterable[_Union[TaskStarted, _Mapping]]] = ..., logs: _Optional[_Iterable[_Union[LogChunk, _Mapping]]] = ..., progress: _Optional[_Iterable[_Union[TaskProgress, _Mapping]]] = ..., returned: _Optional[_Iterable[int]] = ..., window: _Optional[int] = ..., draining: _Optional[bool] = ..., checkpoints: _Optional[_Iterable[_Union[TaskCheckpoint, _Mapping]]] = ..., uses: _Optional[_Iterable[_Union[TaskUse, _Mapping]]] = ...) -> None: ...

class Hello(_message.Message):
    __slots__ = ("ant_id", "incarnation", "methods", "tags", "slots", "window", "held", "version", "pid", "stream", "resources", "labels", "devices", "held_devices")
    class ResourcesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    ANT_ID_FIELD_NUMBER: _ClassVar[int]
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    METHODS_FIELD_NUMBER: _ClassVar[int]
    TAGS_FIELD_NUMBER: _ClassVar[int]
    SLOTS_FIELD_NUMBER: _ClassVar[int]
    WINDOW_FIELD_NUMBER: _ClassVar[int]
    HELD_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    PID_FIELD_NUMBER: _ClassVar[int]
    STREAM_FIELD_NUMBER: _ClassVar[int]
    RESOURCES_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    DEVICES_FIELD_NUMBER: _ClassVar[int]
    HELD_DEVICES_FIELD_NUMBER: _ClassVar[int]
    ant_id: str
    incarnation: str
    methods: _containers.RepeatedScalarFieldContainer[str]
    tags: _containers.RepeatedScalarFieldContainer[str]
    slots: int
    window: int
    held: _containers.RepeatedScalarFieldContainer[int]
    version: str
    pid: int
    stream: int
    resources: _containers.ScalarMap[str, float]
    labels: _containers.ScalarMap[str, str]
    devices: _containers.RepeatedCompositeFieldContainer[Device]
    held_devices: _containers.RepeatedCompositeFieldContainer[HeldDevices]
    def __init__(self, ant_id: _Optional[str] = ..., incarnation: _Optional[str] = ..., methods: _Optional[_Iterable[str]] = ..., tags: _Optional[_Iterable[str]] = ..., slots: _Optional[int] = ..., window: _Optional[int] = ..., held: _Optional[_Iterable[int]] = ..., version: _Optional[str] = ..., pid: _Optional[int] = ..., stream: _Optional[int] = ..., resources: _Optional[_Mapping[str, float]] = ..., labels: _Optional[_Mapping[str, str]] = ..., devices: _Optional[_Iterable[_Union[Device, _Mapping]]] = ..., held_devices: _Optional[_Iterable[_Union[HeldDevices, _Mapping]]] = ...) -> None: ...

class Device(_message.Message):
    __slots__ = ("name", "attributes", "in_use")
    class AttributesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    ATTRIBUTES_FIELD_NUMBER: _ClassVar[int]
    IN_USE_FIELD_NUMBER: _ClassVar[int]
    name: str
    attributes: _containers.ScalarMap[str, str]
    in_use: bool
    def __init__(self, name: _Optional[str] = ..., attributes: _Optional[_Mapping[str, str]] = ..., in_use: _Optional[bool] = ...) -> None: ...

class HeldDevices(_message.Message):
    __slots__ = ("token", "names")
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    NAMES_FIELD_NUMBER: _ClassVar[int]
    token: int
    names: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, token: _Optional[int] = ..., names: _Optional[_Iterable[str]] = ...) -> None: ...

class TaskStarted(_message.Message):
    __slots__ = ("token", "started_at")
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    STARTED_AT_FIELD_NUMBER: _ClassVar[int]
    token: int
    started_at: float
    def __init__(self, token: _Optional[int] = ..., started_at: _Optional[float] = ...) -> None: ...

class TaskResult(_message.Message):
    __slots__ = ("token", "outcome", "has_exit_code", "exit_code", "signal", "outputs", "error_code", "error_message", "traceback", "started_at", "ended_at", "recent_output")
    class Outcome(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        OUTCOME_UNSPECIFIED: _ClassVar[TaskResult.Outcome]
        COMPLETED: _ClassVar[TaskResult.Outcome]
        FAILED: _ClassVar[TaskResult.Outcome]
        TIMED_OUT: _ClassVar[TaskResult.Outcome]
        CANCELLED: _ClassVar[TaskResult.Outcome]
        LOST: _ClassVar[TaskResult.Outcome]
    OUTCOME_UNSPECIFIED: TaskResult.Outcome
    COMPLETED: TaskResult.Outcome
    FAILED: TaskResult.Outcome
    TIMED_OUT: TaskResult.Outcome
    CANCELLED: TaskResult.Outcome
    LOST: TaskResult.Outcome
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    HAS_EXIT_CODE_FIELD_NUMBER: _ClassVar[int]
    EXIT_CODE_FIELD_NUMBER: _ClassVar[int]
    SIGNAL_FIELD_NUMBER: _ClassVar[int]
    OUTPUTS_FIELD_NUMBER: _ClassVar[int]
    ERROR_CODE_FIELD_NUMBER: _ClassVar[int]
    ERROR_MESSAGE_FIELD_NUMBER: _ClassVar[int]
    TRACEBACK_FIELD_NUMBER: _ClassVar[int]
    STARTED_AT_FIELD_NUMBER: _ClassVar[int]
    ENDED_AT_FIELD_NUMBER: _ClassVar[int]
    RECENT_OUTPUT_FIELD_NUMBER: _ClassVar[int]
    token: int
    outcome: TaskResult.Outcome
    has_exit_code: bool
    exit_code: int
    signal: int
    outputs: bytes
    error_code: str
    error_message: str
    traceback: str
    started_at: float
    ended_at: float
    recent_output: str
    def __init__(self, token: _Optional[int] = ..., outcome: _Optional[_Union[TaskResult.Outcome, str]] = ..., has_exit_code: _Optional[bool] = ..., exit_code: _Optional[int] = ..., signal: _Optional[int] = ..., outputs: _Optional[bytes] = ..., error_code: _Optional[str] = ..., error_message: _Optional[str] = ..., traceback: _Optional[str] = ..., started_at: _Optional[float] = ..., ended_at: _Optional[float] = ..., recent_output: _Optional[str] = ...) -> None: ...

class LogChunk(_message.Message):
    __slots__ = ("token", "job_id", "task_type", "attempt", "lines")
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    TASK_TYPE_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    LINES_FIELD_NUMBER: _ClassVar[int]
    token: int
    job_id: str
    task_type: str
    attempt: int
    lines: _containers.RepeatedCompositeFieldContainer[LogLine]
    def __init__(self, token: _Optional[int] = ..., job_id: _Optional[str] = ..., task_type: _Optional[str] = ..., attempt: _Optional[int] = ..., lines: _Optional[_Iterable[_Union[LogLine, _Mapping]]] = ...) -> None: ...

class LogLine(_message.Message):
    __slots__ = ("time", "stream", "text")
    TIME_FIELD_NUMBER: _ClassVar[int]
    STREAM_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    time: float
    stream: int
    text: str
    def __init__(self, time: _Optional[float] = ..., stream: _Optional[int] = ..., text: _Optional[str] = ...) -> None: ...

class TaskProgress(_message.Message):
    __slots__ = ("token", "fraction", "message")
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    FRACTION_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    token: int
    fraction: float
    message: str
    def __init__(self, token: _Optional[int] = ..., fraction: _Optional[float] = ..., message: _Optional[str] = ...) -> None: ...

class TaskCheckpoint(_message.Message):
    __slots__ = ("token", "value")
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    token: int
    value: bytes
    def __init__(self, token: _Optional[int] = ..., value: _Optional[bytes] = ...) -> None: ...

class TaskUse(_message.Message):
    __slots__ = ("token", "cpu", "memory_bytes")
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    CPU_FIELD_NUMBER: _ClassVar[int]
    MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    token: int
    cpu: float
    memory_bytes: float
    def __init__(self, token: _Optional[int] = ..., cpu: _Optional[float] = ..., memory_bytes: _Optional[float] = ...) -> None: ...

class QueenMessage(_message.Message):
    __slots__ = ("welcome", "beat", "specs", "assignments", "acknowledged", "cancelled", "at_once", "grace_s", "observe")
    class GraceSEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: int
        value: float
        def __init__(self, key: _Optional[int] = ..., value: _Optional[float] = ...) -> None: ...
    WELCOME_FIELD_NUMBER: _ClassVar[int]
    BEAT_FIELD_NUMBER: _ClassVar[int]
    SPECS_FIELD_NUMBER: _ClassVar[int]
    ASSIGNMENTS_FIELD_NUMBER: _ClassVar[int]
    ACKNOWLEDGED_FIELD_NUMBER: _ClassVar[int]
    CANCELLED_FIELD_NUMBER: _ClassVar[int]
    AT_ONCE_FIELD_NUMBER: _ClassVar[int]
    GRACE_S_FIELD_NUMBER: _ClassVar[int]
    OBSERVE_FIELD_NUMBER: _ClassVar[int]
    welcome: Welcome
    beat: int
    specs: _containers.RepeatedCompositeFieldContainer[TaskSpec]
    assignments: _containers.RepeatedCompositeFieldContainer[Assignment]
    acknowledged: _containers.RepeatedScalarFieldContainer[int]
    cancelled: _containers.RepeatedScalarFieldContainer[int]
    at_once: _containers.RepeatedScalarFieldContainer[int]
    grace_s: _containers.ScalarMap[int, float]
    observe: bool
    def __init__(self, welcome: _Optional[_Union[Welcome, _Mapping]] = ..., beat: _Optional[int] = ..., specs: _Optional[_Iterable[_Union[TaskSpec, _Mapping]]] = ..., assignments: _Optional[_Iterable[_Union[Assignment, _Mapping]]] = ..., acknowledged: _Optional[_Iterable[int]] = ..., cancelled: _Optional[_Iterable[int]] = ..., at_once: _Optional[_Iterable[int]] = ..., grace_s: _Optional[_Mapping[int, float]] = ..., observe: _Optional[bool] = ...) -> None: ...

class Welcome(_message.Message):
    __slots__ = ("epoch", "lease_s", "reconnect_grace_s", "beat_interval_s", "keep", "kill")
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    LEASE_S_FIELD_NUMBER: _ClassVar[int]
    RECONNECT_GRACE_S_FIELD_NUMBER: _ClassVar[int]
    BEAT_INTERVAL_S_FIELD_NUMBER: _ClassVar[int]
    KEEP_FIELD_NUMBER: _ClassVar[int]
    KILL_FIELD_NUMBER: _ClassVar[int]
    epoch: int
    lease_s: float
    reconnect_grace_s: float
    beat_interval_s: float
    keep: _containers.RepeatedScalarFieldContainer[int]
    kill: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, epoch: _Optional[int] = ..., lease_s: _Optional[float] = ..., reconnect_grace_s: _Optional[float] = ..., beat_interval_s: _Optional[float] = ..., keep: _Optional[_Iterable[int]] = ..., kill: _Optional[_Iterable[int]] = ...) -> None: ...

class TaskSpec(_message.Message):
    __slots__ = ("id", "task", "job_type", "path", "inputs")
    ID_FIELD_NUMBER: _ClassVar[int]
    TASK_FIELD_NUMBER: _ClassVar[int]
    JOB_TYPE_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    id: int
    task: bytes
    job_type: str
    path: str
    inputs: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, id: _Optional[int] = ..., task: _Optional[bytes] = ..., job_type: _Optional[str] = ..., path: _Optional[str] = ..., inputs: _Optional[_Iterable[str]] = ...) -> None: ...

class Assignment(_message.Message):
    __slots__ = ("token", "spec", "task", "job_id", "attempt", "variables", "timeout_s", "execution", "traceparent", "secrets", "checkpoint", "devices")
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    SPEC_FIELD_NUMBER: _ClassVar[int]
    TASK_FIELD_NUMBER: _ClassVar[int]
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    VARIABLES_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_S_FIELD_NUMBER: _ClassVar[int]
    EXECUTION_FIELD_NUMBER: _ClassVar[int]
    TRACEPARENT_FIELD_NUMBER: _ClassVar[int]
    SECRETS_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_FIELD_NUMBER: _ClassVar[int]
    DEVICES_FIELD_NUMBER: _ClassVar[int]
    token: int
    spec: int
    task: bytes
    job_id: str
    attempt: int
    variables: bytes
    timeout_s: float
    execution: int
    traceparent: str
    secrets: _containers.RepeatedScalarFieldContainer[str]
    checkpoint: bytes
    devices: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, token: _Optional[int] = ..., spec: _Optional[int] = ..., task: _Optional[bytes] = ..., job_id: _Optional[str] = ..., attempt: _Optional[int] = ..., variables: _Optional[bytes] = ..., timeout_s: _Optional[float] = ..., execution: _Optional[int] = ..., traceparent: _Optional[str] = ..., secrets: _Optional[_Iterable[str]] = ..., checkpoint: _Optional[bytes] = ..., devices: _Optional[_Iterable[str]] = ...) -> None: ...
