"""The compiled mapping: one immutable object that every adapter calls, and that does no I/O.

Four ways cross it. At the server's end ``request`` makes metadata of request headers, and ``response`` makes headers of
the metadata that came back. At a client's end ``outbound`` and ``received`` undo both. Requests that break a rule are
refused with one problem that lists everything; responses are never refused, what cannot be sent is dropped and counted.
"""

from __future__ import annotations

import ipaddress
import logging
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from formicary.headers import names, rate_limits, timeouts
from formicary.headers import statistics as count
from formicary.headers.carrying import (
    CREDENTIALS_REJECTED,
    Carrier,
    Done,
    Found,
    Note,
    Rules,
    Value,
    carry,
    clean,
    collect,
    too_long,
)
from formicary.headers.model import MappingConfig
from formicary.headers.quick import NO_ANSWER, Before, Quick, Raw
from formicary.headers.shapes import Shape
from formicary.headers.statistics import KIND_COUNT, Statistics
from formicary.headers.transforms import Rejected, decode_base64
from formicary.problems import FieldError, Problem, problem

if TYPE_CHECKING:
    from formicary.headers.prometheus import HeaderCollector

Pairs = Iterable[tuple[str, Value]]
_LOG = logging.getLogger("formicary.headers")
_MOST_PLANS = 256
_SEQUENCES = (list, tuple)
_NONE: tuple[tuple[()], tuple[()]] = ((), ())
_PREFIX = names.GATEWAY_PREFIX.encode()


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
    quick: Quick


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
        by_path: Whether paths are skipped or have rules of their own.
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
    by_path: bool
    _level: int
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
            Problem: VALIDATION_FAILED, with every missing and every rejected header; UNAUTHENTICATED when credentials
                are among the rejected.
        """
        plan: Plan = self._plan
        if self.by_path:
            if self.skips(path):
                return []
            plan = self._find(path)
        pairs = headers if headers.__class__ in _SEQUENCES else list(headers)
        if note is None and _LOG.isEnabledFor(self._level):
            note = self._logger()
        done: Done | None = None
        if note is None:
            before = plan.quick.request_before
            if pairs == before.pairs and trusted == before.trusted and before.shape.tally.kept:
                before.shape.hit()
                return self._filled(before.shape, before.parts, before.values)
            keys, values = zip(*pairs) if pairs else _NONE  # noqa: B905  # all are pairs, and the keyword costs time
            shape = (plan.quick.trusted if trusted else plan.quick.strange).find(keys)
            parts = None if shape is None else shape.texts(values)
            if shape is not None and parts is not None:
                done = shape.transform(parts) if shape.steps else None
                if done is None:
                    shape.hit()
                    if not shape.tally.kept:
                        self.statistics.late(shape.tally)
                    elif pairs.__class__ is tuple and not shape.measured:  # no transform of somebody else's
                        plan.quick.request_before = Before(pairs, trusted, shape, parts, values)
                    return self._filled(shape, parts, values)
        return self._request(plan, pairs, trusted, note, done)

    def arrive(self, path: str, raw: Raw, trusted: bool) -> tuple[list[tuple[str, Value]], Raw]:
        """Does :meth:`request` for headers as ASGI has them.

        Args:
            path: HTTP path.
            raw: Names in lower case and values.
            trusted: Whether the peer is believed.

        Returns:
            The metadata, and the headers that the application may see.

        Raises:
            Problem: As :meth:`request` does.
        """
        plan: Plan = self._plan
        if self.by_path:
            if self.skips(path):
                return [], self._visible(raw, trusted)
            plan = self._find(path)
        done: Done | None = None
        if not _LOG.isEnabledFor(self._level):
            keys, values = zip(*raw) if raw else _NONE  # noqa: B905  # all are pairs, and the keyword costs time
            found = (plan.quick.trusted_wire if trusted else plan.quick.strange_wire).find(keys)
            parts = None if found is None else found.shape.wire_texts(values)
            if found is not None and parts is not None:
                shape = found.shape
                done = shape.transform(parts) if shape.steps else None
                if done is None:
                    seen = raw if found.kept is None else [raw[place] for place in found.kept]
                    shape.hit()
                    if not shape.tally.kept:
                        self.statistics.late(shape.tally)
                    if shape.measured or shape.constants or shape.absent:
                        return self._filled(shape, parts, values), seen
                    return [*zip(shape.targets, parts)], seen  # noqa: B905  # the first parts arrive; keywords cost time
        wanted = plan.wanted
        pairs = [(n.decode("latin-1"), v.decode("latin-1")) for n, v in raw if wanted is None or n in wanted]
        if done is None and not (plan.quick.trusted if trusted else plan.quick.strange).resting:
            # Headers that no rule wants make many shapes; without them the calls are alike again.
            return self.request(path, pairs, trusted), self._visible(raw, trusted)
        return self._request(plan, pairs, trusted, self._logger(), done), self._visible(raw, trusted)

    def _filled(self, shape: Shape, parts: list[str], values: Sequence[Value]) -> list[tuple[str, Value]]:
        metadata: list[tuple[str, Value]] = [*zip(shape.targets, parts), *shape.defaults(values)]  # noqa: B905  # as above
        if shape.measured:
            self._check_size(metadata)
        return metadata

    def _count(self, shape: Shape) -> None:
        shape.hit()
        if not shape.tally.kept:
            self.statistics.late(shape.tally)

    def _visible(self, raw: Raw, trusted: bool) -> Raw:
        if trusted:
            return raw
        stripped = self._plan.quick.stripped
        return [pair for pair in raw if pair[0] not in stripped and not pair[0].startswith(_PREFIX)]

    def _request(
        self, plan: Plan, pairs: Sequence[tuple[str, Value]], trusted: bool, note: Note | None, done: Done | None
    ) -> list[tuple[str, Value]]:
        events: list[int] = []
        sent = collect(pairs, {}, plan.request.sources)
        result, errors = carry(
            plan.request.carriers, sent, self._rules, events, trusted=trusted, note=note, done=done or {}
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
        plan: Plan = self._plan
        if self.by_path:
            if self.skips(path):
                return []
            plan = self._find(path)
        if note is None and _LOG.isEnabledFor(self._level):
            note = self._logger()
        done: Done | None = None
        if note is None:
            headers_md = pairs = [*headers_md, *trailers_md]
            trailers_md = ()
            keys, values = zip(*pairs) if pairs else _NONE  # noqa: B905  # all are pairs, and the keyword costs time
            shape = plan.quick.response.find(keys)
            parts = None if shape is None else shape.texts(values)
            if shape is not None and parts is not None:
                done = shape.transform(parts) if shape.steps else None
                if done is None:
                    self._count(shape)
                    ready = [*shape.arrivals(parts), *shape.defaults(values, request_md)]
                    return self._fitting(ready) if shape.measured or shape.absent else ready
        return self._response(plan, headers_md, trailers_md, request_md, note, done)

    def reply(
        self,
        path: str,
        own: Raw,
        headers_md: list[tuple[str, Value]],
        trailers_md: list[tuple[str, Value]],
        request_md: Pairs,
    ) -> tuple[list[tuple[bytes, bytes]] | None, list[tuple[str, str]] | None]:
        """Does :meth:`response` for a response as ASGI has it, as far as that is quick.

        Args:
            path: HTTP path.
            own: The headers that the application has set.
            headers_md: Initial metadata.
            trailers_md: Trailing metadata.
            request_md: What :meth:`arrive` returned.

        Returns:
            All headers of the response, or else what :meth:`response` returns, or else two times None: nothing was done
            yet, and the application's headers may hold metadata.
        """
        plan: Plan = self._plan
        if self.by_path:
            if self.skips(path):
                return None, None
            plan = self._find(path)
        if _LOG.isEnabledFor(self._level):
            return None, None
        pairs = headers_md + trailers_md if trailers_md else headers_md
        keys, values = zip(*pairs) if pairs else _NONE  # noqa: B905  # all are pairs, and the keyword costs time
        found = plan.quick.reply.find((keys, tuple([name for name, _ in own])))
        parts = None if found is None else found.shape.texts(values)
        if found is None or parts is None:
            return None, None
        shape = found.shape
        done = shape.transform(parts) if shape.steps else None
        if done is not None:
            return None, self._response(plan, pairs, (), request_md, None, done)
        shape.hit()
        if not shape.tally.kept:
            self.statistics.late(shape.tally)
        if shape.measured or shape.absent:
            return None, self._fitting([*shape.arrivals(parts), *shape.defaults(values, request_md)])
        return found.merged(own, parts), None

    def answer(
        self, path: str, sent: Sequence[tuple[str, Value]], request_md: Sequence[tuple[str, Value]]
    ) -> tuple[tuple[str, str], ...] | None:
        """Does :meth:`response` for initial metadata that goes out as metadata, as far as that is quick.

        Args:
            path: HTTP path or gRPC method.
            sent: What the service sends back.
            request_md: What :meth:`request` returned.

        Returns:
            Headers with lower-case names, none of them for bytes; None when :meth:`response` must be asked.
        """
        plan: Plan = self._plan
        if self.by_path:
            if self.skips(path):
                return None
            plan = self._find(path)
        if _LOG.isEnabledFor(self._level):
            return None
        names_sent = tuple([name for name, _ in request_md])
        same_sent, same_names, found, parts = plan.quick.latest
        if found is None or sent != same_sent or names_sent != same_names:
            keys, values = zip(*sent) if sent else _NONE  # noqa: B905  # all are pairs, and the keyword costs time
            found = plan.quick.answer.find((keys, names_sent))
            parts = None if found is None else found.shape.texts(values)
            if found is None or parts is None:
                return None
            plan.quick.latest = list(sent), names_sent, found, parts
        elif not found.shape.tally.kept:
            plan.quick.latest = NO_ANSWER
        ready = found.filled(parts or [], request_md)
        if ready is not None:
            self._count(found.shape)
        return ready

    def _response(
        self, plan: Plan, headers_md: Pairs, trailers_md: Pairs, request_md: Pairs, note: Note | None, done: Done | None
    ) -> list[tuple[str, str]]:
        sources = plan.response.sources
        sent = collect(trailers_md, collect(headers_md, {}, sources), sources)
        result = self._soft(plan.response, sent, collect(request_md, {}, sources), note, done)
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
        result = self._soft(
            Way(tuple(c for c in way.carriers if c.source in there), way.sources), sent, None, self._logger()
        )
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
        result = self._soft(way, sent, None, self._logger())
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
        if not self._networks and not self._trust_unix:
            return False
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

    def collector(self, name: str = "") -> HeaderCollector:
        """Returns a collector of :attr:`statistics` for a registry of prometheus-client.

        Args:
            name: Value of the label ``mapping``.
        """
        from formicary.headers.prometheus import HeaderCollector

        return HeaderCollector({name: self})

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

    def _soft(self, way: Way, sent: Found, echo: Found | None, note: Note | None, done: Done | None = None) -> Found:
        events: list[int] = []
        result, errors = carry(
            way.carriers, sent, self._rules, events, trusted=True, echo=echo, note=note, done=done or {}
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
        if size > self._rules.max_total_bytes:  # with the longest names
            self._shrink(result)
        return result

    def _fitting(self, pairs: list[tuple[str, str]]) -> list[tuple[str, str]]:
        if sum([len(name) + len(value) for name, value in pairs]) <= self._rules.max_total_bytes:
            return pairs
        result: Found = {}
        for name, value in pairs:
            result.setdefault(name, []).append(value)
        self._shrink(result)
        return [pair for pair in pairs if pair[0] in result]

    def _shrink(self, result: Found) -> None:
        size = 0
        for name, values in list(result.items()):
            size += sum(len(name) + len(value) for value in values)
            if size > self._rules.max_total_bytes:
                _LOG.warning("dropped response header %s: more than %d bytes", name, self._rules.max_total_bytes)
                del result[name]

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
                    raise Rejected(too_long(carried, self._rules))
            except Rejected as refusal:
                errors.append(FieldError(f"headers.{name}", "HEADER_REJECTED", f"The header {name} {refusal}."))
                continue
            result.setdefault(key, []).append(carried)
        return errors

    def _check_size(self, found: list[tuple[str, Value]]) -> None:
        size = sum([len(name) + len(value) for name, value in found])
        if size > self._rules.max_total_bytes:
            message = f"The mapped headers have {size} bytes, at most {self._rules.max_total_bytes}."
            raise _refusal([FieldError("headers", "HEADERS_TOO_LARGE", message)])

    def _logger(self) -> Note | None:
        level = self._level
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
    stranger = any(e.code == CREDENTIALS_REJECTED for e in errors)
    return problem("UNAUTHENTICATED" if stranger else "VALIDATION_FAILED", " ".join(sentences), errors=errors)
