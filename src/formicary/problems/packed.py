"""Packed messages (``google.protobuf.Any``) and their JSON: the known as proto JSON, the rest as bytes."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import cast

from google.protobuf import any_pb2, descriptor_pool, json_format, message_factory
from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2

from formicary.problems.problem import Detail

PREFIX = "type.googleapis.com/"
_TYPE, _BYTES = "@type", "@bytes"
_POOL = descriptor_pool.Default()
KNOWN = error_details_pb2.DESCRIPTOR.name
"""Importing it registers google.rpc's details; what else is known depends on what the process has loaded."""


def pack(message: Message) -> Detail:
    """A message as the detail of a problem."""
    return Detail(PREFIX + message.DESCRIPTOR.full_name, message.SerializeToString(deterministic=True))


def to_any(detail: Detail) -> any_pb2.Any:
    """A detail as ``google.protobuf.Any``."""
    return any_pb2.Any(type_url=detail.type_url, value=detail.value)


def from_any(packed: any_pb2.Any) -> Detail:
    """The detail that a ``google.protobuf.Any`` is."""
    return Detail(packed.type_url, packed.value)


def to_json(detail: Detail) -> dict[str, object]:
    """A detail as a JSON object.

    Returns:
        Proto JSON with ``@type`` where the type is known and JSON can hold all of it; otherwise ``@type`` and
        ``@bytes`` in base64.
    """
    raw: dict[str, object] = {_TYPE: detail.type_url, _BYTES: base64.b64encode(detail.value).decode()}
    try:
        packed = to_any(detail)
        document = cast(dict[str, object], json_format.MessageToDict(packed, descriptor_pool=_POOL))
        again = json_format.ParseDict(document, any_pb2.Any(), descriptor_pool=_POOL)
        same = again.type_url == packed.type_url and _canonical(again) == _canonical(packed)
    except (TypeError, ValueError, KeyError, AttributeError, RecursionError, DecodeError, json_format.Error):
        return raw
    return document if same and _BYTES not in document else raw


def from_json(document: object) -> Detail | None:
    """The detail that :func:`to_json` wrote, None where the value is no such thing."""
    if not isinstance(document, Mapping) or not isinstance(document.get(_TYPE), str):
        return None
    encoded = document.get(_BYTES)
    if isinstance(encoded, str):
        try:
            return Detail(document[_TYPE], base64.b64decode(encoded, validate=True))
        except binascii.Error:
            return None
    try:
        return from_any(json_format.ParseDict(dict(document), any_pb2.Any(), descriptor_pool=_POOL))
    except (TypeError, ValueError, KeyError, AttributeError, RecursionError, json_format.Error):
        return None


def _canonical(packed: any_pb2.Any) -> bytes:
    """The content in the one order that does not depend on who wrote it; unknown fields stay in."""
    found = _POOL.FindMessageTypeByName(packed.type_url.rpartition("/")[2])
    message = message_factory.GetMessageClass(found)()
    message.ParseFromString(packed.value)
    return message.SerializeToString(deterministic=True)
