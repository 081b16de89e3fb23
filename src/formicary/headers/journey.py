"""What happens to the headers of one exchange, one by one, for people who debug a mapping."""

from __future__ import annotations

import base64
from dataclasses import dataclass

from formicary.headers import names
from formicary.headers.carrying import Carrier, Value
from formicary.headers.mapping import HeaderMapping
from formicary.headers.statistics import KINDS, REJECTED
from formicary.problems import FieldError, Problem, problem

Pairs = list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Stop:
    """What happened to one header in one direction.

    Attributes:
        way: ``request`` or ``response``.
        header: The header.
        metadata: The metadata key; empty when nothing maps it.
        outcome: mapped, defaulted, kept, missing, rejected, untrusted or dropped.
        values: The values where they arrived, secrets masked.
        reason: Why it did not arrive.
    """

    way: str
    header: str
    metadata: str
    outcome: str
    values: tuple[str, ...]
    reason: str


@dataclass(frozen=True, slots=True)
class Journey:
    """What happens to one exchange.

    Attributes:
        path: The path of the request.
        metadata: What the service sees, secrets as they are; bytes as base64.
        response_headers: What the caller gets back, of a refusal too.
        rejected: The problem that the caller is answered with, if any.
        stops: What happened header by header, secrets masked.
    """

    path: str
    metadata: Pairs
    response_headers: Pairs
    rejected: tuple[Problem, ...]
    stops: tuple[Stop, ...]


def shown(value: Value, *, secret: bool = False) -> str:
    """Returns a value as text: bytes as base64, secrets masked."""
    if secret:
        return names.mask(value)
    return base64.b64encode(value).decode("ascii") if isinstance(value, bytes) else value


def read_message(text: str) -> tuple[str, Pairs, Pairs]:
    """Reads a request or response as it is written in HTTP.

    Args:
        text: A first line (``GET /path HTTP/1.1`` or ``HTTP/1.1 200 OK``, may be left out), ``Name: value``
            lines, an empty line, and for a response: its trailers as ``name: value`` lines.

    Returns:
        The path (``/`` when there is none), the headers, and what follows the empty line as far as it looks like
        headers.

    Raises:
        Problem: VALIDATION_FAILED for a line that is no header.
    """
    path, lines = "/", text.replace("\r\n", "\n").lstrip("\n").split("\n")
    first = lines[0].split() if lines else []
    if first and (first[0].startswith("HTTP/") or (len(first) > 1 and not first[0].endswith(":"))):
        lines = lines[1:]
        if not first[0].startswith("HTTP/"):
            path = _path(first[1])
    end = lines.index("") if "" in lines else len(lines)
    headers, errors = _pairs(lines[:end], 1 + text.count("\n") - len(lines) + 1)
    if errors:
        raise problem("VALIDATION_FAILED", " ".join(error.message for error in errors), errors=errors)
    return path, headers, _pairs(lines[end + 1 :], 1)[0]


def _path(target: str) -> str:
    if "://" in target:
        return "/" + target.split("://", 1)[1].partition("/")[2]
    return target


def _pairs(lines: list[str], first_line: int) -> tuple[Pairs, list[FieldError]]:
    found: Pairs = []
    errors = []
    for number, line in enumerate(lines, first_line):
        if not line.strip() or line.startswith("#"):
            continue
        name, colon, value = line.partition(":")
        if line.startswith(":"):
            name, colon, value = line[1:].partition(":")
            name = f":{name}"
        if not colon or not name.strip() or name != name.strip():
            errors.append(FieldError(f"line {number}", "NOT_A_HEADER", f"Line {number} is not `Name: value`.", number))
        else:
            # A file holds UTF-8; on the wire a header holds bytes, which servers read as Latin-1.
            found.append((name, value.strip().encode().decode("latin-1")))
    return found, errors


def travel(mapping: HeaderMapping, request: str, response: str = "", *, trusted: bool = False) -> Journey:
    """Sends one exchange through a mapping.

    Args:
        mapping: The mapping.
        request: The request as it is written in HTTP.
        response: What the service sends back, in the same form: initial metadata, empty line, trailing metadata.
        trusted: Whether the request comes from a trusted peer.
    """
    path, headers, _ = read_message(request)
    _, initial, trailing = read_message(response)
    stops: list[Stop] = []
    metadata: list[tuple[str, Value]] = []
    rejected: tuple[Problem, ...] = ()
    recorder = _Recorder(stops, "request")
    try:
        metadata = mapping.request(path, headers, trusted, note=recorder.note)
        mapping.timeout_s(headers)
    except Problem as refusal:
        rejected, metadata = (refusal,), []
    stops += _unmapped(mapping, path, headers, recorder, trusted)
    back = _Recorder(stops, "response")
    if rejected:
        # The service is never asked, so nothing of it comes back; the defaults do.
        initial, trailing = [], []
    answered = mapping.response(path, initial, trailing, metadata, note=back.note)
    for name, value in [*initial, *trailing]:
        if name.lower() not in back.seen:
            stops.append(_dropped("response", "", name, value, _why(name, mapping.skips(path), way="response")))
    pairs = [(key, shown(value)) for key, value in metadata]
    return Journey(path, pairs, answered, rejected, tuple(stops))


class _Recorder:
    def __init__(self, stops: list[Stop], way: str) -> None:
        self.seen: set[str] = set()
        self._stops, self._way = stops, way

    def note(self, carrier: Carrier, kind: int, values: list[Value], reason: str) -> None:
        """Records what happened to one rule."""
        self.seen.add(carrier.source)
        outcome = "dropped" if self._way == "response" and kind == REJECTED else KINDS[kind]
        texts = tuple(shown(value, secret=carrier.sensitive) for value in values)
        self._stops.append(Stop(self._way, carrier.header, carrier.key, outcome, texts, reason))


def _unmapped(mapping: HeaderMapping, path: str, headers: Pairs, recorder: _Recorder, trusted: bool) -> list[Stop]:
    prefixed = mapping.config.grpc_gateway and trusted
    found = []
    for name, value in headers:
        lower = name.lower()
        if lower in recorder.seen or (prefixed and lower.startswith(names.GATEWAY_PREFIX)):
            continue
        if mapping.config.timeouts and lower in ("x-request-timeout", "grpc-timeout"):
            found.append(Stop("request", name, "", "mapped", (value,), "is the deadline of the call"))
        else:
            found.append(_dropped("request", name, "", value, _why(lower, mapping.skips(path), way="request")))
    return found


def _dropped(way: str, header: str, key: str, value: str, reason: str) -> Stop:
    return Stop(way, header, key, "dropped", (shown(value, secret=names.is_secret(header or key)),), reason)


def _why(name: str, skipped: bool, *, way: str) -> str:
    lower = name.lower()
    if skipped:
        return "the path is skipped"
    if lower in names.COOKIES:
        return "cookies never cross"
    if lower in names.HOP_BY_HOP:
        return "belongs to one connection"
    if way == "request" and (lower.startswith(names.GATEWAY_PREFIX) or names.is_identity(lower)):
        return "is internal metadata, and nothing maps it from this peer"
    return "nothing maps it"
