"""What a mapping says, as values: rules, routes, path patterns, bounds.

:func:`formicary.headers.compile_mapping` checks and compiles them.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

from formicary.headers.transforms import Transform


class Direction(StrEnum):
    """Which way a rule maps."""

    INCOMING = "incoming"
    OUTGOING = "outgoing"
    BIDIRECTIONAL = "bidirectional"

    @property
    def incoming(self) -> bool:
        """Whether request headers become metadata."""
        return self is not Direction.OUTGOING

    @property
    def outgoing(self) -> bool:
        """Whether metadata becomes response headers."""
        return self is not Direction.INCOMING


Step = Transform | Callable[[str], str]
"""A transform, or a function of one value; a function may raise Rejected."""

GENERATED = ("uuid", "uuid7", "timestamp", "trace_id", "traceparent")
"""Kinds of generated defaults."""


@dataclass(frozen=True, slots=True)
class Generated:
    """A default that is made anew for each call.

    Attributes:
        kind: One of GENERATED. ``trace_id`` is the one of the request's traceparent when there is one.
    """

    kind: str = "uuid"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One header and the metadata key that it becomes.

    Attributes:
        header: Name of the header; case does not matter, the response shows it as written.
        metadata: Metadata key; empty means the header's name in lower case. A key ending in ``-bin`` holds bytes, which
            the header carries as base64.
        direction: Which way.
        incoming: Transforms from header to metadata, in order.
        outgoing: Transforms from metadata to header, in order.
        required: A request without it (and without a default) is refused.
        default: Text, or Generated; given to the receiver as it is, without transforms.
        overwrite: Whether its values replace those that another rule or the application has set; None means as the
            whole mapping says.
        sensitive: Whether people see its values masked; None means that the name decides.
        trusted_only: Whether it counts only from trusted peers; None means that the name decides (identities do).
    """

    header: str
    metadata: str = ""
    direction: Direction = Direction.BIDIRECTIONAL
    incoming: tuple[Step, ...] = ()
    outgoing: tuple[Step, ...] = ()
    required: bool = False
    default: str | Generated | None = None
    overwrite: bool | None = None
    sensitive: bool | None = None
    trusted_only: bool | None = None

    @property
    def key(self) -> str:
        """The metadata key."""
        return self.metadata.lower() or self.header.lower()


@dataclass(frozen=True, slots=True)
class PathPattern:
    """Which paths are meant; HTTP paths and gRPC methods (``/package.Service/Method``) alike, without the query.

    Attributes:
        kind: ``exact``, ``prefix`` (whole segments: ``/admin`` means ``/admin`` and ``/admin/x``, not
            ``/administer``) or ``glob`` (``*`` and ``?`` within a segment, ``**`` across segments).
        text: The path, prefix or glob; begins with ``/``.
    """

    kind: str
    text: str

    @classmethod
    def of(cls, text: str) -> PathPattern:
        """Reads a text: one with ``*`` or ``?`` is a glob, everything else an exact path."""
        return cls("glob" if "*" in text or "?" in text else "exact", text)

    def expression(self) -> str:
        """Returns the regular expression for glob and prefix."""
        if self.kind == "prefix":
            return re.escape(self.text) + ("" if self.text.endswith("/") else "(?:/.*)?")
        parts = re.split(r"(\*\*|\*|\?)", self.text)
        special = {"**": ".*", "*": "[^/]*", "?": "[^/]"}
        return "".join(special.get(part) or re.escape(part) for part in parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """Rules for some paths, added to those of the whole mapping.

    Attributes:
        paths: Which paths.
        mappings: A rule with the header and key of an earlier one replaces it.
    """

    paths: tuple[PathPattern | str, ...]
    mappings: tuple[Rule, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds of one call; a request beyond them is refused, a response value beyond them is dropped.

    Attributes:
        max_values: Most values of one header.
        max_value_bytes: Most bytes of one value.
        max_total_bytes: Most bytes of all names and values that cross; gRPC peers refuse more than 8 to 16 KiB.
    """

    max_values: int = 64
    max_value_bytes: int = 8_192
    max_total_bytes: int = 16_384


@dataclass(frozen=True, slots=True, kw_only=True)
class MappingConfig:
    """A whole mapping.

    Attributes:
        mappings: The rules, in order.
        routes: Rules for some paths.
        presets: Names of presets, put before the rules; a rule with the same header and key replaces theirs.
        skip_paths: Paths that are not mapped: nothing crosses there.
        allow: Request headers that cross unchanged under their own name.
        allow_response: Metadata keys that become response headers of the same name, unchanged.
        overwrite: What rules do that do not say it themselves.
        grpc_gateway: Hand on what grpc-gateway does: permanent headers as ``grpcgateway-NAME``, and
            ``Grpc-Metadata-NAME`` from trusted peers.
        timeouts: Take deadlines from ``X-Request-Timeout`` and ``grpc-timeout``.
        rate_limit: Make the IETF fields ``RateLimit`` and ``RateLimit-Policy`` from the metadata ``ratelimit-limit``,
            ``ratelimit-remaining`` and ``ratelimit-reset``.
        non_ascii: ``reject`` refuses (request) or drops (response) values with characters beyond ASCII; ``percent``
            writes their bytes as ``%XX``.
        limits: Bounds.
        trusted_peers: Networks like ``10.0.0.0/8``, or ``unix``, whose identity headers are believed.
        debug: Log each value that crosses at level INFO instead of DEBUG; secrets are masked.
    """

    mappings: tuple[Rule, ...] = ()
    routes: tuple[Route, ...] = ()
    presets: tuple[str, ...] = ()
    skip_paths: tuple[PathPattern | str, ...] = ()
    allow: tuple[str, ...] = ()
    allow_response: tuple[str, ...] = ()
    overwrite: bool = False
    grpc_gateway: bool = False
    timeouts: bool = False
    rate_limit: bool = False
    non_ascii: str = "reject"
    limits: Limits = field(default_factory=Limits)
    trusted_peers: tuple[str, ...] = ()
    debug: bool = False
