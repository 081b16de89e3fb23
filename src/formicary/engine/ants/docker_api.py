"""The Docker Engine API, as far as tasks need it: over its UNIX socket or TCP, with the wire formats it documents.

Source: Docker Engine API reference, versions 1.40 to 1.44 (podman's compatible service speaks 1.41, too).
"""

from __future__ import annotations

import base64
import ssl
from collections.abc import AsyncIterator, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    import httpx

OLDEST, WANTED = (1, 40), (1, 44)
CONNECT_S = 10.0
ANSWER_S = 60.0
"""How long an answer may take that is not waited for on purpose."""
_HEADER = 8
_MOST_ERROR = 2000


class DockerError(Exception):
    """The engine refused, or cannot be reached.

    Args:
        message: A part of a sentence, without a dot.
        status: HTTP status, 0 where there was no answer.
    """

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


class DockerApi:
    """Calls one engine.

    Args:
        address: ``unix:///PATH``, ``tcp://HOST:PORT``, ``http://…`` or ``https://…``.
        certificates: Folder with ca.pem, cert.pem and key.pem, as the ``docker`` command has it; empty = no TLS.
    """

    def __init__(self, address: str, certificates: str = "") -> None:
        self._address = address
        self._certificates = certificates
        self._client: httpx.AsyncClient | None = None
        self._version = ""

    async def close(self) -> None:
        """Closes the connections."""
        if self._client is not None:
            await self._client.aclose()
            self._client = None

    async def call(
        self,
        verb: str,
        path: str,
        *,
        query: Mapping[str, str | int] | None = None,
        body: object = None,
        headers: Mapping[str, str] | None = None,
        content: AsyncIterator[bytes] | None = None,
        waits: bool = False,
    ) -> Any:
        """Calls and returns the JSON of the answer, None where it has none.

        Args:
            verb: HTTP verb.
            path: Below the version, with its first slash.
            query: Parameters.
            body: Sent as JSON.
            headers: More headers.
            content: Sent as it is, instead of a body.
            waits: The answer comes when it comes.

        Raises:
            DockerError: The engine said no, or nothing.
        """
        async with _Answer(self, verb, path, query, body, headers, content, waits) as answer:
            data = await answer.read()
        try:
            return msgspec.json.decode(data) if data else None
        except msgspec.DecodeError:
            return None

    def stream(
        self,
        verb: str,
        path: str,
        *,
        query: Mapping[str, str | int] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> _Answer:
        """Opens an answer that is read in pieces, as an asynchronous context manager. Raises DockerError."""
        return _Answer(self, verb, path, query, None, headers, None, True)

    async def open(self) -> tuple[httpx.AsyncClient, str]:
        """The client, and the version both sides speak. Raises DockerError."""
        import httpx

        if self._client is None:
            self._client = self._make()
        if not self._version:
            try:
                answer = await self._client.get("/_ping", timeout=CONNECT_S)
            except (httpx.HTTPError, OSError) as error:
                raise DockerError(f"{self._address} does not answer: {str(error) or type(error).__name__}") from error
            theirs = _version(answer.headers.get("Api-Version", ""))
            if theirs < OLDEST:
                raise DockerError(f"{self._address} is no Docker engine, or one before version 19.03")
            self._version = "/v{}.{}".format(*min(theirs, WANTED))
        return self._client, self._version

    def _make(self) -> httpx.AsyncClient:
        import httpx

        limits = httpx.Limits(max_connections=None, max_keepalive_connections=8)
        if self._address.startswith("unix://"):
            transport = httpx.AsyncHTTPTransport(uds=self._address.removeprefix("unix://"), limits=limits)
            return httpx.AsyncClient(transport=transport, base_url="http://docker")
        verify: ssl.SSLContext | bool = True
        _, _, rest = self._address.partition("://")
        scheme = "https" if self._certificates or self._address.startswith("https://") else "http"
        if self._certificates:
            folder = Path(self._certificates)
            try:
                verify = ssl.create_default_context(cafile=str(folder / "ca.pem"))
                verify.load_cert_chain(str(folder / "cert.pem"), str(folder / "key.pem"))
            except OSError as error:
                raise DockerError(f"the certificates in {folder} cannot be used: {error.strerror or error}") from error
        return httpx.AsyncClient(base_url=f"{scheme}://{rest}", verify=verify, limits=limits)


class _Answer:
    """One call while its answer is read."""

    def __init__(
        self,
        api: DockerApi,
        verb: str,
        path: str,
        query: Mapping[str, str | int] | None,
        body: object,
        headers: Mapping[str, str] | None,
        content: AsyncIterator[bytes] | None,
        waits: bool,
    ) -> None:
        self._api = api
        self._what = (verb, path)
        self._query = dict(query or {})
        self._headers = dict(headers or {})
        self._content: Any = content
        if body is not None:
            self._content, self._headers["Content-Type"] = msgspec.json.encode(body), "application/json"
        self._waits = waits
        self._response: httpx.Response | None = None

    async def __aenter__(self) -> _Answer:
        import httpx

        client, version = await self._api.open()
        verb, path = self._what
        timeout = httpx.Timeout(None if self._waits else ANSWER_S, connect=CONNECT_S)
        request = client.build_request(
            verb, version + path, params=self._query, headers=self._headers, content=self._content, timeout=timeout
        )
        try:
            self._response = await client.send(request, stream=True)
        except (httpx.HTTPError, OSError) as error:
            raise DockerError(f"{verb} {path} got no answer: {str(error) or type(error).__name__}") from error
        if self._response.status_code >= 400:
            data = (await self.read())[:_MOST_ERROR]
            await self._response.aclose()
            raise DockerError(_message(data) or f"{verb} {path} was refused", self._response.status_code)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._response is not None:
            await self._response.aclose()

    async def read(self) -> bytes:
        """The whole answer. Raises DockerError."""
        return b"".join([piece async for piece in self.pieces()])

    async def pieces(self) -> AsyncIterator[bytes]:
        """The answer as it comes. Raises DockerError."""
        import httpx

        assert self._response is not None, "it has been entered"
        try:
            async for piece in self._response.aiter_raw():
                yield piece
        except (httpx.HTTPError, OSError) as error:
            raise DockerError(f"the answer broke off: {str(error) or type(error).__name__}") from error


class Frames:
    """Takes the multiplexed streams of a container without a terminal apart.

    Each frame is one byte for the stream (1 = standard output, 2 = standard error), three zeros, four bytes of length
    (big-endian), and the content. A frame may come in pieces of any size; content is passed on as it comes.
    """

    def __init__(self) -> None:
        self._header = b""
        self._stream = 0
        self._left = 0

    def feed(self, data: bytes) -> Iterable[tuple[int, bytes]]:
        """Takes a piece; yields (stream, content). Raises DockerError where it is no such stream."""
        at = 0
        while at < len(data):
            if self._left:
                piece = data[at : at + self._left]
                at += len(piece)
                self._left -= len(piece)
                yield self._stream, piece
                continue
            missing = _HEADER - len(self._header)
            self._header += data[at : at + missing]
            at += missing
            if len(self._header) == _HEADER:
                if self._header[0] > 3 or self._header[1:4] != b"\0\0\0":
                    raise DockerError("what the container writes does not come as frames")
                self._stream, self._left = self._header[0] or 1, int.from_bytes(self._header[4:])
                self._header = b""


def registry_auth(registry: Mapping[str, object]) -> str:
    """Encodes who pulls an image, for the header ``X-Registry-Auth``."""
    names = {"username": "username", "password": "password", "server": "serveraddress", "token": "identitytoken"}
    found = {theirs: str(registry[ours]) for ours, theirs in names.items() if registry.get(ours)}
    return base64.urlsafe_b64encode(msgspec.json.encode(found)).decode()


def _version(text: str) -> tuple[int, int]:
    major, _, minor = text.partition(".")
    return (int(major), int(minor)) if major.isdigit() and minor.isdigit() else (0, 0)


def _message(data: bytes) -> str:
    try:
        found = msgspec.json.decode(data)
    except msgspec.DecodeError:
        return ""
    return str(found.get("message", "")).strip().rstrip(".") if isinstance(found, dict) else ""
