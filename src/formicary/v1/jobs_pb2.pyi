import datetime

from formicary.v1 import approvals_pb2 as _approvals_pb2
from google.api import annotations_pb2 as _annotations_pb2
from google.api import field_behavior_pb2 as _field_behavior_pb2
from google.protobuf import struct_pb2 as _struct_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.rpc import status_pb2 as _status_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class SubmitJobRequest(_message.Message):
    __slots__ = ("job_type", "definition_id", "params", "idempotency_key", "scheduled_at", "priority", "id", "job_priority")
    JOB_TYPE_FIELD_NUMBER: _ClassVar[int]
    DEFINITION_ID_FIELD_NUMBER: _ClassVar[int]
    PARAMS_FIELD_NUMBER: _ClassVar[int]
    IDEMPOTENCY_KEY_FIELD_NUMBER: _ClassVar[int]
    SCHEDULED_AT_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    JOB_PRIORITY_FIELD_NUMBER: _ClassVar[int]
    job_type: str
    definition_id: str
    params: _struct_pb2.Struct
    idempotency_key: str
    scheduled_at: _timestamp_pb2.Timestamp
    priority: int
    id: str
    job_priority: int
    def __init__(self, job_type: _Optional[str] = ..., definition_id: _Optional[str] = ..., params: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., idempotency_key: _Optional[str] = ..., scheduled_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., priority: _Optional[int] = ..., id: _Optional[str] = ..., job_priority: _Optional[int] = ...) -> None: ...

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
    __slots__ = ("definition_id", "job_type", "jobs", "resend", "allow_partial")
    DEFINITION_ID_FIELD_NUMBER: _ClassVar[int]
    JOB_TYPE_FIELD_NUMBER: _ClassVar[int]
    JOBS_FIELD_NUMBER: _ClassVar[int]
    RESEND_FIELD_NUMBER: _ClassVar[int]
    ALLOW_PARTIAL_FIELD_NUMBER: _ClassVar[int]
    definition_id: str
    job_type: str
    jobs: _containers.RepeatedCompositeFieldContainer[JobSubmission]
    resend: bool
    allow_partial: bool
    def __init__(self, definition_id: _Optional[str] = ..., job_type: _Optional[str] = ..., jobs: _Optional[_Iterable[_Union[JobSubmission, _Mapping]]] = ..., resend: _Optional[bool] = ..., allow_partial: _Optional[bool] = ...) -> None: ...

class SubmitJobsResponse(_message.Message):
    __slots__ = ("ids", "results")
    IDS_FIELD_NUMBER: _ClassVar[int]
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    ids: _containers.RepeatedScalarFieldContainer[str]
    results: _containers.RepeatedCompositeFieldContainer[SubmissionResult]
    def __init__(self, ids: _Optional[_Iterable[str]] = ..., results: _Optional[_Iterable[_Union[SubmissionResult, _Mapping]]] = ...) -> None: ...

class SubmissionResult(_message.Message):
    __slots__ = ("id", "status")
    ID_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    id: str
    status: _status_pb2.Status
    def __init__(self, id: _Optional[str] = ..., status: _Optional[_Union[_status_pb2.Status, _Mapping]] = ...) -> None: ...

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
    __slots__ = ("id", "exact")
    ID_FIELD_NUMBER: _ClassVar[int]
    EXACT_FIELD_NUMBER: _ClassVar[int]
    id: str
    exact: bool
    def __init__(self, id: _Optional[str] = ..., exact: _Optional[bool] = ...) -> None: ...

class FollowJobRequest(_message.Message):
    __slots__ = ("id", "exact")
    ID_FIELD_NUMBER: _ClassVar[int]
    EXACT_FIELD_NUMBER: _ClassVar[int]
    id: str
    exact: bool
    def __init__(self, id: _Optional[str] = ..., exact: _Optional[bool] = ...) -> None: ...

class ListElementsRequest(_message.Message):
    __slots__ = ("id", "task_type", "states", "page_size", "page_token", "exact")
    ID_FIELD_NUMBER: _ClassVar[int]
    TASK_TYPE_FIELD_NUMBER: _ClassVar[int]
    STATES_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    EXACT_FIELD_NUMBER: _ClassVar[int]
    id: str
    task_type: str
    states: _containers.RepeatedScalarFieldContainer[str]
    page_size: int
    page_token: str
    exact: bool
    def __init__(self, id: _Optional[str] = ..., task_type: _Optional[str] = ..., states: _Optional[_Iterable[str]] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., exact: _Optional[bool] = ...) -> None: ...

