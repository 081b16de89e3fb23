"""Idempotency of gRPC calls: where the key is, what was asked for, and how an answer is kept.

The gRPC interceptors and the gateway's chain share these, so an operation has one record whichever way it is called.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Final

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from formicary.idempotency.fingerprints import digest
from formicary.idempotency.keys import check_key, key_of
from formicary.idempotency.model import Claim, StoredResponse
from formicary.idempotency.policy import Policy, Rule
from formicary.idempotency.refusals import key_missing, response_not_kept
from formicary.problems import FieldError, Problem, generic, problem
from formicary.problems.rpc import code_name, from_trailing_metadata

Value = str | bytes
Pairs = Iterable[tuple[str, Value]]

KIND: Final = "unary"
"""What stands in a claim's scope for the method: HTTP has its verb there."""
VERB: Final = "POST"
"""The verb that a call counts as when a policy is asked for its rule."""
REPLAYED: Final = ("idempotency-replayed", "true")
KEY_FIELDS: Final = ("idempotency_key", "request_id")
"""Fields of request messages that may hold the key; the second is that of AIP-155."""
_NOT_KEPT: Final = (b":not-kept", b"")
"""Stands among the trailers of an answer whose message was too large; no metadata has such a name."""
_CANCELLED: Final = 1


def key_of_call(metadata: Pairs, request: object, policy: Policy, rule: Rule, fields: Sequence[str]) -> str | None:
    """The key of a call, from its metadata, from a field of its message, or from both where they say the same.

    Args:
        metadata: What the caller sent.
        request: Its message.
        policy: Names the metadata key, in lower case.
        rule: Whether there has to be a key, and which form it has.
        fields: Names of fields that may hold it.

    Returns:
        The key; None where there is none and none is needed.

    Raises:
        Problem: IDEMPOTENCY_KEY_MISSING, IDEMPOTENCY_KEY_INVALID (two that differ, too).
    """
    name = policy.header.lower()
    values = [value.encode("latin-1") if isinstance(value, str) else value for each, value in metadata if each == name]
    sent = key_of(values, header=name, uuid_only=rule.uuid_only)
    field = _key_field(request, fields)
    if field is not None and (text := getattr(request, field)):
        key = check_key(text, header=field, uuid_only=rule.uuid_only)
        if sent is not None and sent != key:
            wrong = f"The field {field} and the metadata {name} differ: send the key once, or the same one."
            raise problem("IDEMPOTENCY_KEY_INVALID", wrong, errors=[FieldError(field, "CONFLICT", wrong)])
        return key
    if sent is None and rule.key == "refuse":
        raise key_missing(name)
    return sent


def claim_of_call(
    key: str, name: str, route: str, tenant: str, request: object, rule: Rule, fields: Sequence[str]
) -> Claim:
    """What a caller wants to execute.

    Args:
        key: Its key.
        name: Full name of the method.
        route: The operation's name in the policy: the method's, or a pattern.
        tenant: Whose key it is.
        request: The message; its key field does not count for what was asked for.
        rule: What holds.
        fields: Names of fields that may hold the key.
    """
    asked = digest(b"proto", name.encode(), _message_bytes(request, fields))
    return Claim(key, asked, tenant, KIND, route, "", rule.lease_s, rule.ttl_s)


def _message_bytes(request: object, fields: Sequence[str]) -> bytes:
    if isinstance(request, bytes):  # a service without message classes
        return request
    if not isinstance(request, Message):
        raise TypeError(f"a request of type {type(request).__name__} has no fingerprint: it is no protobuf message")
    field = _key_field(request, fields)
    if field is not None and getattr(request, field):
        copy = type(request)()
        copy.CopyFrom(request)
        copy.ClearField(field)
        request = copy
    return request.SerializeToString(deterministic=True)


def _key_field(request: object, fields: Sequence[str]) -> str | None:
    return _field_of(request.DESCRIPTOR, tuple(fields)) if isinstance(request, Message) else None


@lru_cache(maxsize=1024)
def _field_of(descriptor: Descriptor, fields: tuple[str, ...]) -> str | None:
    """The first of the fields that the message has as a single text."""
    for name in fields:
        field = descriptor.fields_by_name.get(name)
        if (
            field is not None
            and field.type == FieldDescriptor.TYPE_STRING
            and not isinstance(field.default_value, list)
        ):
            return name
    return None


# --- answers --------------------------------------------------------------------------------------------------------


def kept_answer(status: int, headers: Pairs, body: bytes, trailers: Pairs, message: str, rule: Rule) -> StoredResponse:
    """An answer as it is kept.

    Args:
        status: Number of the gRPC status code.
        headers: Initial metadata.
        body: The message as bytes; empty for a refusal.
        trailers: Trailing metadata, rich details among it.
        message: Text of the status.
        rule: Longest message that is kept.
    """
    end = _packed(trailers)
    if len(body) > rule.max_response_bytes or (not rule.max_response_bytes and not status):
        body, end = b"", (*end, _NOT_KEPT)
    return StoredResponse(status, _packed(headers), body, end, message)


def unpacked(pairs: Iterable[tuple[bytes, bytes]]) -> list[tuple[str, Value]]:
    """Kept metadata as gRPC has it: the values of ``-bin`` keys are bytes."""
    named = ((name.decode(), value) for name, value in pairs if not name.startswith(b":"))
    return [(name, value if name.endswith("-bin") else value.decode()) for name, value in named]


def _packed(pairs: Pairs) -> tuple[tuple[bytes, bytes], ...]:
    return tuple([(name.encode(), value.encode() if isinstance(value, str) else value) for name, value in pairs])


def check_kept(kept: StoredResponse, rule: Rule) -> None:
    """Raises Problem RESPONSE_NOT_KEPT where the message was too large and the rule wants no empty one in its place."""
    if _NOT_KEPT in kept.trailers and rule.on_large_response == "fail":
        if not rule.max_response_bytes:
            raise response_not_kept(200, "is for its first caller alone")
        raise response_not_kept(200)


def http_status(code: int, trailers: Pairs) -> int:
    """The HTTP status of a gRPC outcome, by which a rule says what is kept: that of its problem, or of its code."""
    if code == 0:
        return 200
    found = from_trailing_metadata(trailers)
    return generic(code_name(code)).status if found is None else found.status


def keeps(rule: Rule, code: int, status: int) -> bool:
    """Whether an outcome is kept. CANCELLED says that the caller has gone, and nothing of the operation."""
    return code != _CANCELLED and rule.keeps(status)


def refusal_of(kept: StoredResponse) -> Problem:
    """The problem that a kept refusal is."""
    from google.rpc import status_pb2

    from formicary.problems.rpc import from_status

    found = from_trailing_metadata(unpacked(kept.trailers))
    return found or from_status(status_pb2.Status(code=kept.status, message=kept.message))
