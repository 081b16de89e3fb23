"""Problems of HTTP itself, which have no counterpart in gRPC."""

from __future__ import annotations

from collections.abc import Iterable

from formicary.problems import Problem, problem


def no_route(path: str) -> Problem:
    """404: nothing is served there."""
    return problem("ROUTE_NOT_FOUND", f"Nothing is served at {path[:200]}.")


def method_not_allowed(method: str, allowed: Iterable[str]) -> Problem:
    """405: the path is served, not with this method."""
    names = list(allowed)
    return problem("METHOD_NOT_ALLOWED", f"{method[:20]} is not served there; {', '.join(names)} is.", allow=names)


def not_acceptable(offered: Iterable[str]) -> Problem:
    """406: nothing we can answer is accepted."""
    return problem("NOT_ACCEPTABLE", f"The call can answer {' or '.join(offered)}.")


def unsupported_media(what: str, taken: Iterable[str]) -> Problem:
    """415: the body's type or encoding is not read here."""
    return problem("UNSUPPORTED_MEDIA_TYPE", f"{what[:100]!r} is not read here; {', '.join(taken)} is.")


def too_large(limit: int) -> Problem:
    """413: the body is larger than we take."""
    return problem("PAYLOAD_TOO_LARGE", f"A body has at most {limit} bytes, decompressed.", limitBytes=limit)


def too_slow(limit_s: float) -> Problem:
    """408: the body did not come."""
    found = problem("DEADLINE_EXCEEDED", f"The body did not come within {limit_s:g} s.")
    found.status, found.blame = 408, "caller"
    return found


def malformed(detail: str) -> Problem:
    """400: the request cannot be read at all."""
    return problem("VALIDATION_FAILED", detail)


def bad_header(name: str, detail: str) -> Problem:
    """400: a header is not what it should be."""
    return problem("HEADER_INVALID", f"The header {name} {detail}.")


def precondition_failed(detail: str) -> Problem:
    """412: what the caller knows is out of date."""
    return problem("PRECONDITION_FAILED", detail)
