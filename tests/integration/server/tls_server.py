"""A real server that encrypts, with certificates made for the test."""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import trustme

from tests.acceptance.server import Up, free_port, until
from tests.forks import Forked


class Certificates:
    """An authority and the files it has signed, in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.authority = trustme.CA()
        self.ca = folder / "ca.pem"
        self.authority.cert_pem.write_to_path(str(self.ca))

    def issue(self, name: str, *identities: str) -> tuple[Path, Path]:
        """Writes a certificate and its key; replaces those of this name."""
        made = self.authority.issue_cert(*identities)
        cert, key = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        new = self.folder / "new"
        for path, content in (
            (key, made.private_key_pem.bytes()),
            (cert, b"".join(one.bytes() for one in made.cert_chain_pems)),
        ):
            new.write_bytes(content)
            new.replace(path)
        return cert, key


class TlsUp(Up):
    """`formicary up` with TLS.

    Args:
        folder: For data and certificates.
        options: More options.
    """

    def __init__(self, folder: Path, *options: str) -> None:
        self.certificates = Certificates(folder / "tls")
        cert, key = self.certificates.issue("server", "127.0.0.1", "localhost")
        self.ant_port = free_port()
        super().__init__(
            folder / "data", "--tls-cert", str(cert), "--tls-key", str(key), "--ant-port", str(self.ant_port), *options
        )
        self.ca = str(self.certificates.ca)
        self.scheme, self.context = "https", ssl.create_default_context(cafile=self.ca)
        self.context.set_alpn_protocols(["h2", "http/1.1"])

    def ant_log(self) -> str:
        """What the first local ant has said."""
        log = self.data / "ant-1.log"
        return log.read_text() if log.exists() else ""


@contextmanager
def ant_process(log: Path, *options: str, **environment: str) -> Iterator[Forked]:
    """An ant of another machine, so to speak: its own process, told its way by options."""
    with log.open("ab") as output:
        process = Forked(("ant", *options), stdout=output, stderr=output, env={**os.environ, **environment})
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def until_in(log: Path, text: str, limit_s: float = 20.0) -> None:
    """Waits until a log has a text."""
    until(lambda: text in log.read_text(), limit_s, f"{text!r} in {log}")


@contextmanager
def started(server: Up) -> Iterator[Any]:
    """The server, started with an administrator's token in the environment."""
    with pytest.MonkeyPatch.context() as patch:
        text = server.cli("token", "create", "--role", "admin", "--data", str(server.data)).strip()
        patch.setenv("FORMICARY_TOKEN", text)
        if isinstance(server, TlsUp):
            patch.setenv("FORMICARY_CA", server.ca)
        server.start()
        yield server
        server.clear()
