"""Idempotency in the chain: an operation has one record, whether it is called over gRPC or REST.

What was asked for is compared as a message, so that a retry over the other protocol is a retry. It comes after
validation: what is refused there stores nothing.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from typing import Any

from google.api import annotations_pb2
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.descriptor_pb2 import MethodOptions
from msgspec.structs import replace

from formicary.gateway.call import Call
from formicary.gateway.service import Method, Run
from formicary.idempotency.counts import Counts
from formicary.idempotency.execution import Execution, begin
from formicary.idempotency.grpc_calls import (
    KEY_FIELDS,
    REPLAYED,
    VERB,
    check_kept,
    claim_of_call,
    keeps,
    kept_answer,
    key_of_call,
    refusal_of,
    unpacked,
)
from formicary.idempotency.heartbeat import Heartbeats
from formicary.idempotency.model import StoredResponse
from formicary.idempotency.policy import Policy, Rule
from formicary.idempotency.refusals import lease_lost
from formicary.idempotency.store import Store
from formicary.idempotency.uncancelled import to_its_end
from formicary.problems import Problem, problem
from formicary.problems.rpc import STATUS_KEY, code_number, to_status


class Idempotent:
    """Interceptor that keeps the answers of unary methods; message, metadata and problems come again as they were.

    A method that its contract says to be a read (``get``, or ``NO_SIDE_EFFECTS``) needs no key.

    Args:
        store: Where records are; opened and closed by whoever made it.
        policy: What holds where: a route's pattern is the full name of a method.
        tenant: Whose keys a call's are; None = the id of its principal, else a hash of its credentials.
        key_fields: Fields of request messages that may hold the key.
        counts: Figures; None = new ones.
        conceal: Makes of the digest of a request the one that is stored, the same for the same request: where a request
            holds a secret, a bare digest would let whoever reads the store try values. None = it is stored as it is.
    """

    def __init__(
        self,
        store: Store,
        policy: Policy | None = None,
        *,
        tenant: Callable[[Call], str] | None = None,
        key_fields: Sequence[str] = KEY_FIELDS,
        counts: Counts | None = None,
        conceal: Callable[[Call, bytes], bytes] | None = None,
    ) -> None:
        self._store = store
        self._policy = policy or Policy()
        self._tenant = tenant or tenant_of
        self._fields = tuple(key_fields)
        self._heartbeats = Heartbeats()
        self.counts = counts or Counts()
        self._conceal = conceal

    def applies(self, method: Method) -> bool:
        """Whether a method's answers are kept."""
        return not method.streaming and self._policy.find(_verb(method.descriptor), method.full_name) is not None

    async def __call__(self, call: Call, proceed: Run) -> None:
        """Raises Problem: what the claim is refused with, or a refusal that was kept."""
        found = self._policy.find(VERB, call.method.full_name)
        if found is None:
            await proceed(call)
            return
        route, rule = found
        request = await call.load()
        try:
            key = key_of_call(call.metadata, request, self._policy, rule, self._fields)
        except Problem as error:
            self.counts.missing += error.code == "IDEMPOTENCY_KEY_MISSING"
            raise
        if key is None:
            await proceed(call)
            return
        name = call.method.full_name
        claim = claim_of_call(key, name, route, self._tenant(call), request, rule, self._fields)
        if self._conceal is not None:
            claim = replace(claim, fingerprint=self._conceal(call, claim.fingerprint))
        begun = await begin(self._store, claim, rule, self.counts, header=self._policy.header)
        if isinstance(begun, Execution):
            await to_its_end(_execute(begun, rule, call, proceed), begun, self._heartbeats.of(rule))
        else:
            _replay(begun, rule, call)


async def _execute(execution: Execution, rule: Rule, call: Call, proceed: Run) -> None:
    before = len(call.headers)
    refusal: Problem | None = None
    try:
        await proceed(call)
    except asyncio.CancelledError:
        if not execution.lost:
            await asyncio.shield(execution.release())
            raise
        if (task := asyncio.current_task()) is not None:
            task.uncancel()
        await _answer_of_another(execution, rule, call, lease_lost())
        return
    except Problem as error:
        refusal = error
    except Exception:
        if not rule.replay_5xx:
            await execution.release()
            raise
        await _keep(execution, rule, call, before, problem("INTERNAL"))
        raise
    await _keep(execution, rule, call, before, refusal)
    if refusal is not None:
        raise refusal


async def _keep(execution: Execution, rule: Rule, call: Call, before: int, refusal: Problem | None) -> None:
    number = 0 if refusal is None else code_number(refusal.grpc_code)
    if not keeps(rule, number, 200 if refusal is None else refusal.status):
        await execution.release()
        return
    body = call.response.SerializeToString() if refusal is None else b""
    trailers, text = list(call.trailers), ""
    if refusal is not None:
        trailers.append((STATUS_KEY, to_status(refusal).SerializeToString()))
        text = refusal.detail
    try:
        await execution.complete(kept_answer(number, call.headers[before:], body, trailers, text, rule))
    except Problem as error:
        del call.headers[before:]
        await _answer_of_another(execution, rule, call, error)


async def _answer_of_another(execution: Execution, rule: Rule, call: Call, error: Problem) -> None:
    kept = await execution.answer_of_another() if error.code == "LEASE_LOST" else None
    if kept is None:
        raise error
    _replay(kept, rule, call)


def _replay(kept: StoredResponse, rule: Rule, call: Call) -> None:
    check_kept(kept, rule)
    call.headers += [*unpacked(kept.headers), REPLAYED]
    call.trailers = [pair for pair in unpacked(kept.trailers) if pair[0] != STATUS_KEY]
    if kept.status:
        raise refusal_of(kept)
    call.response = call.method.response_class.FromString(kept.body)


def tenant_of(call: Call) -> str:
    """Whose keys a call's are, where nobody says: see :class:`Idempotent`."""
    if call.principal is not None:
        return str(getattr(call.principal, "id", call.principal))
    credentials = call.value("authorization")
    return "credentials:" + hashlib.sha256(credentials.encode()).hexdigest() if credentials else ""


def _verb(method: MethodDescriptor) -> str:
    options: Any = method.GetOptions()
    if options.idempotency_level == MethodOptions.NO_SIDE_EFFECTS:
        return "GET"
    http = options.Extensions[annotations_pb2.http] if options.HasExtension(annotations_pb2.http) else None
    return "GET" if http is not None and http.WhichOneof("pattern") == "get" else VERB
