"""Content types: what a body is read as, and which form of an answer the caller prefers (RFC 9110, 12.5)."""

from __future__ import annotations

from functools import lru_cache

from formicary.gateway.transcoding import refusals

JSON = "application/json"
PROTO = "application/x-protobuf"
NDJSON = "application/x-ndjson"
EVENTS = "text/event-stream"

UNARY = (JSON, PROTO)
STREAM = (NDJSON, EVENTS, JSON)
"""Forms that we offer, the first is for callers without a preference."""

_SAME = {
    "application/protobuf": PROTO,
    "application/vnd.google.protobuf": PROTO,
    "application/jsonl": NDJSON,
    "application/ndjson": NDJSON,
    "application/jsonlines": NDJSON,
    "text/json": JSON,
}
_PAGES = ("text/html", "application/xhtml+xml", "text/*")
_UTF8 = ("utf-8", "utf8", "us-ascii")


@lru_cache(maxsize=256)
def chosen(accept: str, offered: tuple[str, ...]) -> str | None:
    """The form to answer in, None where the caller accepts none of those offered."""
    if not accept.strip():
        return offered[0]
    ranges = preferences(accept)
    if JSON not in ranges:  # a browser says what pages it likes and is shown the JSON (RFC 9110, 12.4.1 allows it)
        pages = max(ranges.get(name, 0.0) for name in _PAGES)
        if pages > 0.0:
            ranges[JSON] = pages
    best, best_quality = None, 0.0
    for form in offered:
        quality = _quality(form, ranges)
        if quality > best_quality:
            best, best_quality = form, quality
    return best


def preferences(header: str) -> dict[str, float]:
    """The items of an ``Accept`` header, lower case, with their quality from 0 to 1."""
    found: dict[str, float] = {}
    for item in header.split(",")[:100]:
        name, *parameters = item.split(";")
        name = name.strip().lower()
        quality = 1.0
        for parameter in parameters:
            key, _, value = parameter.partition("=")
            if key.strip().lower() == "q":
                try:
                    quality = min(max(float(value.strip()), 0.0), 1.0)
                except ValueError:
                    quality = 0.0
        if name:
            name = _SAME.get(name, name)
            found[name] = max(quality, found.get(name, 0.0))
    return found


def _quality(form: str, ranges: dict[str, float]) -> float:
    for name in (form, form.partition("/")[0] + "/*", "*/*"):
        if name in ranges:
            quality = ranges[name]
            return quality if quality == quality else 0.0
    return 0.0


@lru_cache(maxsize=256)
def body_form(content_type: str, streaming: bool) -> str:
    """How a body is read: ``json`` or ``proto``.

    Raises:
        Problem: UNSUPPORTED_MEDIA_TYPE.
    """
    name, *parameters = content_type.split(";")
    name = _SAME.get(name.strip().lower(), name.strip().lower())
    for parameter in parameters:
        key, _, value = parameter.partition("=")
        if key.strip().lower() == "charset" and value.strip().strip('"').lower() not in _UTF8:
            raise refusals.unsupported_media(content_type, (f"{JSON}; charset=utf-8",))
    if name in ("", JSON) or name.endswith("+json") or (streaming and name == NDJSON):
        return "json"
    if name == PROTO and not streaming:
        return "proto"
    raise refusals.unsupported_media(content_type, (NDJSON,) if streaming else (JSON, PROTO))
