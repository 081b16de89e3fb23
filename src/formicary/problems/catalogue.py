"""The table of problem codes: what each means in HTTP and gRPC, whether to retry, and whose fault it is.

Adding a code is adding a row. A code never changes its meaning; rows are never removed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from formicary.problems.problem import NO_RETRY, Detail, FieldError, Problem, RetryPolicy, slug, type_uri

GRPC_CODES = (
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
)
"""The names of gRPC's 17 status codes; the place of each is its number."""

_ONE_WAIT = RetryPolicy(after_s=1.0, max_retries=5, backoff_type="exponential", backoff_ms=1000)
_SHORT = RetryPolicy(max_retries=5, backoff_type="exponential", backoff_ms=100)


@dataclass(frozen=True, slots=True)
class CodeEntry:
    """One row of the catalogue; the fields are those of :class:`formicary.problems.Problem`.

    Attributes:
        category: Coarse kind for a client's switch: ``validation``, ``authentication``, ``authorization``,
            ``resource``, ``conflict``, ``limit``, ``transient``, ``unsupported``, ``internal`` or ``task``.
        show: Whether a client may see the detail of a problem of this code; otherwise it sees the title.
        retry: How a client tries again where the problem does not say.
    """

    code: str
    title: str
    status: int
    grpc_code: str
    retryable: bool = False
    blame: str = "caller"
    remedy: str = ""
    category: str = "validation"
    show: bool = True
    retry: RetryPolicy = NO_RETRY

    @property
    def slug(self) -> str:
        """The last part of the type URI."""
        return slug(self.code)

    @property
    def type_uri(self) -> str:
        """The type URI, relative to the server."""
        return type_uri(self.code)


def _caller(code: str, title: str, status: int, grpc_code: str, category: str, remedy: str) -> CodeEntry:
    return CodeEntry(code, title, status, grpc_code, remedy=remedy, category=category)


def _task(code: str, title: str, status: int, grpc_code: str, remedy: str) -> CodeEntry:
    return CodeEntry(code, title, status, grpc_code, blame="task", remedy=remedy, category="task")


