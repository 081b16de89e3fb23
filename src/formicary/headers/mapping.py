"""The compiled mapping: one immutable object that every adapter calls, and that does no I/O.

Four ways cross it. At the server's end ``request`` makes metadata of request headers, and ``response`` makes headers of
the metadata that came back. At a client's end ``outbound`` and ``received`` undo both. Requests that break a rule are
refused with one problem that lists everything; responses are never refused, what cannot be sent is dropped and counted.
"""

from __future__ import annotations

import ipaddress
import logging
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from formicary.headers import names, rate_limits, timeouts
from formicary.headers import statistics as count
from formicary.headers.carrying import Carrier, Found, Note, Rules, Value, carry, clean, collect
from formicary.headers.model import MappingConfig
from formicary.headers.statistics import KIND_COUNT, Statistics
from formicary.headers.transforms import Rejected, decode_base64
from formicary.problems import FieldError, Problem, problem

Pairs = Iterable[tuple[str, Value]]
_LOG = logging.getLogger("formicary.headers")
_MOST_PLANS = 256


@dataclass(frozen=True, slots=True)
class Way:
    """The carriers of one way and the names that they look at."""

    carriers: tuple[Carrier, ...]
    sources: frozenset[str]

    @classmethod
    def of(cls, carriers: Iterable[Carrier]) -> Way:
        """Joins carriers."""
        found = tuple(carriers)
        return cls(found, frozenset(carrier.source for carrier in found) | {"traceparent"})


@dataclass(frozen=True, slots=True)
class Plan:
    """What holds for a path: four ways, which response headers replace the application's, which names matter."""

    request: Way
    response: Way
    outbound: Way
    received: Way
    overwrites: frozenset[str]
    strips: frozenset[str]
    wanted: frozenset[bytes] | None


@dataclass(frozen=True, slots=True)
class Paths:
    """Some paths, compiled."""

    exact: frozenset[str]
    pattern: re.Pattern[str] | None

    def match(self, path: str) -> bool:
        """Whether the path, which has no query, is one of them."""
        return path in self.exact or (self.pattern is not None and self.pattern.fullmatch(path) is not None)