class ListElementsResponse(_message.Message):
    __slots__ = ("elements", "next_page_token")
    ELEMENTS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    elements: _containers.RepeatedCompositeFieldContainer[Task]
    next_page_token: str
    def __init__(self, elements: _Optional[_Iterable[_Union[Task, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class ListJobsRequest(_message.Message):
    __slots__ = ("states", "job_type", "page_size", "page_token")
    STATES_FIELD_NUMBER: _ClassVar[int]
    JOB_TYPE_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    states: _containers.RepeatedScalarFieldContainer[str]
    job_type: str
    page_size: int
    page_token: str
    def __init__(self, states: _Optional[_Iterable[str]] = ..., job_type: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListJobsResponse(_message.Message):
    __slots__ = ("jobs", "next_page_token")
    JOBS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    jobs: _containers.RepeatedCompositeFieldContainer[Job]
    next_page_token: str
    def __init__(self, jobs: _Optional[_Iterable[_Union[Job, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class CancelJobRequest(_message.Message):
    __slots__ = ("id", "reason")
    ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    id: str
    reason: str
    def __init__(self, id: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class RetryJobRequest(_message.Message):
    __slots__ = ("id", "hard", "version", "idempotency_key")
    ID_FIELD_NUMBER: _ClassVar[int]
    HARD_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    IDEMPOTENCY_KEY_FIELD_NUMBER: _ClassVar[int]
    id: str
    hard: bool
    version: str
    idempotency_key: str
    def __init__(self, id: _Optional[str] = ..., hard: _Optional[bool] = ..., version: _Optional[str] = ..., idempotency_key: _Optional[str] = ...) -> None: ...

class PauseJobRequest(_message.Message):
    __slots__ = ("id",)
    ID_FIELD_NUMBER: _ClassVar[int]
    id: str
    def __init__(self, id: _Optional[str] = ...) -> None: ...

class ResumeJobRequest(_message.Message):
    __slots__ = ("id",)
    ID_FIELD_NUMBER: _ClassVar[int]
    id: str
    def __init__(self, id: _Optional[str] = ...) -> None: ...

class PurgeJobsRequest(_message.Message):
    __slots__ = ("dry_run",)
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    dry_run: bool
    def __init__(self, dry_run: _Optional[bool] = ...) -> None: ...

class PurgeJobsResponse(_message.Message):
    __slots__ = ("jobs", "groups")
    JOBS_FIELD_NUMBER: _ClassVar[int]
    GROUPS_FIELD_NUMBER: _ClassVar[int]
    jobs: int
    groups: _containers.RepeatedCompositeFieldContainer[PurgedJobs]
    def __init__(self, jobs: _Optional[int] = ..., groups: _Optional[_Iterable[_Union[PurgedJobs, _Mapping]]] = ...) -> None: ...

class PurgedJobs(_message.Message):
    __slots__ = ("organization", "job_type", "state", "jobs", "oldest_ended_at")
    ORGANIZATION_FIELD_NUMBER: _ClassVar[int]
    JOB_TYPE_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    JOBS_FIELD_NUMBER: _ClassVar[int]
    OLDEST_ENDED_AT_FIELD_NUMBER: _ClassVar[int]
    organization: str
    job_type: str
    state: str
    jobs: int
    oldest_ended_at: _timestamp_pb2.Timestamp
    def __init__(self, organization: _Optional[str] = ..., job_type: _Optional[str] = ..., state: _Optional[str] = ..., jobs: _Optional[int] = ..., oldest_ended_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class ExplainJobRequest(_message.Message):
    __slots__ = ("id",)
    ID_FIELD_NUMBER: _ClassVar[int]
    id: str
    def __init__(self, id: _Optional[str] = ...) -> None: ...

class EstimateJobRequest(_message.Message):
    __slots__ = ("id", "job_type", "definition_id", "source", "priority", "scheduled_at", "deadline", "dry_run")
    ID_FIELD_NUMBER: _ClassVar[int]
    JOB_TYPE_FIELD_NUMBER: _ClassVar[int]
    DEFINITION_ID_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    SCHEDULED_AT_FIELD_NUMBER: _ClassVar[int]
    DEADLINE_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    id: str
    job_type: str
    definition_id: str
    source: str
    priority: int
    scheduled_at: _timestamp_pb2.Timestamp
    deadline: _timestamp_pb2.Timestamp
    dry_run: bool
    def __init__(self, id: _Optional[str] = ..., job_type: _Optional[str] = ..., definition_id: _Optional[str] = ..., source: _Optional[str] = ..., priority: _Optional[int] = ..., scheduled_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., deadline: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., dry_run: _Optional[bool] = ...) -> None: ...

class Estimate(_message.Message):
    __slots__ = ("job_type", "reason", "starts_at", "earliest_at", "latest_at", "wait_s", "article_wait_s", "run_s", "ahead", "slots", "limited", "limited_by", "in_time", "dry_run", "pools")
    JOB_TYPE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    STARTS_AT_FIELD_NUMBER: _ClassVar[int]
    EARLIEST_AT_FIELD_NUMBER: _ClassVar[int]
    LATEST_AT_FIELD_NUMBER: _ClassVar[int]
    WAIT_S_FIELD_NUMBER: _ClassVar[int]
    ARTICLE_WAIT_S_FIELD_NUMBER: _ClassVar[int]
    RUN_S_FIELD_NUMBER: _ClassVar[int]
    AHEAD_FIELD_NUMBER: _ClassVar[int]
    SLOTS_FIELD_NUMBER: _ClassVar[int]
    LIMITED_FIELD_NUMBER: _ClassVar[int]
    LIMITED_BY_FIELD_NUMBER: _ClassVar[int]
    IN_TIME_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    POOLS_FIELD_NUMBER: _ClassVar[int]
    job_type: str
    reason: str
    starts_at: _timestamp_pb2.Timestamp
    earliest_at: _timestamp_pb2.Timestamp
    latest_at: _timestamp_pb2.Timestamp
    wait_s: float
    article_wait_s: float
    run_s: float
    ahead: int
    slots: int
    limited: bool
    limited_by: str
    in_time: float
    dry_run: DryRun
    pools: _containers.RepeatedCompositeFieldContainer[Pool]
    def __init__(self, job_type: _Optional[str] = ..., reason: _Optional[str] = ..., starts_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., earliest_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., latest_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., wait_s: _Optional[float] = ..., article_wait_s: _Optional[float] = ..., run_s: _Optional[float] = ..., ahead: _Optional[int] = ..., slots: _Optional[int] = ..., limited: _Optional[bool] = ..., limited_by: _Optional[str] = ..., in_time: _Optional[float] = ..., dry_run: _Optional[_Union[DryRun, _Mapping]] = ..., pools: _Optional[_Iterable[_Union[Pool, _Mapping]]] = ...) -> None: ...

class Pool(_message.Message):
    __slots__ = ("tags", "ants", "slots", "busy", "ahead", "serves", "starts_at", "wait_s")
    TAGS_FIELD_NUMBER: _ClassVar[int]
    ANTS_FIELD_NUMBER: _ClassVar[int]
    SLOTS_FIELD_NUMBER: _ClassVar[int]
    BUSY_FIELD_NUMBER: _ClassVar[int]
    AHEAD_FIELD_NUMBER: _ClassVar[int]
    SERVES_FIELD_NUMBER: _ClassVar[int]
    STARTS_AT_FIELD_NUMBER: _ClassVar[int]
    WAIT_S_FIELD_NUMBER: _ClassVar[int]
    tags: _containers.RepeatedScalarFieldContainer[str]
    ants: int
    slots: int
    busy: int
    ahead: int
    serves: bool
    starts_at: _timestamp_pb2.Timestamp
    wait_s: float
    def __init__(self, tags: _Optional[_Iterable[str]] = ..., ants: _Optional[int] = ..., slots: _Optional[int] = ..., busy: _Optional[int] = ..., ahead: _Optional[int] = ..., serves: _Optional[bool] = ..., starts_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., wait_s: _Optional[float] = ...) -> None: ...

class DryRun(_message.Message):
    __slots__ = ("fits", "places", "lacks", "never")
    class PlacesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    FITS_FIELD_NUMBER: _ClassVar[int]
    PLACES_FIELD_NUMBER: _ClassVar[int]
    LACKS_FIELD_NUMBER: _ClassVar[int]
    NEVER_FIELD_NUMBER: _ClassVar[int]
    fits: bool
    places: _containers.ScalarMap[str, str]
    lacks: _containers.RepeatedScalarFieldContainer[str]
    never: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, fits: _Optional[bool] = ..., places: _Optional[_Mapping[str, str]] = ..., lacks: _Optional[_Iterable[str]] = ..., never: _Optional[_Iterable[str]] = ...) -> None: ...

class Explanation(_message.Message):
    __slots__ = ("id", "state", "summary", "reasons", "estimate")
    ID_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    SUMMARY_FIELD_NUMBER: _ClassVar[int]
    REASONS_FIELD_NUMBER: _ClassVar[int]
    ESTIMATE_FIELD_NUMBER: _ClassVar[int]
    id: str
    state: str
    summary: str
    reasons: _containers.RepeatedCompositeFieldContainer[ExplanationReason]
    estimate: Estimate
    def __init__(self, id: _Optional[str] = ..., state: _Optional[str] = ..., summary: _Optional[str] = ..., reasons: _Optional[_Iterable[_Union[ExplanationReason, _Mapping]]] = ..., estimate: _Optional[_Union[Estimate, _Mapping]] = ...) -> None: ...

class ExplanationReason(_message.Message):
    __slots__ = ("task_type", "gate", "passed", "message", "figures")
    class FiguresEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    TASK_TYPE_FIELD_NUMBER: _ClassVar[int]
    GATE_FIELD_NUMBER: _ClassVar[int]
    PASSED_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    FIGURES_FIELD_NUMBER: _ClassVar[int]
    task_type: str
    gate: str
    passed: bool
    message: str
    figures: _containers.ScalarMap[str, float]
    def __init__(self, task_type: _Optional[str] = ..., gate: _Optional[str] = ..., passed: _Optional[bool] = ..., message: _Optional[str] = ..., figures: _Optional[_Mapping[str, float]] = ...) -> None: ...

class Job(_message.Message):
    __slots__ = ("id", "job_type", "state", "priority", "submitted_at", "scheduled_at", "started_at", "ended_at", "execution", "retries", "dead_letter", "error", "outputs", "tasks", "exact_outputs", "definition_id", "definition_version", "estimate")
    ID_FIELD_NUMBER: _ClassVar[int]
    JOB_TYPE_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    SUBMITTED_AT_FIELD_NUMBER: _ClassVar[int]
    SCHEDULED_AT_FIELD_NUMBER: _ClassVar[int]
    STARTED_AT_FIELD_NUMBER: _ClassVar[int]
    ENDED_AT_FIELD_NUMBER: _ClassVar[int]
    EXECUTION_FIELD_NUMBER: _ClassVar[int]
    RETRIES_FIELD_NUMBER: _ClassVar[int]
    DEAD_LETTER_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    OUTPUTS_FIELD_NUMBER: _ClassVar[int]
    TASKS_FIELD_NUMBER: _ClassVar[int]
    EXACT_OUTPUTS_FIELD_NUMBER: _ClassVar[int]
    DEFINITION_ID_FIELD_NUMBER: _ClassVar[int]
    DEFINITION_VERSION_FIELD_NUMBER: _ClassVar[int]
    ESTIMATE_FIELD_NUMBER: _ClassVar[int]
    id: str
    job_type: str
    state: str
    priority: int
    submitted_at: _timestamp_pb2.Timestamp
    scheduled_at: _timestamp_pb2.Timestamp
    started_at: _timestamp_pb2.Timestamp
    ended_at: _timestamp_pb2.Timestamp
    execution: int
    retries: int
    dead_letter: bool
    error: _struct_pb2.Struct
    outputs: _struct_pb2.Struct
    tasks: _containers.RepeatedCompositeFieldContainer[Task]
    exact_outputs: str
    definition_id: str
    definition_version: int
    estimate: Estimate
    def __init__(self, id: _Optional[str] = ..., job_type: _Optional[str] = ..., state: _Optional[str] = ..., priority: _Optional[int] = ..., submitted_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., scheduled_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., started_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., ended_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., execution: _Optional[int] = ..., retries: _Optional[int] = ..., dead_letter: _Optional[bool] = ..., error: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., outputs: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., tasks: _Optional[_Iterable[_Union[Task, _Mapping]]] = ..., exact_outputs: _Optional[str] = ..., definition_id: _Optional[str] = ..., definition_version: _Optional[int] = ..., estimate: _Optional[_Union[Estimate, _Mapping]] = ...) -> None: ...

class Task(_message.Message):
    __slots__ = ("task_type", "state", "exit_code", "attempts", "ant", "started_at", "ended_at", "outputs", "exact_outputs", "signal", "skipped", "error", "failures", "lost", "polls", "progress", "approval", "children", "checkpoint")
    TASK_TYPE_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    EXIT_CODE_FIELD_NUMBER: _ClassVar[int]
    ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    ANT_FIELD_NUMBER: _ClassVar[int]
    STARTED_AT_FIELD_NUMBER: _ClassVar[int]
    ENDED_AT_FIELD_NUMBER: _ClassVar[int]
    OUTPUTS_FIELD_NUMBER: _ClassVar[int]
    EXACT_OUTPUTS_FIELD_NUMBER: _ClassVar[int]
    SIGNAL_FIELD_NUMBER: _ClassVar[int]
    SKIPPED_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    FAILURES_FIELD_NUMBER: _ClassVar[int]
    LOST_FIELD_NUMBER: _ClassVar[int]
    POLLS_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    APPROVAL_FIELD_NUMBER: _ClassVar[int]
    CHILDREN_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_FIELD_NUMBER: _ClassVar[int]
    task_type: str
    state: str
    exit_code: int
    attempts: int
    ant: str
    started_at: _timestamp_pb2.Timestamp
    ended_at: _timestamp_pb2.Timestamp
    outputs: _struct_pb2.Struct
    exact_outputs: str
    signal: int
    skipped: bool
    error: TaskError
    failures: int
    lost: int
    polls: int
    progress: Progress
    approval: _approvals_pb2.Approval
    children: Children
    checkpoint: Checkpoint
    def __init__(self, task_type: _Optional[str] = ..., state: _Optional[str] = ..., exit_code: _Optional[int] = ..., attempts: _Optional[int] = ..., ant: _Optional[str] = ..., started_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., ended_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., outputs: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., exact_outputs: _Optional[str] = ..., signal: _Optional[int] = ..., skipped: _Optional[bool] = ..., error: _Optional[_Union[TaskError, _Mapping]] = ..., failures: _Optional[int] = ..., lost: _Optional[int] = ..., polls: _Optional[int] = ..., progress: _Optional[_Union[Progress, _Mapping]] = ..., approval: _Optional[_Union[_approvals_pb2.Approval, _Mapping]] = ..., children: _Optional[_Union[Children, _Mapping]] = ..., checkpoint: _Optional[_Union[Checkpoint, _Mapping]] = ...) -> None: ...

class Children(_message.Message):
    __slots__ = ("kind", "total", "waiting", "open", "running", "completed", "failed", "cancelled", "skipped", "shown")
    KIND_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    WAITING_FIELD_NUMBER: _ClassVar[int]
    OPEN_FIELD_NUMBER: _ClassVar[int]
    RUNNING_FIELD_NUMBER: _ClassVar[int]
    COMPLETED_FIELD_NUMBER: _ClassVar[int]
    FAILED_FIELD_NUMBER: _ClassVar[int]
    CANCELLED_FIELD_NUMBER: _ClassVar[int]
    SKIPPED_FIELD_NUMBER: _ClassVar[int]
    SHOWN_FIELD_NUMBER: _ClassVar[int]
    kind: str
    total: int
    waiting: int
    open: int
    running: int
    completed: int
    failed: int
    cancelled: int
    skipped: int
    shown: _containers.RepeatedCompositeFieldContainer[Child]
    def __init__(self, kind: _Optional[str] = ..., total: _Optional[int] = ..., waiting: _Optional[int] = ..., open: _Optional[int] = ..., running: _Optional[int] = ..., completed: _Optional[int] = ..., failed: _Optional[int] = ..., cancelled: _Optional[int] = ..., skipped: _Optional[int] = ..., shown: _Optional[_Iterable[_Union[Child, _Mapping]]] = ...) -> None: ...

class Child(_message.Message):
    __slots__ = ("index", "name", "job_id", "state", "attempts", "exit_code", "error")
    INDEX_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    EXIT_CODE_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    index: int
    name: str
    job_id: str
    state: str
    attempts: int
    exit_code: int
    error: TaskError
    def __init__(self, index: _Optional[int] = ..., name: _Optional[str] = ..., job_id: _Optional[str] = ..., state: _Optional[str] = ..., attempts: _Optional[int] = ..., exit_code: _Optional[int] = ..., error: _Optional[_Union[TaskError, _Mapping]] = ...) -> None: ...

class TaskError(_message.Message):
    __slots__ = ("code", "message", "traceback")
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    TRACEBACK_FIELD_NUMBER: _ClassVar[int]
    code: str
    message: str
    traceback: str
    def __init__(self, code: _Optional[str] = ..., message: _Optional[str] = ..., traceback: _Optional[str] = ...) -> None: ...

class Checkpoint(_message.Message):
    __slots__ = ("attempt", "written_at", "size_bytes", "value")
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    WRITTEN_AT_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    attempt: int
    written_at: _timestamp_pb2.Timestamp
    size_bytes: int
    value: str
    def __init__(self, attempt: _Optional[int] = ..., written_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., size_bytes: _Optional[int] = ..., value: _Optional[str] = ...) -> None: ...

class Progress(_message.Message):
    __slots__ = ("fraction", "message")
    FRACTION_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    fraction: float
    message: str
    def __init__(self, fraction: _Optional[float] = ..., message: _Optional[str] = ...) -> None: ...

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