_CORRECT = "Correct what `errors` lists and send the request again."
_CORRECT_DETAIL = "Correct what `detail` says and send the request again."
"""The same where nothing is listed field by field."""
_REQUESTS = (
    _caller("VALIDATION_FAILED", "The input is not valid", 400, "INVALID_ARGUMENT", "validation", _CORRECT),
    _caller(
        "REQUIRED_FIELD",
        "A field that must be there is missing",
        400,
        "INVALID_ARGUMENT",
        "validation",
        "Add the field and send the request again.",
    ),
    _caller(
        "INVALID_FORMAT",
        "A value has the wrong form",
        400,
        "INVALID_ARGUMENT",
        "validation",
        "Write the value as the documentation of the field says.",
    ),
    _caller(
        "OUT_OF_RANGE",
        "A value is outside its range",
        400,
        "OUT_OF_RANGE",
        "validation",
        "Use a value inside the range.",
    ),
    _caller(
        "MALFORMED_JSON",
        "The body is not JSON",
        400,
        "INVALID_ARGUMENT",
        "validation",
        "Send one JSON document in UTF-8.",
    ),
    _caller(
        "HEADER_REQUIRED",
        "A header that must be there is missing",
        400,
        "INVALID_ARGUMENT",
        "validation",
        "Send the header that `detail` names.",
    ),
    _caller(
        "HEADER_INVALID",
        "A header has a wrong value",
        400,
        "INVALID_ARGUMENT",
        "validation",
        "Correct the header that `detail` names.",
    ),
    _caller(
        "NOT_FOUND",
        "There is no such thing",
        404,
        "NOT_FOUND",
        "resource",
        "Check the name; it may have been deleted, or you may not see it.",
    ),
    _caller(
        "ROUTE_NOT_FOUND",
        "There is no such route",
        404,
        "UNIMPLEMENTED",
        "resource",
        "Check method and path against the API's description at /openapi.json.",
    ),
    _caller(
        "METHOD_NOT_ALLOWED",
        "The path does not answer this method",
        405,
        "UNIMPLEMENTED",
        "unsupported",
        "Use one of the methods in the header Allow.",
    ),
    _caller(
        "NOT_ACCEPTABLE",
        "The answer has no such form",
        406,
        "INVALID_ARGUMENT",
        "unsupported",
        "Ask for a form that is offered, or leave the header Accept out.",
    ),
    _caller(
        "UNSUPPORTED_MEDIA_TYPE",
        "The body has a form that is not read here",
        415,
        "INVALID_ARGUMENT",
        "unsupported",
        "Send application/json, and name it in Content-Type.",
    ),
    _caller(
        "ALREADY_EXISTS",
        "It exists already",
        409,
        "ALREADY_EXISTS",
        "conflict",
        "Use the existing one, or choose another name.",
    ),
    _caller("RANGE_NOT_SATISFIABLE", "No such part", 416, "OUT_OF_RANGE", "validation", "Ask for what is there."),
    _caller("CONFLICT", "It changed meanwhile", 409, "ABORTED", "conflict", "Read it again and repeat the change."),
    _caller(
        "PRECONDITION_FAILED",
        "It is no longer as If-Match or its like says",
        412,
        "FAILED_PRECONDITION",
        "conflict",
        "Read it again, take its new ETag and repeat the change.",
    ),
    _caller(
        "PRECONDITION_REQUIRED",
        "The change must say which version it is for",
        428,
        "FAILED_PRECONDITION",
        "conflict",
        "Send the ETag that you read in If-Match.",
    ),
    _caller(
        "APPROVAL_NOT_OPEN",
        "Nobody is asked, or it is decided",
        409,
        "FAILED_PRECONDITION",
        "conflict",
        "Look at the job: `formicary get ID` shows what waits for votes and what was decided.",
    ),
    _caller(
        "VOTE_NOT_ALLOWED",
        "The policy does not let you vote",
        403,
        "PERMISSION_DENIED",
        "authorization",
        "Ask one of those whom the task's `approval_policy` names.",
    ),
    _caller(
        "ALREADY_VOTED",
        "You have voted already",
        409,
        "ALREADY_EXISTS",
        "conflict",
        "A vote stands; the others have to vote.",
    ),
    _caller(
        "IDEMPOTENCY_KEY_REUSED",
        "The idempotency key was used for another request",
        422,
        "INVALID_ARGUMENT",
        "conflict",
        "Use a new key for a new request.",
    ),
    _caller(
        "IDEMPOTENCY_KEY_MISSING",
        "The operation needs an idempotency key",
        400,
        "INVALID_ARGUMENT",
        "validation",
        "Send a key of your own, and the same one when you repeat the request.",
    ),
    _caller(
        "IDEMPOTENCY_KEY_INVALID",
        "The idempotency key is not valid",
        400,
        "INVALID_ARGUMENT",
        "validation",
        "Send one key of 1 to 255 visible ASCII characters, for example a UUID.",
    ),
    CodeEntry(
        "IDEMPOTENT_REQUEST_IN_PROGRESS",
        "A request with this key is being executed",
        409,
        "ABORTED",
        True,
        remedy="Wait as long as Retry-After says and send the same request with the same key.",
        category="conflict",
        retry=_ONE_WAIT,
    ),
    _caller(
        "RESPONSE_NOT_KEPT",
        "It was executed, and its answer was too large to keep",
        409,
        "FAILED_PRECONDITION",
        "conflict",
        "Do not repeat it with a new key: read what it made.",
    ),
    _caller(
        "LEASE_LOST",
        "Another execution has taken over",
        409,
        "ABORTED",
        "conflict",
        "Ask again with the same key: the answer of the other execution counts.",
    ),
    _caller(
        "FAILED_PRECONDITION",
        "Not possible in the present state",
        412,
        "FAILED_PRECONDITION",
        "conflict",
        "Bring it into the state that `detail` asks for, then try again.",
    ),
    _caller(
        "PAYLOAD_TOO_LARGE",
        "The input is too large",
        413,
        "INVALID_ARGUMENT",
        "limit",
        "Send less at once, or store the data elsewhere and send a reference.",
    ),
    _caller("URI_TOO_LONG", "The address is too long", 414, "INVALID_ARGUMENT", "limit", "Send a shorter query."),
    _caller(
        "HEADERS_TOO_LARGE",
        "The headers are too large",
        431,
        "INVALID_ARGUMENT",
        "limit",
        "Send fewer or shorter headers.",
    ),
    CodeEntry(
        "RESOURCE_EXHAUSTED",
        "Too much at once",
        429,
        "RESOURCE_EXHAUSTED",
        True,
        remedy="Wait and try again.",
        category="limit",
        retry=_ONE_WAIT,
    ),
    CodeEntry(
        "RATE_LIMIT_EXCEEDED",
        "Too many requests in too short a time",
        429,
        "RESOURCE_EXHAUSTED",
        True,
        remedy="Wait as long as Retry-After says, then try again more slowly.",
        category="limit",
        retry=_ONE_WAIT,
    ),
    CodeEntry(
        "UNAUTHENTICATED",
        "It is not known who is calling",
        401,
        "UNAUTHENTICATED",
        remedy="Send valid credentials; get new ones if these are old.",
        category="authentication",
        show=False,
    ),
    _caller(
        "WEBHOOK_UNAUTHENTICATED",
        "Nothing vouches for the webhook",
        401,
        "UNAUTHENTICATED",
        "authentication",
        "Sign the bytes of the body as they are sent, with the secret of the trigger, and send the signature in the"
        " header that its `auth` names; `formicary triggers list` says which triggers lack their secret.",
    ),
    _caller(
        "WEBHOOK_EXPIRED",
        "The signed time of the webhook is too far from the server's",
        401,
        "UNAUTHENTICATED",
        "authentication",
        "Sign the event again with the present time; put the clock right where it is wrong.",
    ),
    _caller(
        "TRIGGER_PAUSED",
        "The trigger starts nothing at present",
        409,
        "FAILED_PRECONDITION",
        "conflict",
        "Send the event again once the trigger is resumed (`formicary triggers resume`).",
    ),
    _caller(
        "PERMISSION_DENIED",
        "The caller may not do this",
        403,
        "PERMISSION_DENIED",
        "authorization",
        "Ask whoever administers the server for the permission.",
    ),
    _caller(
        "CANCELLED", "The caller cancelled the call", 499, "CANCELLED", "transient", "Call again if you still need it."
    ),
    _caller(
        "NOT_AVAILABLE",
        "Not available in this version",
        501,
        "UNIMPLEMENTED",
        "unsupported",
        "Use a server that has it, or do without.",
    ),
)

