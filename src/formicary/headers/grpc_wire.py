"""What the interceptors of both kinds of gRPC servers and clients share: metadata as gRPC wants it.

On the wire of gRPC the names are those of the headers, in lower case, so that a service behind our gateway, behind a
proxy or called directly is asked in the same words, and its interceptor makes the same metadata of them. A gateway of
ours that has mapped already says so with :data:`MARK`, which is believed from trusted peers only.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from formicary.headers.carrying import Value
from formicary.headers.mapping import HeaderMapping
from formicary.headers.transforms import Rejected, decode_base64

MARK = "formicary-mapped"
"""Metadata key by which a trusted gateway says that this metadata is mapped already."""


class Metadatum(NamedTuple):
    """One entry of metadata, as gRPC's own."""

    key: str
    value: Value


def arrived(
    mapping: HeaderMapping, method: str, metadata: Iterable[tuple[str, Value]] | None, trusted: bool
) -> tuple[Metadatum, ...]:
    """Returns what the service sees of a call's metadata.

    Args:
        mapping: The mapping.
        method: Full name of the method.
        metadata: As it came.
        trusted: Whether the peer is believed.

    Raises:
        Problem: VALIDATION_FAILED, with every missing and every rejected header.
    """
    pairs = [(str(key), value) for key, value in metadata or ()]
    if mapping.skips(method):
        return tuple(Metadatum(key, value) for key, value in pairs if trusted or not mapping.strips(key))
    if trusted and any(key == MARK for key, _ in pairs):
        return tuple(Metadatum(key, value) for key, value in pairs if key != MARK)
    return tuple(Metadatum(key, value) for key, value in mapping.request(method, pairs, trusted))


def on_wire(pairs: Iterable[tuple[str, Value]]) -> tuple[tuple[str, Value], ...]:
    """Returns headers as gRPC metadata: names in lower case, bytes for ``-bin``."""
    found: list[tuple[str, Value]] = []
    for name, value in pairs:
        key = name.lower()
        if key.endswith("-bin") and isinstance(value, str):
            try:
                value = decode_base64(value)
            except Rejected:
                continue
        found.append((key, value))
    return tuple(found)


class Responses:
    """What one call sends back: each part mapped, defaults once.

    Args:
        mapping: The mapping.
        method: Full name of the method.
        request: What the service sees.
    """

    def __init__(self, mapping: HeaderMapping, method: str, request: tuple[Metadatum, ...]) -> None:
        self.begun = False
        self._mapping, self._method, self._request = mapping, method, request
        self._trailing: tuple[tuple[str, Value], ...] = ()

    def initial(self, metadata: Iterable[tuple[str, Value]] = ()) -> tuple[tuple[str, Value], ...]:
        """Returns the initial metadata to send; from now on it counts as sent."""
        self.begun = True
        pairs = [(str(key), value) for key, value in metadata or ()]
        if self._mapping.skips(self._method):
            return tuple(pairs)
        return on_wire(self._mapping.response(self._method, pairs, (), self._request))

    def trailing(self, metadata: Iterable[tuple[str, Value]] | None) -> tuple[tuple[str, Value], ...]:
        """Returns the trailing metadata to set; what belongs to gRPC itself stays as it is."""
        pairs = [(str(key), value) for key, value in metadata or ()]
        if self._mapping.skips(self._method):
            self._trailing = tuple(pairs)
        else:
            own = tuple(pair for pair in pairs if pair[0].startswith("grpc-"))
            self._trailing = own + on_wire(self._mapping.response_trailers(self._method, pairs))
        return self._trailing

    def failed(self) -> tuple[tuple[str, Value], ...]:
        """Returns the trailing metadata of a call that fails: with the defaults, when no initial metadata was sent."""
        if self.begun:
            return self._trailing
        there = {key for key, _ in self._trailing}
        return self._trailing + tuple(pair for pair in self.initial() if pair[0] not in there)
