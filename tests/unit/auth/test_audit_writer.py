"""The writer of the audit log over a store that is away: records wait, in order, and what cannot wait is counted."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from prometheus_client.exposition import generate_latest

from formicary.engine.storage.memory import MemoryStore
from formicary.engine.storage.port import AUDIT_COLUMNS, AuditQuery, Row, StoreUnavailable
from formicary.gateway import Call, Service, bind
from formicary.server.api.tokens import TokenServicer
from formicary.server.auth import audit
from formicary.server.auth.audit import AuditLog
from formicary.server.auth.tokens import TokenBook
from formicary.server.metrics.collector import Sources
from formicary.server.metrics.page import registry_of
from formicary.v1.tokens_pb2 import DESCRIPTOR

(METHOD, *_) = bind([Service(DESCRIPTOR.services_by_name["TokenService"], TokenServicer(TokenBook(MemoryStore())))])
CALL = Call(METHOD, "grpc", ())


class Away(MemoryStore):
    """A store that can be out of reach."""

    is_away = False

    def add_audit(self, rows: Sequence[Row]) -> None:
        """Appends, or fails."""
        if self.is_away:
            raise StoreUnavailable("it is away")
        super().add_audit(rows)


def methods(store: MemoryStore) -> list[object]:
    """The methods of the records, oldest first."""
    return [row[AUDIT_COLUMNS.index("method")] for row in reversed(store.audit(AuditQuery(), 100))]


def test_records_wait_for_a_store_that_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are written in their order once it is back; the oldest beyond the bound are lost, and the metrics say so."""
    monkeypatch.setattr(audit, "MOST_WAITING", 5)

    async def test() -> None:
        store = Away()
        store.open()
        book = AuditLog(store, 0.0)
        store.is_away = True
        for number in range(4):
            book.record("local", "p", f"m{number}", "", "OK", CALL)
        assert not await book.flush()
        assert not await book.flush()
        for number in range(4, 7):
            book.record("local", "p", f"m{number}", "", "OK", CALL)
        store.is_away = False
        assert await book.flush()
        assert methods(store) == ["m2", "m3", "m4", "m5", "m6"]
        shown = generate_latest(registry_of(Sources(audit_dropped=lambda: book.dropped))).decode()
        assert "\nformicary_audit_dropped_total 2.0\n" in shown

    asyncio.run(test())
