"""A server that speaks the Docker Engine API as documented, for tests that run everywhere.

It is a real HTTP server on a UNIX socket: paths, status codes, JSON, chunked streams, tar archives and multiplexed log
frames are those of the reference for version 1.44. What it does not have is isolation: a container is a process of this
machine in a folder of its own, started with the entry point, command, environment and working directory asked for.
"""

from __future__ import annotations

import asyncio
import io
import json
import os
import re
import shutil
import signal
import sys
import tarfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import uvicorn

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


class Refused(Exception):
    """An answer with a status and a message."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass
class Asked:
    """One request."""

    verb: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.body)
        return found


@dataclass
class Container:
    """A container: a process in a folder."""

    id: str
    name: str
    body: dict[str, Any]
    root: Path
    process: asyncio.subprocess.Process | None = None
    frames: list[bytes] = field(default_factory=list)
    code: int | None = None
    is_over: bool = False
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)
    watching: asyncio.Task[None] | None = None
    health: list[str] = field(default_factory=list)

    @property
    def work(self) -> Path:
        return self.root / str(self.body.get("WorkingDir") or "/").lstrip("/")


class Engine:
    """The engine's state.

    Args:
        folder: For the files of containers.
    """

    version = "1.47"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.socket = folder / "docker.sock"
        self.images = {"alpine:3.20"}
        self.registry = {"busybox:latest", "private/tool:1"}
        self.health: dict[str, list[str]] = {}
        self.killed_for_memory: set[str] = set()
        self.containers: dict[str, Container] = {}
        self.networks: dict[str, dict[str, Any]] = {}
        self.asked: list[Asked] = []
        self.made: list[dict[str, Any]] = []
        self.gate: asyncio.Event | None = None
        self.port = 0
        self._count = 0

    @property
    def address(self) -> str:
        return f"unix://{self.socket}"

    def calls(self, pattern: str) -> list[Asked]:
        """The requests whose verb and path (without version) match."""
        return [a for a in self.asked if re.fullmatch(pattern, f"{a.verb} {re.sub(r'^/v1[.][0-9]+', '', a.path)}")]

    # the server

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        body = b""
        while (message := await receive()).get("more_body"):
            body += message.get("body", b"")
        body += message.get("body", b"")
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        query = dict(parse_qsl(scope["query_string"].decode(), keep_blank_values=True))
        asked = Asked(scope["method"], scope["path"], query, headers, body)
        self.asked.append(asked)
        path = re.sub(r"^/v1[.](\d+)", "", asked.path)
        try:
            for pattern, answer in ROUTES:
                if (match := re.fullmatch(pattern, f"{asked.verb} {path}")) is not None:
                    await answer(self, asked, send, *match.groups())
                    return
            raise Refused(404, "page not found")
        except Refused as error:
            await reply(send, error.status, {"message": str(error)})

    def find(self, name: str) -> Container:
        for one in self.containers.values():
            if name in (one.id, one.name):
                return one
        raise Refused(404, f"No such container: {name}")

    # images

    async def ping(self, asked: Asked, send: Send) -> None:
        await reply(send, 200, b"OK", {"Api-Version": self.version, "Content-Type": "text/plain"})

    async def image(self, asked: Asked, send: Send, name: str) -> None:
        if name not in self.images:
            raise Refused(404, f"No such image: {name}")
        await reply(send, 200, {"Id": "sha256:1", "RepoTags": [name]})

    async def pull(self, asked: Asked, send: Send) -> None:
        if self.gate is not None:
            await self.gate.wait()
        name, tag = asked.query["fromImage"], asked.query.get("tag", "")
        image = f"{name}:{tag}" if tag else name
        lines: list[dict[str, Any]] = [{"status": f"Pulling from {name}", "id": tag}]
        if image in self.registry:
            lines += [{"status": "Downloading", "progressDetail": {"current": 1, "total": 2}, "id": "a"}]
            self.images.add(image)
        else:
            text = f"manifest for {image} not found: manifest unknown"
            lines += [{"errorDetail": {"message": text}, "error": text}]
        await stream(send, 200, "application/json", [json.dumps(line).encode() + b"\r\n" for line in lines])

    # containers

    async def create(self, asked: Asked, send: Send) -> None:
        body = asked.json
        if body["Image"] not in self.images:
            raise Refused(404, f"No such image: {body['Image']}")
        if any(one.name == asked.query["name"] for one in self.containers.values()):
            raise Refused(409, f'Conflict. The container name "/{asked.query["name"]}" is already in use')
        self._count += 1
        number = f"{self._count:064x}"
        root = self.folder / number[-8:]
        root.mkdir()
        made = self.containers[number] = Container(number, asked.query["name"], body, root)
        made.health = list(self.health.get(body["Image"], []))
        made.work.mkdir(parents=True, exist_ok=True)
        self.made.append(body)
        await reply(send, 201, {"Id": number, "Warnings": []})

    async def start(self, asked: Asked, send: Send, name: str) -> None:
        found = self.find(name)
        if found.process is not None:
            await reply(send, 304, b"")
            return
        argv = [*(found.body.get("Entrypoint") or []), *(found.body.get("Cmd") or [])] or ["sleep", "1000"]
        env = dict(pair.partition("=")[::2] for pair in found.body.get("Env") or [])
        try:
            found.process = await asyncio.create_subprocess_exec(
                *argv,
                cwd=found.work,
                env={"PATH": os.environ["PATH"], "HOSTNAME": found.id[:12], **env},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                start_new_session=True,
            )
        except OSError as error:
            raise Refused(400, f'failed to create task for container: exec: "{argv[0]}": {error.strerror}') from error
        found.watching = asyncio.create_task(self._watch(found))
        await reply(send, 204, b"")

    async def _watch(self, found: Container) -> None:
        process = found.process
        assert process is not None and process.stdout is not None and process.stderr is not None

        async def copy(number: int, source: asyncio.StreamReader) -> None:
            while data := await source.read(4096):
                found.frames.append(bytes([number, 0, 0, 0]) + len(data).to_bytes(4) + data)
                async with found.changed:
                    found.changed.notify_all()

        copying = [asyncio.create_task(copy(1, process.stdout)), asyncio.create_task(copy(2, process.stderr))]
        code = await process.wait()
        kill_group(process.pid)  # with its first process a container ends
        await asyncio.gather(*copying)
        found.code, found.is_over = (code if code >= 0 else 128 - code), True
        async with found.changed:
            found.changed.notify_all()

    async def logs(self, asked: Asked, send: Send, name: str) -> None:
        found = self.find(name)
        kind = "application/vnd.docker.multiplexed-stream"
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", kind.encode())]})
        at = max(len(found.frames) - int(asked.query["tail"]), 0) if "tail" in asked.query else 0
        while True:
            while at < len(found.frames):
                frame, at = found.frames[at], at + 1
                for piece in (frame[:3], frame[3:11], frame[11:]):  # the wire knows no frames
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
            if found.is_over or "follow" not in asked.query:
                break
            async with found.changed:
                if at >= len(found.frames):
                    await found.changed.wait()
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def wait(self, asked: Asked, send: Send, name: str) -> None:
        found = self.find(name)
        async with found.changed:
            await found.changed.wait_for(lambda: found.is_over)
        await reply(send, 200, {"StatusCode": found.code})

    async def inspect(self, asked: Asked, send: Send, name: str) -> None:
        found = self.find(name)
        state = {
            "Running": found.process is not None and not found.is_over,
            "ExitCode": found.code or 0,
            "OOMKilled": found.body["Image"] in self.killed_for_memory and found.is_over,
            "Error": "",
        }
        if found.health:
            state["Health"] = {"Status": found.health.pop(0) if len(found.health) > 1 else found.health[0]}
        await reply(send, 200, {"Id": found.id, "State": state})

    async def stop(self, asked: Asked, send: Send, name: str) -> None:
        found = self.find(name)
        if found.process is None or found.is_over:
            await reply(send, 304, b"")
            return
        found.process.send_signal(signal.SIGTERM)  # the init passes it to the process, not to its children
        try:
            async with asyncio.timeout(int(asked.query.get("t", 10))), found.changed:
                await found.changed.wait_for(lambda: found.is_over)
        except TimeoutError:
            kill_group(found.process.pid)
        await reply(send, 204, b"")

    async def kill(self, asked: Asked, send: Send, name: str) -> None:
        found = self.find(name)
        if found.process is None or found.is_over:
            raise Refused(409, f"Container {name} is not running")
        kill_group(found.process.pid)
        await reply(send, 204, b"")

    async def remove(self, asked: Asked, send: Send, name: str) -> None:
        found = self.find(name)
        await self.end(found)
        del self.containers[found.id]
        await reply(send, 204, b"")

    async def end(self, found: Container) -> None:
        if found.process is not None and found.watching is not None:
            if not found.is_over:
                kill_group(found.process.pid)
            await found.watching
        shutil.rmtree(found.root, ignore_errors=True)

    async def list(self, asked: Asked, send: Send) -> None:
        wanted = json.loads(asked.query["filters"])["label"]
        listed = [
            {"Id": one.id, "Names": [f"/{one.name}"], "Labels": one.body.get("Labels") or {}}
            for one in self.containers.values()
            if {f"{k}={v}" for k, v in (one.body.get("Labels") or {}).items()} >= set(wanted)
        ]
        await reply(send, 200, listed)

    # files

    async def put_archive(self, asked: Asked, send: Send, name: str) -> None:
        with tarfile.open(fileobj=io.BytesIO(asked.body)) as archive:
            archive.extractall(self.find(name).root / asked.query["path"].lstrip("/"), filter="tar")
        await reply(send, 200, b"")

    async def get_archive(self, asked: Asked, send: Send, name: str) -> None:
        path = asked.query["path"]
        there = self.find(name).root / path.lstrip("/")
        if not there.exists() and not there.is_symlink():
            raise Refused(404, f"Could not find the file {path} in container {name}")
        data = io.BytesIO()
        with tarfile.open(fileobj=data, mode="w") as archive:
            archive.add(there, "." if path.endswith("/.") else there.name)
        content = data.getvalue()
        pieces = [content[at : at + 1000] for at in range(0, len(content), 1000)]
        await stream(send, 200, "application/x-tar", pieces)

    # networks

    async def make_network(self, asked: Asked, send: Send) -> None:
        self.networks[asked.json["Name"]] = asked.json
        await reply(send, 201, {"Id": asked.json["Name"]})

    async def remove_network(self, asked: Asked, send: Send, name: str) -> None:
        if name not in self.networks:
            raise Refused(404, f"network {name} not found")
        if any(one.body["HostConfig"].get("NetworkMode") == name for one in self.containers.values()):
            raise Refused(403, f"error while removing network: network {name} has active endpoints")
        del self.networks[name]
        await reply(send, 204, b"")

    async def list_networks(self, asked: Asked, send: Send) -> None:
        wanted = set(json.loads(asked.query["filters"])["label"])
        listed = [
            {"Id": name, "Name": name, "Labels": made["Labels"]}
            for name, made in self.networks.items()
            if {f"{k}={v}" for k, v in made["Labels"].items()} >= wanted
        ]
        await reply(send, 200, listed)


def kill_group(pid: int) -> None:
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


async def reply(send: Send, status: int, body: object, headers: dict[str, str] | None = None) -> None:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    given = {"Content-Type": "application/json", **(headers or {})}
    raw = [(name.lower().encode(), value.encode()) for name, value in given.items()]
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": content, "more_body": False})


async def stream(send: Send, status: int, kind: str, pieces: list[bytes]) -> None:
    await send({"type": "http.response.start", "status": status, "headers": [(b"content-type", kind.encode())]})
    for piece in pieces:
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


ROUTES: list[tuple[str, Callable[..., Awaitable[None]]]] = [
    (r"GET /_ping", Engine.ping),
    (r"GET /images/(.+)/json", Engine.image),
    (r"POST /images/create", Engine.pull),
    (r"GET /containers/json", Engine.list),
    (r"POST /containers/create", Engine.create),
    (r"POST /containers/([^/]+)/start", Engine.start),
    (r"POST /containers/([^/]+)/wait", Engine.wait),
    (r"POST /containers/([^/]+)/stop", Engine.stop),
    (r"POST /containers/([^/]+)/kill", Engine.kill),
    (r"GET /containers/([^/]+)/logs", Engine.logs),
    (r"GET /containers/([^/]+)/json", Engine.inspect),
    (r"PUT /containers/([^/]+)/archive", Engine.put_archive),
    (r"GET /containers/([^/]+)/archive", Engine.get_archive),
    (r"DELETE /containers/([^/]+)", Engine.remove),
    (r"GET /networks", Engine.list_networks),
    (r"POST /networks/create", Engine.make_network),
    (r"DELETE /networks/([^/]+)", Engine.remove_network),
]


@asynccontextmanager
async def docker_engine(folder: Path, **options: Any) -> AsyncIterator[Engine]:
    """An engine that serves on its socket, or as the options of uvicorn say; what still runs is ended with it."""
    engine = Engine(folder)
    options = options or {"uds": str(engine.socket)}
    config = uvicorn.Config(engine, log_level="warning", lifespan="off", ws="none", **options)
    server = uvicorn.Server(config)
    server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]  # the test has its own
    serving = asyncio.create_task(server.serve())
    try:
        while not server.started:
            await asyncio.sleep(0.005)
        if "uds" not in options:
            engine.port = server.servers[0].sockets[0].getsockname()[1]
        yield engine
    finally:
        for found in list(engine.containers.values()):
            await engine.end(found)
        server.should_exit = True
        await serving


async def serve(folder: Path) -> None:
    """Serves until standard input ends."""
    async with docker_engine(folder) as engine:
        print(engine.address, flush=True)
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1])))