_REPORT = "Report it with the traceId; the server's log has the cause under it."
_SERVER = (
    CodeEntry("INTERNAL", "Internal error", 500, "INTERNAL", False, "server", _REPORT, "internal", False),
    CodeEntry("UNKNOWN", "An error of unknown kind", 500, "UNKNOWN", False, "server", _REPORT, "internal", False),
    CodeEntry(
        "DEPENDENCY_FAILED",
        "Another service answered with an error",
        502,
        "UNAVAILABLE",
        True,
        "server",
        "Try again later; report it with the traceId if it stays.",
        "transient",
        False,
        _SHORT,
    ),
    CodeEntry(
        "UNAVAILABLE",
        "The service cannot answer now",
        503,
        "UNAVAILABLE",
        True,
        "server",
        "Try again.",
        "transient",
        True,
        _ONE_WAIT,
    ),
    CodeEntry(
        "IDEMPOTENCY_OUTCOME_UNKNOWN",
        "It was executed, and its answer could not be kept",
        503,
        "UNAVAILABLE",
        True,
        "server",
        "Send the same request with the same key after Retry-After; never take a new key for it.",
        "transient",
        False,
        _ONE_WAIT,
    ),
    CodeEntry(
        "IDEMPOTENCY_STORE_UNAVAILABLE",
        "Nothing was executed: the store of idempotency keys cannot be asked",
        503,
        "UNAVAILABLE",
        True,
        "server",
        "Send the same request with the same key after Retry-After.",
        "transient",
        False,
        _ONE_WAIT,
    ),
    CodeEntry(
        "DEADLINE_EXCEEDED",
        "The call took too long",
        504,
        "DEADLINE_EXCEEDED",
        True,
        "server",
        "Try again.",
        "transient",
        True,
        _SHORT,
    ),
    CodeEntry(
        "NOT_LEADER",
        "Another queen leads",
        503,
        "UNAVAILABLE",
        True,
        "server",
        "Send the call to the leader.",
        "transient",
        True,
        RetryPolicy(after_s=0.0, max_retries=5, backoff_type="exponential", backoff_ms=100),
    ),
    _caller(
        "STALE_TOKEN",
        "The lease token is not the present one",
        409,
        "ABORTED",
        "conflict",
        "Stop the work: another ant holds the lease.",
    ),
    _caller(
        "UNSUPPORTED_DATA_VERSION",
        "The data is of another version",
        500,
        "FAILED_PRECONDITION",
        "internal",
        "Run the version that wrote the data, or migrate it.",
    ),
    _caller(
        "DATA_IN_USE",
        "Another process uses the data",
        409,
        "FAILED_PRECONDITION",
        "conflict",
        "Stop the other process, or use another directory.",
    ),
    CodeEntry(
        "DATA_CORRUPT",
        "The stored data is damaged",
        500,
        "DATA_LOSS",
        False,
        "server",
        "Restore the data from a backup.",
        "internal",
        False,
    ),
)

