"""What happens around a task that has artifacts, needs those of others, or keeps a cache.

Theory of operation. Such a task runs in the working directory that it names or, where it names none, in an empty folder
of its own that goes with it. Before it starts, the artifacts of its dependencies are put there, each checked against
its digest, and then its cache. After it ended, and before its end is told, its files go to the queen under its lease
token; they become visible with the commit of that end. All of it counts towards the task's time-out. Of an attempt that
was stopped nothing is kept.

Where the connection breaks or the queen is killed, the ant asks again and again: a file that is fetched goes on where
it was, one that is sent begins anew. The lease bounds that: who loses it is ended, whatever he waits for.
"""

from __future__ import annotations

import asyncio
import hashlib
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import TypeVar

import msgspec

from formicary.engine.ants.artifact_link import ArtifactLink
from formicary.engine.ants.attempt import Attempt, Outcome, Result, Stop, failure
from formicary.engine.ants.cache_keys import cache_key
from formicary.engine.ants.data_files import DataError, Packed, find, inside, pack, pieces_of, put_back
from formicary.engine.ants.executors import Executor
from formicary.engine.ants.shell import working_directory
from formicary.engine.jobs.fan_out import task_name
from formicary.engine.jobs.model import CONTAINER_METHODS
from formicary.engine.jobs.templates.go_format import NO_VALUE
from formicary.problems import Problem
from formicary.v1.artifacts_pb2 import Artifact, UploadBegin

T = TypeVar("T")
CODE = "ERR_ARTIFACT"
PREFIX = "formicary-"
DAY_S = 86_400.0
KEEP_ARTIFACTS_S = 1000 * DAY_S
KEEP_CACHE_S = 30 * DAY_S
_PAUSE_S = (0.1, 1.0)
"""First and longest pause before the queen is asked again."""
_PATIENCE_S = 60.0
"""So long nothing may come through; then the attempt fails."""


def needs_data(attempt: Attempt) -> bool:
    """Says whether an attempt has anything to do with artifacts or a cache."""
    task = attempt.task
    return bool(task.artifacts or task.cache or attempt.inputs or task.artifact_ids)


class DataSteps:
    """Runs attempts with what comes before and after.

    Args:
        link: How files come and go; None = they cannot.
    """

    def __init__(self, link: ArtifactLink | None) -> None:
        self._link = link

    async def run(self, executor: Executor, attempt: Attempt) -> Result:
        """Runs one attempt with its files; ERR_ARTIFACT where they cannot be fetched or kept."""
        if self._link is None:
            return failure(CODE, "This ant has no way to the queen's artifacts.")
        own = await asyncio.to_thread(tempfile.mkdtemp, prefix=PREFIX)
        try:
            return await _Steps(self._link, executor, attempt, Path(own)).run()
        finally:
            await asyncio.shield(asyncio.to_thread(shutil.rmtree, own, ignore_errors=True))


