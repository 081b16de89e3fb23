"""The queen's artifacts: who may add, see and fetch them, and when they leave.

Theory of operation. A file arrives while its attempt still runs, under the attempt's lease token, which is looked at
before the first byte and again before the row is stored. The row names that token. Readers see rows whose token is
that of the task's last attempt and whose task has ended: so a file becomes visible with the commit of its task's end,
and what a stale attempt left is never seen. Entries of the cache are seen at once, but written once only.

A content has its row's id as its key. It is written before its row and removed before its row, so that a row never
lacks its content for longer than a purge takes.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from formicary.engine.jobs import lifecycle as life
from formicary.engine.jobs.fan_out import task_name
from formicary.engine.queen.core.family import joined
from formicary.engine.queen.core.records import TaskRun
from formicary.engine.queen.edge import new_id
from formicary.engine.queen.pump import Pump, unavailable
from formicary.engine.queen.storage_room import Reservation, StorageRoom
from formicary.engine.queen.upload_keys import UPLOADED, KeysInUse, measured, place_of, reused
from formicary.engine.storage.artifacts import ArtifactStore, NoSuchContent
from formicary.engine.storage.port import ARTIFACT_COLUMNS, Row, Store, StoreError, StoreUnavailable
from formicary.problems import Problem, problem
from formicary.v1 import artifacts_pb2 as pb

log = logging.getLogger("formicary.queen")
FORMS = ("file", "tar")
MAX_NAME = 1000
KEPT_FOR_S = 30 * 86_400.0
"""How long a file of the caller's own is kept where nothing is said."""
PURGE_BATCH = 500
PURGE_EVERY_S = 3600.0
LEFT_FOR_S = 86_400.0
"""How long files of attempts that do not count are kept: their task may still be about to end."""


@dataclass(frozen=True, slots=True)
class Artifact:
    """What is known of one file; the fields are those of ARTIFACT_COLUMNS, and where an attempt gets it."""

    id: str
    org: str
    job: int
    position: int
    job_id: str
    job_type: str
    task_type: str
    attempt: int
    token: int
    cache_key: str
    name: str
    form: str
    size: int
    sha256: str
    created_at: float
    expires_at: float
    folder: str = ""
    """Where in the working directory an attempt gets it; not in the row."""

    @classmethod
    def of(cls, row: Row) -> Artifact:
        """The row as a value."""
        return cls(*row)  # type: ignore[arg-type]  # types by COLUMN_TYPES

    def row(self) -> Row:
        """The value as a row."""
        return tuple(getattr(self, name) for name in ARTIFACT_COLUMNS)


@dataclass(frozen=True, slots=True)
class Offer:
    """What an ant or a person is about to send; None = whoever sends it does not say."""

    token: int
    name: str
    form: str
    size: int | None
    sha256: str | None
    expires_after_s: float
    cache_key: str = ""


