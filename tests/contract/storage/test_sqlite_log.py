"""The write-ahead log that is made ahead: as long as it becomes anyway, and never in the way."""

from __future__ import annotations

import os
import shutil
import sqlite3
from pathlib import Path

import pytest

from formicary.engine.storage.sqlite import SqliteStore
from formicary.engine.storage.sqlite_log import lengthen
from tests.contract.storage.rows import changes, job

PAGES = 200
LENGTH = PAGES * (4096 + 24)


def opened(path: Path) -> tuple[SqliteStore, int]:
    store = SqliteStore(path, checkpoint_pages=PAGES)
    store.open()
    return store, store.acquire("test")


def log_bytes(path: Path) -> int:
    return Path(f"{path}-wal").stat().st_size


def test_commits_up_to_the_first_checkpoint_do_not_let_the_log_grow(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    store, epoch = opened(path)
    made = log_bytes(path)
    assert made >= LENGTH
    for number in range(1, 30):
        store.commit(epoch, changes(job(number)))
    assert log_bytes(path) == made
    store.close()


def test_a_crash_over_the_filler_loses_nothing_and_brings_nothing_back(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    store, epoch = opened(path)
    store.commit(epoch, changes(job(1), job(2)))
    crashed = tmp_path / "crashed"
    crashed.mkdir()
    for name in ("a.db", "a.db-wal"):
        shutil.copy(tmp_path / name, crashed / name)
    store.close()
    again, later = opened(crashed / "a.db")
    assert later == epoch + 1
    assert sum(again.counts().values()) == 2
    again.close()
    with sqlite3.connect(crashed / "a.db") as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert connection.execute("SELECT count(*) FROM sqlite_master WHERE name = 'ahead'").fetchone() == (0,)
        assert connection.execute("PRAGMA page_count").fetchone()[0] < PAGES
    connection.close()


def test_a_nearly_full_disk_is_left_alone(tmp_path: Path) -> None:
    room = os.statvfs(tmp_path)
    pages = room.f_bavail * room.f_frsize // 4096 // 5
    path = tmp_path / "a.db"
    writer = sqlite3.connect(path, isolation_level=None)
    writer.execute("PRAGMA journal_mode = WAL")
    lengthen(writer, path, pages, -16384)
    assert not Path(f"{path}-wal").exists() or log_bytes(path) == 0
    writer.close()


def test_where_it_cannot_be_made_the_connection_stays_usable(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    writer = sqlite3.connect(path, isolation_level=None)
    writer.execute("PRAGMA journal_mode = WAL")
    writer.execute("CREATE TABLE kept (value)")
    writer.execute("PRAGMA max_page_count = 20")
    lengthen(writer, path, PAGES, -4096)
    writer.execute("INSERT INTO kept VALUES (1)")
    assert not writer.in_transaction
    assert writer.execute("PRAGMA cache_size").fetchone() == (-4096,)
    with pytest.raises(sqlite3.OperationalError, match="no such table"):
        writer.execute("SELECT * FROM ahead")
    writer.close()
