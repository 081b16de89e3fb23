"""Takes the secrets of a task out of whatever it writes, returns or fails with.

Theory of operation. A secret is looked for as it is and in the forms in which it usually gets into a log: base64 at any
offset, percent-encoding (also twice), JSON as several libraries escape it, shell escapes, Python's repr, HTML,
hexadecimal. None of these *needles* spans lines (of a value with several lines each line is one), and the log is masked
in whole lines, so that it does not matter in which pieces a line came. All occurrences are taken out, overlapping ones
too, until none is left. Where a text may have been cut, its end is masked also where it is only the beginning of a
needle.
"""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING
from urllib.parse import quote, quote_plus

import msgspec

from formicary.engine.jobs.configs import MASK, SHORTEST_SECRET

if TYPE_CHECKING:
    from formicary.engine.ants.attempt import Result

_MASK = MASK.encode()
_WRAPS = (76, 64)
"""Columns at which programs wrap base64."""
_SHORTEST_PIECE = 8
"""Characters of an encoded form that are looked for by themselves."""
_PERCENT = re.compile("%..")
_ESCAPE = re.compile(r"\\u[0-9a-f]{4}")
_CUT = re.compile("(\n?(?:…|\\.\\.\\.)\n?)".encode())
_encode = msgspec.json.Encoder().encode


class Mask:
    """What must not be seen of one attempt.

    Args:
        texts: The secrets.
    """

    __slots__ = ("_needles",)

    def __init__(self, texts: Iterable[str]) -> None:
        found = {needle for text in texts for needle in _needles(text)}
        kept = [needle for needle in found if len(needle.decode("utf-8", "replace")) >= SHORTEST_SECRET]
        self._needles = sorted(kept, key=len, reverse=True)

    def data(self, block: bytes, *, is_cut: bool = False) -> bytes:
        """The block, which consists of whole lines, without secrets.

        Args:
            block: UTF-8, or whatever a task writes.
            is_cut: More may have followed on the last line.
        """
        while any(needle in block for needle in self._needles):
            block = _without(block, self._spans(block))
        if is_cut:
            block = self._without_beginnings(block)
        return block

    def text(self, text: str) -> str:
        """The same for a text of the engine, which may have been cut where it says "…" and at its end."""
        if not text:
            return text
        parts = _CUT.split(self.data(text.encode("utf-8", "surrogatepass")))
        for at in range(0, len(parts), 2):
            parts[at] = self._without_beginnings(parts[at])
            if at:
                parts[at] = self._without_ends(parts[at])
        return b"".join(parts).decode("utf-8", "surrogatepass")

    def json(self, data: bytes) -> bytes:
        """The same for every text in a JSON document; what is no JSON is masked as it is."""
        try:
            value = msgspec.json.decode(data)
        except msgspec.DecodeError:
            return self.data(data)
        return _encode(self._value(value))

    def result(self, result: Result) -> None:
        """Masks what an attempt reports."""
        result.error_message = self.text(result.error_message)
        result.traceback = self.text(result.traceback)
        if result.outputs:
            result.outputs = self.json(result.outputs)

    def _value(self, value: object) -> object:
        if isinstance(value, str):
            return self._whole(value)
        if isinstance(value, dict):
            return {self._whole(key): self._value(one) for key, one in value.items()}
        if isinstance(value, list):
            return [self._value(one) for one in value]
        if isinstance(value, int | float) and not isinstance(value, bool):
            shown = _encode(value)
            return value if self.data(shown) == shown else MASK
        return value

    def _whole(self, text: str) -> str:
        return self.data(text.encode("utf-8", "surrogatepass")).decode("utf-8", "surrogatepass")

    def _spans(self, block: bytes) -> list[tuple[int, int]]:
        found: list[tuple[int, int]] = []
        for needle in self._needles:
            begin = end = -1
            at = block.find(needle)
            while at >= 0:
                if at > end:
                    if end > 0:
                        found.append((begin, end))
                    begin = at
                end = at + len(needle)
                at = block.find(needle, at + 1)
            if end > 0:
                found.append((begin, end))
        return _merged(found)

    def _without_beginnings(self, block: bytes) -> bytes:
        """Masks the longest end of the block with which a needle begins."""
        last = block[block.rfind(b"\n") + 1 :]
        longest = max((_overlap(last, needle) for needle in self._needles), default=0)
        return block[: len(block) - longest] + _MASK if longest >= SHORTEST_SECRET else block

    def _without_ends(self, block: bytes) -> bytes:
        """Masks the longest beginning of the block with which a needle ends."""
        first = block.partition(b"\n")[0]
        longest = max((_overlap(needle, first) for needle in self._needles), default=0)
        return _MASK + block[longest:] if longest >= SHORTEST_SECRET else block