class Artifacts:
    """The artifacts of one queen.

    Args:
        store: Where rows are.
        contents: Where contents are; None = there is no place for them.
        pump: Knows who holds which attempt.
        wall: Seconds since the epoch.

    Attributes:
        room: What may still be stored.
        keys: Idempotency keys of uploads that are under way.
        wall: Seconds since the epoch.
    """

    def __init__(
        self, store: Store, contents: ArtifactStore | None, pump: Pump, wall: Callable[[], float] = time.time
    ) -> None:
        self._store = store
        self._contents = contents
        self._pump = pump
        self.wall = wall
        self.room = StorageRoom(store, pump)
        self.keys = KeysInUse()
        self._purger: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begins to remove what has expired, each hour."""
        if self._contents is not None:
            self._purger = asyncio.create_task(self._purge_hourly(), name="artifact purge")

    async def stop(self) -> None:
        """Ends the hourly purge and releases the contents."""
        if self._purger is not None:
            self._purger.cancel()
            await asyncio.wait([self._purger])
        if self._contents is not None:
            await self._contents.close()

    # --- ants -------------------------------------------------------------------------------------------------------

    def org_of(self, token: int) -> str:
        """The organisation of a running attempt. Raises Problem FAILED_PRECONDITION."""
        return self._run(token).job.org

    async def add(self, offer: Offer, pieces: AsyncIterator[bytes]) -> Artifact:
        """Keeps a file of a running attempt.

        Raises:
            Problem: FAILED_PRECONDITION for a token that nobody holds; VALIDATION_FAILED where what arrives is not
                what was offered; UNAVAILABLE.
        """
        check(offer)
        run = self._run(offer.token)

        def about(key: str, size: int, digest: str) -> Artifact:
            self._run(offer.token)  # its lease may have ended meanwhile
            now = self.wall()
            return Artifact(
                key, run.job.org, run.job.number, run.position, run.job.id, run.job.definition.job_type,
                run.name, run.attempts, offer.token, offer.cache_key, offer.name, offer.form, size,
                digest, now, now + offer.expires_after_s,
            )  # fmt: skip

        return await self._store_it(run.job.org, offer, pieces, about)

    async def keep(self, org: str, offer: Offer, pieces: AsyncIterator[bytes], key: str = "") -> tuple[Artifact, bool]:
        """Keeps a file that no attempt has left: tasks name it in `artifact_ids`.

        Args:
            org: Whose it is.
            offer: What is said of it.
            pieces: Its content.
            key: Idempotency key: the same file is kept once under it; empty = none.

        Returns:
            The artifact, and whether an earlier call has kept it.

        Raises:
            Problem: As `add`; IDEMPOTENCY_KEY_REUSED, IDEMPOTENT_REQUEST_IN_PROGRESS.
        """
        offer = replace(offer, expires_after_s=offer.expires_after_s or KEPT_FOR_S, cache_key="")
        check(offer)

        def about(artifact_id: str, size: int, digest: str) -> Artifact:
            now = self.wall()
            # It is seen at once, and removed when it expires, as entries of the cache are.
            kept = place_of(key) if key else f"{UPLOADED}{artifact_id}"
            there = (artifact_id, org, 0, 0, "", "", "", 0, 0, kept, offer.name, offer.form)
            return Artifact(*there, size, digest, now, now + offer.expires_after_s)

        with self.keys.use(org, key):
            found = await self.kept(org, key) if key else None
            if found is None:
                return await self._store_it(org, offer, pieces, about), False
            size, digest = await measured(pieces, found.size)
            came = replace(offer, size=offer.size if offer.size is not None else size, sha256=offer.sha256 or digest)
            if (size, digest) != (found.size, found.sha256) or not is_offered(found, came):
                raise reused()
            return found, True

    async def kept(self, org: str, key: str) -> Artifact | None:
        """What an earlier upload has kept under a key and has not expired. Raises Problem UNAVAILABLE."""
        place, now = place_of(key), self.wall()
        row = await self._pump.read(lambda: self._store.cached(org, "", place, now))
        return Artifact.of(row) if row is not None else None

    async def _store_it(
        self, org: str, offer: Offer, pieces: AsyncIterator[bytes], about: Callable[[str, int, str], Artifact]
    ) -> Artifact:
        contents = self.place()
        reserved = await self.room.reserve(org, offer.name, offer.size)
        key = new_id(self.wall())
        try:
            stored = await contents.put(key, _bounded(pieces, offer, reserved))
            size = stored.size if offer.size is None else offer.size
            sha256 = stored.sha256 if offer.sha256 is None else offer.sha256
            if (stored.size, stored.sha256) != (size, sha256):
                raise problem(
                    "VALIDATION_FAILED",
                    f"The artifact {offer.name[:200]!r} was damaged on its way: {size} bytes with SHA-256 "
                    f"{sha256} were offered, {stored.size} with {stored.sha256} came.",
                )
            found = about(key, stored.size, stored.sha256)
            await reserved.store(lambda: self._store.add_artifact(found.row()), stored.size)
        except BaseException as error:
            with contextlib.suppress(StoreError):  # the purge finds nothing to remove: there is no row
                await contents.delete([key])
            if isinstance(error, StoreUnavailable):
                raise unavailable(error) from error
            raise
        finally:
            reserved.release()
        return found

    async def inputs(self, token: int) -> list[Artifact]:
        """The artifacts of the job of a running attempt, and of jobs that tasks which it depends on have waited for.

        Raises:
            Problem: FAILED_PRECONDITION, also where a task that it depends on has left none of those that it promises;
                UNAVAILABLE.
        """
        run = self._run(token)
        await self._pump.settle()
        found = await self._list(run.job.org, run.job.id)
        there = {task_name(artifact.task_type) for artifact in found}
        for name in _promised(run):
            if name not in there:
                raise problem(
                    "FAILED_PRECONDITION",
                    f"The task {name!r} left no artifacts: none of its paths matched a file, or they have expired.",
                )
        of_jobs = await self._of_joined(run)
        own = {(one.folder, one.name) for one in found if task_name(one.task_type) in run.task.dependencies}
        return [*found, *_apart(of_jobs, own)]

    async def _of_joined(self, run: TaskRun) -> list[Artifact]:
        """The artifacts of jobs that were waited for by tasks which a running one depends on, under their names."""
        job, model = run.job, run.job.definition.model
        runs = job.run.runs if job.run is not None else {}
        wanted = [
            (name, *one)
            for name in run.task.dependencies
            if (other := runs.get(model.index.get(name, -1))) is not None and other.composes
            for one in joined(other)
        ]
        if not wanted:
            return []
        rows = await self._pump.read(lambda: [self._store.artifacts(job.org, job_id) for _, job_id, _ in wanted])
        now = self.wall()
        return [
            replace(found, task_type=name, folder=folder)
            for (name, _, folder), some in zip(wanted, rows, strict=True)
            for found in _once(map(Artifact.of, some))
            if found.expires_at > now
        ]

    async def named(self, token: int, ids: Sequence[str]) -> list[Artifact]:
        """Artifacts of a running attempt's organisation. Raises Problem FAILED_PRECONDITION, NOT_FOUND, UNAVAILABLE."""
        org = self._run(token).job.org
        await self._pump.settle()
        return [await self.find(org, artifact_id) for artifact_id in ids]

    async def cached(self, token: int, cache_key: str) -> Artifact | None:
        """The entry of the cache for a running attempt. Raises Problem FAILED_PRECONDITION, UNAVAILABLE."""
        job = self._run(token).job
        job_type, now = job.definition.job_type, self.wall()
        row = await self._pump.read(lambda: self._store.cached(job.org, job_type, cache_key, now))
        return Artifact.of(row) if row is not None else None

    # --- everybody --------------------------------------------------------------------------------------------------

    async def of_job(self, org: str, job_id: str) -> list[Artifact]:
        """The artifacts of a job. Raises Problem NOT_FOUND where there is no such job."""
        if await self._pump.read(lambda: self._store.job(org, job_id)) is None:
            raise problem("NOT_FOUND", f"there is no job {job_id[:40]!r}; `formicary list` shows those that are")
        return await self._list(org, job_id)

    async def find(self, org: str, artifact_id: str) -> Artifact:
        """One artifact. Raises Problem NOT_FOUND, also for one of another organisation or one that has expired."""
        row = await self._pump.read(lambda: self._store.artifact(artifact_id))
        found = Artifact.of(row) if row is not None else None
        if found is None or found.org != org or found.expires_at <= self.wall():
            raise _no_such(artifact_id)
        return found

    async def content(self, artifact: Artifact, offset: int = 0, length: int | None = None) -> AsyncIterator[bytes]:
        """Its content from `offset` on, at most `length` bytes.

        Raises:
            Problem: NOT_FOUND, UNAVAILABLE, VALIDATION_FAILED.
        """
        check_offset(artifact, offset)
        try:
            async for piece in self.place().get(artifact.id, offset=offset, length=length):
                yield piece
        except NoSuchContent as error:
            raise _no_such(artifact.id) from error
        except StoreError as error:
            raise unavailable(error) from error

    async def purge(self, limit: int = 100_000) -> int:
        """Removes files that have expired and those that nobody will ever see; returns how many. Raises Problem."""
        removed = 0
        while removed < limit:
            now, size = self.wall(), min(PURGE_BATCH, limit - removed)
            try:
                ids = await asyncio.to_thread(self._store.removable_artifacts, now, now - LEFT_FOR_S, size)
                if not ids:
                    break
                await self.place().delete(ids)
                removed += await asyncio.to_thread(self._store.remove_artifacts, ids)
            except StoreError as error:
                raise unavailable(error) from error
        return removed

    async def _sweep(self) -> None:
        """Removes what a killed queen has left of contents that were on their way."""
        try:
            if swept := await self.place().sweep(self.wall() - LEFT_FOR_S):
                log.info("%d contents that never became whole are removed", swept)
        except StoreError as error:
            raise unavailable(error) from error

    async def _list(self, org: str, job_id: str) -> list[Artifact]:
        now = self.wall()
        rows: Sequence[Row] = await self._pump.read(lambda: self._store.artifacts(org, job_id))
        return _once(found for found in map(Artifact.of, rows) if found.expires_at > now)

    async def _purge_hourly(self) -> None:
        while True:
            try:
                if removed := await self.purge():
                    log.info("%d artifacts have expired and are removed", removed)
                await self._sweep()
                await self.room.count_all()
            except Problem as error:
                log.warning("expired artifacts are removed an hour later: %s", error.detail)
            await asyncio.sleep(PURGE_EVERY_S)

    def place(self) -> ArtifactStore:
        """Where contents are. Raises Problem FAILED_PRECONDITION where there is no such place."""
        if self._contents is None:
            raise problem("FAILED_PRECONDITION", "This server has no place for artifacts.")
        return self._contents

    def _run(self, token: int) -> TaskRun:
        if not self._pump.ready:  # the store is being read: who holds what is not known yet
            raise unavailable()
        run = self._pump.core.leases.tokens.get(token)
        if run is None:
            raise problem(
                "FAILED_PRECONDITION",
                f"The lease token {token} is stale: its attempt has ended or was given to another ant.",
            )
        return run


