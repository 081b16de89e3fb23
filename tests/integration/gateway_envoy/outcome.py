"""What one side made of a request, in a form that can be compared."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from google.protobuf import json_format, message_factory
from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.message import Message

from tests.integration.gateway_envoy.http1 import Reply


@dataclass(frozen=True, slots=True)
class Outcome:
    """One side's result.

    Attributes:
        method: which method was called; empty: none.
        message: the request that the method was given.
        reply: what came back.
        answer: the messages read from the body of a success, or a sentence why they cannot be read.
    """

    method: str
    message: Any
    reply: Reply
    answer: Any

    @property
    def called(self) -> bool:
        """Whether the handler was reached."""
        return bool(self.method)

    def same_call(self, other: Outcome) -> bool:
        """Whether the same method was given the same message."""
        return self.method == other.method and _binary(self.message) == _binary(other.message)

    def __str__(self) -> str:
        call = f"{self.method} {json.dumps(_shown(self.message), ensure_ascii=False)}" if self.called else "no call"
        kind = self.reply.headers.get("content-type", "-")
        return f"{self.reply.status} [{kind}] {call}\n    body {self.reply.body[:600]!r}"


def _binary(message: Message) -> bytes:
    return message.SerializeToString(deterministic=True)


def _shown(message: Message) -> Any:
    try:
        return json_format.MessageToDict(message, preserving_proto_field_name=True)
    except (ValueError, json_format.Error):
        return str(message)


def read(service: ServiceDescriptor, call: tuple[str, Any] | None, reply: Reply, verb: str, whole: bool) -> Outcome:
    """The outcome of a call and a reply.

    Args:
        service: whose method was called.
        call: method and message that the echo wrote down.
        reply: what came back.
        verb: HTTP verb; a HEAD has no body to read.
        whole: the reply has the whole response although ``response_body`` names a field that is no HttpBody.
    """
    if call is None:
        return Outcome("", None, reply, None)
    name, message = call
    answer: Any = None
    if reply.status == 200 and verb != "HEAD":
        answer = _answer(service, name, reply, whole)
    return Outcome(name, message, reply, answer)


def _loads(said: bytes) -> Any:
    """JSON with the sign of -0 kept."""
    return json.loads(said, parse_int=lambda digits: -0.0 if digits == "-0" else int(digits))


def _answer(service: ServiceDescriptor, name: str, reply: Reply, whole: bool) -> Any:
    if name in ("Upload", "Download"):
        return reply.headers.get("content-type", ""), reply.body
    method = service.methods_by_name[name]
    found = message_factory.GetMessageClass(method.output_type)()
    try:
        if method.server_streaming:
            return [_parsed(found, one) for one in _streamed(reply)]
        if name != "GetInner":
            return _parsed(found, _loads(reply.body))
        inner = _loads(reply.body)
        return _parsed(type(found.inner)(), inner.get("inner", {}) if whole else inner)
    except (ValueError, json_format.Error) as error:
        return f"cannot be read: {error}"


def _streamed(reply: Reply) -> list[Any]:
    """The messages of a stream: a JSON array from Envoy, lines from us."""
    if reply.body.lstrip()[:1] == b"[":
        found: list[Any] = _loads(reply.body)
        return found
    return [_loads(line) for line in reply.body.splitlines() if line.strip()]


def _parsed(empty: Message, content: Any) -> bytes:
    return _binary(json_format.ParseDict(content, type(empty)()))