_TASKS = (
    _task(
        "ERR_VALIDATION",
        "The task or its parameters are not valid",
        400,
        "INVALID_ARGUMENT",
        "Correct the job file or the parameters.",
    ),
    _task(
        "ERR_TIMEOUT",
        "It took longer than its time-out",
        504,
        "DEADLINE_EXCEEDED",
        "Make it faster, or give it a longer time-out.",
    ),
    _task(
        "ERR_POISON",
        "The ant was lost with this task too often",
        500,
        "ABORTED",
        "Find out why it kills its process, for example with less memory.",
    ),
    _task("ERR_FILTERED_JOB", "The job's skip_if was true", 412, "FAILED_PRECONDITION", "Nothing: it was asked for."),
    CodeEntry("ERR_CANCELLED", "It was cancelled", 499, "CANCELLED", remedy="Submit it again.", category="task"),
    _task("ERR_EXCEPTION", "The function raised an exception", 500, "UNKNOWN", "Read the task's log and correct it."),
    _task("ERR_EXIT_CODE", "The command failed", 500, "UNKNOWN", "Read the task's log and correct the command."),
    _task(
        "ERR_SIGNAL",
        "The command was ended by a signal",
        500,
        "UNKNOWN",
        "Find out who sent the signal; it may have run out of memory.",
    ),
    _task("ERR_HTTP", "The HTTP call failed", 502, "UNKNOWN", "Check the address and what it answered."),
    _task("ERR_START", "The task could not be started", 500, "INTERNAL", "Check that the command or image is there."),
    _task(
        "ERR_RESULT_TOO_LARGE",
        "The result is too large",
        413,
        "RESOURCE_EXHAUSTED",
        "Store the result elsewhere and return a reference.",
    ),
    _task(
        "ERR_FORK",
        "A job could not be forked",
        400,
        "FAILED_PRECONDITION",
        "Register the job type and version that the task names, and give what it requires.",
    ),
    _task(
        "ERR_FORK_LIMIT",
        "Jobs fork too deep or too many",
        429,
        "RESOURCE_EXHAUSTED",
        "Look for jobs that fork each other in a circle; split what is too much for one job.",
    ),
    _task("ERR_CHILD_FAILED", "A forked job failed", 500, "ABORTED", "Look at the forked job that the message names."),
    _task(
        "ERR_REJECTED",
        "People have rejected it",
        500,
        "ABORTED",
        "Read the comments of those who voted: `formicary get ID`.",
    ),
    _task(
        "ERR_ARTIFACT",
        "Artifacts could not be kept or fetched",
        500,
        "FAILED_PRECONDITION",
        "Check the paths of artifacts and cache, and that the tasks before left what is needed.",
    ),
    _task(
        "ERR_DOCKER",
        "The container could not be run",
        502,
        "UNKNOWN",
        "Read what the Docker engine said: the image, its registry, a service, or the engine itself.",
    ),
    _task(
        "ERR_MESSAGING",
        "No reply came over the message queue",
        502,
        "UNKNOWN",
        "Check that a worker listens on messaging_request_queue and that the ant reaches the NATS server.",
    ),
    _task(
        "ERR_WEBSOCKET",
        "No result came over the web socket",
        502,
        "UNKNOWN",
        "Check the address and what the program behind it says of its end.",
    ),
    _task(
        "ERR_SECRET",
        "A secret of the task cannot be read",
        500,
        "FAILED_PRECONDITION",
        "Start the server with the key that the secret was encrypted with, or set the secret again.",
    ),
    _task("ERR_TASK_FAILED", "A task of the job failed", 500, "ABORTED", "Look at the task that failed."),
)