def check_offset(artifact: Artifact, offset: int) -> None:
    """Raises Problem VALIDATION_FAILED for an offset that is not in the content."""
    if not 0 <= offset <= artifact.size:
        raise problem("VALIDATION_FAILED", f"The offset {offset} is not in the content of {artifact.size} bytes.")


def check(offer: Offer) -> None:
    """Raises Problem VALIDATION_FAILED for an offer that cannot be kept."""
    parts = offer.name.split("/")
    if not offer.name or len(offer.name) > MAX_NAME or offer.name.startswith("/") or ".." in parts:
        raise problem(
            "VALIDATION_FAILED", f"{offer.name[:80]!r} is no name of an artifact: a path inside the working directory."
        )
    if offer.form not in FORMS or (offer.size or 0) < 0 or not 0 < offer.expires_after_s < 1e11:
        raise problem("VALIDATION_FAILED", f"The form, size or expiry of {offer.name[:80]!r} cannot be.")


async def _bounded(pieces: AsyncIterator[bytes], offer: Offer, reserved: Reservation) -> AsyncIterator[bytes]:
    """The pieces, which are not more than was offered, nor than there is room for where nothing was said."""
    came = 0
    async for piece in pieces:
        came += len(piece)
        if offer.size is None:
            reserved.grow(len(piece))
        elif came > offer.size:
            raise problem("VALIDATION_FAILED", f"More than the {offer.size} bytes came that were offered.")
        yield piece


