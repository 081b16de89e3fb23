"""Problems of HTTP itself, which have no counterpart in gRPC."""

from __future__ import annotations

from collections.abc import Iterable

from formicary.problems import Problem, problem


def no_route(path: str) -> Problem:
    """404: nothing is served there."""
    return problem("NOT_FOUND", f"Nothing is served at {path[:200]}.")


def method_not_allowed(method: str, allowed: Iterable[str]) -> Problem:
    """405: the path is served, not with this method."""
    names = ", ".join(allowed)
    return Problem(
        "METHOD_NOT_ALLOWED",
        "The path does not have this method",
        f"{method[:20]} is not served there; {names} is.",
        status=405,
        grpc_code="UNIMPLEMENTED",
        blame="caller",
    )


def not_acceptable(offered: Iterable[str]) -> Problem:
    """406: nothing we can answer is accepted."""
    return Problem(
        "NOT_ACCEPTABLE",
        "No form of the answer is accepted",
        f"The call can answer {' or '.join(offered)}.",
        status=406,
        grpc_code="INVALID_ARGUMENT",
        blame="caller",
    )


def unsupported_media(what: str, taken: Iterable[str]) -> Problem:
    """415: the body's type or encoding is not read here."""
    return Problem(
        "UNSUPPORTED_MEDIA_TYPE",
        "The form of the body is not supported",
        f"{what[:100]!r} is not read here; {', '.join(taken)} is.",
        status=415,
        grpc_code="INVALID_ARGUMENT",
        blame="caller",
    )


def too_large(limit: int) -> Problem:
    """413: the body is larger than we take."""
    return problem("PAYLOAD_TOO_LARGE", f"A body has at most {limit} bytes, decompressed.", limit_bytes=limit)


def malformed(detail: str) -> Problem:
    """400: the request cannot be read at all."""
    return problem("VALIDATION_FAILED", detail)


def precondition_failed(detail: str) -> Problem:
    """412: what the caller knows is out of date."""
    return problem("FAILED_PRECONDITION", detail)
