"""Keys as clients send them: the structured-field string of the IETF draft, or the bare text that everybody sends.

Source: draft-ietf-httpapi-idempotency-key-header (an Item whose value is a String, RFC 9651 section 3.3.3).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from formicary.problems import FieldError, Problem, problem

MAX_KEY_CHARS: Final = 255
_PARAMETERS = re.compile(r'(?: *; *[a-z*][a-z0-9_.*-]*(?:=(?:"(?:[ !#-\[\]-~]|\\["\\])*"|[!#-:<-~]*))?)*\Z')
_QUOTED = re.compile(r'"((?:[ !#-\[\]-~]|\\["\\])*)"')
_ESCAPE = re.compile(r"\\(.)")
_VISIBLE = re.compile(r"[!-~]{1,255}\Z")
_PLAIN = re.compile(rb"[!#-~][!-~]{0,254}\Z")
"""What most clients send: one key without quotes."""
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[1-8][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}\Z")


def parse_key(values: Sequence[str], *, header: str = "Idempotency-Key", uuid_only: bool = False) -> str | None:
    """The key that a request sends.

    Args:
        values: The header's values as they came; more than one are a mistake even where they are equal.
        header: Its name, for the error.
        uuid_only: Take only UUIDs in their usual spelling (RFC 9562, lower case or upper case, the same key).

    Returns:
        The key without quotes; None where none was sent.

    Raises:
        Problem: IDEMPOTENCY_KEY_INVALID, empty, too long, not visible ASCII, sent twice, badly quoted.
    """
    if not values:
        return None
    if len(values) > 1:
        raise _invalid(header, "DUPLICATE_HEADER", f"{header} was sent {len(values)} times: send it once.")
    key = _unquoted(values[0].strip(" \t"), header)
    if not key:
        raise _invalid(header, "REQUIRED_FIELD", f"{header} is empty: send 1 to {MAX_KEY_CHARS} characters.")
    if len(key) > MAX_KEY_CHARS:
        raise _invalid(header, "TOO_LONG", f"The key has {len(key)} characters: at most {MAX_KEY_CHARS} are taken.")
    if not _VISIBLE.match(key):
        raise _invalid(header, "INVALID_CHARACTERS", "A key is visible ASCII, without blanks and control characters.")
    if uuid_only:
        key = key.lower()
        if not _UUID.match(key):
            text = "This server takes UUIDs alone, such as 7f9c24e8-3b0a-4f6d-9a51-0d6f0c2b6a11."
            raise _invalid(header, "INVALID_FORMAT", text)
    return key


def key_of(values: Sequence[bytes], *, header: str = "Idempotency-Key", uuid_only: bool = False) -> str | None:
    """As :func:`parse_key`, for values as ASGI has them."""
    if len(values) == 1 and not uuid_only and _PLAIN.match(values[0]):
        return values[0].decode("ascii")
    return parse_key([value.decode("latin-1") for value in values], header=header, uuid_only=uuid_only)


def check_key(key: str, *, header: str = "idempotency_key", uuid_only: bool = False) -> str:
    """A key that did not come in a header, such as a field of a message. Raises Problem IDEMPOTENCY_KEY_INVALID."""
    found = parse_key([key], header=header, uuid_only=uuid_only) if not key.startswith('"') else None
    if found is None:
        raise _invalid(header, "INVALID_FORMAT", "Quotes belong to the header alone: give the key without them.")
    return found


def _unquoted(text: str, header: str) -> str:
    if not text.startswith('"'):
        return text
    found = _QUOTED.match(text)
    if found is None or not _PARAMETERS.match(text, found.end()):
        raise _invalid(header, "INVALID_FORMAT", 'A key in quotes ends with a quote; \\ stands before " and \\ alone.')
    return _ESCAPE.sub(r"\1", found[1])


def _invalid(header: str, code: str, text: str) -> Problem:
    return problem("IDEMPOTENCY_KEY_INVALID", text, errors=[FieldError(header, code, text)])
