"""The lock of a data directory."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from formicary.engine.storage.data_lock import DataLock, read_holder
from formicary.engine.storage.port import DataInUse, StoreUnavailable

HOLDER = """
import sys
from formicary.engine.storage.data_lock import DataLock
lock = DataLock(sys.argv[1])
lock.acquire(http_port=7777, grpc_port=7778)
print("held", flush=True)
sys.stdin.read()
"""


def test_the_second_is_refused_with_the_name_of_the_first(tmp_path: Path) -> None:
    with DataLock(tmp_path / "data") as lock:
        lock.update(http_port=1234, grpc_port=5678)
        with pytest.raises(DataInUse, match=rf"process {os.getpid()} on {socket.gethostname()}.*1234.*5678"):
            DataLock(tmp_path / "data").acquire()
        holder = read_holder(tmp_path / "data")
        assert holder is not None
        assert (holder.pid, holder.http_port, holder.grpc_port) == (os.getpid(), 1234, 5678)
    assert read_holder(tmp_path / "data") is None
    with DataLock(tmp_path / "data"):
        pass


def test_the_lock_of_a_killed_process_is_free_at_once(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None and process.stdin is not None
    assert process.stdout.readline() == "held\n"
    holder = read_holder(tmp_path)
    assert holder is not None and (holder.pid, holder.grpc_port) == (process.pid, 7778)
    with pytest.raises(DataInUse, match=f"process {process.pid}"):
        DataLock(tmp_path).acquire()
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    process.stdin.close()
    assert read_holder(tmp_path) is None
    with DataLock(tmp_path):
        pass


def test_nobody_holds_what_is_not_there(tmp_path: Path) -> None:
    assert read_holder(tmp_path / "none") is None


def test_looking_does_not_keep_anybody_out(tmp_path: Path) -> None:
    with DataLock(tmp_path):
        pass
    for _ in range(20):
        assert read_holder(tmp_path) is None
        with DataLock(tmp_path):
            assert read_holder(tmp_path) is not None


def test_release_and_acquire_may_be_repeated(tmp_path: Path) -> None:
    lock = DataLock(tmp_path)
    lock.release()
    lock.acquire()
    lock.acquire()
    lock.release()
    lock.release()
    assert read_holder(tmp_path) is None


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreUnavailable, match="cannot be used"):
        DataLock(tmp_path / "file" / "data").acquire()
