"""Validation in the chain: the rules beside the fields of the contract hold before the handler runs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from formicary.gateway.call import Call
from formicary.gateway.service import Method, Run
from formicary.problems.validation import Validator


class Validate:
    """Interceptor that checks every request message, also those of streams.

    Args:
        validator: With its business rules; None = the rules of the contract alone.
        streams: Whether the messages of streams are checked, too: each costs what a request costs.

    Attributes:
        check: Checks one message; raises Problem VALIDATION_FAILED.
    """

    def __init__(self, validator: Validator | None = None, *, streams: bool = True) -> None:
        self._validator = validator or Validator(names="proto")
        self.check = self._validator.check
        self._streams = streams

    def applies(self, method: Method) -> bool:
        """Whether a method's requests are checked: those of a type without rules need not be."""
        if method.client_streaming and not self._streams:
            return False
        return self._validator.concerns(method.descriptor.input_type)

    def step(self, call: Call) -> bool:
        """As the interceptor, where the request is there already."""
        if call.requests is None and not call.is_loaded:
            return False
        if call.requests is None:
            self.check(call.request)
        else:
            call.requests = self._checked(call.requests)
        return True

    async def __call__(self, call: Call, proceed: Run) -> None:
        """Raises Problem VALIDATION_FAILED with all violations of a message."""
        if call.requests is None:
            self.check(await call.load())
        else:
            call.requests = self._checked(call.requests)
        await proceed(call)

    async def _checked(self, requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
        async for request in requests:
            self.check(request)
            yield request
