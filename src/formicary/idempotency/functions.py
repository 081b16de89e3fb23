"""A plain function, made safe to call again: the same key gives the same value, and the effect happens once.

::

    @once(store, key=lambda order: order.id)
    async def charge(order: Order) -> Receipt: ...

    receipt = await charge(order)   # executes
    receipt = await charge(order)   # the kept receipt, as a Receipt
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar, cast, get_type_hints

import msgspec

from formicary.idempotency.counts import Counts
from formicary.idempotency.execution import Execution, begin
from formicary.idempotency.fingerprints import canonical_json, digest
from formicary.idempotency.heartbeat import Heartbeats
from formicary.idempotency.keys import check_key
from formicary.idempotency.model import Claim, StoredResponse
from formicary.idempotency.policy import Rule
from formicary.idempotency.refusals import lease_lost, response_not_kept
from formicary.idempotency.store import Store
from formicary.idempotency.uncancelled import to_its_end
from formicary.problems import Problem
from formicary.problems.http import parse_http, render_http

P = ParamSpec("P")
T = TypeVar("T")
_DONE = 200
_encode = msgspec.json.Encoder().encode


def once(
    store: Store,
    *,
    key: Callable[..., str],
    name: str = "",
    tenant: Callable[..., str] | None = None,
    rule: Rule | None = None,
    counts: Counts | None = None,
) -> Callable[[Callable[P, Awaitable[T]] | Callable[P, T]], Callable[P, Awaitable[T]]]:
    """Decorates a function.

    Args:
        store: Where records are.
        key: From the arguments to the caller's key, 1 to 255 visible ASCII characters. It has to come from whoever
            wants the operation; one that is derived from the contents makes two equal wishes one.
        name: The operation in the scope; empty = module and qualified name. Keep it when the function moves.
        tenant: From the arguments to whose keys these are; None = everybody's.
        rule: What is kept and what a duplicate gets; None = the usual.
        counts: Figures; None = new ones.

    Returns:
        An async function; a plain one runs in a thread. What has begun is done to its end, also where the caller is
        cancelled: the next call with the key gets its value. Arguments have to be what JSON can say (msgspec): they
        are the fingerprint. The value is kept as JSON and comes back as the type that the function's annotation names.

    Raises:
        Problem: What :func:`formicary.idempotency.begin` raises, LEASE_LOST, and the function's own refusals: those
            that the rule keeps are raised again at a repeat. Any other error releases the key. RESPONSE_NOT_KEPT at a
            repeat where the value could not be kept.
        TypeError: The value is nothing that JSON can say.
    """
    used, figures, beats = rule or Rule(), counts or Counts(), Heartbeats()

    def decorate(function: Callable[P, Awaitable[T]] | Callable[P, T]) -> Callable[P, Awaitable[T]]:
        operation = name or f"{function.__module__}.{function.__qualname__}"
        kept_as = get_type_hints(function).get("return", Any)
        signature = inspect.signature(function)

        @wraps(function)
        async def safe(*args: P.args, **kwargs: P.kwargs) -> T:
            claim = Claim(
                check_key(key(*args, **kwargs), header="key"),
                _fingerprint(signature.bind(*args, **kwargs)),
                tenant(*args, **kwargs) if tenant else "",
                "CALL",
                operation,
                lease_s=used.lease_s,
                ttl_s=used.ttl_s,
            )
            begun = await begin(store, claim, used, figures, header="key")
            if not isinstance(begun, Execution):
                return cast(T, _value(begun, kept_as))
            return await to_its_end(_execute(begun, used, function, *args, **kwargs), begun, beats.of(used))

        return safe

    return decorate


async def _execute(
    execution: Execution,
    rule: Rule,
    function: Callable[P, Awaitable[T]] | Callable[P, T],
    *args: P.args,
    **kwargs: P.kwargs,
) -> T:
    try:
        if inspect.iscoroutinefunction(function):
            value = cast(T, await function(*args, **kwargs))
        else:
            value = cast(T, await asyncio.to_thread(function, *args, **kwargs))
    except asyncio.CancelledError:
        if not execution.lost:
            await asyncio.shield(execution.release())
            raise
        if (task := asyncio.current_task()) is not None:
            task.uncancel()
        raise lease_lost() from None
    except Problem as error:
        if rule.keeps(error.status):
            await execution.complete(_refusal(error))
        else:
            await execution.release()
        raise
    except Exception:
        await execution.release()
        raise
    try:
        answer = StoredResponse(_DONE, body=_encode(value))
    except Exception:  # it was done: a repeat is told so, and does nothing
        await execution.complete(_refusal(response_not_kept(_DONE, "is nothing that JSON can say")))
        raise
    await execution.complete(answer)
    return value


def _fingerprint(bound: inspect.BoundArguments) -> bytes:
    """The arguments by name, with defaults, so that one call in two spellings is one."""
    bound.apply_defaults()
    text = _encode(bound.arguments)
    return digest(b"call", canonical_json(text) or text)


def _refusal(error: Problem) -> StoredResponse:
    answer = render_http(error)
    return StoredResponse(answer.status, tuple((n.encode(), v.encode()) for n, v in answer.headers), answer.body)


def _value(kept: StoredResponse, kept_as: object) -> object:
    if kept.status == _DONE:
        return msgspec.json.decode(kept.body, type=kept_as)
    pairs = [(name.decode(), value.decode()) for name, value in kept.headers]
    raise parse_http(kept.status, pairs, kept.body)
