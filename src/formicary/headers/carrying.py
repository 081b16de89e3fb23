"""How the values of one call are carried from one side to the other.

A :class:`Carrier` is one rule compiled for one way. The same loop serves all four ways: request headers to metadata,
metadata to response headers, and both again at a client's end, the other way round. Values come first and defaults
after them, so that an alias which was sent beats a default.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from formicary.headers import statistics as count
from formicary.headers.defaults import Maker
from formicary.headers.transforms import Rejected, Values, decode_base64
from formicary.problems import FieldError

Value = str | bytes
Found = dict[str, list[Value]]
Done = Mapping[int, "str | Rejected"]
"""What transforms made of values already, by the slot of the rule, so that they are not run twice."""
Note = Callable[["Carrier", int, list[Value], str], None]
"""Is told of each rule: what happened to it (a kind of the statistics), the values, and why."""
CREDENTIALS_REJECTED = "CREDENTIALS_REJECTED"
"""Code of a header that should say who is calling and does not."""
_NOTHING_DONE: Done = {}


@dataclass(frozen=True, slots=True)
class Carrier:
    """One rule, one way.

    Attributes:
        source: Name at the near side, in lower case.
        target: Name at the far side, as it is written there.
        header: The header's name as people write it.
        slot: First counter of the rule in the statistics.
        run: The transforms.
        each: The same for one value, where values do not matter to each other.
        growth: Most characters by which ``each`` lengthens a printable ASCII text, whose result is printable ASCII too;
            None when nobody knows.
        plain: Whether ``each`` leaves no blanks around a text that has none.
        simple: Whether one text goes the quick way: no bytes, and ``each`` or no transforms.
        to_metadata: Whether the far side is metadata.
        binary: Whether the metadata key ends in ``-bin``.
        required: Whether a call without it is refused.
        constant: Constant default.
        maker: Maker of a generated default.
        overwrite: Whether it replaces what is there.
        sensitive: Whether people see values masked.
        trusted_only: Whether it counts only from trusted peers.
        key: The metadata key.
    """

    source: str
    target: str
    header: str
    slot: int
    run: Callable[[Values], Values] | None
    each: Callable[[str], str] | None
    growth: int | None
    plain: bool
    simple: bool
    to_metadata: bool
    binary: bool
    required: bool
    constant: str | None
    maker: Maker | None
    overwrite: bool
    sensitive: bool
    trusted_only: bool
    key: str


@dataclass(frozen=True, slots=True)
class Rules:
    """What holds for every value.

    Attributes:
        percent: Whether characters beyond ASCII are written as ``%XX``; else they are refused.
        max_values: Most values of one name.
        max_value_bytes: Most bytes of one value.
        max_total_bytes: Most bytes of all names and values.
    """

    percent: bool
    max_values: int
    max_value_bytes: int
    max_total_bytes: int


def clean(value: str, rules: Rules) -> str:
    """Makes a value fit for both protocols: printable ASCII without blanks around it; tabs become blanks.

    Raises:
        Rejected: A control character (CR, LF and NUL among them), or a character beyond ASCII when these are refused.
    """
    if not (value.isascii() and value.isprintable()):
        value = value.replace("\t", " ")
        if not value.isascii():
            if not rules.percent:
                raise Rejected("has characters beyond ASCII")
            try:
                raw = value.encode("latin-1")
            except UnicodeEncodeError:
                raw = value.encode("utf-8", "replace")
            value = "".join(chr(byte) if byte < 0x80 else f"%{byte:02X}" for byte in raw)
        if not value.isprintable():
            raise Rejected("has control characters, like a line break")
    return value.strip()


def too_long(value: Value, rules: Rules) -> str:
    """Why a value beyond the bound is refused."""
    return f"has {len(value)} bytes, at most {rules.max_value_bytes}"


def _carry_values(values: list[Value], carrier: Carrier, rules: Rules) -> list[Value]:
    """All values of one rule on the far side. Raises Rejected."""
    if len(values) > rules.max_values:
        raise Rejected(f"is sent {len(values)} times, at most {rules.max_values}")
    texts: list[str] = []
    raw: list[Value] = []
    for value in values:
        if isinstance(value, bytes):
            if not carrier.binary:
                raise Rejected("has bytes, but the metadata key does not end in -bin")
            if carrier.to_metadata:
                raw.append(value)
                continue
            value = base64.b64encode(value).decode("ascii")
        texts.append(value if value.isascii() and value.isprintable() else clean(value, rules))
    run = carrier.run
    if run is not None and texts:
        texts = run([text.strip() for text in texts])
        texts = [clean(text, rules) for text in texts]
    found: list[Value] = []
    for text in texts:
        text = text.strip()
        if text:
            found.append(text)
    if carrier.binary and carrier.to_metadata:
        found = [decode_base64(part) for text in found if isinstance(text, str) for part in text.split(",")]
    if raw:
        found = raw + found
    for item in found:
        if len(item) > rules.max_value_bytes:
            raise Rejected(too_long(item, rules))
    return found


def collect(pairs: Iterable[tuple[str, Value]], into: Found, wanted: frozenset[str]) -> Found:
    """Puts the pairs whose names are wanted into lists by lower-case name, in order."""
    for name, value in pairs:
        if name not in wanted:
            name = name.lower()
            if name not in wanted:
                continue
        found = into.get(name)
        if found is None:
            into[name] = [value]
        else:
            found.append(value)
    return into


def _again(outcome: str | Rejected) -> str:
    if isinstance(outcome, Rejected):
        raise outcome
    return outcome


def carry(
    carriers: Iterable[Carrier],
    sent: Found,
    rules: Rules,
    events: list[int],
    *,
    trusted: bool,
    echo: Found | None = None,
    note: Note | None = None,
    done: Done = _NOTHING_DONE,
) -> tuple[Found, list[FieldError]]:
    """Carries one call's values to the far side.

    Args:
        carriers: The rules of this way, in order.
        sent: Values by lower-case name of the near side.
        rules: What holds for every value.
        events: Gets what is to be counted.
        trusted: Whether the sender is believed.
        echo: Metadata of the request, whose generated ids a response repeats.
        note: Is told of each rule.
        done: What transforms made of single values already.

    Returns:
        Values by name of the far side, and what is wrong with the call.
    """
    result: Found = {}
    errors: list[FieldError] = []
    absent: list[Carrier] = []
    limit = rules.max_value_bytes
    for carrier in carriers:
        values = sent.get(carrier.source)
        if values is None:
            if carrier.required or carrier.constant is not None or carrier.maker is not None:
                absent.append(carrier)
            continue
        if carrier.trusted_only and not trusted:
            _tell(carrier, count.UNTRUSTED, values, "comes from a peer that is not trusted", events, note)
            absent.append(carrier)
            continue
        try:
            # The quick way is what the slow one does for one printable text.
            text = values[0] if carrier.simple and len(values) == 1 else None
            if text.__class__ is str and text.isascii() and text.isprintable():
                text = text.strip()
                if carrier.each is not None and text:
                    text = _again(done[carrier.slot]) if carrier.slot in done else clean(carrier.each(text), rules)
                carried: list[Value] = [text] if text else []
                if len(text) > limit:
                    raise Rejected(too_long(text, rules))
            else:
                carried = _carry_values(values, carrier, rules)
        except Rejected as refusal:
            _tell(carrier, count.REJECTED, values, str(refusal), events, note)
            errors.append(_rejection(carrier, refusal))
            continue
        if not carried:
            absent.append(carrier)
        elif carrier.overwrite or carrier.target not in result:
            result[carrier.target] = carried
            events.append(carrier.slot)
            if note is not None:
                note(carrier, count.MAPPED, carried, "")
        else:
            _tell(carrier, count.KEPT, values, f"{carrier.target} is there already", events, note)
    if absent:
        _fill(absent, sent, result, errors, events, echo, note)
    return result, errors


def _tell(carrier: Carrier, kind: int, values: list[Value], reason: str, events: list[int], note: Note | None) -> None:
    events.append(carrier.slot + kind)
    if note is not None:
        note(carrier, kind, values, reason)


def _fill(
    absent: list[Carrier],
    sent: Found,
    result: Found,
    errors: list[FieldError],
    events: list[int],
    echo: Found | None,
    note: Note | None,
) -> None:
    for carrier in absent:
        if carrier.target in result:
            continue
        value: Value | None = carrier.constant
        if carrier.maker is not None:
            repeated = echo.get(carrier.key) if echo is not None and not carrier.sensitive else None
            value = repeated[0] if repeated and isinstance(repeated[0], str) else carrier.maker(sent)
        if value is not None:
            result[carrier.target] = [value]
            if carrier.key == "traceparent":
                sent["traceparent"] = [value]  # a generated trace id is that of the generated traceparent
            events.append(carrier.slot + count.DEFAULTED)
            if note is not None:
                note(carrier, count.DEFAULTED, [value], "")
        elif carrier.required:
            events.append(carrier.slot + count.MISSING)
            if note is not None:
                note(carrier, count.MISSING, [], "is required")
            message = f"Send the header {carrier.header}."
            errors.append(FieldError(f"headers.{carrier.header}", "REQUIRED_HEADER_MISSING", message))


def _rejection(carrier: Carrier, refusal: Rejected) -> FieldError:
    code = CREDENTIALS_REJECTED if refusal.credentials else "HEADER_REJECTED"
    return FieldError(f"headers.{carrier.header}", code, f"The header {carrier.header} {refusal}.")
