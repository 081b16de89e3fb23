"""SQLite under a full disk, foreign locks, lost files and a busy event loop."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from formicary.engine.storage.migrations import migrations
from formicary.engine.storage.port import StoreUnavailable, UnsupportedDataVersion
from formicary.engine.storage.sqlite import SqliteStore
from tests.contract.storage.rows import changes, job, job_id, params, task

NOBODY = 65534


def filled(path: Path, jobs: int = 3) -> int:
    """A store with a few jobs; its epoch."""
    store = SqliteStore(path)
    store.open()
    epoch = store.acquire("test")
    store.commit(epoch, changes(*[job(number) for number in range(1, jobs + 1)]))
    store.close()
    return epoch


def intact(path: Path) -> bool:
    with sqlite3.connect(path) as connection:
        found: bool = connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()
    return found


def count(store: SqliteStore) -> int:
    return sum(store.counts().values())


def test_a_commit_of_100_jobs_is_a_handful_of_statements_beside_a_busy_loop(tmp_path: Path) -> None:
    """Each statement costs a turn at the GIL (a whole switch interval), so their number is what must stay small."""
    store = SqliteStore(tmp_path / "a.db")
    store.open()
    epoch = store.acquire("test")
    statements: list[str] = []
    assert store._writer is not None
    store._writer.set_trace_callback(statements.append)
    stop = threading.Event()

    def loop() -> None:
        value = 0
        while not stop.is_set():
            value = (value * 31 + 7) % 1_000_003

    busy = threading.Thread(target=loop)
    busy.start()
    try:
        for jobs in (1, 7, 100, 255):
            del statements[:]
            numbers = range(1, jobs + 1)
            store.commit(
                epoch,
                changes(*[job(n) for n in numbers], *[task(n) for n in numbers], values=[params(n) for n in numbers]),
            )
            # BEGIN, fence, COMMIT and at most two for each of the three tables
            assert len(statements) <= 3 + 3 * 2
    finally:
        stop.set()
        busy.join()
        store.close()


def test_a_full_disk_refuses_the_batch_and_is_forgotten_when_there_is_room(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    epoch = filled(path)
    store = SqliteStore(path, max_size_bytes=400_000, checkpoint_pages=50)
    store.open()
    epoch = store.acquire("test")
    with pytest.raises(StoreUnavailable, match="disk is full"):
        for number in range(10, 1000):
            store.commit(epoch, changes(job(number), task(number), values=[params(number, b"x" * 5000)]))
    reached = number
    assert set(store.find_ids([job_id(n) for n in range(10, 1000)]).values()) == set(range(10, reached))
    assert store.tasks(reached) == []
    store._max_pages = 0  # room again
    store.commit(epoch, changes(job(reached), values=[params(reached, b"x" * 5000)]))
    assert count(store) == 3 + reached - 9
    store.close()
    assert intact(path)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 3 MB."""
    mounted = tmp_path / "disk"
    mounted.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "none", mounted], capture_output=True, check=False)
    if made.returncode:
        pytest.skip("this user may not mount a file system")
    yield mounted
    subprocess.run(["umount", "-l", mounted], check=True)


def test_a_really_full_disk(small_disk: Path) -> None:
    store = SqliteStore(small_disk / "a.db")
    store.open()
    epoch = store.acquire("test")
    filler = small_disk / "filler"
    with pytest.raises(StoreUnavailable) as caught:
        for number in range(1, 10_000):
            store.commit(epoch, changes(job(number), values=[params(number, b"x" * 20_000)]))
            if number == 20:
                filler.write_bytes(b"x" * 1_000_000)
    assert isinstance(caught.value.__cause__, sqlite3.Error)
    acknowledged = number - 1
    for _ in range(3):
        with pytest.raises(StoreUnavailable):
            store.commit(epoch, changes(job(number), values=[params(number, b"x" * 200_000)]))
    filler.unlink()
    store.commit(epoch, changes(job(number + 1), values=[params(number + 1, b"x" * 20_000)]))
    found = store.find_ids([job_id(n) for n in range(1, number + 2)])
    assert set(found.values()) == {*range(1, acknowledged + 1), number + 1}
    store.close()
    assert intact(small_disk / "a.db")


