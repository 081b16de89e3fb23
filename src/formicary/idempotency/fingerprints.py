"""What a request asked for, in 32 bytes: the same operation spelled differently is the same, anything else is not.

JSON bodies are brought into the canonical form of RFC 8785 first, so that blanks and the order of members do not count.
What has no such form (not UTF-8, a member twice, NaN, whole numbers beyond 2^53) counts byte by byte.
"""

from __future__ import annotations

import hashlib
import json
import re
from functools import lru_cache

import msgspec
import rfc8785

_JSON_ENDINGS = ("/json", "+json")


def request_fingerprint(*, path: str, query: bytes, content_type: str, body: bytes) -> bytes:
    """The fingerprint of an HTTP request. Tenant, method and route are in the record's scope already.

    Args:
        path: The path as it was called, so that two resources of one route differ.
        query: The query string as it came.
        content_type: The media type with its parameters, as it came.
        body: The body, decoded from its transfer coding.
    """
    is_short = len(path) + len(query) + len(content_type) <= _SHORT
    as_json, head = (_heads if is_short else _make_heads)(path, query, content_type)
    if as_json is not None:
        canonical = canonical_json(body)
        if canonical is not None:
            head, body = as_json, canonical
    return hashlib.sha256(b"%b%d:%b" % (head, len(body), body)).digest()


def _make_heads(path: str, query: bytes, content_type: str) -> tuple[bytes | None, bytes]:
    """What stands before a body that is compared as JSON (None = it is none), and before one that is not.

    Of the type its parameters make no difference to JSON.
    """
    where, raw = path.encode(), content_type.strip().encode()
    kind = content_type.partition(";")[0].strip().lower()
    as_json = _FOUR_PARTS % (4, b"json", len(where), where, len(query), query, len(kind.encode()), kind.encode())
    as_raw = _FOUR_PARTS % (3, b"raw", len(where), where, len(query), query, len(raw), raw)
    return as_json if kind.endswith(_JSON_ENDINGS) else None, as_raw


_heads = lru_cache(maxsize=1024)(_make_heads)
_SHORT = 512
"""Longer requests are not remembered: whoever sends them could fill the memory."""


def digest(*parts: bytes) -> bytes:
    """SHA-256 over parts, each with its length before it: no two lists of parts give the same text."""
    return hashlib.sha256(b"".join([b"%d:%b" % (len(part), part) for part in parts])).digest()


_FOUR_PARTS = b"%d:%b" * 4
"""What :func:`digest` writes of four parts, without its loop."""


def canonical_json(text: bytes) -> bytes | None:
    """RFC 8785; None where the text is no JSON or has no canonical form of its own."""
    odd = b"\\" in text or not text.isascii()
    if _LONG_NUMBER not in text.translate(_DIGITS_AS_ZEROS) and not (odd and _ODD_TEXT.search(text)):
        try:
            canonical = _encode(_decode_plain(text))
        except _FractionError:
            pass
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None
        else:  # a member that stood twice has taken the quotes of its name with it
            return canonical if canonical.count(b'"') == text.count(b'"') else None
    try:
        return rfc8785.dumps(_decode(text.decode()))
    except (ValueError, RecursionError, rfc8785.CanonicalizationError):
        return None


class _FractionError(Exception):
    """A number with a fraction or an exponent: JavaScript writes those in its own way."""


def _fraction(text: str) -> float:
    raise _FractionError(text)


def _no_constant(text: str) -> float:
    raise ValueError(f"{text} is no JSON")


def _no_repeats(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a member stands twice")
    return found


_DIGITS_AS_ZEROS = bytes(ord("0") if ord("0") <= each <= ord("9") else ord(" ") for each in range(256))
_LONG_NUMBER = b"0" * 16
"""Of digits alone: it may be beyond 2^53."""
_ODD_TEXT = re.compile(rb"\\[u/]|[\xf0-\xff]")
"""Where the quick way may write something else than RFC 8785: escapes, names beyond the basic plane."""
_decode_plain = msgspec.json.Decoder(float_hook=_fraction).decode
_encode = msgspec.json.Encoder(order="sorted").encode
_decode = json.JSONDecoder(object_pairs_hook=_no_repeats, parse_constant=_no_constant).decode
