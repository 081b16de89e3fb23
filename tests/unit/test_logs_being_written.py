"""Lines that another thread is writing just now."""

from __future__ import annotations

from threading import Event, Thread

from formicary.engine.storage.log_port import LogRecord
from formicary.engine.storage.logs import MemoryLogs


class SlowLogs(MemoryLogs):
    """Writes when it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.begun, self.let = Event(), Event()

    def _write(self, batch: dict[str, list[LogRecord]]) -> None:
        self.begun.set()
        assert self.let.wait(10)
        super()._write(batch)


def test_a_reader_waits_for_lines_that_are_neither_buffered_nor_written() -> None:
    logs = SlowLogs()
    logs.append("job", [LogRecord("t", 1, 1.0, 1, "last words")])
    flushing = Thread(target=logs.flush)
    flushing.start()
    assert logs.begun.wait(10) and not logs.pending()
    found: list[str] = []
    reading = Thread(target=lambda: found.extend(record.text for record in logs.read("job")[0]))
    reading.start()
    reading.join(0.2)  # without the wait it has read nothing by now
    logs.let.set()
    flushing.join(10)
    reading.join(10)
    assert found == ["last words"]
