"""Parameters of jobs as they come over the API."""

from __future__ import annotations

from typing import Any

import msgspec
from google.protobuf.json_format import MessageToDict
from google.protobuf.struct_pb2 import Struct

_encode = msgspec.json.Encoder().encode


def as_json(params: Struct) -> bytes:
    """The parameters as JSON, whole numbers as such."""
    return _encode(_whole(MessageToDict(params)))


def _whole(value: Any) -> Any:
    """The value with whole numbers as such: a Struct holds 3 and 3.0 alike, and templates print them."""
    if isinstance(value, dict):
        return {key: _whole(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_whole(one) for one in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
