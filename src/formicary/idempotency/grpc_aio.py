"""Interceptor for grpc.aio servers: unary calls of any service become safe to retry, with the same status and message.

What a handler sends is held back until it is kept: a client never sees an answer that a retry would not get. Calls that
stream pass through.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NoReturn, TypeAlias

import grpc
import grpc.aio

from formicary.idempotency.counts import Counts
from formicary.idempotency.execution import Execution, begin
from formicary.idempotency.grpc_calls import (
    KEY_FIELDS,
    REPLAYED,
    VERB,
    check_kept,
    claim_of_call,
    http_status,
    keeps,
    key_of_call,
    unpacked,
)
from formicary.idempotency.grpc_held import CODES, AbortedError, HeldContext, PlainContext, tenant_of
from formicary.idempotency.heartbeat import Heartbeats
from formicary.idempotency.model import StoredResponse
from formicary.idempotency.policy import Policy, Rule
from formicary.idempotency.refusals import lease_lost
from formicary.idempotency.store import Store
from formicary.idempotency.uncancelled import to_its_end
from formicary.problems import Problem, problem
from formicary.problems.rpc import to_grpc

log = logging.getLogger("formicary.idempotency")
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Behaviour = Callable[[Any, Any], Any]


class IdempotencyInterceptor(grpc.aio.ServerInterceptor):
    """Give it to ``grpc.aio.server(interceptors=[…])`` after authentication and validation.

    Handlers are coroutines, or plain functions, which run in threads.

    Args:
        store: Where records are; opened and closed by whoever made it.
        policy: What holds where: a route's pattern is the full name of a method (``/shop.Orders/Create{what}``). Every
            unary method that no route leaves out needs a key.
        tenant: Whose keys a call's are, from what authentication left in the context. None = a hash of the metadata
            ``authorization``.
        key_fields: Fields of request messages that may hold the key.
        counts: Figures; None = new ones.

    Attributes:
        heartbeats: What renews leases.
    """

    def __init__(
        self,
        store: Store,
        policy: Policy | None = None,
        *,
        tenant: Callable[[Any], str] | None = None,
        key_fields: Sequence[str] = KEY_FIELDS,
        counts: Counts | None = None,
    ) -> None:
        self._store = store
        self._policy = policy or Policy()
        self._tenant = tenant or tenant_of
        self._fields = tuple(key_fields)
        self.heartbeats = Heartbeats()
        self.counts = counts or Counts()

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        """Wraps the handler of one call."""
        handler = await continuation(handler_call_details)
        details: Any = handler_call_details
        found = self._policy.find(VERB, details.method)
        if handler is None or found is None or handler.request_streaming or handler.response_streaming:
            return handler
        inner: Any = handler
        return grpc.unary_unary_rpc_method_handler(
            _Guarded(self, details.method, *found, inner.unary_unary, inner.response_serializer).answer,
            request_deserializer=inner.request_deserializer,
            response_serializer=None,  # what is sent has been kept as bytes
        )

    async def begin(
        self, name: str, route: str, rule: Rule, request: Any, context: Any
    ) -> Execution | StoredResponse | None:
        """Claims the key of a call; None = it has none and needs none. Raises Problem."""
        metadata = context.invocation_metadata() or ()
        try:
            key = key_of_call(metadata, request, self._policy, rule, self._fields)
        except Problem as error:
            self.counts.missing += error.code == "IDEMPOTENCY_KEY_MISSING"
            raise
        if key is None:
            return None
        claim = claim_of_call(key, name, route, self._tenant(context), request, rule, self._fields)
        begun = await begin(self._store, claim, rule, self.counts, header=self._policy.header.lower())
        if isinstance(begun, StoredResponse):
            check_kept(begun, rule)
        return begun


class _Guarded:
    """One method behind the interceptor."""

    __slots__ = ("_behaviour", "_interceptor", "_name", "_route", "_rule", "_serialize")

    def __init__(
        self,
        interceptor: IdempotencyInterceptor,
        name: str,
        route: str,
        rule: Rule,
        behaviour: Behaviour,
        serialize: Callable[[Any], bytes] | None,
    ) -> None:
        self._interceptor = interceptor
        self._name = name
        self._route = route
        self._rule = rule
        self._behaviour = behaviour
        self._serialize = serialize or bytes

    async def answer(self, request: Any, context: Any) -> Any:
        """One call."""
        try:
            begun = await self._interceptor.begin(self._name, self._route, self._rule, request, context)
            if isinstance(begun, StoredResponse):
                return await _send(begun, context, replayed=True)
            held = HeldContext(context)
            if begun is None:
                await self._run(request, held)
                return await _send(held.stored(self._rule), context)
            return await _send(await self._execute(begun, request, held), context)
        except Problem as error:
            await _abort(error, context)

    async def _execute(self, execution: Execution, request: Any, held: HeldContext) -> StoredResponse:
        """The answer, kept if it is one to be kept: also where the call is cancelled meanwhile. Raises Problem."""
        beats = self._interceptor.heartbeats.of(self._rule)
        return await to_its_end(self._executed(execution, request, held), execution, beats)

    async def _executed(self, execution: Execution, request: Any, held: HeldContext) -> StoredResponse:
        try:
            await self._run(request, held)
        except asyncio.CancelledError:
            if not execution.lost:
                await asyncio.shield(execution.release())
                raise
            if (task := asyncio.current_task()) is not None:
                task.uncancel()
            return await self._of_another(execution, lease_lost())
        except Exception as error:
            if not self._rule.replay_5xx:
                await execution.release()
                raise
            log.error("%s failed", self._name, exc_info=error)
            held.refuse(problem("INTERNAL"))
        return await self._keep(execution, held)

    async def _keep(self, execution: Execution, held: HeldContext) -> StoredResponse:
        if not keeps(self._rule, held.number, http_status(held.number, held.trailers)):
            await execution.release()
            return held.stored()
        try:
            await execution.complete(held.stored(self._rule))
        except Problem as error:
            return await self._of_another(execution, error)
        return held.stored()

    async def _of_another(self, execution: Execution, error: Problem) -> StoredResponse:
        kept = await execution.answer_of_another() if error.code == "LEASE_LOST" else None
        if kept is None:
            raise error
        check_kept(kept, self._rule)
        return kept

    async def _run(self, request: Any, held: HeldContext) -> None:
        """The handler; what it leaves is in the context."""
        try:
            if inspect.iscoroutinefunction(self._behaviour):
                response = await self._behaviour(request, held)
            else:
                response = await asyncio.to_thread(self._behaviour, request, PlainContext(held))
        except AbortedError:
            return
        except Problem as error:
            held.refuse(error)
            return
        if held.number == 0:
            held.body = self._serialize(response)


async def _send(answer: StoredResponse, context: Any, *, replayed: bool = False) -> bytes:
    """Sends an answer as it was; a refusal ends the call."""
    headers, trailers = unpacked(answer.headers), unpacked(answer.trailers)
    if replayed:
        headers.append(REPLAYED)
    if headers:
        await context.send_initial_metadata(headers)
    if answer.status:
        code = CODES.get(answer.status, grpc.StatusCode.UNKNOWN)
        await context.abort(code, answer.message, tuple(trailers))
    context.set_trailing_metadata(tuple(trailers))
    if answer.message:
        context.set_details(answer.message)
    return answer.body


async def _abort(error: Problem, context: Any) -> NoReturn:
    rendered = to_grpc(error)
    await context.abort(rendered.code, rendered.details, rendered.trailing)
    raise error