CATALOGUE: dict[str, CodeEntry] = {row.code: row for row in (*_REQUESTS, *_SERVER, *_TASKS)}
"""Every code with its row."""

ALIASES: dict[str, str] = {
    "RESOURCE_NOT_FOUND": "NOT_FOUND",
    "RESOURCE_ALREADY_EXISTS": "ALREADY_EXISTS",
    "RESOURCE_CONFLICT": "CONFLICT",
    "ABORTED": "CONFLICT",
    "AUTHENTICATION_FAILED": "UNAUTHENTICATED",
    "UNAUTHORIZED": "UNAUTHENTICATED",
    "FORBIDDEN": "PERMISSION_DENIED",
    "SERVICE_UNAVAILABLE": "UNAVAILABLE",
    "INTERNAL_ERROR": "INTERNAL",
    "TIMEOUT": "DEADLINE_EXCEEDED",
    "INVALID_ARGUMENT": "VALIDATION_FAILED",
    "UNIMPLEMENTED": "NOT_AVAILABLE",
    "DATA_LOSS": "DATA_CORRUPT",
}
"""Other names for codes, which are accepted and never sent: the canonical code goes out."""

OWN_ERROR = CodeEntry(
    "ERR_OWN",
    "The task ended with an error of its own",
    500,
    "UNKNOWN",
    blame="task",
    remedy="Read what the job file says about this code.",
    category="task",
)


def entry(code: str) -> CodeEntry:
    """Returns the row of a code; a code that is not in the table (``ERR_*`` of a job file) counts as a task's error."""
    found = CATALOGUE.get(ALIASES.get(code, code))
    return found if found is not None else replace(OWN_ERROR, code=code)


def generic(grpc_code: str) -> CodeEntry:
    """Returns the row that stands for a gRPC status code when nothing more is known."""
    return CATALOGUE.get(ALIASES.get(grpc_code, grpc_code)) or CATALOGUE["UNKNOWN"]


def usual_remedy(row: CodeEntry, errors: Sequence[FieldError]) -> str:
    """What to do about a problem of a code with these errors: it names no list that is empty."""
    return _CORRECT_DETAIL if row.remedy == _CORRECT and not errors else row.remedy


def problem(
    code: str,
    detail: str = "",
    *,
    errors: Iterable[FieldError] = (),
    remedy: str = "",
    retry_after_s: float | None = None,
    details: Iterable[Detail] = (),
    **extensions: object,
) -> Problem:
    """Makes the problem of a code, with everything that the catalogue knows about it.

    Args:
        code: A code of the catalogue, one of its aliases, or an ``ERR_*`` code of a job file.
        detail: What happened and what to do, one sentence.
        errors: What is wrong field by field.
        remedy: Replaces the catalogue's remedy.
        retry_after_s: Seconds to wait before trying again, >= 0; None = as the catalogue says.
        details: Packed messages for callers over gRPC, made by :func:`formicary.problems.packed.pack`.
        **extensions: Further members of the document; ``allow`` (methods) and ``challenge`` become headers.
    """
    row, errors = entry(code), tuple(errors)
    return Problem(
        row.code,
        row.title,
        detail,
        status=row.status,
        grpc_code=row.grpc_code,
        retryable=row.retryable,
        blame=row.blame,
        errors=errors,
        remedy=remedy or usual_remedy(row, errors),
        extensions=extensions,
        retry=row.retry if retry_after_s is None else replace(row.retry, after_s=retry_after_s),
        details=details,
    )
