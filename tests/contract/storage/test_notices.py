"""What every store keeps of notices: due ones first, pages of an organisation, gone with their job."""

from __future__ import annotations

import pytest

from formicary.engine.storage.port import NOTICE_COLUMNS, Changes, Row, RowRefused, Store
from tests.contract.storage.conftest import Place
from tests.contract.storage.rows import row


def notice(name: str, **values: object) -> Row:
    given: dict[str, object] = {
        "id": name, "job": 1, "org": "o", "job_id": "j", "job_type": "t", "kind": "email", "event": "job.failed",
        "target": b"{}", "payload": b"{}", "state": "PENDING", "attempts": 0, "next_at": 1.0, "created_at": 1.0,
        "sent_at": None, "error": "",
    }  # fmt: skip
    return row(NOTICE_COLUMNS, **{**given, **values})


def put(store: Store, *rows: Row) -> None:
    changes = Changes()
    changes.notices = {str(one[0]): one for one in rows}
    store.commit(store.acquire("test"), changes)


def test_pending_ones_come_by_the_time_of_their_next_attempt(store: Store) -> None:
    late, soon, sent = notice("a", next_at=9.0), notice("b", next_at=2.0), notice("c", state="SENT", next_at=None)
    put(store, late, soon, sent)
    assert store.due_notices(10) == [soon, late] and store.due_notices(1) == [soon]
    put(store, notice("b", state="DEAD", next_at=None, attempts=3, error="no"))
    assert store.due_notices(10) == [late]


def test_pages_are_of_one_organisation_newest_first(store: Store) -> None:
    rows = [notice(f"n{number}", created_at=float(number // 2), job_id=f"j{number % 2}") for number in range(6)]
    put(store, *rows, notice("x", org="other"))
    expected = sorted(rows, key=lambda one: (one[12], one[0]), reverse=True)
    found: list[Row] = []
    after = (1e12, "")
    while page := store.notices("o", after=after, limit=2):
        found += page
        after = (float(page[-1][12] or 0), str(page[-1][0]))
    assert found == expected
    assert store.notices("o", job_id="j1") == [one for one in expected if one[3] == "j1"]
    assert store.notices("o", state="SENT") == []
    assert (
        store.notice("o", "n1") == rows[1] and store.notice("other", "n1") is None and store.notice("o", "\0") is None
    )


def test_an_unknown_state_is_refused(durable: Place) -> None:
    with pytest.raises(RowRefused):
        put(durable.open(), notice("a", state="MAYBE"))
