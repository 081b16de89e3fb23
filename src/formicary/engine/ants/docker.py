"""The DOCKER executor: a task in a container, with services beside it, through the Docker Engine API.

Theory of operation. An attempt pulls what images it needs, makes a network where it has services, starts these, makes
its own container, copies its files in, starts it, passes on what it writes, and waits for its end; then it copies files
out and removes all it made, whatever happened. Everything made carries labels that name the process of the ant. An ant
that starts removes what processes of this host left that no longer live, so that a crash leaves nothing for long.

To be stopped, the container gets SIGTERM, and SIGKILL after the grace; a lost lease is SIGKILL at once.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from pathlib import Path
from secrets import token_hex
from typing import Any
from urllib.parse import quote

import msgspec

from formicary.engine.ants.attempt import Attempt, Outcome, Result, Stop, failure
from formicary.engine.ants.config import AntConfig
from formicary.engine.ants.docker_api import DockerApi, DockerError, Frames, registry_auth
from formicary.engine.ants.docker_files import fetch, packed, wanted
from formicary.engine.ants.docker_spec import WORK, Allowed, NotAllowedError, main_container, service_container
from formicary.engine.ants.output import STDERR, STDOUT
from formicary.engine.ants.shell import environment_of

_LOG = logging.getLogger(__name__)
CODE = "ERR_DOCKER"
OWNER, HOST = "formicary.process", "formicary.host"
ATTEMPT = "formicary.attempt"
_CLEAN_S = 30.0
_REMOVE_S = 30.0
_LOGS_S = 10.0
"""How long the last lines may take once the container has ended."""
_HEALTH_S = 0.2
MOST_SERVICES = 20


class DockerExecutor:
    """Runs DOCKER attempts.

    Args:
        config: Where the engine is, what is allowed, grace periods.
    """

    def __init__(self, config: AntConfig) -> None:
        self._config = config
        self._api = DockerApi(config.docker, config.docker_certificates)
        self._allowed = Allowed(config.docker_volumes, config.docker_allow)
        self._labels = {HOST: socket.gethostname(), OWNER: process_mark(os.getpid())}
        self._cleaning = asyncio.create_task(self._clean(), name="docker clean-up")

    async def run(self, attempt: Attempt) -> Result:
        """Runs the container of one attempt to its end."""
        container = attempt.task.container or {}
        if not container.get("image"):
            return failure("ERR_VALIDATION", "A DOCKER task needs an image: add 'container: {image: NAME}'.")
        if len(attempt.task.services) > MOST_SERVICES:
            return failure("ERR_VALIDATION", f"A task has at most {MOST_SERVICES} services.")
        try:
            environment = {
                os.fsdecode(name): value.decode("utf-8", "replace")
                for name, value in environment_of(attempt, {}).items()
            }
        except msgspec.DecodeError as error:
            return failure("ERR_VALIDATION", f"The variables are not a JSON object: {error}.")
        await asyncio.wait({self._cleaning})
        run = _Run(self._api, self._config, self._allowed, attempt, self._labels)
        try:
            return await run.execute(environment)
        except NotAllowedError as error:
            return failure("ERR_VALIDATION", str(error))
        except DockerError as error:
            return failure(CODE, f"Docker: {error}.")
        finally:
            attempt.ender = None
            await asyncio.shield(asyncio.create_task(run.remove(), name="docker removal"))

    async def close(self) -> None:
        """Closes the connections."""
        self._cleaning.cancel()
        await asyncio.wait({self._cleaning})
        await self._api.close()

    async def _clean(self) -> None:
        """Removes what ants of this host left that died."""
        try:
            async with asyncio.timeout(_CLEAN_S):
                filters = msgspec.json.encode({"label": [f"{HOST}={self._labels[HOST]}"]}).decode()
                for found in (
                    await self._api.call("GET", "/containers/json", query={"all": 1, "filters": filters}) or ()
                ):
                    if _is_left(found.get("Labels")):
                        _LOG.warning("a container that a dead ant left is removed: %s", found["Labels"].get(ATTEMPT))
                        await _gone(self._api, f"/containers/{found['Id']}", {"force": 1, "v": 1})
                for found in await self._api.call("GET", "/networks", query={"filters": filters}) or ():
                    if _is_left(found.get("Labels")):
                        await _gone(self._api, f"/networks/{found['Id']}", {})
        except (DockerError, TimeoutError) as error:
            _LOG.warning("what dead ants left with Docker cannot be looked for: %s", error)


class _Run:
    """One attempt while it runs."""

    def __init__(
        self, api: DockerApi, config: AntConfig, allowed: Allowed, attempt: Attempt, labels: Mapping[str, str]
    ) -> None:
        self._api = api
        self._config = config
        self._allowed = allowed
        self._attempt = attempt
        self._labels = {**labels, ATTEMPT: f"{attempt.key}#{attempt.number}"}
        self._name = f"formicary-{attempt.token}-{token_hex(3)}"
        self._containers: list[str] = []
        self._network = ""
        self._stops: set[asyncio.Task[None]] = set()
        self._making: set[asyncio.Task[Any]] = set()

    async def execute(self, environment: Mapping[str, str]) -> Result:
        """From the images to the end. Raises DockerError, NotAllowedError."""
        attempt, task = self._attempt, self._attempt.task
        if task.helper:
            attempt.say("the helper container is one of KUBERNETES; here it is not started")
        if attempt.folder and not (task.working_dir or (task.container or {}).get("working_dir")):
            task = replace(task, working_dir=WORK)
        body = main_container(task, environment, self._labels, self._network_name(), self._allowed)
        services = [
            service_container(service, self._labels, self._network_name(), self._allowed) for service in task.services
        ]
        for part in (task.container or {}, *task.services):
            await self._pull(part)
        if services:
            created = {"Name": self._name, "Driver": "bridge", "Labels": self._labels}
            self._network = self._name
            await self._make("/networks/create", created)
            await self._start_services(services)
        main = await self._create(body, "")
        if attempt.folder:
            await self._copy_in(main, str(body["WorkingDir"]))
        result = await self._to_its_end(main)
        if attempt.folder and attempt.stop is Stop.NONE:
            await self._copy_out(main, str(body["WorkingDir"]))
        return result

    def _network_name(self) -> str:
        return self._name if self._attempt.task.services else ""

    # images -----------------------------------------------------------------------------------------------------------

    async def _pull(self, container: Mapping[str, object]) -> None:
        """Has an image there, as its pull policy says."""
        image, policy = str(container["image"]), str(container.get("pull_policy", "if_not_present"))
        if policy != "always":
            try:
                await self._api.call("GET", f"/images/{quote(image)}/json")
                return
            except DockerError as error:
                if error.status != 404:
                    raise
            if policy == "never":
                raise DockerError(f"the image {image} is not there, and its pull_policy is Never")
        name, tag = _name_and_tag(image)
        registry = container.get("registry")
        headers = {"X-Registry-Auth": registry_auth(registry)} if isinstance(registry, dict) else {}
        self._attempt.say(f"pulling {image}")
        query = {"fromImage": name, **({"tag": tag} if tag else {})}
        async with self._api.stream("POST", "/images/create", query=query, headers=headers) as answer:
            async for line in _lines(answer.pieces()):
                if "error" in line:
                    raise DockerError(f"the image {image} cannot be pulled: {str(line['error']).strip().rstrip('.')}")
        self._attempt.say(f"pulled {image}")

    # containers -------------------------------------------------------------------------------------------------------

    async def _make(self, path: str, body: Mapping[str, object], query: Mapping[str, str | int] | None = None) -> Any:
        """Makes something. It goes on where the attempt is cancelled meanwhile, so that it is known and removed."""
        making = asyncio.create_task(self._api.call("POST", path, query=query, body=body), name="docker create")
        self._making.add(making)
        return await asyncio.shield(making)

    async def _create(self, body: Mapping[str, object], suffix: str) -> str:
        self._containers.append(self._name + suffix)
        made = await self._make("/containers/create", body, {"name": self._name + suffix})
        for warning in made.get("Warnings") or ():
            self._attempt.say(f"Docker: {warning}")
        return self._containers[-1]

    async def _start_services(self, services: list[dict[str, object]]) -> None:
        for number, (service, body) in enumerate(zip(self._attempt.task.services, services, strict=True)):
            count = service.get("instances")
            for instance in range(count if isinstance(count, int) else 1):
                made = await self._create(body, f"-{number}-{instance}")
                await self._api.call("POST", f"/containers/{made}/start")
                await self._until_healthy(made, str(service["name"]))

    async def _until_healthy(self, container: str, name: str) -> None:
        """Waits for a service whose image has a health check; the attempt's time-out bounds it."""
        while True:
            state = (await self._api.call("GET", f"/containers/{container}/json"))["State"]
            health = (state.get("Health") or {}).get("Status", "none")
            if not state.get("Running"):
                text = await self._last_words(container)
                raise DockerError(f"the service {name} ended with exit code {state.get('ExitCode')}{text}")
            if health in ("none", "healthy", ""):
                return
            if health == "unhealthy":
                raise DockerError(f"the service {name} is unhealthy{await self._last_words(container)}")
            await asyncio.sleep(_HEALTH_S)

    async def _last_words(self, container: str) -> str:
        """What a container wrote last, for a message."""
        frames, found = Frames(), b""
        query = {"stdout": 1, "stderr": 1, "tail": 5}
        async with self._api.stream("GET", f"/containers/{container}/logs", query=query) as answer:
            async for piece in answer.pieces():
                found += b"".join(content for _, content in frames.feed(piece))
        text = " ".join(found[-1000:].decode("utf-8", "replace").split())
        return f": {text}" if text else ""

    async def _to_its_end(self, container: str) -> Result:
        """Starts the container, passes on what it writes, and waits for its end."""
        await self._api.call("POST", f"/containers/{container}/start")
        self._attempt.ender = lambda at_once: self._stop(container, at_once)
        writing = asyncio.create_task(self._pass_on(container), name="docker logs")
        try:
            ended = await self._api.call("POST", f"/containers/{container}/wait", waits=True)
            await asyncio.wait({writing}, timeout=_LOGS_S)
            if writing.done():
                writing.result()
            else:
                self._attempt.say("the last lines of the container did not come in time")
        finally:
            writing.cancel()
            await asyncio.wait({writing})
            self._attempt.ender = None
        return await self._result(container, ended)

    async def _pass_on(self, container: str) -> None:
        frames = Frames()
        query = {"follow": 1, "stdout": 1, "stderr": 1}
        async with self._api.stream("GET", f"/containers/{container}/logs", query=query) as answer:
            async for piece in answer.pieces():
                for stream, content in frames.feed(piece):
                    self._attempt.feed(STDERR if stream == 2 else STDOUT, content)

    async def _result(self, container: str, ended: Any) -> Result:
        code = int(ended["StatusCode"])
        state = (await self._api.call("GET", f"/containers/{container}/json"))["State"]
        if state.get("OOMKilled"):
            text = "The container was killed: it needed more memory than memory_limit."
            return failure("ERR_EXIT_CODE", text, exit_code=code or 137)
        if (trouble := (ended.get("Error") or {}).get("Message")) or (trouble := state.get("Error")):
            return failure(CODE, f"Docker: {str(trouble).rstrip('.')}.", exit_code=code)
        if code:
            return failure("ERR_EXIT_CODE", f"The container ended with exit code {code}.", exit_code=code)
        return Result(outcome=Outcome.COMPLETED, exit_code=0)

    # files ------------------------------------------------------------------------------------------------------------

    async def _copy_in(self, container: str, folder: str) -> None:
        archive = await asyncio.to_thread(packed, Path(self._attempt.folder), folder)
        try:
            headers = {"Content-Type": "application/x-tar"}
            with archive.open("rb") as file:
                await self._api.call(
                    "PUT", f"/containers/{container}/archive", query={"path": "/"}, headers=headers,
                    content=_read(file), waits=True,
                )  # fmt: skip
        finally:
            archive.unlink(missing_ok=True)

    async def _copy_out(self, container: str, folder: str) -> None:
        """Brings what artifacts and cache may want; what is not there is not missed here."""
        for name in wanted(self._attempt.task):
            try:
                path = f"{folder.rstrip('/')}/{name}" if name else f"{folder.rstrip('/')}/."
                async with self._api.stream("GET", f"/containers/{container}/archive", query={"path": path}) as answer:
                    await fetch(answer.pieces(), Path(self._attempt.folder), name)
            except DockerError as error:
                if error.status != 404:
                    raise

    # the end ----------------------------------------------------------------------------------------------------------

    def _stop(self, container: str, at_once: bool) -> None:
        """Ends the container: SIGKILL at once, or SIGTERM and then SIGKILL after the grace."""
        after_s = self._config.after_script_s if self._attempt.task.after_script else 0.0
        given = self._attempt.grace_s
        grace_s = round((self._config.kill_grace_s if given is None else given) + after_s)
        path, query = (
            (f"/containers/{container}/kill", {}) if at_once else (f"/containers/{container}/stop", {"t": grace_s})
        )
        stopping = asyncio.create_task(self._tell(path, query), name="docker stop")
        self._stops.add(stopping)
        stopping.add_done_callback(self._stops.discard)

    async def _tell(self, path: str, query: Mapping[str, int]) -> None:
        try:
            await self._api.call("POST", path, query=query, waits=True)
        except DockerError as error:
            if error.status not in (304, 404, 409):  # it has ended already
                _LOG.error("a container cannot be stopped: %s", error)

    async def remove(self) -> None:
        """Removes everything that was made, also what still runs."""
        try:
            async with asyncio.timeout(_REMOVE_S):
                if self._making:
                    await asyncio.wait(self._making)
                for container in reversed(self._containers):
                    await _gone(self._api, f"/containers/{container}", {"force": 1, "v": 1})
                if self._network:
                    await _gone(self._api, f"/networks/{self._network}", {})
        except (DockerError, TimeoutError) as error:
            _LOG.error("what %s made with Docker cannot be removed: %s", self._labels[ATTEMPT], error)


