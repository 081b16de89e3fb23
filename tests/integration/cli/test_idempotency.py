"""`formicary idempotency` on a real store: what is listed, shown and purged."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from formicary.idempotency import Acquired, Claim, SqliteStore, StoredResponse, encode_response
from formicary.idempotency.opening import open_store
from formicary.problems import Problem
from tests.integration.cli.command import formicary

LONG_AGO_MS = 1_000_000_000_000


@pytest.fixture
def keys(tmp_path: Path) -> str:
    """A store with five records whose time is over, and three others: completed, in progress, a step."""

    async def fill(path: Path) -> None:
        old = SqliteStore(path, now_ms=lambda: LONG_AGO_MS)
        new = SqliteStore(path)
        for store, claims in (
            (old, [Claim(f"old-{n}", b"f" * 32, "t", "POST", "/x") for n in range(5)]),
            (new, [Claim("done", b"f" * 32, "t", "POST", "/x"), Claim("step", b"f" * 32, "u", "", "", "flow-1")]),
        ):
            await store.open()
            for claim in claims:
                begun = await store.acquire(claim)
                assert isinstance(begun, Acquired)
                await store.complete(claim.id, begun.token, encode_response(StoredResponse(201, body=b"made")), 60)
        await new.acquire(Claim("open", b"f" * 32, "t", "POST", "/x"))
        await old.close()
        await new.close()

    asyncio.run(fill(tmp_path / "keys.db"))
    return f"sqlite:{tmp_path / 'keys.db'}"


def listed(keys: str, *filters: str) -> set[str]:
    done = formicary("idempotency", "list", "--store", keys, "--output", "json", *filters)
    assert done.status == 0, done.err
    return {row["key"] for row in json.loads(done.out)}


def test_filters_and_limits_hold(keys: str) -> None:
    assert listed(keys, "--state", "IN_PROGRESS") == {"open"}
    assert listed(keys, "--tenant", "u") == {"step"}
    assert listed(keys, "--parent", "flow-1") == {"step"}
    assert listed(keys, "--key", "done", "--state", "COMPLETED") == {"done"}
    assert len(listed(keys, "--limit", "3")) == 3
    assert len(listed(keys, "--limit", "0")) == 8
    table = formicary("idempotency", "list", "--store", keys, "--tenant", "u").out.splitlines()
    assert table[0].split()[:2] == ["KEY", "TENANT"] and table[1].split()[:2] == ["step", "u"]


def test_a_key_is_shown_with_the_status_of_its_answer_and_without_its_body(keys: str) -> None:
    done = formicary("idempotency", "show", "done", "--store", keys, "--output", "json")
    (row,) = json.loads(done.out)
    assert (row["state"], row["status"], row["body_bytes"]) == ("COMPLETED", 201, 4)
    assert "made" not in done.out
    unknown = formicary("idempotency", "show", "nobodys", "--store", keys)
    assert (unknown.status, "nobodys" in unknown.err) == (2, True)


def test_a_purge_in_batches_deletes_what_is_over_and_nothing_else(keys: str) -> None:
    done = formicary("idempotency", "purge", "--store", keys, "--batch", "2", "--output", "json")
    assert json.loads(done.out) == {"deleted": 5}
    assert listed(keys) == {"done", "step", "open"}


def test_a_store_that_is_none_is_told_without_its_password_and_no_file_is_made(tmp_path: Path) -> None:
    wrong = formicary("idempotency", "list", "--store", "mongodb://root:secret@host/x")
    assert wrong.status == 2 and "sqlite:PATH" in wrong.err and "secret" not in wrong.err
    missing = formicary("idempotency", "list", "--store", f"sqlite:{tmp_path / 'none.db'}")
    assert missing.status == 2 and not (tmp_path / "none.db").exists()


def test_without_a_driver_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    for url, module, extra in (
        ("postgresql://h/d", "psycopg", "formicary[postgres]"),
        ("mysql://h/d", "pymysql", "formicary[mysql]"),
        ("redis://h/0", "redis.asyncio", "formicary[redis]"),
    ):
        monkeypatch.setitem(sys.modules, module, None)
        with pytest.raises(Problem) as refused:
            asyncio.run(open_store(url))
        assert extra in refused.value.detail
