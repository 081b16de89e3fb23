"""The problems of the room, each made in one place."""

from __future__ import annotations

from math import ceil

from formicary.problems import FieldError, Problem, problem

STORE_RETRY_S = 2.0


def key_missing(header: str) -> Problem:
    """400: the operation needs a key."""
    text = f"Send {header}: a text of your own, for example a UUID, that is the same when you repeat this request."
    return problem(
        "IDEMPOTENCY_KEY_MISSING",
        f"This operation needs the header {header}.",
        errors=[FieldError(header, "REQUIRED_FIELD", text)],
    )


def key_reused(header: str) -> Problem:
    """422: the key was used for something else."""
    text = "The key was used for another request: take a new key for a new operation."
    return problem("IDEMPOTENCY_KEY_REUSED", text, errors=[FieldError(header, "CONFLICT", text)])


def in_progress(retry_after_s: int, most_s: float = 5.0) -> Problem:
    """409: another request with the key executes just now; asked again after at most `most_s`, whole seconds from 1."""
    retry_after_s = min(retry_after_s, max(1, ceil(most_s)))
    return problem(
        "IDEMPOTENT_REQUEST_IN_PROGRESS",
        f"A request with this key is being executed: ask again in {retry_after_s} s.",
        retry_after_s=float(retry_after_s),
    )


def lease_lost() -> Problem:
    """409: this execution was given up for dead and another one took over; what it wants to write is refused."""
    return problem("LEASE_LOST", "Another execution with this key has taken over: this one may change nothing.")


def store_unavailable(cause: str) -> Problem:
    """503: the store cannot be asked, so nothing was run. The cause is for the log, not for the caller."""
    return problem("IDEMPOTENCY_STORE_UNAVAILABLE", cause, retry_after_s=STORE_RETRY_S)


def outcome_unknown(cause: str) -> Problem:
    """503: it was executed, and whether its answer is kept is not known. The cause is for the log."""
    return problem("IDEMPOTENCY_OUTCOME_UNKNOWN", cause, retry_after_s=STORE_RETRY_S)


def response_not_kept(status: int, why: str = "was too large to keep") -> Problem:
    """409: it was done, and its answer could not be kept."""
    return problem("RESPONSE_NOT_KEPT", f"The operation was executed and answered with {status}; its answer {why}.")
