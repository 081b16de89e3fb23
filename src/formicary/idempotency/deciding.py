"""What a claim on a key leads to: the one rule that every store follows. Pure: the record and the time come in.

Stores that decide in SQL or Lua do the same there; the contract suite holds them to it.
"""

from __future__ import annotations

import hmac

from msgspec.structs import replace

from formicary.idempotency.model import Acquired, Busy, Claim, Mismatch, Outcome, Record, Replay, State

_MS = 1000


def is_live(record: Record, now_ms: int) -> bool:
    """Whether a holder may be at work: nothing may purge or overrule such a record."""
    return record.state is State.IN_PROGRESS and record.lease_ms > now_ms


def is_absent(record: Record, now_ms: int) -> bool:
    """Whether the record's time is over; then it counts as if it were not there."""
    return record.expires_ms <= now_ms and not is_live(record, now_ms)


def decide(record: Record | None, claim: Claim, now_ms: int, least_token: int = 0) -> tuple[Outcome, Record | None]:
    """What the claim leads to.

    Args:
        record: What the store has under the claim's id.
        claim: Who wants to execute what.
        now_ms: The store's time.
        least_token: A new token is not below it: a store gives its clock in microseconds or the highest token that it
            gave plus one, so that a claim in the same millisecond after a discard does not get the token once more.

    Returns:
        The answer, and the record to write (None = nothing changes).
    """
    if record is None or is_absent(record, now_ms):
        token = max(least_token, new_token(0 if record is None else record.token, now_ms))
        return Acquired(token), new_record(claim, token, now_ms)
    if not hmac.compare_digest(record.fingerprint, claim.fingerprint):
        return Mismatch(), None
    if record.state is State.COMPLETED:
        return Replay(record.response or b"", record.created_ms), None
    if is_live(record, now_ms):
        return Busy(retry_after_s(record.lease_ms, now_ms)), None
    token = max(least_token, new_token(record.token, now_ms))
    attempts = record.attempts + 1
    taken_over = record.state is State.IN_PROGRESS
    held = replace(
        record,
        state=State.IN_PROGRESS,
        token=token,
        attempts=attempts,
        lease_ms=now_ms + round(claim.lease_s * _MS),
        expires_ms=now_ms + round(claim.ttl_s * _MS),
    )
    return Acquired(token, attempts, record.point, record.data, taken_over), held


def new_token(previous: int, now_ms: int) -> int:
    """A fencing token above `previous`: it follows the clock, so that no token comes again after a record is gone."""
    return max(previous + 1, now_ms * 1000)


def new_record(claim: Claim, token: int, now_ms: int) -> Record:
    """The record of a claim that executes for the first time."""
    return Record(
        claim.id,
        claim.key,
        claim.fingerprint,
        claim.tenant,
        claim.method,
        claim.route,
        claim.parent,
        State.IN_PROGRESS,
        token,
        1,
        now_ms,
        now_ms + round(claim.lease_s * _MS),
        now_ms + round(claim.ttl_s * _MS),
    )


def retry_after_s(lease_ms: int, now_ms: int) -> int:
    """Whole seconds until the lease ends, rounded up, at least 1: 0 would be a hot loop of retries."""
    return max(1, -((now_ms - lease_ms) // _MS))
