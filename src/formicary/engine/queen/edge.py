"""What the coordinator's edge makes before anything reaches the core: ids, fingerprints, checks of what comes in."""

from __future__ import annotations

import os
import time
from hashlib import sha256

import msgspec

from formicary.engine.jobs.model import MAX_PRIORITY
from formicary.problems import problem

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_LENGTH = 26
BIGGEST_ID = _ALPHABET[-1] * _LENGTH
MAX_PARAMS_BYTES = 1024 * 1024
MAX_KEY_CHARS = 255
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
    """An idempotency key. Raises Problem VALIDATION_FAILED where it is too long or not printable."""
    if len(key) > MAX_KEY_CHARS or not key.isprintable():
        raise problem("VALIDATION_FAILED", f"an idempotency key has at most {MAX_KEY_CHARS} printable characters")
    return key


def check_time(scheduled_at: float) -> float:
    """An earliest start, in seconds since the epoch. Raises Problem VALIDATION_FAILED where no calendar has it."""
    if not _YEAR_1 <= scheduled_at < _YEAR_10000:  # refuses NaN, too
        raise problem(
            "VALIDATION_FAILED", "scheduled_at has to be a time of the years 1 to 9999, in seconds since 1970"
        )
    return scheduled_at


def fingerprint(definition_id: str, params: bytes, priority: int | None, scheduled_at: float | None) -> str:
    """What a request with an idempotency key asked for, so that the key's reuse for something else is seen."""
    text = b"\0".join((definition_id.encode(), params, repr((priority, scheduled_at)).encode()))
    return sha256(text).hexdigest()
