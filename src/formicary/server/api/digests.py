"""The digests that a sender gives in headers (RFC 9530): of what a request carries, and of the whole file.

``Content-Digest`` is of the request's own content, ``Repr-Digest`` of the file that it becomes, also where a request
carries a part of it only. Algorithms that are not known are passed over, as the RFC says; what is known is verified.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace

from formicary.engine.queen.artifacts import Offer
from formicary.gateway import Call
from formicary.problems import FieldError, Problem, problem

CONTENT_DIGEST, REPR_DIGEST = "content-digest", "repr-digest"
_ALGORITHMS = {"sha-256": 32, "sha-512": 64}
"""Name -> bytes of a digest."""
_MEMBER = re.compile(r"[ \t]*([a-z*][a-z0-9_.*-]*)=:([A-Za-z0-9+/=]*):(?:;[^,]*)?[ \t]*\Z")


def of_content(call: Call) -> dict[str, bytes]:
    """Digests of what the request carries, by algorithm. Raises Problem VALIDATION_FAILED."""
    return _read(call, CONTENT_DIGEST, "Content-Digest")


def of_whole(call: Call) -> dict[str, bytes]:
    """Digests of the whole file, by algorithm. Raises Problem VALIDATION_FAILED."""
    return _read(call, REPR_DIGEST, "Repr-Digest")


def put_into(offer: Offer, whole: Mapping[str, bytes]) -> Offer:
    """The offer with the SHA-256 of a header. Raises Problem VALIDATION_FAILED where it says another one itself."""
    sha256 = whole["sha-256"].hex() if "sha-256" in whole else offer.sha256
    if offer.sha256 and sha256 != offer.sha256:
        raise _wrong("sha256", "CONFLICT", f"The parameter says {offer.sha256}, the header with a digest {sha256}.")
    return replace(offer, sha256=sha256)


async def checked(
    pieces: AsyncIterator[bytes], expected: Mapping[str, bytes], *, but: str = "sha-256"
) -> AsyncIterator[bytes]:
    """The pieces as they are. Raises Problem VALIDATION_FAILED at their end where a digest is another.

    Args:
        pieces: A content.
        expected: Its digests by algorithm.
        but: The algorithm that somebody else verifies; empty = none.
    """
    running = {name: hashlib.new(name.replace("-", "")) for name in expected if name != but}
    async for piece in pieces:
        for digest in running.values():
            await asyncio.to_thread(digest.update, piece)
        yield piece
    for name, digest in running.items():
        if digest.digest() != expected[name]:
            text = f"It says {name} {expected[name].hex()}; what came has {digest.hexdigest()}."
            raise _wrong("Content-Digest", "DIGEST_MISMATCH", text)


def _read(call: Call, name: str, header: str) -> dict[str, bytes]:
    """The members of a header, which is a dictionary of byte sequences (RFC 9651)."""
    found: dict[str, bytes] = {}
    sent = ",".join(one if isinstance(one, str) else one.decode("latin-1") for one in call.values(name))
    for member in sent.split(",") if sent.strip() else ():
        parts = _MEMBER.match(member)
        if parts is None:
            text = f"{member.strip()[:100]!r} is none: write it like sha-256=:BASE64:."
            raise _wrong(header, "INVALID_FORMAT", text)
        size = _ALGORITHMS.get(parts[1])
        if size is not None:
            found[parts[1]] = _decoded(parts[2], parts[1], size, header)
    return found


def _decoded(text: str, algorithm: str, size: int, header: str) -> bytes:
    try:
        value = base64.b64decode(text, validate=True)
    except binascii.Error:
        value = b""
    if len(value) != size:
        said = f"The {algorithm} {text[:100]!r} is not {size} bytes in Base64."
        raise _wrong(header, "INVALID_FORMAT", said)
    return value


def _wrong(field: str, code: str, text: str) -> Problem:
    return problem("VALIDATION_FAILED", f"The digest of the content: {text}", errors=[FieldError(field, code, text)])