class _Steps:
    """One attempt between its files."""

    def __init__(self, link: ArtifactLink, executor: Executor, attempt: Attempt, own: Path) -> None:
        self._link = link
        self._executor = executor
        self._attempt = attempt
        self._scratch = own / "transfer"
        is_elsewhere = attempt.task.method in CONTAINER_METHODS  # the working_dir is one of the container
        named = None if is_elsewhere else working_directory(attempt)
        self._folder = Path(named) if named else own / "work"
        self._key = ""
        self._is_hit = False

    async def run(self) -> Result:
        attempt = self._attempt
        try:
            await self._prepare()
        except (DataError, Problem, OSError) as error:
            return failure(CODE, _text(error))
        try:
            result = await self._executor.run(attempt)
        except DataError as error:
            return failure(CODE, str(error))
        if attempt.stop is not Stop.NONE:
            return result
        try:
            await self._keep(result)
        except (DataError, Problem, OSError) as error:
            if result.outcome == Outcome.COMPLETED:
                return failure(CODE, _text(error))
            attempt.say(_text(error))
        return result

    # before -----------------------------------------------------------------------------------------------------------

    async def _prepare(self) -> None:
        self._scratch.mkdir()
        if not self._folder.is_dir():
            self._folder.mkdir(parents=True)
        self._attempt.folder = str(self._folder)
        task = self._attempt.task
        if self._attempt.inputs or task.artifact_ids:
            await self._fetch_inputs()
        if task.cache:
            try:
                await self._restore(task.cache)
            except DataError:
                if not task.before_script:
                    raise
                self._attempt.prepared = self._restore_later  # it may fetch what the key is made of

    async def _restore_later(self) -> str:
        """Restores the cache after before_script; why that cannot be, empty = it is done."""
        try:
            await self._restore(self._attempt.task.cache or {})
        except (DataError, Problem, OSError) as error:
            return _text(error)
        return ""

    async def _fetch_inputs(self) -> None:
        attempt = self._attempt
        found = await self._tried(lambda: self._link.inputs(attempt.token))
        known = {artifact.id for artifact in found}
        others = [one for one in dict.fromkeys(attempt.task.artifact_ids) if one not in known]
        if others:
            found = [*found, *(await self._tried(lambda: self._link.named(attempt.token, others)))]
        for artifact in found:
            if task_name(artifact.task_type) in attempt.inputs or artifact.id in attempt.task.artifact_ids:
                await self._fetch(artifact)
                of = f" of {artifact.task_type}" if artifact.task_type else ""
                into = f" into the folder {artifact.folder}" if artifact.folder else ""
                attempt.say(f"artifact {artifact.name}{of}: {artifact.size_bytes:,} bytes fetched{into}")

    async def _restore(self, cache: Mapping[str, object]) -> None:
        self._key = await asyncio.to_thread(cache_key, self._folder, cache)
        if NO_VALUE in self._key:
            self._attempt.say(f"warning: the key of the cache holds {NO_VALUE}: a name in it has no value")
        found = await self._tried(lambda: self._link.cached(self._attempt.token, self._key))
        if found is None:
            self._attempt.say(f"cache miss {self._key}")
            return
        await self._fetch(found)
        self._is_hit = True
        self._attempt.say(f"cache hit {self._key}: {found.size_bytes:,} bytes restored")

    async def _fetch(self, artifact: Artifact) -> None:
        """Fetches a content, going on where a connection was lost, checks it and puts it in its place."""
        content = self._scratch / artifact.id
        digest = hashlib.sha256()
        with content.open("wb", 0) as file:

            async def rest() -> None:
                async for piece in self._link.download(self._attempt.token, artifact.id, file.tell()):
                    digest.update(piece)
                    await asyncio.to_thread(file.write, piece)

            await self._tried(rest, file.tell)
        if digest.hexdigest() != artifact.sha256:
            raise DataError(
                f"The artifact {artifact.name!r} of {artifact.task_type!r} is damaged: its SHA-256 is "
                f"{digest.hexdigest()}, not {artifact.sha256}."
            )
        folder = inside(self._folder, f"{artifact.folder}/.") if artifact.folder else self._folder
        await asyncio.to_thread(put_back, folder, artifact.name, artifact.form, content)
        content.unlink(missing_ok=True)

    # after ------------------------------------------------------------------------------------------------------------

    async def _keep(self, result: Result) -> None:
        task = self._attempt.task
        completed = result.outcome == Outcome.COMPLETED
        when = str((task.artifacts or {}).get("when") or "always")
        if task.artifacts and (when == "always" or (when == "onSuccess") == completed):
            urls = await self._keep_artifacts(task.artifacts)
            if urls:
                outputs = msgspec.json.decode(result.outputs) if result.outputs else {}
                result.outputs = msgspec.json.encode({**outputs, **urls})
        if task.cache and completed and not self._is_hit:
            await self._save(task.cache)

    async def _keep_artifacts(self, artifacts: Mapping[str, object]) -> dict[str, str]:
        """Sends what the patterns match; returns where it can be fetched, by name of the variable."""
        urls: dict[str, str] = {}
        expires_s = _seconds(artifacts, KEEP_ARTIFACTS_S)
        for pattern in self._here(_paths(artifacts)):
            members = await asyncio.to_thread(find, self._folder, pattern)
            if not members:
                self._attempt.say(f"no file matches the artifact path {pattern}")
                continue
            kept = await self._send(pattern, members, expires_s, "")
            task_type = task_name(self._attempt.task.task_type)
            urls[f"{task_type}_ArtifactURL_{len(urls) + 1}"] = self._link.address(kept.id)
            self._attempt.say(f"artifact {kept.name}: {kept.size_bytes:,} bytes kept as {kept.id}")
        return urls

    def _here(self, paths: list[str]) -> list[str]:
        """Those that are of this machine: a task that was meant for a container may name paths of the container."""
        task = self._attempt.task
        if task.container is None:
            return paths
        strange = [path for path in paths if path.startswith("/") and not Path(path).is_relative_to(self._folder)]
        for path in strange:
            self._attempt.say(f"{path} is a path of the container: nothing is kept of it")
        return [path for path in paths if path not in strange]

    async def _save(self, cache: Mapping[str, object]) -> None:
        members: list[str] = []
        self._key = self._key or await asyncio.to_thread(cache_key, self._folder, cache)
        for pattern in self._here(_paths(cache)):
            members += await asyncio.to_thread(find, self._folder, pattern)
        if not members:
            self._attempt.say(f"cache {self._key}: none of its paths is there, nothing is saved")
            return
        kept = await self._send("cache", members, _seconds(cache, KEEP_CACHE_S), self._key)
        self._attempt.say(f"cache saved {self._key}: {kept.size_bytes:,} bytes")

    async def _send(self, pattern: str, members: list[str], expires_s: float, key: str) -> Artifact:
        archive = self._scratch / "archive"
        packed = await asyncio.to_thread(pack, self._folder, pattern, members, archive)
        self._check_name(packed.name)
        begin = UploadBegin(
            token=self._attempt.token,
            name=packed.name,
            form=packed.form,
            size_bytes=packed.size,
            sha256=packed.sha256,
            expires_after_s=expires_s,
            cache_key=key,
        )
        most = 0

        async def counted() -> AsyncIterator[bytes]:
            nonlocal most
            sent = 0
            async for piece in _read(packed):
                yield piece
                sent += len(piece)
                most = max(most, sent)

        try:
            return await self._tried(lambda: self._link.upload(begin, counted()), lambda: most)
        finally:
            archive.unlink(missing_ok=True)

    def _check_name(self, name: str) -> None:
        """Raises DataError where the name, which everybody may read, holds a secret."""
        mask, data = self._attempt.mask, name.encode("utf-8", "surrogateescape")
        if mask is not None and (shown := mask.data(data)) != data:
            text = f"The name of the artifact {shown.decode('utf-8', 'replace')!r} holds a secret, and names are shown"
            raise DataError(f"{text}: give the file another one.")

    async def _tried(self, call: Callable[[], Awaitable[T]], reached: Callable[[], int] = lambda: 0) -> T:
        """A call to the queen, repeated while the way to her is broken.

        Args:
            call: The call.
            reached: What only grows while something comes through.

        Raises:
            Problem: What the queen says; UNAVAILABLE where nothing came through for too long, or the attempt is ended.
        """
        clock = asyncio.get_running_loop().time
        since, before, turn = clock(), reached(), 0
        while True:
            try:
                return await call()
            except Problem as error:
                if reached() > before:
                    since, before, turn = clock(), reached(), 0
                is_over = self._attempt.stop is not Stop.NONE or clock() - since > _PATIENCE_S
                if error.code != "UNAVAILABLE" or is_over:
                    raise
            first, longest = _PAUSE_S
            await asyncio.sleep(min(longest, first * 2**turn))
            turn = min(turn + 1, 10)


async def _read(packed: Packed) -> AsyncIterator[bytes]:
    with packed.path.open("rb", 0) as file:
        pieces = pieces_of(file)
        while piece := await asyncio.to_thread(next, pieces, b""):
            yield piece


def _paths(field: Mapping[str, object]) -> list[str]:
    paths = field.get("paths")
    return [str(path) for path in paths] if isinstance(paths, list | tuple) else []


def _seconds(field: Mapping[str, object], default: float) -> float:
    found = field.get("expires_after_s")
    return float(found) if isinstance(found, int | float) and found > 0 else default


def _text(error: Exception) -> str:
    return error.detail if isinstance(error, Problem) else str(error)