def run(script: str, *arguments: object) -> str:
    """Output of a Python script in a process of its own."""
    command = [sys.executable, "-c", textwrap.dedent(script), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_limit_of_the_file_size_is_an_error_and_not_the_end_of_the_process(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    said = run(
        """
        import resource, sys
        from formicary.engine.storage.port import Changes, JOB_COLUMNS, StoreUnavailable
        from formicary.engine.storage.sqlite import SqliteStore
        store = SqliteStore(sys.argv[1]); store.open(); epoch = store.acquire("x")
        resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, resource.RLIM_INFINITY))
        number = 0
        try:
            while True:
                number += 1
                store.commit(epoch, Changes(params={number: (number, b"x" * 3000, None)}))
        except StoreUnavailable as error:
            print(error)
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        store.commit(epoch, Changes(params={10_000: (10_000, b"x" * 3000, None)}))
        print(sorted(store.params(range(1, 10_001))) == [*range(1, number), 10_000])
        store.close()
        """,
        path,
    )
    assert "cannot be used" in said
    assert said.splitlines()[-1] == "True"
    assert intact(path)


@pytest.fixture
def ordinary_user() -> Iterator[None]:
    """Root may write everything: for a test of permissions this process is nobody for a while."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(NOBODY)
    yield
    if root:
        os.seteuid(0)


@pytest.mark.usefixtures("ordinary_user")
def test_a_read_only_file_is_not_taken() -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "a.db"
        filled(path)
        os.chmod(path, 0o444)
        os.chmod(directory, 0o555)
        store = SqliteStore(path)
        with pytest.raises(StoreUnavailable, match="permission") as caught:
            store.open()
            store.acquire("test")
        os.chmod(directory, 0o755)
        assert str(path) in str(caught.value)
        os.chmod(path, 0o644)
        store.open()
        assert store.acquire("test") == 2
        assert count(store) == 3
        store.close()


def test_a_lock_held_by_another_program_is_waited_for_and_then_named(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    filled(path)
    store = SqliteStore(path, busy_timeout_s=0.05)
    store.open()
    epoch = store.acquire("test")
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreUnavailable, match="another program holds its lock"):
        store.commit(epoch, changes(job(10)))
    assert count(store) == 3  # readers do not wait
    other.execute("ROLLBACK")
    other.close()
    store.commit(epoch, changes(job(10)))
    assert count(store) == 4
    store.close()


def test_a_file_that_is_gone_takes_nothing_and_works_again_when_it_is_back(tmp_path: Path) -> None:
    path, aside = tmp_path / "data" / "a.db", tmp_path / "aside"
    filled(path)
    store = SqliteStore(path)
    store.open()
    epoch = store.acquire("test")
    path.parent.rename(aside)
    for _ in range(2):
        with pytest.raises(StoreUnavailable, match="gone"):
            store.commit(epoch, changes(job(10)))
    aside.rename(path.parent)
    store.commit(epoch, changes(job(11)))
    assert set(store.find_ids([job_id(10), job_id(11)])) == {job_id(11)}
    store.close()


def test_a_file_that_was_replaced_is_noticed_before_the_next_commit(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    filled(path)
    shutil.copy(path, tmp_path / "copy")
    store = SqliteStore(path)
    store.open()
    epoch = store.acquire("test")
    os.replace(tmp_path / "copy", path)
    with pytest.raises(StoreUnavailable, match="replaced"):
        store.commit(epoch, changes(job(10)))
    store.close()


@pytest.mark.parametrize(
    ("content", "words"), [(b"no database at all " * 300, "not an SQLite database"), (None, "another program")]
)
def test_a_foreign_file_is_left_alone(tmp_path: Path, content: bytes | None, words: str) -> None:
    path = tmp_path / "a.db"
    if content is None:
        with sqlite3.connect(path) as connection:
            connection.execute("CREATE TABLE recipes (id)")
        connection.close()
    else:
        path.write_bytes(content)
    before = path.read_bytes()
    with pytest.raises(StoreUnavailable, match=words):
        SqliteStore(path).open()
    assert path.read_bytes() == before


def test_a_damaged_file_is_an_error_with_the_way_out(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    filled(path, jobs=2000)
    with path.open("r+b") as file:
        file.seek(4096 * 3)
        file.write(b"\xff" * 4096 * 40)
    store = SqliteStore(path)
    with pytest.raises(StoreUnavailable, match="restore a backup"):
        store.open()
        store.load()
        store.jobs("default").__next__()
    store.close()


def test_data_of_a_newer_version_is_refused_with_the_way_out(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    filled(path)
    with sqlite3.connect(path) as connection:
        newer = len(migrations()) + 1
        connection.execute("INSERT INTO schema_version VALUES (?, 'later', 0, '9.1')", (newer,))
    connection.close()
    before = path.read_bytes()
    with pytest.raises(UnsupportedDataVersion, match=r"written by Formicary 9\.1.*Start Formicary 9\.1 or newer"):
        SqliteStore(path).open()
    assert path.read_bytes() == before


def test_an_odd_path_is_just_a_path(tmp_path: Path) -> None:
    path = tmp_path / "a b?mode=memory#%41&ä" / "x%y.db"
    filled(path)
    assert path.is_file()
    store = SqliteStore(path)
    store.open()
    assert count(store) == 3
    store.close()


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreUnavailable, match="cannot be made"):
        SqliteStore(tmp_path / "file" / "a.db").open()


def test_close_leaves_one_file(tmp_path: Path) -> None:
    filled(tmp_path / "a.db")
    assert [path.name for path in tmp_path.iterdir()] == ["a.db"]
