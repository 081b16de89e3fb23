"""Errors of the wire become problems, and waits between attempts are drawn."""

import grpc
import grpc.aio
import pytest

from formicary.client.failures import backoff_s, decoded, from_rpc
from formicary.problems import Problem, problem
from formicary.problems.rpc import to_grpc


def failure(code: grpc.StatusCode, details: str = "", sent: Problem | None = None) -> grpc.aio.AioRpcError:
    """A failed call."""
    trailing = grpc.aio.Metadata(*to_grpc(sent).trailing) if sent else grpc.aio.Metadata()
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), trailing, details)


def test_a_problem_in_the_status_comes_back_as_the_problem() -> None:
    """Code, text, remedy and violations survive the way."""
    sent = problem("NOT_FOUND", "there is no job x", remedy="look again")
    found = from_rpc(failure(grpc.StatusCode.NOT_FOUND, "", sent), "h:1")
    assert (found.code, found.detail, found.remedy) == ("NOT_FOUND", "there is no job x", "look again")


@pytest.mark.parametrize("code", [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED, grpc.StatusCode.UNKNOWN])
def test_a_broken_connection_is_unavailable_and_says_what_to_do(code: grpc.StatusCode) -> None:
    """The address and the way out are in the text."""
    found = from_rpc(failure(code), "127.0.0.1:7778")
    assert found.code == "UNAVAILABLE"
    assert found.retryable
    assert "127.0.0.1:7778" in found.detail
    assert "formicary up" in found.remedy


def test_a_status_without_details_keeps_its_meaning() -> None:
    """INVALID_ARGUMENT is the caller's error with the server's text."""
    found = from_rpc(failure(grpc.StatusCode.INVALID_ARGUMENT, "no"), "h:1")
    assert (found.code, found.detail) == ("VALIDATION_FAILED", "no")


def test_a_damaged_document_is_an_internal_problem() -> None:
    """Nothing raises on a document that cannot be read."""
    assert decoded(b"{").code == "INTERNAL"


def test_backoff_is_drawn_below_a_bound_that_doubles() -> None:
    """No wait exceeds its bound, which stops at two seconds."""
    for attempt in range(1, 30):
        bound = min(2.0, 0.05 * 2 ** (attempt - 1))
        assert all(0 <= backoff_s(attempt) <= bound for _ in range(50))
