"""What a server refuses to start on: each a status 3 and a sentence that says what to do."""

from __future__ import annotations

import socket
import sqlite3
from pathlib import Path

import pytest

from formicary.engine.storage.backends import DATABASE_FILE, open_store
from formicary.engine.storage.data_lock import DataLock
from formicary.problems import Problem
from formicary.server.config import UpConfig
from formicary.server.serving import run_server


def refusal(config: UpConfig) -> Problem:
    """Why a server does not start; afterwards the data directory is free again."""
    with pytest.raises(Problem) as refused:
        run_server(config)
    return refused.value


def config_of(data: Path, *, grpc_port: int = 0, database: str = "") -> UpConfig:
    return UpConfig(data, database, http_port=0, grpc_port=grpc_port, ants=0)


@pytest.mark.parametrize("host", ["0.0.0.0", "10.1.2.3", "::", "example.org", ""])
def test_only_this_machine_is_served(host: str, data_dir: Path) -> None:
    with pytest.raises(Problem, match=r"use 127\.0\.0\.1, ::1 or localhost"):
        UpConfig(data_dir, host=host)


@pytest.mark.parametrize("lease", ["soon", "0.1", "nan", "-1"])
def test_a_lease_has_to_be_a_number_that_makes_sense(
    lease: str, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORMICARY_LEASE_S", lease)
    with pytest.raises(Problem, match="FORMICARY_LEASE_S"):
        UpConfig(data_dir)


def test_data_that_another_process_holds(data_dir: Path) -> None:
    with DataLock(data_dir) as lock:
        lock.update(http_port=17777, grpc_port=17778)
        error = refusal(config_of(data_dir))
    assert error.code == "DATA_IN_USE"
    assert "17777" in error.detail and "17778" in error.detail and "process" in error.detail


def test_data_of_a_newer_version(data_dir: Path) -> None:
    open_store(data_dir).close()
    with sqlite3.connect(data_dir / DATABASE_FILE) as database:
        database.execute("INSERT INTO schema_version VALUES (9999, 'later', 0, '99.0')")
    database.close()
    error = refusal(config_of(data_dir))
    assert error.code == "UNSUPPORTED_DATA_VERSION" and "99.0" in error.detail
    DataLock(data_dir).acquire()


def test_a_port_that_is_taken(data_dir: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        error = refusal(config_of(data_dir, grpc_port=int(taken.getsockname()[1])))
    assert error.code == "FAILED_PRECONDITION" and "--grpc-port" in error.detail


def test_a_database_that_does_not_answer(data_dir: Path) -> None:
    error = refusal(config_of(data_dir, database="postgresql://somebody:secret@127.0.0.1:1/nothing"))
    assert error.code == "UNAVAILABLE" and "127.0.0.1:1" in error.detail and "secret" not in error.detail


def test_a_data_directory_that_cannot_be_one(tmp_path: Path) -> None:
    """A file stands where the directory should be; a directory without write permission is refused the same way."""
    (tmp_path / "file").touch()
    error = refusal(config_of(tmp_path / "file" / "data"))
    assert error.code == "UNAVAILABLE" and "Name another one" in error.detail
