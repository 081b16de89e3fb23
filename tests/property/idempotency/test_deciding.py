"""`decide` against the table of a record's life in model.py, read line by line."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from formicary.idempotency import Acquired, Busy, Claim, Mismatch, Record, Replay, State, model
from formicary.idempotency.deciding import decide

NOW = 1_800_000_000_000
CLAIM = Claim("k", b"f" * 32, "t", "POST", "/orders", lease_s=30, ttl_s=3600)
_TIMES = st.sampled_from([NOW - 1_000_000, NOW - 1, NOW, NOW + 1, NOW + 999, NOW + 1000, NOW + 1001, NOW + 30_000])
RECORDS = st.none() | st.builds(
    Record,
    id=st.just(CLAIM.id), key=st.just("k"), fingerprint=st.sampled_from([b"f" * 32, b"g" * 32]), tenant=st.just("t"),
    method=st.just("POST"), route=st.just("/orders"), parent=st.just(""), state=st.sampled_from(State),
    token=st.sampled_from([1, NOW * 1000 - 1, NOW * 1000, NOW * 1000 + 7]), attempts=st.integers(1, 5),
    created_ms=st.just(NOW - 5000), lease_ms=_TIMES, expires_ms=_TIMES,
    response=st.just(b"answer"), point=st.sampled_from(["", "paid"]), data=st.sampled_from([b"", b"7"]),
)  # fmt: skip


def _row(record: Record | None) -> str:
    """The line of the table that a claim on this record falls under; the order is that of the decision record 0013."""
    if record is None:
        return "(absent)"
    live = record.state is State.IN_PROGRESS and record.lease_ms > NOW
    if record.expires_ms <= NOW and not live:
        return "its time is over"
    if record.fingerprint != CLAIM.fingerprint:
        return "other fingerprint"
    if record.state is State.COMPLETED:
        return "answered"
    if live:
        return "live"
    return "lease over" if record.state is State.IN_PROGRESS else "RELEASED"


@given(RECORDS, st.sampled_from([0, NOW * 1000 + 99]))
def test_a_claim_leads_to_what_the_table_says(record: Record | None, least_token: int) -> None:
    """Answer, next state, token, attempts, recovery point and times of every row of the table."""
    row = _row(record)
    outcome, written = decide(record, CLAIM, NOW, least_token)
    if row in ("other fingerprint", "answered", "live"):
        assert written is None
        assert record is not None
        expected = {
            "other fingerprint": Mismatch(),
            "answered": Replay(b"answer", record.created_ms),
            "live": Busy(max(1, (record.lease_ms - NOW + 999) // 1000)),
        }
        assert outcome == expected[row]
        return
    assert isinstance(outcome, Acquired)
    assert written is not None
    anew = row in ("(absent)", "its time is over")
    kept = record if not anew and record is not None else None
    assert (written.state, written.token) == (State.IN_PROGRESS, outcome.token)
    assert outcome.token >= least_token
    assert outcome.token > (0 if record is None else record.token), "a fencing token only grows"
    assert outcome.attempt == written.attempts == (1 if kept is None else kept.attempts + 1)
    assert (outcome.point, outcome.data) == (written.point, written.data)
    assert (written.point, written.data) == (("", b"") if kept is None else (kept.point, kept.data))
    assert outcome.taken_over == (row == "lease over")
    assert (written.lease_ms, written.expires_ms) == (NOW + 30_000, NOW + 3_600_000)
    assert (written.id, written.fingerprint) == (CLAIM.id, CLAIM.fingerprint)
    assert kept is not None or written.response is None


def test_the_table_names_every_row_that_is_tested() -> None:
    """The lines of model.py that speak of a claim are those above, so a new line needs a test."""
    table = re.findall(r"^    (\S+)  +(.+?) +-> (\S+)", model.__doc__ or "", re.MULTILINE)
    claims = [(state, event, to) for state, event, to in table if "acquire" in event or "time is over" in event]
    assert claims == [
        ("(absent)", "acquire", "IN_PROGRESS"),
        ("IN_PROGRESS", "acquire, lease over", "IN_PROGRESS"),
        ("RELEASED", "acquire", "IN_PROGRESS"),
        ("any", "its time is over", "(absent)"),
    ]