@dataclass(frozen=True, slots=True, eq=False)
class HeaderMapping:
    """A compiled mapping; make one with :func:`formicary.headers.compile_mapping`, the builder or a file.

    Attributes:
        config: What it was made of.
        hints: What its author should know, a sentence each.
        statistics: Counters of every rule.
        lossy: Labels of rules through which a value may not come back as it was.
    """

    config: MappingConfig
    hints: tuple[str, ...]
    statistics: Statistics
    lossy: tuple[str, ...]
    _rules: Rules
    _skip: Paths
    _plan: Plan
    _routes: tuple[Paths, ...]
    _route_plan: Callable[[tuple[int, ...]], Plan]
    _networks: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]
    _trust_unix: bool
    _plans: dict[tuple[int, ...], Plan] = field(default_factory=dict)

    def request(
        self, path: str, headers: Pairs, trusted: bool = False, *, note: Note | None = None
    ) -> list[tuple[str, Value]]:
        """Makes the metadata of a call from the headers of its request.

        Args:
            path: HTTP path or gRPC method; a query is ignored.
            headers: Names and values in order, as they came; repeated names are welcome.
            trusted: Whether the peer is one that authenticated the caller, so that identities from it are believed.
            note: Is told of each rule.

        Returns:
            Metadata in the order of the rules; values of ``-bin`` keys are bytes. Empty on a skipped path.

        Raises:
            Problem: VALIDATION_FAILED, with every missing and every rejected header.
        """
        if self.skips(path):
            return []
        plan = self._find(path)
        pairs = headers if isinstance(headers, list | tuple) else list(headers)
        events: list[int] = []
        sent = collect(pairs, {}, plan.request.sources)
        result, errors = carry(
            plan.request.carriers, sent, self._rules, events, trusted=trusted, note=note or self._logger()
        )
        self.statistics.add(events)
        if self.config.grpc_gateway and trusted:
            errors += self._prefixed(pairs, result)
        if errors:
            raise _refusal(errors)
        metadata = [(name, value) for name, values in result.items() for value in values]
        self._check_size(metadata)
        return metadata

    def response(
        self,
        path: str,
        headers_md: Pairs,
        trailers_md: Pairs = (),
        request_md: Pairs = (),
        *,
        note: Note | None = None,
    ) -> list[tuple[str, str]]:
        """Makes response headers from what a service sent back; call it for errors too.

        Args:
            path: HTTP path or gRPC method; a query is ignored.
            headers_md: Initial metadata of the response.
            trailers_md: Trailing metadata; its values come after those of the same key in ``headers_md``.
            request_md: What :meth:`request` returned, so that an id that was generated for the request is repeated.
            note: Is told of each rule.

        Returns:
            Headers in the order of the rules, all text. Nothing unmapped. Empty on a skipped path.
        """
        if self.skips(path):
            return []
        plan = self._find(path)
        sent = collect(trailers_md, collect(headers_md, {}, plan.response.sources), plan.response.sources)
        result = self._soft(plan.response, sent, collect(request_md, {}, plan.response.sources), note)
        found = [(name, value) for name, values in result.items() for value in values if isinstance(value, str)]
        if self.config.rate_limit:
            found += rate_limits.fields(sent)
        return found

    def response_trailers(self, path: str, trailers_md: Pairs) -> list[tuple[str, str]]:
        """Maps trailing metadata alone, without defaults; for transports that send real trailers.

        Args:
            path: HTTP path or gRPC method.
            trailers_md: Trailing metadata.
        """
        sent_only = list(trailers_md)
        there = {name.lower() for name, _ in sent_only}
        if self.skips(path):
            return []
        way = self._find(path).response
        sent = collect(sent_only, {}, way.sources)
        result = self._soft(Way(tuple(c for c in way.carriers if c.source in there), way.sources), sent, None, None)
        return [(name, value) for name, values in result.items() for value in values if isinstance(value, str)]

    def outbound(self, path: str, metadata: Pairs) -> list[tuple[str, Value]]:
        """Makes the request headers that :meth:`request` turns into this metadata; for clients.

        Args:
            path: HTTP path or gRPC method.
            metadata: What the service shall see.

        Raises:
            Problem: VALIDATION_FAILED for required keys that are missing and for values that no header can hold.
        """
        plan = self._find(path)
        events: list[int] = []
        sent = collect(metadata, {}, plan.outbound.sources)
        result, errors = carry(plan.outbound.carriers, sent, self._rules, events, trusted=True, note=self._logger())
        self.statistics.add(events)
        if errors:
            raise _refusal(errors)
        found = [(name, value) for name, values in result.items() for value in values]
        self._check_size(found)
        return found

    def received(self, path: str, headers: Pairs, trailers: Pairs = ()) -> list[tuple[str, Value]]:
        """Makes the metadata that the service sent from the response headers and trailers; for clients.

        Args:
            path: HTTP path or gRPC method.
            headers: Response headers, or initial metadata as it came.
            trailers: Trailers, or trailing metadata as it came.
        """
        way = self._find(path).received
        sent = collect(trailers, collect(headers, {}, way.sources), way.sources)
        result = self._soft(way, sent, None, None)
        return [(name, value) for name, values in result.items() for value in values]

    def skips(self, path: str) -> bool:
        """Whether the path is not mapped at all."""
        skip = self._skip
        if not skip.exact and skip.pattern is None:
            return False
        return skip.match(path.partition("?")[0])

    def trusts(self, host: str) -> bool:
        """Whether a peer at this address is one of ``trusted_peers``.

        Args:
            host: IP address, ``unix``, or a gRPC peer like ``ipv4:10.0.0.1:4711``.
        """
        if host.startswith(("ipv4:", "ipv6:")):
            host = host.partition(":")[2].rpartition(":")[0].replace("%5B", "").replace("%5D", "").strip("[]")
        if host == "unix" or host.startswith("unix:"):
            return self._trust_unix
        if not self._networks:
            return False
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            return False
        mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
        return any((mapped or address) in network for network in self._networks)

    def timeout_s(self, headers: Pairs) -> float | None:
        """Returns how long the caller is willing to wait, from ``X-Request-Timeout`` and ``grpc-timeout``.

        Args:
            headers: Request headers.

        Returns:
            Seconds, the smaller of both; None when neither is there or the mapping does not carry deadlines.

        Raises:
            Problem: VALIDATION_FAILED when one cannot be read.
        """
        return timeouts.of_headers(headers) if self.config.timeouts else None

    def overwrites(self, path: str) -> frozenset[str]:
        """Returns the lower-case names of response headers that replace those the application has set."""
        return self._find(path).overwrites

    def strips(self, name: str) -> bool:
        """Whether a request header of this name must not reach an application behind an untrusted peer."""
        lower = name.lower()
        return lower.startswith(names.GATEWAY_PREFIX) or lower in self._plan.strips

    @property
    def stripped(self) -> frozenset[str]:
        """Lower-case names that :meth:`strips`, beside the prefix ``grpc-metadata-``."""
        return self._plan.strips

    def wanted(self, path: str) -> frozenset[bytes] | None:
        """Returns the lower-case names that :meth:`request` looks at, as ASGI has them; None for every one."""
        return self._find(path).wanted

    def _find(self, path: str) -> Plan:
        if not self._routes:
            return self._plan
        bare = path.partition("?")[0]
        matching = tuple(n for n, paths in enumerate(self._routes) if paths.match(bare))
        if not matching:
            return self._plan
        plan = self._plans.get(matching)
        if plan is None:
            plan = self._route_plan(matching)
            if len(self._plans) < _MOST_PLANS:
                self._plans[matching] = plan
        return plan

    def _soft(self, way: Way, sent: Found, echo: Found | None, note: Note | None) -> Found:
        events: list[int] = []
        result, errors = carry(
            way.carriers, sent, self._rules, events, trusted=True, echo=echo, note=note or self._logger()
        )
        if errors:
            # A response cannot be refused any more: what is rejected is dropped.
            events += [
                event - count.REJECTED + count.DROPPED for event in events if event % KIND_COUNT == count.REJECTED
            ]
        self.statistics.add(events)
        size = 0
        for values in result.values():
            for value in values:
                size += len(value) + names.MAX_NAME_BYTES
        if size <= self._rules.max_total_bytes:
            return result  # even with the longest names
        size = 0
        for name, values in list(result.items()):
            size += sum(len(name) + len(value) for value in values)
            if size > self._rules.max_total_bytes:
                _LOG.warning("dropped response header %s: more than %d bytes", name, self._rules.max_total_bytes)
                del result[name]
        return result

    def _prefixed(self, pairs: Pairs, result: Found) -> list[FieldError]:
        """Takes ``Grpc-Metadata-NAME`` of a trusted peer as metadata NAME, unless a rule has set it."""
        errors, taken = [], set(result)
        for name, value in pairs:
            lower = name.lower()
            if not lower.startswith(names.GATEWAY_PREFIX):
                continue
            key = lower.removeprefix(names.GATEWAY_PREFIX)
            if key in taken or names.metadata_fault(key):
                continue
            try:
                text = value if isinstance(value, bytes) else clean(value, self._rules)
                carried = decode_base64(text) if key.endswith("-bin") and isinstance(text, str) else text
                if len(carried) > self._rules.max_value_bytes:
                    raise Rejected(f"has {len(carried)} bytes, at most {self._rules.max_value_bytes}")
            except Rejected as refusal:
                errors.append(FieldError(f"headers.{name}", "HEADER_REJECTED", f"The header {name} {refusal}."))
                continue
            result.setdefault(key, []).append(carried)
        return errors

    def _check_size(self, found: list[tuple[str, Value]]) -> None:
        size = 0
        for name, value in found:
            size += len(name) + len(value)
        if size > self._rules.max_total_bytes:
            message = f"The mapped headers have {size} bytes, at most {self._rules.max_total_bytes}."
            raise _refusal([FieldError("headers", "HEADERS_TOO_LARGE", message)])

    def _logger(self) -> Note | None:
        level = logging.INFO if self.config.debug else logging.DEBUG
        if not _LOG.isEnabledFor(level):
            return None

        def log(carrier: Carrier, kind: int, values: list[Value], reason: str) -> None:
            shown = [names.mask(value) if carrier.sensitive else value for value in values]
            arrow = "->" if carrier.to_metadata else "<-"
            _LOG.log(level, "%s %s %s: %s %r %s", carrier.header, arrow, carrier.key, count.KINDS[kind], shown, reason)

        return log


def _refusal(errors: list[FieldError]) -> Problem:
    missing = [e.field.removeprefix("headers.") for e in errors if e.code == "REQUIRED_HEADER_MISSING"]
    sentences = [f"Required headers are missing: {', '.join(missing)}."] if missing else []
    sentences += [e.message for e in errors if e.code != "REQUIRED_HEADER_MISSING"]
    return problem("VALIDATION_FAILED", " ".join(sentences), errors=errors)
