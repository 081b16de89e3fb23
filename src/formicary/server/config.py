"""What a server is told: one frozen value, checked as a whole before anything starts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class UpConfig:
    """Configuration of ``formicary up``. All durations are seconds.

    Attributes:
        data: Data directory: lock, SQLite file, logs, the list of running ants.
        host: Address that both ports listen on; loopback only.
        http_port: Port of health pages; 0 = any free one.
        grpc_port: Port of clients and ants; 0 = any free one. Ants of a killed server are adopted only where it stays.
        ants: Local ants to keep running; 0 = none, they are started elsewhere.
        slots: Tasks that run at the same time per ant; 0 = one per processor.
        database: ``postgresql://…`` instead of the SQLite file in ``data``.
        paths: Folders put on the import path of PYTHON tasks.
        tags: What the local ants offer.
        methods: Executor used instead of another one, like ``{"KUBERNETES": "SHELL"}``.
        grace_s: How long running tasks may go on after SIGTERM.
    """

    data: Path
    host: str = "127.0.0.1"
    http_port: int = 7777
    grpc_port: int = 7778
    ants: int = 1
    slots: int = 0
    database: str | None = None
    paths: tuple[str, ...] = ()
    tags: frozenset[str] = frozenset()
    methods: Mapping[str, str] = field(default_factory=dict)
    grace_s: float = 30.0
