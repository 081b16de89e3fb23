"""What a handler of a gRPC server gets for its context, so that what it sends can be kept before it goes out.

Both kinds of servers share this: those of grpc.aio, and those with threads.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, NoReturn

import grpc
import grpc.aio

from formicary.idempotency.grpc_calls import Pairs, Value, kept_answer
from formicary.idempotency.model import StoredResponse
from formicary.idempotency.policy import Rule
from formicary.problems import Problem
from formicary.problems.rpc import to_grpc

CODES = {code.value[0]: code for code in grpc.StatusCode}


class AbortedError(grpc.aio.AbortError):
    """A handler has ended its call."""


class HeldContext:
    """The context that a handler gets: everything as gRPC's own, but what it sends is held back.

    Attributes:
        headers: Initial metadata.
        trailers: Trailing metadata.
        number: Of the status code, 0 = OK.
        text: Of the status.
        body: The message as bytes.
    """

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self.headers: list[tuple[str, Value]] = []
        self.trailers: list[tuple[str, Value]] = []
        self.number = 0
        self.text = ""
        self.body = b""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def stored(self, rule: Rule | None = None) -> StoredResponse:
        """What the handler has answered; with a rule as it is kept."""
        body = b"" if self.number else self.body
        if rule is None:
            rule = Rule(max_response_bytes=max(1, len(body)))
        return kept_answer(self.number, self.headers, body, self.trailers, self.text, rule)

    def refuse(self, error: Problem) -> None:
        """The handler has raised a problem."""
        rendered = to_grpc(error)
        self.end(rendered.code, rendered.details, (*self.trailers, *rendered.trailing))

    def end(self, code: Any, details: str, trailers: Pairs) -> None:
        """The outcome. Raises ValueError for OK, with which no call can fail."""
        self.number = _number(code)
        if self.number == 0:
            raise ValueError("abort() with OK: a call ends well by returning")
        self.text, self.trailers = details, list(trailers)

    async def send_initial_metadata(self, initial_metadata: Pairs) -> None:
        """Goes out with the answer."""
        self.headers.extend(initial_metadata)

    def set_trailing_metadata(self, trailing_metadata: Pairs) -> None:
        """Goes out with the answer."""
        self.trailers = list(trailing_metadata)

    def trailing_metadata(self) -> Sequence[tuple[str, Value]]:
        """The trailing metadata so far."""
        return self.trailers

    def set_code(self, code: grpc.StatusCode) -> None:
        """The status of the answer."""
        self.number = _number(code)

    def code(self) -> grpc.StatusCode | None:
        """The status that was set."""
        return CODES.get(self.number)

    def set_details(self, details: str) -> None:
        """The text of the status."""
        self.text = details

    def details(self) -> str:
        """The text that was set."""
        return self.text

    async def abort(self, code: grpc.StatusCode, details: str = "", trailing_metadata: Pairs = ()) -> NoReturn:
        """Ends the call."""
        self.end(code, details, trailing_metadata or self.trailers)
        raise AbortedError(details)

    async def abort_with_status(self, status: Any) -> NoReturn:
        """Ends the call with a rich error."""
        await self.abort(status.code, status.details, status.trailing_metadata or ())


class PlainContext:
    """The same for a handler that is a plain function: its methods do not have to be awaited."""

    def __init__(self, held: HeldContext) -> None:
        self._held = held

    def __getattr__(self, name: str) -> Any:
        return getattr(self._held, name)

    def send_initial_metadata(self, initial_metadata: Pairs) -> None:
        """Goes out with the answer."""
        self._held.headers.extend(initial_metadata)

    def abort(self, code: grpc.StatusCode, details: str = "", trailing_metadata: Pairs = ()) -> NoReturn:
        """Ends the call."""
        self._held.end(code, details, trailing_metadata or self._held.trailers)
        raise AbortedError(details)

    def abort_with_status(self, status: Any) -> NoReturn:
        """Ends the call with a rich error."""
        self.abort(status.code, status.details, status.trailing_metadata or ())


def _number(code: Any) -> int:
    value = code.value if isinstance(code, grpc.StatusCode) else code
    return int(value[0] if isinstance(value, tuple) else value)


def tenant_of(context: Any) -> str:
    """Whose keys a call's are, where nobody says: a hash of its credentials, empty where it has none."""
    for name, value in context.invocation_metadata() or ():
        if name == "authorization":
            text = value.encode() if isinstance(value, str) else value
            return "credentials:" + hashlib.sha256(text).hexdigest()
    return ""
