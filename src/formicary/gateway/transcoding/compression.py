"""Compressed bodies: requests are inflated up to a bound, answers are deflated when it pays."""

from __future__ import annotations

import importlib
import zlib
from functools import lru_cache
from typing import Any, Protocol

from formicary.gateway.transcoding import refusals
from formicary.gateway.transcoding.negotiation import preferences

MIN_BYTES = 1024
"""Smaller answers are sent as they are."""
_LEVEL = 5
_GZIP, _ZLIB = 31, 15


class Compressor(Protocol):
    """Compresses a stream, piece by piece."""

    def compress(self, data: bytes, /) -> bytes:
        """Takes a piece."""
        ...

    def flush(self, mode: int = ..., /) -> bytes:
        """Gives out what is held back."""
        ...


def _brotli() -> Any:
    try:
        return importlib.import_module("brotli")
    except ImportError:
        return None


brotli = _brotli()
_OFFERED = ("br", "gzip", "deflate") if brotli is not None else ("gzip", "deflate")


@lru_cache(maxsize=256)
def chosen(accept_encoding: str) -> str:
    """The encoding of an answer; empty = as it is."""
    if not accept_encoding:
        return ""
    wanted = preferences(accept_encoding)
    best, best_quality = "", 0.0
    for name in _OFFERED:
        quality = wanted.get(name, wanted.get("*", 0.0))
        if quality > best_quality:
            best, best_quality = name, quality
    return best if best_quality >= wanted.get("identity", 0.0) else ""


def compress(body: bytes, encoding: str) -> bytes:
    """Compresses an answer."""
    if encoding == "br":
        return bytes(brotli.compress(body, quality=4))
    maker = zlib.compressobj(_LEVEL, zlib.DEFLATED, _GZIP if encoding == "gzip" else _ZLIB)
    return maker.compress(body) + maker.flush()


def stream_compressor() -> Compressor:
    """A gzip stream; every message is flushed with ``zlib.Z_SYNC_FLUSH``."""
    return zlib.compressobj(_LEVEL, zlib.DEFLATED, _GZIP)


def inflate(body: bytes, encoding: str, limit: int) -> bytes:
    """Decompresses a request's body.

    Raises:
        Problem: It is larger than `limit` bytes, damaged, or of an encoding that is not read here.
    """
    names = [name.strip().lower() for name in encoding.split(",")]
    if len(names) > 2:
        raise refusals.unsupported_media(encoding, ("gzip", "deflate"))
    for name in reversed(names):
        if name in ("gzip", "x-gzip"):
            body = _inflate(body, _GZIP, limit)
        elif name == "deflate":
            body = _inflate(body, _ZLIB, limit)
        elif name not in ("", "identity"):
            raise refusals.unsupported_media(name, ("gzip", "deflate"))
    return body


def _inflate(body: bytes, bits: int, limit: int) -> bytes:
    inflater = zlib.decompressobj(bits)
    try:
        found = inflater.decompress(body, limit + 1)
    except zlib.error:
        raise refusals.malformed("The compressed body is damaged.") from None
    if len(found) > limit:
        raise refusals.too_large(limit)
    if not inflater.eof or inflater.unused_data:
        raise refusals.malformed("The compressed body is cut short or followed by something else.")
    return found
