"""Entity tags (RFC 9110, 8.8 and 13): 304 for what the caller has already, 412 for what has changed.

A message with a field ``etag`` has its own tag. What has none is tagged with a hash of the answer when the caller asks
(``If-None-Match``, ``If-Match``) or when the transcoder is told to tag everything. On a change, ``If-Match`` becomes
the request's field ``etag``, which the handler compares within its transaction; only it can.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from typing import Any

from formicary.gateway.transcoding import refusals
from formicary.gateway.transcoding.binding import Binding

_TAG = re.compile(r'(W/)?"([\x21\x23-\x7e\x80-\xff]*)"')
_UNSAFE = frozenset({"PUT", "PATCH", "DELETE"})


def tag_of(binding: Binding, message: Any, body: bytes, *, wanted: bool) -> str:
    """The entity tag of an answer, in quotes; empty where it has none."""
    if binding.etag_in_response and message.etag:
        return quoted(message.etag)
    if not wanted:
        return ""
    digest = hashlib.sha256(body).digest()[:16]
    return '"' + base64.urlsafe_b64encode(digest).decode("ascii").rstrip("=") + '"'


def quoted(text: str) -> str:
    """A tag as the header has it."""
    if _TAG.fullmatch(text):
        return text
    plain = text.encode("ascii", "ignore").decode("ascii")
    return '"' + re.sub(r"[^\x21\x23-\x7e]", "", plain) + '"'


def tags(header: str) -> list[tuple[bool, str]]:
    """The tags of ``If-Match`` or ``If-None-Match``: (weak, opaque text)."""
    return [(bool(found.group(1)), found.group(2)) for found in _TAG.finditer(header)]


def unchanged(header: str | None, tag: str) -> bool:
    """Whether ``If-None-Match`` names the tag (compared weakly), so that 304 is the answer."""
    if header is None or not tag:
        return False
    if header.strip() == "*":
        return True
    return _opaque(tag) in {text for _, text in tags(header)}


def check_current(header: str | None, tag: str) -> None:
    """Refuses an answer whose tag ``If-Match`` does not name (compared strongly)."""
    if header is None or header.strip() == "*":
        return
    if tag.startswith("W/") or _opaque(tag) not in {text for weak, text in tags(header) if not weak}:
        raise refusals.precondition_failed("It has changed: If-Match does not name its present entity tag.")


def _opaque(tag: str) -> str:
    found = _TAG.fullmatch(tag)
    return found.group(2) if found else tag


def put_if_match(binding: Binding, request: Any, headers: Mapping[str, str], http_method: str) -> None:
    """Gives the ``If-Match`` of a change to the request's field ``etag``.

    Raises:
        Problem: The call cannot check it, or the field says otherwise.
    """
    header = headers.get("if-match")
    if header is None or http_method not in _UNSAFE or header.strip() == "*":
        return
    if binding.etag_in_request:
        target = request
    elif binding.etag_in_body and binding.body_field is not None:
        target = getattr(request, binding.body_field.name)
    else:
        raise refusals.precondition_failed("This call cannot check If-Match.")
    found = tags(header)
    if len(found) != 1 or found[0][0]:
        raise refusals.precondition_failed("If-Match must name one strong entity tag.")
    names = {found[0][1], f'"{found[0][1]}"'}
    if target.etag and target.etag not in names:
        raise refusals.precondition_failed("If-Match and the field etag name different entity tags.")
    if not target.etag:
        target.etag = found[0][1]
