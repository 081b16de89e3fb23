"""What the interceptors of both kinds of gRPC servers and clients share: metadata as gRPC wants it.

On the wire of gRPC the names are those of the headers, in lower case, so that a service behind our gateway, behind a
proxy or called directly is asked in the same words, and its interceptor makes the same metadata of them. A gateway of
ours that has mapped already says so with :data:`MARK`, which is believed from trusted peers only.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple, cast

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
    """Does :func:`mapped` for servicers of grpc, who ask entries for ``key`` and ``value``."""
    return tuple([Metadatum(key, value) for key, value in mapped(mapping, method, metadata, trusted)])


def mapped(
    mapping: HeaderMapping, method: str, metadata: Iterable[tuple[str, Value]] | None, trusted: bool
) -> tuple[tuple[str, Value], ...]:
    """Returns what the service sees of a call's metadata.

    Args:
        mapping: The mapping.
        method: Full name of the method.
        metadata: As it came.
        trusted: Whether the peer is believed.

    Raises:
        Problem: VALIDATION_FAILED, with every missing and every rejected header.
    """
    pairs = _pairs(metadata)
    if not (trusted or mapping.by_path):
        return tuple(mapping.request(method, pairs))
    if mapping.skips(method):
        return tuple([pair for pair in pairs if trusted or not mapping.strips(pair[0])])
    if trusted and any(key == MARK for key, _ in pairs):
        return tuple([pair for pair in pairs if pair[0] != MARK])
    return tuple(mapping.request(method, pairs, trusted))


def _pairs(metadata: Iterable[tuple[str, Value]] | None) -> Sequence[tuple[str, Value]]:
    if metadata.__class__ is list or metadata.__class__ is tuple:
        return cast("Sequence[tuple[str, Value]]", metadata)
    return tuple(metadata or ())


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

    __slots__ = ("_mapping", "_method", "_request", "_trailing", "begun")

    def __init__(self, mapping: HeaderMapping, method: str, request: Sequence[tuple[str, Value]]) -> None:
        self.begun = False
        self._mapping, self._method, self._request = mapping, method, request
        self._trailing: tuple[tuple[str, Value], ...] = ()

    def initial(self, metadata: Iterable[tuple[str, Value]] = ()) -> tuple[tuple[str, Value], ...]:
        """Returns the initial metadata to send; from now on it counts as sent."""
        self.begun = True
        pairs = _pairs(metadata)
        ready = self._mapping.answer(self._method, pairs, self._request)
        if ready is not None:
            return ready
        if self._mapping.skips(self._method):
            return tuple(pairs)
        return on_wire(self._mapping.response(self._method, pairs, (), self._request))

    def trailing(self, metadata: Iterable[tuple[str, Value]] | None) -> tuple[tuple[str, Value], ...]:
        """Returns the trailing metadata to set; what belongs to gRPC itself stays as it is."""
        pairs = _pairs(metadata)
        if not pairs or self._mapping.skips(self._method):
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
