"""What every store keeps of checkpoints: the last of a task, read at start for live jobs, gone with its job."""

from __future__ import annotations

from formicary.engine.storage.port import CHECKPOINT_COLUMNS, Changes, Row, Store
from tests.contract.storage.conftest import Place
from tests.contract.storage.rows import changes, job
from tests.contract.storage.rows import row as make


def checkpoint(number: int, position: int = 0, value: object = b"1", attempt: int = 1) -> Row:
    values = {"job": number, "position": position, "attempt": attempt, "value": value, "written_at": 1.5}
    return make(CHECKPOINT_COLUMNS, **values)


def put(store: Store, *rows: Row, jobs: tuple[Row, ...] = ()) -> int:
    made = changes(*jobs)
    made.checkpoints = {(int(one[0] or 0), int(one[1] or 0)): one for one in rows}
    assert made.rows() == len(rows) + len(jobs)
    epoch = store.acquire("test")
    store.commit(epoch, made)
    return epoch


def test_the_last_one_of_a_task_is_kept_and_read_at_start(place: Place) -> None:
    """Of live jobs, in order of job and position; another queen on the same data finds the same."""
    jobs = (job(1, "EXECUTING"), job(2, "PENDING"), job(3, "FAILED", ended_at=2.0))
    store = place.open()
    put(store, checkpoint(1, 1), checkpoint(1, 0, "größer".encode()), checkpoint(2), checkpoint(3), jobs=jobs)
    last = checkpoint(1, 1, b"\0\xff" * 32768, attempt=2)
    put(store, last)
    for reader in (store, place.open()):
        assert list(reader.load().checkpoints) == [checkpoint(1, 0, "größer".encode()), last, checkpoint(2)]
        assert reader.checkpoints(3) == [checkpoint(3)] and reader.checkpoints(9) == []


def test_a_dropped_one_is_gone(store: Store) -> None:
    put(store, checkpoint(1), checkpoint(1, 1), jobs=(job(1, "EXECUTING"),))
    put(store, checkpoint(1, 0, None))
    assert store.checkpoints(1) == list(store.load().checkpoints) == [checkpoint(1, 1)]


def test_it_goes_with_its_job(store: Store) -> None:
    """And only with one that has ended."""
    epoch = put(store, checkpoint(1), checkpoint(2), jobs=(job(1, "FAILED", ended_at=2.0), job(2, "EXECUTING")))
    assert store.remove_jobs(epoch, [1, 2]) == 1
    assert store.checkpoints(1) == [] and store.checkpoints(2) == [checkpoint(2)]


def test_changes_that_hold_nothing_else_are_something_to_write() -> None:
    made = Changes()
    assert not made
    made.checkpoints = {(1, 0): checkpoint(1)}
    assert made