def process_mark(pid: int) -> str:
    """A text for a process that no later one with its number has; empty where it does not live."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    return f"{pid}:{stat.rpartition(')')[2].split()[19]}"


def _is_left(labels: Mapping[str, str] | None) -> bool:
    mark = (labels or {}).get(OWNER, "")
    pid = mark.partition(":")[0]
    return pid.isdigit() and process_mark(int(pid)) != mark


async def _gone(api: DockerApi, path: str, query: Mapping[str, int]) -> None:
    try:
        await api.call("DELETE", path, query=query)
    except DockerError as error:
        if error.status not in (404, 409):
            raise


def _name_and_tag(image: str) -> tuple[str, str]:
    """The name and the tag or digest; without either the tag is ``latest``, or all tags would be pulled."""
    if "@" in image:
        return image, ""
    name, colon, tag = image.rpartition(":")
    return (name, tag) if colon and "/" not in tag else (image, "latest")


async def _lines(pieces: AsyncIterator[bytes]) -> AsyncIterator[dict[str, Any]]:
    """JSON objects, one a line."""
    rest = b""
    async for piece in pieces:
        *lines, rest = (rest + piece).split(b"\n")
        for line in filter(bytes.strip, lines):
            yield msgspec.json.decode(line)
    if rest.strip():
        yield msgspec.json.decode(rest)


async def _read(file: Any) -> AsyncIterator[bytes]:
    while piece := await asyncio.to_thread(file.read, 1024 * 1024):
        yield piece
