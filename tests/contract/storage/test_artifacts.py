"""What every store knows of artifacts: what can be seen, what the cache gives, what may go."""

from __future__ import annotations

import pytest

from formicary.engine.storage.port import ARTIFACT_COLUMNS, Row, RowRefused, Store
from tests.contract.storage.rows import changes, job, job_id, row, task


def artifact(name: str, **values: object) -> Row:
    given: dict[str, object] = {
        "id": name, "org": "default", "job": 1, "position": 0, "job_id": job_id(1), "job_type": "noop",
        "task_type": "make", "attempt": 1, "token": 7, "cache_key": "", "name": f"{name}.txt", "form": "file",
        "size": 3, "sha256": "ab", "created_at": 10.0, "expires_at": 100.0,
    }  # fmt: skip
    return row(ARTIFACT_COLUMNS, **{**given, **values})


def seen(store: Store) -> list[object]:
    return [found[0] for found in store.artifacts("default", job_id(1))]


@pytest.mark.parametrize(("state", "is_seen"), [("EXECUTING", False), ("WAITING", False), ("COMPLETED", True)])
def test_an_artifact_is_seen_once_its_task_has_ended(store: Store, state: str, is_seen: bool) -> None:
    """Neither a list nor its id shows it before."""
    epoch = store.acquire("test")
    store.add_artifact(artifact("a"))
    store.commit(epoch, changes(job(1, "EXECUTING"), task(1, 0, state, token=7)))
    assert seen(store) == (["a"] if is_seen else [])
    assert (store.artifact("a") is not None) == is_seen


def test_what_a_stale_attempt_left_is_never_seen(store: Store) -> None:
    """The task has ended with another attempt; of a poison task nothing is seen at all."""
    epoch = store.acquire("test")
    store.add_artifact(artifact("stale", token=6))
    store.add_artifact(artifact("good", token=7))
    store.add_artifact(artifact("poison", position=1, token=9))
    ended = [task(1, 0, "FAILED", token=7), task(1, 1, "FAILED", token=9, error_code="ERR_POISON")]
    store.commit(epoch, changes(job(1, "EXECUTING"), *ended))
    assert seen(store) == ["good"]
    assert store.artifact("stale") is None and store.artifact("poison") is None
    assert store.artifacts("other", job_id(1)) == [] and store.artifacts("default", "\0") == []


def test_artifacts_come_in_order_of_task_and_name(store: Store) -> None:
    """Every column comes back as it was stored."""
    epoch = store.acquire("test")
    rows = [artifact("c", position=1), artifact("b"), artifact("a", size=2**40, expires_at=1e10)]
    for one in rows:
        store.add_artifact(one)
    ended = [task(1, 0, "COMPLETED", token=7), task(1, 1, "COMPLETED", token=7)]
    store.commit(epoch, changes(job(1, "COMPLETED"), *ended))
    assert store.artifacts("default", job_id(1)) == [rows[2], rows[1], rows[0]]
    with pytest.raises(RowRefused):
        store.add_artifact(rows[0])


def test_the_cache_gives_the_oldest_entry_that_has_not_expired(store: Store) -> None:
    """It is seen at once, by its organisation and job type only, and is no artifact of the job."""
    store.add_artifact(artifact("old", cache_key="k", expires_at=20.0))
    store.add_artifact(artifact("new", cache_key="k", created_at=11.0))
    found = [store.cached("default", "noop", "k", now) for now in (15.0, 20.0, 100.0)]
    assert [one and one[0] for one in found] == ["old", "new", None]
    assert store.cached("other", "noop", "k", 15.0) is None
    assert store.cached("default", "another", "k", 15.0) is None
    assert store.cached("default", "noop", "x\0", 15.0) is None
    assert seen(store) == [] and store.artifact("new") is not None


def test_what_has_expired_or_was_left_may_go(store: Store) -> None:
    """At most as many as asked for, those that expire first in front; a removed row is gone."""
    epoch = store.acquire("test")
    for name, values in {
        "expired": {"expires_at": 20.0},
        "left": {"token": 6, "expires_at": 90.0},
        "kept": {},
        "young": {"token": 6, "created_at": 60.0},
        "entry": {"token": 6, "cache_key": "k"},
    }.items():
        store.add_artifact(artifact(name, **values))
    store.commit(epoch, changes(job(1, "COMPLETED"), task(1, 0, "COMPLETED", token=7)))
    assert store.removable_artifacts(50.0, 50.0, 10) == ["expired", "left"]
    assert store.removable_artifacts(50.0, 50.0, 1) == ["expired"]
    assert store.artifact_bytes("other") == 0
    before = store.artifact_bytes("default")
    assert store.remove_artifacts(["expired", "left", "nothing"]) == 2
    assert store.artifact_bytes("default") == before * 3 // 5 > 0
    assert store.removable_artifacts(50.0, 50.0, 10) == []
    assert seen(store) == ["kept"]


def upload(name: str, **values: object) -> Row:
    given = {"job": 0, "position": 0, "job_id": f"uploaded/{name}", "job_type": "", "task_type": "", "attempt": 0}
    return artifact(name, **{**given, "token": 0, **values})


def test_an_upload_is_found_by_its_id_and_place_and_seen_by_nobody(store: Store) -> None:
    """Only by its organisation; it counts with its size, and goes when it is old."""
    store.add_artifact(upload("up"))
    store.add_artifact(artifact("left", job_id="uploaded/up"))
    assert store.upload("default", "up") == store.upload("default", "uploaded/up") == upload("up")
    assert store.upload("other", "up") is None and store.upload("default", "left") is None
    assert store.upload("default", "uploaded/none") is None and store.upload("default", "x\0") is None
    assert store.artifact("up") is None and store.artifacts("default", "uploaded/up") == []
    assert (store.upload_count("default"), store.upload_count("other")) == (1, 0)
    assert store.artifact_bytes("default") == 6
    assert store.removable_artifacts(50.0, 10.0, 10) == []
    assert store.removable_artifacts(50.0, 11.0, 10) == ["left", "up"]


def test_an_upload_becomes_its_artifact_once(store: Store) -> None:
    """Seen at once, found under its place as under a key; what is no upload is not replaced."""
    store.add_artifact(upload("up"))
    store.add_artifact(artifact("task"))
    whole = upload("up", job_id="", cache_key="uploaded/up", sha256="cd")
    assert store.complete_upload(whole)
    assert store.artifact("up") == store.cached("default", "", "uploaded/up", 50.0) == whole
    assert store.upload("default", "up") is None and store.upload_count("default") == 0
    assert not store.complete_upload(whole)
    assert not store.complete_upload(upload("none", cache_key="uploaded/none"))
    assert not store.complete_upload(artifact("task", cache_key="uploaded/task"))
    assert store.artifact("none") is None and store.artifact_bytes("default") == 6
