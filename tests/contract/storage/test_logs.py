"""What every log store must do."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from formicary.engine.storage import logs as logs_module
from formicary.engine.storage import open_logs, open_store
from formicary.engine.storage.log_port import LogRecord
from formicary.engine.storage.logs import BufferedLogs, MemoryLogs
from formicary.engine.storage.logs_files import FileLogs
from formicary.engine.storage.port import StoreUnavailable

JOB = "01hx0000000000000000000abc"
LIMIT = 20_000


@dataclass
class LogPlace:
    kind: str
    target: str
    opened: list[BufferedLogs] = field(default_factory=list)

    def open(self, limit: int = 0) -> BufferedLogs:
        """A new log store on the same data, as after a restart; in memory the same one."""
        if self.kind == "memory" and self.opened:
            return self.opened[0]
        logs: BufferedLogs
        if not limit:
            logs = open_logs(self.target)  # type: ignore[assignment]  # all of them are
        elif self.kind == "memory":
            logs = MemoryLogs(limit)
        elif self.kind == "files":
            logs = FileLogs(Path(self.target) / "logs", limit)
        else:
            from formicary.engine.storage.logs_postgres import PostgresLogs

            logs = PostgresLogs(self.target, limit)
        self.opened.append(logs)
        return logs


@pytest.fixture(params=["memory", "files", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[LogPlace]:
    target = {"memory": "memory:", "files": str(tmp_path / "data")}.get(request.param)
    if target is None:
        target = request.getfixturevalue("migrated_url")
    place = LogPlace(request.param, target)
    yield place
    for logs in place.opened:
        logs.close()


def line(number: int, task: str = "build", attempt: int = 1, text: str = "") -> LogRecord:
    return LogRecord(task, attempt, 1.7e9 + number, 1 + number % 3, text or f"line {number} ä \N{ANT}")


def everything(logs: BufferedLogs, job: str = JOB, **filters: str) -> list[LogRecord]:
    """All of a log, read as a follower does."""
    found: list[LogRecord] = []
    offset = 0
    while True:
        records, offset = logs.read(job, offset=offset, **filters)
        if not records:
            return found
        found += records


def test_lines_come_back_in_order_buffered_or_written(place: LogPlace) -> None:
    logs = place.open()
    lines = [line(number, "a" if number % 3 else "b", number % 2) for number in range(50)]
    logs.append(JOB, lines[:20])
    assert logs.pending()
    logs.flush()
    assert not logs.pending()
    logs.append(JOB, lines[20:])
    assert everything(logs) == lines
    assert everything(logs, task_type="b") == [one for one in lines if one.task_type == "b"]
    assert logs.read("01hx0000000000000000000xyz") == ([], 0)


def test_a_follower_sees_each_line_once(place: LogPlace) -> None:
    logs = place.open()
    seen: list[LogRecord] = []
    offset = 0
    lines = [line(number, f"t{number % 4}") for number in range(200)]
    random.seed(1)
    for start in range(0, 200, 10):
        logs.append(JOB, lines[start : start + 10])
        if random.random() < 0.5:
            logs.flush([JOB, "unknown"])
        records, offset = logs.read(JOB, offset=offset)
        seen += records
    assert seen == lines
    assert logs.read(JOB, offset=offset) == ([], offset)


def test_numbering_goes_on_after_a_restart(place: LogPlace) -> None:
    logs = place.open()
    logs.append(JOB, [line(1), line(2)])
    logs.flush()
    _, offset = logs.read(JOB)
    again = place.open()
    again.append(JOB, [line(3)])
    again.flush()
    assert again.read(JOB, offset=offset)[0] == [line(3)]
    assert everything(again) == [line(1), line(2), line(3)]


def test_flush_of_one_job_leaves_the_others_buffered(place: LogPlace) -> None:
    logs = place.open()
    logs.append(JOB, [line(1)])
    logs.append("other", [line(2)])
    logs.flush([JOB])
    assert logs.pending()
    assert everything(logs, "other") == [line(2)]


@pytest.mark.parametrize("restart", [False, True])
def test_of_a_flood_the_head_and_the_tail_are_kept_and_a_line_says_how_much_is_missing(
    place: LogPlace, restart: bool
) -> None:
    logs = place.open(LIMIT)
    count = 0
    logs.append(JOB, [line(0, "quiet")])
    for _ in range(60):
        logs.append(JOB, [line(number, "flood") for number in range(count, count + 50)])
        logs.flush()
        count += 50
        if restart:
            logs.close()
            logs = place.open(LIMIT)
    logs.append(JOB, [line(1, "quiet")])
    found = everything(logs)
    assert [one for one in found if one.task_type == "quiet"] == [line(0, "quiet"), line(1, "quiet")]
    flood = [one for one in found if one.task_type == "flood"]
    (gap,) = [at for at, one in enumerate(flood) if "left out" in one.text]
    head, tail = flood[:gap], flood[gap + 1 :]
    assert head == [line(number, "flood") for number in range(len(head))]
    assert tail == [line(number, "flood") for number in range(count - len(tail), count)]
    assert LIMIT // 10 < sum(len(one.text) + 60 for one in head) < LIMIT
    assert LIMIT // 10 < sum(len(one.text) + 60 for one in tail) < LIMIT
    assert f"{count - len(head) - len(tail):,} lines" in flood[gap].text
    assert flood[gap].stream == 3
    if place.kind == "files":
        assert sum(path.stat().st_size for path in Path(place.target).rglob("*") if path.is_file()) < LIMIT * 1.2


def test_a_follower_of_a_flood_misses_no_line_and_sees_none_twice(place: LogPlace) -> None:
    logs = place.open(LIMIT)
    seen: list[LogRecord] = []
    offset = 0
    for start in range(0, 3000, 30):
        logs.append(JOB, [line(number, f"t{number % 2}") for number in range(start, start + 30)])
        records, offset = logs.read(JOB, offset=offset)
        seen += records
    assert seen == [line(number, f"t{number % 2}") for number in range(3000)]


def test_each_attempt_has_a_bound_of_its_own(place: LogPlace) -> None:
    logs = place.open(LIMIT)
    for attempt in range(1, 6):
        logs.append(JOB, [line(number, attempt=attempt) for number in range(50)])
    found = everything(logs)
    assert found == [line(number, attempt=attempt) for attempt in range(1, 6) for number in range(50)]


def test_a_huge_log_is_read_in_parts(place: LogPlace, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("logs", "logs_files", "logs_postgres"):
        monkeypatch.setattr(f"formicary.engine.storage.{module}.READ_BYTES", 5000)
    logs = place.open()
    lines = [line(number, f"t{number % 3}") for number in range(2000)]
    for start in range(0, 2000, 40):
        logs.append(JOB, lines[start : start + 40])
        logs.flush()
    first, _ = logs.read(JOB)
    assert 0 < len(first) < 2000
    assert everything(logs) == lines
    assert everything(logs, task_type="t2") == [one for one in lines if one.task_type == "t2"]
    for start in (0, 1, 999, 1998, 1999):
        assert logs.read(JOB, offset=start)[0][:1] == [lines[start]]
    assert logs.read(JOB, offset=2000) == ([], 2000)


def test_odd_text_is_kept(place: LogPlace) -> None:
    logs = place.open()
    texts = ["", "a\0b", "tab\tand \r return", "\u2028", '"quoted" \\', "x" * 1000]
    logs.append(JOB, [line(1, text=text) for text in texts[1:]])
    logs.append(JOB, [line(2, text="lone \udce4 surrogate"), line(3, text="y" * 1_000_000)])
    found = [one.text for one in everything(logs)]
    assert found[: len(texts) - 1] == texts[1:]
    assert found[-2] == "lone \ufffd surrogate"
    assert found[-1].startswith("y" * 1000)
    assert found[-1].endswith("characters left out")


def test_many_jobs_are_flushed_at_once(place: LogPlace) -> None:
    logs = place.open()
    jobs = [f"01hx{number:022d}" for number in range(60)]
    for number, job in enumerate(jobs):
        logs.append(job, [line(number)])
    logs.flush()
    assert not logs.pending()
    assert [everything(logs, job) for job in jobs] == [[line(number)] for number in range(60)]


def test_an_id_cannot_name_another_path(tmp_path: Path) -> None:
    logs = FileLogs(tmp_path / "logs")
    for name in ("../../etc/passwd", "..", "", "a/b", "ä\0"):
        logs.append(name, [line(1)])
        logs.flush()
        assert everything(logs, name) == [line(1)]
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(written) == 5
    assert all((tmp_path / "logs") in path.resolve().parents for path in written)


def test_a_torn_line_is_passed_over(tmp_path: Path) -> None:
    logs = FileLogs(tmp_path)
    logs.append(JOB, [line(1), line(2)])
    logs.close()
    (path,) = tmp_path.rglob("*.log")
    path.write_bytes(path.read_bytes()[:-9])
    logs = FileLogs(tmp_path)
    assert everything(logs) == [line(1)]
    logs.append(JOB, [line(3)])
    assert everything(logs) == [line(1), line(3)]


def test_lines_that_cannot_be_written_wait_and_the_rest_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs_module, "BUFFER_CHARACTERS", 5000)
    (tmp_path / "logs").write_text("a file where the directory should be")
    logs = FileLogs(tmp_path / "logs")
    for number in range(200):
        logs.append(JOB, [line(number)])
        if number % 20 == 0:
            with pytest.raises(StoreUnavailable, match="cannot be written"):
                logs.flush()
    assert logs.pending()
    (tmp_path / "logs").unlink()
    *kept, last = everything(logs)
    assert kept == [line(number) for number in range(len(kept))]
    assert last.text == f"… {200 - len(kept)} lines left out: the log could not be written in time …"


def test_readers_beside_a_writer_miss_nothing(place: LogPlace) -> None:
    """A follower that polls while lines of parallel tasks are written, flooding ones among them, sees each once."""
    logs = place.open(LIMIT * 50)
    total = 3000
    stop = threading.Event()

    def write() -> None:
        for start in range(0, total, 20):
            logs.append(JOB, [line(number, f"t{number % 3}") for number in range(start, start + 20)])
            logs.flush()
        stop.set()

    writer = threading.Thread(target=write)
    writer.start()
    seen: list[LogRecord] = []
    offset = 0
    while True:
        over = stop.is_set()
        records, offset = logs.read(JOB, offset=offset)
        seen += records
        if over and not records:
            break
    writer.join()
    assert seen == [line(number, f"t{number % 3}") for number in range(total)]


def test_a_lost_connection_is_replaced(schema_url: str) -> None:
    import psycopg

    open_store(schema_url).close()
    logs = open_logs(schema_url)
    logs.append(JOB, [line(1)])
    logs.flush()
    with psycopg.connect(schema_url.rpartition("schema=")[0].rstrip("?&"), autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    logs.append(JOB, [line(2)])
    logs.flush()
    assert logs.read(JOB)[0] == [line(1), line(2)]
    logs.close()


def test_the_lines_of_removed_jobs_are_gone_and_new_ones_begin_anew(place: LogPlace) -> None:
    """Buffered lines, written lines and the ends of long logs go; other jobs keep theirs."""
    logs = place.open(4000)
    for job in (JOB, "other"):
        logs.append(job, [line(n, text="x" * 200) for n in range(60)])
        logs.flush()
        logs.append(job, [line(60)])
    logs.remove([JOB, "unknown"])
    assert everything(logs) == [] and everything(logs, "other")
    logs.append(JOB, [line(1)])
    logs.flush()
    assert everything(logs) == [line(1)] == everything(place.open(4000))
