"""One message for many streams: encoded once per form, however many callers it is written to."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any


class SharedMessage:
    """A message with the bytes that were made of it. A handler writes it like the message itself.

    Args:
        message: The message; it must not change any more.
        event_id: Of the server-sent event that carries it, one line; empty = none.
    """

    __slots__ = ("_encoded", "event_id", "message")

    def __init__(self, message: Any, event_id: str = "") -> None:
        self.message = message
        self.event_id = event_id
        self._encoded: dict[Hashable, bytes] = {}

    def encoded(self, form: Hashable, encode: Callable[[Any], bytes]) -> bytes:
        """The message in a form: made by the first who asks.

        Args:
            form: Names the form; the same one always means the same bytes.
            encode: Makes them.
        """
        found = self._encoded.get(form)
        if found is None:
            found = self._encoded[form] = encode(self.message)
        return found

    def serialized(self) -> bytes:
        """The message in the binary form of protobuf."""
        return self.encoded("protobuf", lambda message: message.SerializeToString())
