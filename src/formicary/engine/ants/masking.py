"""Takes the secrets of a task out of whatever it writes, returns or fails with.

Theory of operation. A secret is looked for as it is and in the forms in which it usually gets into a log: base64 at any
offset, percent-encoding (also twice), JSON as several libraries escape it, shell escapes, Python's repr, HTML,
hexadecimal. None of these *needles* has a line end in it: of a value with several lines each line is one, and so is the
whole with something else between its lines. The log is masked in whole lines, so that it does not matter in which
pieces a line came. All occurrences are taken out, overlapping ones too, until none is left. Where a text may have been
cut, its end is masked also where it is only the beginning of a needle.

What is *folded* goes on in the next line: a line that ends as a needle begins is remembered, and a line that goes on
exactly there is masked, with what came before as far as it has not left yet.

Most lines hold nothing: one pass of a regular expression over the first bytes of all needles finds that out.
"""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote, quote_plus

import msgspec

from formicary.engine.jobs.configs import MASK, SHORTEST_SECRET

if TYPE_CHECKING:
    from formicary.engine.ants.attempt import Result

_MASK = MASK.encode()
_WRAPS = (76, 64)
"""Columns at which programs wrap base64."""
_SHORTEST_PIECE = 8
"""Characters of an encoded form, or of something folded, that are masked by themselves."""
_BETWEEN = ("", " ", ",", ", ", ";", "\t", "|", '","', '", "', "','", "', '")
"""What stands between the lines of a value that was put on one line."""
_HEAD_BYTES = SHORTEST_SECRET
"""Of a needle, that are looked for first."""
_UNSAFE = re.compile(r"[^\w@%+=:,./-]")
"""What bash writes with a backslash before it (`printf %q`)."""
_PERCENT = re.compile("%..")
_ESCAPE = re.compile(r"\\u[0-9a-f]{4}")
_CUT = re.compile("(\n?(?:…|\\.\\.\\.)\n?)".encode())
_encode = msgspec.json.Encoder().encode


class Mask:
    """What must not be seen of one attempt.

    Args:
        texts: The secrets.
    """

    __slots__ = ("_folded", "_heads", "_needles")

    def __init__(self, texts: Iterable[str]) -> None:
        self._needles, self._heads = _compiled(tuple(texts))
        self._folded: dict[int, list[_Folded]] = {}

    def lines(self, stream: int, block: bytes, *, is_cut: bool = False) -> bytes:
        """The next lines of a log, which may go on where the last ones ended.

        Args:
            stream: Which log; each is followed by itself.
            block: As for :meth:`data`.
            is_cut: As for :meth:`data`.
        """
        if self._folded.get(stream) or self._heads.search(block):
            return self.data(self._unfolded(stream, block), is_cut=is_cut)
        return block

    def data(self, block: bytes, *, is_cut: bool = False) -> bytes:
        """The block, which consists of whole lines, without secrets.

        Args:
            block: UTF-8, or whatever a task writes.
            is_cut: More may have followed on the last line.
        """
        while self._heads.search(block) and any(needle in block for needle in self._needles):
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

    def _unfolded(self, stream: int, block: bytes) -> bytes:
        """The block without what goes on over the ends of lines."""
        lines, spans = block.split(b"\n"), dict[int, list[tuple[int, int]]]()
        last = len(lines) - 1
        found = [one._replace(seen=()) for one in self._folded.pop(stream, ())]
        for number, line in enumerate(lines):
            if number == last and not line:
                break
            text = line.rstrip(b"\r")
            indent = len(text) - len(text.lstrip())
            more = (one.with_line(number, text, 0) or one.with_line(number, text, indent) for one in found)
            go_on = [one for one in more if one is not None]
            over = [one for one in go_on if one.is_known]
            found = [one for one in go_on if one.length < len(one.needle)]
            if self._heads.search(text):
                begun = [needle for needle in self._needles if needle[:_HEAD_BYTES] in text]
                overlaps = ((needle, _overlap(text, needle)) for needle in begun)
                found += [
                    _Folded(needle, length, ((number, len(text) - length, len(text)),))
                    for needle, length in overlaps
                    if _HEAD_BYTES <= length < len(needle)
                ]
            if number == last or (number == last - 1 and not lines[last]):
                over += [one for one in found if one.is_known]  # nobody knows whether it goes on
            for at, begin, end in (place for one in over for place in one.seen):
                spans.setdefault(at, []).append((begin, end))
        if found:
            self._folded[stream] = found
        for number, here in spans.items():
            lines[number] = _without(lines[number], _merged(here))
        return b"\n".join(lines)

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


class _Folded(NamedTuple):
    """A needle that has begun at the end of a line.

    Attributes:
        needle: The needle.
        length: How much of it has been seen.
        seen: Where, in the block at hand: line, begin, end.
    """

    needle: bytes
    length: int
    seen: tuple[tuple[int, int, int], ...]

    @property
    def is_known(self) -> bool:
        """Whether so much of it was seen that it is no accident."""
        return self.length >= min(_SHORTEST_PIECE, len(self.needle))

    def with_line(self, number: int, text: bytes, begin: int) -> _Folded | None:
        """The same with the line that goes on exactly there; None where it does not."""
        body, rest = text[begin:], self.needle[self.length :]
        if not body or not (rest.startswith(body) or body.startswith(rest)):
            return None
        length = min(len(body), len(rest))
        return _Folded(self.needle, self.length + length, (*self.seen, (number, begin, begin + length)))


@lru_cache(maxsize=8)
def _compiled(texts: tuple[str, ...]) -> tuple[tuple[bytes, ...], re.Pattern[bytes]]:
    """Needles and what finds their heads: 6 ms for a private key, which each attempt of a task would cost."""
    found = {needle for text in texts for needle in _needles(text)}
    kept = [needle for needle in found if len(needle.decode("utf-8", "replace")) >= SHORTEST_SECRET]
    needles = tuple(sorted(kept, key=len, reverse=True))
    return needles, _heads(needles)


def _heads(needles: Sequence[bytes]) -> re.Pattern[bytes]:
    """Finds the first bytes of any needle, as a tree: its first branch is a set of bytes that are passed by at once."""
    tree: dict[int, dict[int, set[bytes]]] = {}
    for needle in needles:
        tree.setdefault(needle[0], {}).setdefault(needle[1], set()).add(needle[2:_HEAD_BYTES])
    branches = [
        _byte(first) + _any(_byte(second) + _any(map(re.escape, ends)) for second, ends in seconds.items())
        for first, seconds in tree.items()
    ]
    return re.compile(_any(branches) if branches else b"(?!)")


def _byte(number: int) -> bytes:
    return re.escape(bytes((number,)))


def _any(patterns: Iterable[bytes]) -> bytes:
    return b"(?:" + b"|".join(patterns) + b")"


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
            for between in _BETWEEN:
                yield between.join(lines).encode("utf-8", "surrogatepass")
            for between in _BETWEEN[:2]:
                yield from _forms(between.join(lines))
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
        html.escape(text), html.escape(text, quote=False), data.hex(), data.hex().upper(), data.hex(":"), data.hex(" "),
        json.dumps(json.dumps(text))[3:-3], _UNSAFE.sub(r"\\\g<0>", text),
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