def is_offered(found: Artifact, offer: Offer) -> bool:
    """Whether an artifact is what is offered, expiry included."""
    same = (found.name, found.form, found.size, found.sha256) == (offer.name, offer.form, offer.size, offer.sha256)
    return same and abs(found.expires_at - found.created_at - offer.expires_after_s) < 0.001


def _no_such(artifact_id: str) -> Problem:
    return problem(
        "NOT_FOUND", f"there is no artifact {artifact_id[:40]!r}; `formicary artifacts list JOB` shows those that are"
    )


def offer_of(begin: pb.UploadBegin) -> Offer:
    """What an ant says before it sends a content."""
    return Offer(
        begin.token, begin.name, begin.form, begin.size_bytes, begin.sha256, begin.expires_after_s, begin.cache_key
    )


def to_message(artifact: Artifact) -> pb.Artifact:
    """An artifact as it travels."""
    found = pb.Artifact(
        id=artifact.id,
        job_id=artifact.job_id,
        task_type=artifact.task_type,
        attempt=artifact.attempt,
        name=artifact.name,
        form=artifact.form,
        size_bytes=artifact.size,
        sha256=artifact.sha256,
        folder=artifact.folder,
    )
    found.created_at.FromMilliseconds(int(artifact.created_at * 1000))
    found.expires_at.FromMilliseconds(int(artifact.expires_at * 1000))
    return found


def _once(found: Iterable[Artifact]) -> list[Artifact]:
    """Without those that an attempt has sent once more, as its connection broke before it heard that they are there."""
    last = {(one.token, one.name, one.form): one for one in found}
    return list(last.values())


def _apart(found: Sequence[Artifact], taken: Iterable[tuple[str, str]]) -> list[Artifact]:
    """Gives what would be written over, or over what is there, a folder named after its job.

    Of jobs that have left one name for one folder the last one's is where it should be.

    Args:
        found: What jobs have left that were waited for, in their order.
        taken: Folder and name of what comes from the own job.
    """
    last = {(one.folder, one.name): one.job_id for one in found} | dict.fromkeys(taken, "")
    return [
        one
        if last[one.folder, one.name] == one.job_id
        else replace(one, folder=f"{one.folder}/{one.job_id}".lstrip("/"))
        for one in found
    ]


def _promised(run: TaskRun) -> list[str]:
    """Tasks that a running one depends on and that have left artifacts, unless `except` or `when` says no.

    A task that failed may have left some of them or none, and one that no route has led to none: what runs nevertheless
    does so by a branch that is meant for that.
    """
    job, model = run.job, run.job.definition.model
    runs = job.run.runs if job.run is not None else {}
    found = []
    for name in run.task.dependencies:
        position = model.index.get(name)
        if position is not None and model.tasks[position].artifacts:
            other = runs.get(position)
            if other is not None and other.state == life.COMPLETED and not other.skipped and _keeps(other):
                found.append(name)
    return found


def _keeps(run: TaskRun) -> bool:
    """Whether `when` says that a task which has ended like this keeps its artifacts."""
    when = (run.task.artifacts or {}).get("when") or "always"
    has_succeeded = run.state == life.COMPLETED if run.exit_code is None else run.exit_code == 0
    return when == "always" or (when == "onSuccess") == has_succeeded
