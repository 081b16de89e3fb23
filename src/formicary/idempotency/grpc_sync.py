"""Interceptor for grpc servers with threads: unary calls of any service become safe to retry.

::

    with ThreadedIdempotencyInterceptor(SqliteStore("keys.db")) as interceptor:
        server = grpc.server(ThreadPoolExecutor(16), interceptors=[interceptor])

Theory of operation. Stores are asynchronous, so the interceptor has an event loop in a thread of its own. A handler
runs in the server's thread, as it would without; that thread waits for the loop before and after it, while the loop
renews the lease. A thread cannot be cancelled: a handler whose lease is lost goes on to its end, and then its caller
gets the answer of the one that took over.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, NoReturn, TypeAlias, TypeVar

import grpc

from formicary.idempotency.counts import Counts
from formicary.idempotency.execution import Execution
from formicary.idempotency.grpc_aio import Behaviour, IdempotencyInterceptor
from formicary.idempotency.grpc_calls import KEY_FIELDS, REPLAYED, VERB, check_kept, http_status, keeps, unpacked
from formicary.idempotency.grpc_held import CODES, AbortedError, HeldContext, PlainContext
from formicary.idempotency.model import StoredResponse
from formicary.idempotency.policy import Policy, Rule
from formicary.idempotency.store import Store
from formicary.problems import Problem, problem
from formicary.problems.rpc import to_grpc

log = logging.getLogger("formicary.idempotency")
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
T = TypeVar("T")


class ThreadedIdempotencyInterceptor(grpc.ServerInterceptor):
    """Give it to ``grpc.server(…, interceptors=[…])`` after authentication and validation; a context manager.

    Args:
        store: Where records are; it is opened on entering and closed on leaving.
        policy: What holds where: a route's pattern is the full name of a method (``/shop.Orders/Create{what}``). Every
            unary method that no route leaves out needs a key.
        tenant: Whose keys a call's are, from what authentication left in the context. None = a hash of the metadata
            ``authorization``.
        key_fields: Fields of request messages that may hold the key.
        counts: Figures; None = new ones.
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
        self._claims = IdempotencyInterceptor(store, policy, tenant=tenant, key_fields=key_fields, counts=counts)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="formicary-idempotency", daemon=True)
        self.counts = self._claims.counts

    def __enter__(self) -> ThreadedIdempotencyInterceptor:
        """Opens the store. Raises Problem IDEMPOTENCY_STORE_UNAVAILABLE."""
        self._thread.start()
        try:
            self.wait(self._store.open())
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Closes the store; stop the server before."""
        try:
            self.wait(self._store.close())
        finally:
            self._end()

    def _end(self) -> None:
        self.wait(self._loop.shutdown_default_executor())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def wait(self, work: Coroutine[Any, Any, T]) -> T:
        """Does it on the loop of the store; the calling thread waits."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Handler | None],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        """Wraps the handler of one call."""
        handler = continuation(handler_call_details)
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

    def begin(self, name: str, route: str, rule: Rule, request: Any, context: Any) -> Execution | StoredResponse | None:
        """Claims the key of a call; None = it has none and needs none. Raises Problem."""
        return self.wait(self._begin(name, route, rule, request, context))

    async def _begin(
        self, name: str, route: str, rule: Rule, request: Any, context: Any
    ) -> Execution | StoredResponse | None:
        begun = await self._claims.begin(name, route, rule, request, context)
        if isinstance(begun, Execution):
            begun.keep_alive(self._claims.heartbeats.of(rule))
        return begun


class _Guarded:
    """One method behind the interceptor."""

    __slots__ = ("_behaviour", "_interceptor", "_name", "_route", "_rule", "_serialize")

    def __init__(
        self,
        interceptor: ThreadedIdempotencyInterceptor,
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

    def answer(self, request: Any, context: Any) -> Any:
        """One call."""
        try:
            begun = self._interceptor.begin(self._name, self._route, self._rule, request, context)
            if isinstance(begun, StoredResponse):
                return _send(begun, context, replayed=True)
            held = HeldContext(context)
            if begun is None:
                self._run(request, held)
                return _send(held.stored(self._rule), context)
            return _send(self._execute(begun, request, held), context)
        except Problem as error:
            _abort(error, context)

    def _execute(self, execution: Execution, request: Any, held: HeldContext) -> StoredResponse:
        """The answer, kept if it is one to be kept. Raises Problem."""
        try:
            self._run(request, held)
        except Exception as error:
            if not self._rule.replay_5xx:
                self._interceptor.wait(execution.release())
                raise
            log.error("%s failed", self._name, exc_info=error)
            held.refuse(problem("INTERNAL"))
        if not keeps(self._rule, held.number, http_status(held.number, held.trailers)):
            self._interceptor.wait(execution.release())
            return held.stored()
        try:
            self._interceptor.wait(execution.complete(held.stored(self._rule)))
        except Problem as error:
            return self._of_another(execution, error)
        return held.stored()

    def _of_another(self, execution: Execution, error: Problem) -> StoredResponse:
        kept = self._interceptor.wait(execution.answer_of_another()) if error.code == "LEASE_LOST" else None
        if kept is None:
            raise error
        check_kept(kept, self._rule)
        return kept

    def _run(self, request: Any, held: HeldContext) -> None:
        """The handler; what it leaves is in the context."""
        try:
            response = self._behaviour(request, PlainContext(held))
        except AbortedError:
            return
        except Problem as error:
            held.refuse(error)
            return
        if held.number == 0:
            held.body = self._serialize(response)


def _send(answer: StoredResponse, context: Any, *, replayed: bool = False) -> bytes:
    """Sends an answer as it was; a refusal ends the call."""
    headers, trailers = unpacked(answer.headers), unpacked(answer.trailers)
    if replayed:
        headers.append(REPLAYED)
    if headers:
        context.send_initial_metadata(tuple(headers))
    context.set_trailing_metadata(tuple(trailers))
    if answer.status:
        context.abort(CODES.get(answer.status, grpc.StatusCode.UNKNOWN), answer.message)
    if answer.message:
        context.set_details(answer.message)
    return answer.body


def _abort(error: Problem, context: Any) -> NoReturn:
    rendered = to_grpc(error)
    context.set_trailing_metadata(tuple(rendered.trailing))
    context.abort(rendered.code, rendered.details)
    raise error
