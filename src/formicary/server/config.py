"""Configuration of `formicary up`: one frozen value, checked as a whole before anything starts."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from formicary.engine.queen.core.config import CoreConfig
from formicary.engine.queen.notify.config import NotifyConfig
from formicary.problems import problem
from formicary.server.auth.oidc_config import OidcConfig
from formicary.server.cors import origin
from formicary.server.loopback import check_loopback, is_loopback

LEASE_VARIABLE = "FORMICARY_LEASE_S"
MIN_LEASE_S = 1.0
TOKEN = "token"
QUEUES = ("nats://", "tls://", "redis://", "rediss://")
"""How the address of a queue begins."""
SOCKET_FILE = "queen.sock"
LONGEST_SOCKET = 107
"""Bytes of a socket's path, see unix(7)."""


@dataclass(frozen=True, slots=True)
class UpConfig:
    """What a server is told. All durations are seconds.

    Attributes:
        data: Data directory: the lock, the list of ants and, without `database`, the SQLite file and the logs.
        database: ``postgresql://…`` instead of the SQLite file; empty = SQLite.
        host: Address to listen on; loopback, unless `auth` is given with a certificate or `insecure`.
        http_port: Port of health pages; 0 = any free one.
        grpc_port: Port of the API; 0 = any free one. Ants of a killed server are adopted only where it stays the same.
        ants: Local ants as child processes; 0 = none.
        slots: Tasks that one ant runs at the same time; 0 = the number of processors.
        tags: What the local ants offer.
        resources: What each local ant has for tasks to hold, beside or instead of its part of the machine.
        labels: Values of the local ants that a placement may ask for.
        paths: Folders on the import path of PYTHON tasks.
        methods: Method replacements for every definition that is registered here.
        grace_s: How long running tasks may go on after the first signal.
        auth: ``token`` = every caller sends an API token; empty = whoever reaches the loopback port is administrator.
        tls_cert: File of the certificate (PEM, with its chain) that both ports show; None = they do not encrypt. With
            one, local ants use a socket file in the data directory, which no certificate has to name.
        tls_key: File of its key.
        client_ca: File of the certificates that sign those of ants: a further gRPC port takes callers with such a
            certificate and nobody else; None = there is none.
        secret_key_file: Keys that secrets are encrypted with, the current one first; None = those of
            FORMICARY_SECRET_KEY. Without any no secret can be set or read.
        ant_port: That port; 0 = any free one.
        oidc: Whose JSON web tokens are taken beside API tokens; None = nobody's.
        insecure: Tokens may travel beyond this machine as plain text: behind a proxy or in a network that is trusted.
        rate_per_s: Calls a second of each principal in the long run, twice as many at once; only with `auth`. Too few
            refuse honest clients, too many let one caller take the server from the others.
        cors_origins: Origins (scheme, host, port) whose pages may call over HTTP; empty = none. Without `auth` such a
            page administers the server.
        otlp_endpoint: ``http://HOST:PORT`` (or https) of an OpenTelemetry collector; empty = nothing is traced.
        audit_days: Days for which records of the audit log are kept; 0 = for ever. The table grows by some 200 bytes
            for every call that changes something.
        queue_url: Where triggers of jobs find their messages: ``nats://HOST:PORT`` or ``redis://HOST:PORT``, with user
            and password if need be; empty = each trigger says so itself.
        queues: Text of a file of queues that are put in place at the start; None = those that are stored.
        queues_file: Its name, for messages.
        alerts: File of alert rules; None = there are none.
        notify: How notices of the ends of jobs are delivered.
        scaler: ``HOST:PORT`` where KEDA finds the external scaler, which asks nobody who they are; empty = nowhere.
        scaler_tls: It uses the server's certificate, and with `client_ca` its callers have to show one.
        keep_jobs: No job is removed, whatever its retention says: the store only grows.
        lease_s: How long a silent ant keeps its tasks; the default is FORMICARY_LEASE_S, else 10. A shorter one runs
            the tasks of a lost ant again sooner and takes them away from one that was merely slow.

    Raises:
        Problem: VALIDATION_FAILED; the text says which value and what to do.
    """

    data: Path
    database: str = ""
    host: str = "127.0.0.1"
    http_port: int = 7777
    grpc_port: int = 7778
    ants: int = 1
    slots: int = 4
    tags: frozenset[str] = frozenset()
    resources: Mapping[str, float] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    paths: tuple[Path, ...] = ()
    methods: Mapping[str, str] = field(default_factory=dict)
    grace_s: float = 30.0
    auth: str = ""
    tls_cert: Path | None = None
    tls_key: Path | None = None
    client_ca: Path | None = None
    secret_key_file: Path | None = None
    ant_port: int = 7779
    oidc: OidcConfig | None = None
    insecure: bool = False
    rate_per_s: float = 100.0
    audit_days: float = 90.0
    keep_jobs: bool = False
    alerts: Path | None = None
    scaler: str = ""
    scaler_tls: bool = False
    cors_origins: tuple[str, ...] = ()
    otlp_endpoint: str = ""
    queue_url: str = ""
    queues: str | None = None
    queues_file: str = ""
    notify: NotifyConfig = field(default_factory=NotifyConfig)
    lease_s: float = field(default_factory=lambda: _lease_from_environment())

    def __post_init__(self) -> None:
        if self.auth not in ("", TOKEN):
            raise problem("VALIDATION_FAILED", f"{self.auth[:40]!r} is no kind of authentication: use token.")
        if not self.auth:
            check_loopback(self.host)
        elif not (self.insecure or self.tls_cert or is_loopback(self.host)):
            raise problem(
                "VALIDATION_FAILED",
                f"{self.host} is not a loopback address, and this server does not encrypt: tokens could be read on "
                "their way. Add --tls-cert FILE --tls-key FILE, put a proxy with TLS before a loopback address, or add "
                "--insecure.",
            )
        if self.otlp_endpoint and not self.otlp_endpoint.startswith(("http://", "https://")):
            raise problem("VALIDATION_FAILED", f"{self.otlp_endpoint[:80]!r}: give it as http://HOST:4317, or https.")
        if self.queue_url and not self.queue_url.startswith(QUEUES):
            known = " or ".join(QUEUES)
            raise problem("VALIDATION_FAILED", f"The address of the queue begins with {known}, not with anything else.")
        if self.scaler and not self.scaler.rpartition(":")[2].isdigit():
            raise problem("VALIDATION_FAILED", f"--scaler {self.scaler[:80]}: give it as HOST:PORT, like 0.0.0.0:7780.")
        if self.scaler_tls and not (self.scaler and self.tls_cert):
            raise problem("VALIDATION_FAILED", "--scaler-tls goes with --scaler HOST:PORT and --tls-cert FILE.")
        for text in self.cors_origins:
            origin(text)
        self._check_tls()
        if not self.rate_per_s > 0:
            raise problem("VALIDATION_FAILED", "The rate has to be more than 0 calls a second.")
        if not self.audit_days >= 0:
            raise problem("VALIDATION_FAILED", "The audit log is kept for 0 days (for ever) or more.")
        if not self.lease_s >= MIN_LEASE_S:
            raise problem("VALIDATION_FAILED", f"{LEASE_VARIABLE}: the lease has to be {MIN_LEASE_S:g} s at least.")

    def _check_tls(self) -> None:
        if (self.tls_cert is None) != (self.tls_key is None):
            raise problem("VALIDATION_FAILED", "A certificate and its key are given together: --tls-cert, --tls-key.")
        if self.client_ca is not None and not (self.tls_cert and self.auth):
            raise problem(
                "VALIDATION_FAILED", "--client-ca needs --auth and the server's own --tls-cert and --tls-key."
            )
        if self.oidc is not None and not self.auth:
            raise problem("VALIDATION_FAILED", "--oidc-issuer needs --auth token: else nobody is asked for a token.")
        if self.tls_cert is not None and len(os.fsencode(self.socket)) > LONGEST_SOCKET:
            raise problem(
                "VALIDATION_FAILED",
                f"{self.socket} is too long for a socket, through which local ants reach a server with TLS: choose a "
                f"data directory with a path of at most {LONGEST_SOCKET - len(SOCKET_FILE) - 1} bytes.",
            )

    @property
    def socket(self) -> Path:
        """Where local ants find a server with TLS."""
        return self.data / SOCKET_FILE

    @property
    def ant_host(self) -> str:
        """Where the local ants find the queen."""
        return {"0.0.0.0": "127.0.0.1", "::": "::1", "[::]": "[::1]"}.get(self.host, self.host)

    @property
    def target(self) -> str:
        """What the store is opened with."""
        return self.database or str(self.data)

    @property
    def core(self) -> CoreConfig:
        """Lease, reconnect grace and beats in proportion."""
        usual = CoreConfig()
        share = min(1.0, self.lease_s / usual.lease_s)
        return CoreConfig(
            lease_s=self.lease_s,
            reconnect_grace_s=usual.reconnect_grace_s * share,
            beat_interval_s=usual.beat_interval_s * share,
        )


def _lease_from_environment() -> float:
    text = os.environ.get(LEASE_VARIABLE, "")
    try:
        return float(text) if text else CoreConfig().lease_s
    except ValueError:
        raise problem("VALIDATION_FAILED", f"{LEASE_VARIABLE} is {text[:40]!r}: give a number of seconds.") from None
