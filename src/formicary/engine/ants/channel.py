"""How a caller reaches a queen's gRPC port: where it is, whether the way there is encrypted, and who it shows to be.

A secret goes only where nobody can read it on its way: over TLS, over a loopback address, over a socket file.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import grpc
import grpc.aio

from formicary.problems import problem

SOCKET = "unix:"
_SCHEMES = {"https": True, "http": False}


@dataclass(frozen=True, slots=True)
class Reach:
    """The way to a queen.

    Attributes:
        address: ``HOST:PORT``, or ``unix:PATH`` on the same machine.
        tls: Whether the connection is encrypted and the server shows a certificate.
        ca: File of the certificates that are trusted (PEM); empty = those that gRPC comes with.
        cert: File of the caller's own certificate, with its chain; empty = none.
        key: File of its key.
    """

    address: str
    tls: bool = False
    ca: str = ""
    cert: str = ""
    key: str = ""

    @property
    def is_private(self) -> bool:
        """Whether nobody on the way can read what is sent."""
        return self.tls or is_local(self.address)

    def channel(self, options: Sequence[tuple[str, str | int]]) -> grpc.aio.Channel:
        """Opens a channel; files are read each time, so that renewed ones count.

        Raises:
            Problem: VALIDATION_FAILED where a file cannot be read.
        """
        if not self.tls:
            return grpc.aio.insecure_channel(self.address, options=options)
        credentials = grpc.ssl_channel_credentials(_read(self.ca), _read(self.key), _read(self.cert))
        return grpc.aio.secure_channel(self.address, credentials, options=options)


def reach(address: str, *, tls: bool = False, ca: str = "", cert: str = "", key: str = "") -> Reach:
    """Reads where a queen is.

    Args:
        address: ``HOST:PORT``, ``https://HOST:PORT`` (TLS), ``http://HOST:PORT`` (plain whatever else is said), or
            ``unix:PATH``.
        tls: Encrypt; so do `ca` and `cert`.
        ca: File of trusted certificates.
        cert: File of the caller's certificate.
        key: File of its key.

    Raises:
        Problem: VALIDATION_FAILED.
    """
    if bool(cert) != bool(key):
        raise problem("VALIDATION_FAILED", "A certificate and its key are given together: --cert FILE --key FILE.")
    if address.startswith(SOCKET):
        return Reach(address)
    scheme, separator, rest = address.partition("://")
    encrypted = tls or bool(ca or cert)
    if separator:
        if scheme.lower() not in _SCHEMES:
            raise problem("VALIDATION_FAILED", f"{address[:100]!r}: write HOST:PORT or https://HOST:PORT.")
        address, encrypted = rest.rstrip("/"), _SCHEMES[scheme.lower()]
    host, _, port = address.rpartition(":")
    if not host or not (port.isascii() and port.isdigit()) or not 0 < int(port) < 65536:
        raise problem("VALIDATION_FAILED", f"{address[:100]!r} is not HOST:PORT.")
    return Reach(address, True, ca, cert, key) if encrypted else Reach(address)


def is_local(address: str) -> bool:
    """Whether only this machine reaches ``HOST:PORT``, ``HOST`` or ``unix:PATH``."""
    if address.startswith(SOCKET):
        return True
    host, _, port = address.rpartition(":")
    name = (host if port.isdigit() and (host.count(":") == 0 or "]" in host) else address).strip("[]")
    try:
        return name == "localhost" or ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _read(path: str) -> bytes | None:
    if not path:
        return None
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise problem("VALIDATION_FAILED", f"{path} cannot be read: {error.strerror}.") from error
