"""Which adapter a target means, and that no driver is loaded before it is needed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from formicary.engine.storage import open_logs, open_store
from formicary.engine.storage.logs import MemoryLogs
from formicary.engine.storage.logs_files import FileLogs
from formicary.engine.storage.memory import MemoryStore
from formicary.engine.storage.port import StoreUnavailable
from formicary.engine.storage.sqlite import SqliteStore


def test_a_directory_holds_an_sqlite_file_and_logs(tmp_path: Path) -> None:
    store, logs = open_store(tmp_path / "data"), open_logs(tmp_path / "data")
    assert isinstance(store, SqliteStore) and store.path == tmp_path / "data" / "formicary.db"
    assert isinstance(logs, FileLogs) and logs.directory == tmp_path / "data" / "logs"
    store.close()


@pytest.mark.parametrize("name", ["a.db", "a%20b.db"])
def test_an_sqlite_url_names_the_file(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    expected = tmp_path / name.replace("%20", " ")
    for target in (f"sqlite://{tmp_path}/{name}", f"sqlite:{name}"):
        store = open_store(target)
        assert isinstance(store, SqliteStore) and store.path == expected
        store.close()


def test_memory_is_a_target() -> None:
    assert isinstance(open_store("memory:"), MemoryStore)
    assert isinstance(open_logs("memory:"), MemoryLogs)


@pytest.mark.parametrize("target", ["mysql://localhost/x", "sqlite:", "sqlite://file.db", "http://x"])
def test_other_targets_are_refused_with_what_to_write(target: str) -> None:
    with pytest.raises(StoreUnavailable, match="sqlite:///"):
        open_store(target)


def test_a_missing_driver_is_named_with_its_extra() -> None:
    script = """
import sys
sys.modules["psycopg"] = None
from formicary.engine.storage import open_store
from formicary.engine.storage.port import StoreUnavailable
try:
    open_store("postgresql://localhost/x")
except StoreUnavailable as error:
    print(error)
"""
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert "pip install 'formicary[postgres]'" in said


def test_no_driver_is_loaded_before_it_is_needed() -> None:
    script = "import sys, formicary.engine.storage; print({'sqlite3', 'psycopg', 'grpc'} & set(sys.modules))"
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert said == "set()\n"