def _overlap(left: bytes, right: bytes) -> int:
    """The longest end of `left` that `right` begins with, in bytes."""
    at = max(0, len(left) - len(right))
    while right and (at := left.find(right[:1], at)) >= 0:
        if right.startswith(left[at:]):
            return len(left) - at
        at += 1
    return 0


def _merged(spans: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    for begin, end in sorted(spans):
        if found and begin <= found[-1][1]:
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        else:
            found.append((begin, end))
    return found


def _without(block: bytes, spans: list[tuple[int, int]]) -> bytes:
    pieces: list[bytes] = []
    at = 0
    for begin, end in spans:
        pieces += (block[at:begin], _MASK)
        at = end
    return b"".join((*pieces, block[at:]))


def _needles(text: str) -> Iterator[bytes]:
    """Every form of a secret that is looked for."""
    for whole in dict.fromkeys((text, text.strip())):
        if len(whole) < SHORTEST_SECRET:
            continue
        lines = whole.splitlines() if "\n" in whole or "\r" in whole else [whole]
        for line in (*lines, *(line.strip() for line in lines)):
            yield from _forms(line)
        if len(lines) > 1:
            yield from (form for form in _forms(whole) if b"\n" not in form)
            yield from (form for form in _forms(whole.replace("\n", "\\n")) if b"\n" not in form)


def _forms(text: str) -> Iterator[bytes]:
    if len(text) < SHORTEST_SECRET:
        return
    data = text.encode("utf-8", "surrogatepass")
    yield data
    escaped = (
        quote(text, safe=""), quote(text), quote_plus(text), json.dumps(text)[1:-1],
        json.dumps(text, ensure_ascii=False)[1:-1], json.dumps(text).replace("/", "\\/")[1:-1], repr(text)[1:-1],
        repr(data)[2:-1], ascii(text)[1:-1], text.replace("'", "'\\''"), text.replace("'", "'\"'\"'"),
        html.escape(text), html.escape(text, quote=False), data.hex(), data.hex().upper(),
    )  # fmt: skip
    for one in (*escaped, quote(quote(text, safe=""), safe=""), *_escaped_by_others(text)):
        yield one.encode("utf-8", "surrogatepass")
    yield _PERCENT.sub(lambda found: found[0].lower(), quote(text, safe="")).encode()
    yield from _base64(data)


def _escaped_by_others(text: str) -> Iterator[str]:
    """A text in JSON as Go, Gson and .NET write it: they escape more than JSON asks for."""
    for letters in ("<>&", "<>&='"):
        yield _escaped(json.dumps(text, ensure_ascii=False)[1:-1], letters)
    plain = json.dumps(text)[1:-1]
    every = _ESCAPE.sub(lambda found: found[0][:2] + found[0][2:].upper(), plain.replace('\\"', "\\u0022"))
    yield _escaped(every, "<>&'+`", upper=True)


def _escaped(text: str, letters: str, *, upper: bool = False) -> str:
    form = "\\u{:04X}" if upper else "\\u{:04x}"
    return "".join(form.format(ord(letter)) if letter in letters else letter for letter in text)


def _base64(data: bytes) -> Iterator[bytes]:
    """Base64 of the value alone, wrapped, and inside of something longer: those characters that it alone decides."""
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        yield encode(data)
        yield encode(data + b"\n")
        for offset in range(3):
            text = encode(bytes(offset) + data)
            first, last = -(-offset * 8 // 6), (offset + len(data)) * 8 // 6
            piece = text[first:last]
            if len(piece) < _SHORTEST_PIECE:
                continue
            yield piece
            for width in _WRAPS if offset == 0 else ():
                lines = [piece[at : at + width] for at in range(0, len(piece), width)]
                yield from (
                    line for line in lines[: len(lines) if len(lines) > 1 else 0] if len(line) >= _SHORTEST_PIECE
                )
