"""The server's certificate, read again when its files change.

Theory of operation. Nothing polls: before each handshake the files' times are looked at, which costs two system calls,
and only where one has changed they are read. A pair that does not fit together (they are being replaced at this moment,
or somebody made a mistake) is logged and the one before stays in use, so that a renewal cannot take the server down.
"""

from __future__ import annotations

import logging
import ssl
import threading
from pathlib import Path

import grpc

from formicary.problems import problem

log = logging.getLogger("formicary.server")
_Stamp = tuple[tuple[int, int, int], ...]


class Certificate:
    """One certificate with its key, for HTTP and gRPC.

    Args:
        cert: File with the certificate and its chain (PEM).
        key: File with its key, not encrypted.
        client_ca: File with the certificates that sign those of ants; None = no ant shows one.

    Raises:
        Problem: FAILED_PRECONDITION where they cannot be read or do not fit together.
    """

    def __init__(self, cert: Path, key: Path, client_ca: Path | None = None) -> None:
        self._cert, self._key, self._client_ca = cert, key, client_ca
        self._lock = threading.Lock()  # gRPC asks from threads of its own
        self._version = 1
        try:
            self._stamp = self._stamped()
            self._context, self._texts = self._read()
        except (OSError, ValueError) as error:
            raise problem("FAILED_PRECONDITION", f"TLS cannot be served with {self._names}: {error}.") from error

    def refresh(self) -> int:
        """Reads the files again where they have changed.

        Returns:
            A number that grows with every change.
        """
        with self._lock:
            try:
                stamp = self._stamped()
                if stamp != self._stamp:
                    self._stamp = stamp
                    self._context, self._texts = self._read()
                    self._version += 1
                    log.warning("the certificate %s was read again", self._cert)
            except (OSError, ValueError) as error:
                log.error("%s cannot be used, the certificate before stays: %s", self._names, error)
            return self._version

    def for_http(self) -> ssl.SSLContext:
        """A context that takes the newest certificate with each handshake."""

        def chosen(connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
            self.refresh()
            connection.context = self._context

        outer, _ = self._read()
        outer.sni_callback = chosen
        return outer

    def for_grpc(self, *, client_certificates: bool = False) -> grpc.ServerCredentials:
        """Credentials that take the newest certificate with each handshake.

        Args:
            client_certificates: Whether every caller has to show a certificate that `client_ca` has signed.
        """
        seen = self._version

        def changed() -> grpc.ServerCertificateConfiguration | None:
            nonlocal seen
            version = self.refresh()
            if version == seen:
                return None
            seen = version
            return self._configuration(client_certificates)

        return grpc.dynamic_ssl_server_credentials(
            self._configuration(client_certificates),
            changed,  # type: ignore[arg-type]  # None = no change, which the stubs do not know
            require_client_authentication=client_certificates,
        )

    def _configuration(self, client_certificates: bool) -> grpc.ServerCertificateConfiguration:
        cert, key, client_ca = self._texts
        return grpc.ssl_server_certificate_configuration([(key, cert)], client_ca if client_certificates else None)

    @property
    def _names(self) -> str:
        return " and ".join(str(path) for path in (self._cert, self._key, self._client_ca) if path is not None)

    def _stamped(self) -> _Stamp:
        found = [path.stat() for path in (self._cert, self._key, self._client_ca) if path is not None]
        return tuple((one.st_ino, one.st_size, one.st_mtime_ns) for one in found)

    def _read(self) -> tuple[ssl.SSLContext, tuple[bytes, bytes, bytes | None]]:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        context.load_cert_chain(self._cert, self._key, password=_no_password)
        client_ca = None
        if self._client_ca is not None:
            ssl.create_default_context(cafile=self._client_ca)  # raises where it holds no certificate
            client_ca = self._client_ca.read_bytes()
        return context, (self._cert.read_bytes(), self._key.read_bytes(), client_ca)


def _no_password() -> str:
    raise ValueError("the key is encrypted; write it without a password, readable to the server alone")
