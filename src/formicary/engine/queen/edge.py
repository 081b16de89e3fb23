"""What the coordinator's edge makes before anything reaches the core: ids, fingerprints, checks of what comes in."""

from __future__ import annotations

import os
import time
from hashlib import sha256

import msgspec

from formicary.engine.jobs.model import MAX_PRIORITY
from formicary.idempotency import keys
from formicary.idempotency.fingerprints import canonical_json, digest
from formicary.problems import problem

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_LENGTH = 26
BIGGEST_ID = _ALPHABET[-1] * _LENGTH
MAX_PARAMS_BYTES = 1024 * 1024
_FORM = "2:"
"""Stands before fingerprints of the present form; those of earlier versions are bare."""
_YEAR_1, _YEAR_10000 = -62_135_596_800, 253_402_300_800

_object = msgspec.json.Decoder(dict[str, msgspec.Raw])


def new_id(wall: float | None = None) -> str:
    """A job id: 48 bits of milliseconds and 80 random bits, lower-case Crockford base 32, sortable by time."""
    return _id(time.time() if wall is None else wall, int.from_bytes(os.urandom(10)))


def first_id(wall: float) -> str:
    """The id before all those of a time, in seconds since the epoch."""
    return _id(max(0.0, wall), 0)


def _id(wall: float, low: int) -> str:
    value = int(wall * 1000) << 80 | low
    return "".join([_ALPHABET[value >> shift & 31] for shift in range(125, -1, -5)])


def check_id(job_id: str) -> str:
    """The id as given by a client. Raises Problem VALIDATION_FAILED where it is not one."""
    if len(job_id) != _LENGTH or job_id.strip(_ALPHABET):
        raise problem("VALIDATION_FAILED", f"job id {job_id[:40]!r} is not 26 characters of {_ALPHABET}; leave it out")
    return job_id


def check_params(params: bytes) -> bytes:
    """The parameters as a JSON object. Raises Problem VALIDATION_FAILED or PAYLOAD_TOO_LARGE."""
    if not params or params == b"{}":
        return b"{}"
    if len(params) > MAX_PARAMS_BYTES:
        raise problem("PAYLOAD_TOO_LARGE", f"parameters of {len(params)} bytes: at most {MAX_PARAMS_BYTES} are taken")
    try:
        _object.decode(params)
    except msgspec.DecodeError as error:
        raise problem("VALIDATION_FAILED", f"the parameters are not a JSON object: {error}") from error
    return params


def check_priority(priority: int) -> int:
    """A job's priority. Raises Problem VALIDATION_FAILED where it is out of range."""
    if not 0 <= priority <= MAX_PRIORITY:
        raise problem("VALIDATION_FAILED", f"a priority is from 0 to {MAX_PRIORITY}, not {priority}")
    return priority


def check_key(key: str) -> str:
    """An idempotency key. Raises Problem IDEMPOTENCY_KEY_INVALID where it is not 1 to 255 visible ASCII characters."""
    return keys.check_key(key)


def check_time(scheduled_at: float) -> float:
    """An earliest start, in seconds since the epoch. Raises Problem VALIDATION_FAILED where no calendar has it."""
    if not _YEAR_1 <= scheduled_at < _YEAR_10000:  # refuses NaN, too
        raise problem(
            "VALIDATION_FAILED", "scheduled_at has to be a time of the years 1 to 9999, in seconds since 1970"
        )
    return scheduled_at


def fingerprint(asked: str, params: bytes, priority: int | None, scheduled_at: float | None) -> str:
    """What a request with an idempotency key asked for, so that the key's reuse for something else is seen.

    Args:
        asked: The definition as the request names it: see :func:`asked_for`.
        params: A JSON object; the order of its members and its blanks do not count.
        priority: As requested, None = the definition's.
        scheduled_at: As requested, None = the definition's.
    """
    canonical = params if params == b"{}" else canonical_json(params) or params
    return _FORM + digest(asked.encode(), canonical, repr((priority, scheduled_at)).encode()).hex()


def asked_for(definition_id: str, job_type: str) -> str:
    """What a request names: a definition, or the newest of a job type, which stays the same request when a newer one
    is registered before it is repeated.
    """
    return definition_id or f"type:{job_type}"


def is_same_request(
    stored: str, present: str, definition_id: str, params: bytes, priority: int | None, scheduled_at: float | None
) -> bool:
    """Whether a stored fingerprint is that of this request.

    Args:
        stored: As the store has it, of this version or of an earlier one.
        present: What :func:`fingerprint` gives for the request.
        definition_id: The definition that it leads to.
        params: As they came.
        priority: As requested.
        scheduled_at: As requested.
    """
    if stored.startswith(_FORM) or not present.startswith(_FORM):
        return stored == present
    text = b"\0".join((definition_id.encode(), params, repr((priority, scheduled_at)).encode()))
    return stored == sha256(text).hexdigest()
