"""Configuration of one ant: one frozen value, checked as a whole before anything starts."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from formicary.engine.ants.docker_spec import WORDS
from formicary.engine.ants.offers import (
    DEVICES_VARIABLE,
    DOCKER_ALLOW_VARIABLE,
    DOCKER_VOLUMES_VARIABLE,
    NATS_CREDENTIALS_VARIABLE,
    docker_certificates_here,
    docker_here,
    methods_here,
    missing_for,
    nats_here,
)
from formicary.engine.jobs.amounts import is_resource, read_labels
from formicary.engine.jobs.model import AVAILABLE_METHODS, is_third_party
from formicary.problems import FieldError, problem

if TYPE_CHECKING:
    from formicary.engine.ants.executors import Executor

MAX_SLOTS = 1024
_DEVICE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True, slots=True)
class AntDevice:
    """Something that one task at a time may use.

    Attributes:
        attributes: What tasks may ask for, like kind=a100.
        environment: What a task that has it finds in its environment; values of several devices are joined by commas.
    """

    attributes: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)


def read_device(text: str) -> tuple[str, AntDevice]:
    """Reads ``gpu0:kind=a100,memory=40,env.CUDA_VISIBLE_DEVICES=0``.

    Raises:
        ValueError: What is wrong, in words.
    """
    name, _, rest = text.partition(":")
    if not _DEVICE.fullmatch(name):
        raise ValueError(f"{text[:60]!r}: write NAME:KEY=VALUE,…, like gpu0:kind=a100; the name of letters and digits")
    given = read_labels(rest)
    environment = {key.removeprefix("env."): value for key, value in given.items() if key.startswith("env.")}
    strange = [key for key in environment if not _VARIABLE.fullmatch(key)]
    if strange:
        raise ValueError(f"env.{strange[0][:60]} names no environment variable")
    return name, AntDevice({key: value for key, value in given.items() if not key.startswith("env.")}, environment)


@dataclass(frozen=True, slots=True)
class AntConfig:
    """What one ant is and how patient it is. All durations are seconds, all sizes bytes.

    Attributes:
        ant_id: Name of the ant, unique in the colony; the same after a restart of its process.
        slots: Tasks that run at the same time, 1 to 1024. Too many share the processors and run into time-outs.
        tags: What the ant offers; a task with tags runs only where all of them are offered. Lower case; ``*`` offers
            every tag.
        resources: What the ant has for tasks to hold, by name, like cpu and memory; a task that asks for something else
            does not run here. Nothing measures it: too much oversubscribes the machine.
        labels: Values that the placement of a task may ask for.
        devices: Things that one task at a time may use, by name, with what tasks may ask for and what they are told.
        methods: Executors the ant offers; by default all of this version that have here what they need, and those of
            installed packages.
        paths: Folders put on the import path of PYTHON tasks, after the job's own folder.
        max_window: Most granted tasks held at once, running ones included. More hides the queen's commit time behind
            short tasks; what an ant holds cannot run elsewhere until it gives it back.
        warm_workers: PYTHON worker processes started at once instead of with the first task; at most ``slots``.
        default_timeout_s: Time-out of an attempt where neither the queen nor the task names one.
        lease_margin_s: How long before the queen's lease the ant's own copy of it ends. Too small: a task may run twice
            at the same time after a partition.
        announce_after_s: Attempts that run longer are announced as started; shorter ones are not worth a message.
        give_back_after_s: Tasks queued behind tasks that have run longer than this are given back to the queen.
        stop_grace_s: How long running tasks may go on after the ant was told to stop.
        kill_grace_s: From SIGTERM to SIGKILL when a SHELL task is ended.
        after_script_s: Longest run of ``after_script`` once its task was ended by a time-out or a cancel.
        flush_s: How long a stopping ant waits for the queen to acknowledge its last results.
        reconnect_min_s: First wait before connecting again; doubles with each failure.
        reconnect_max_s: Longest wait before connecting again.
        welcome_timeout_s: How long the queen may take to answer the hello.
        exit_when_orphaned: End the process once the lease has ended and no queen answers (for ants under ``up``).
        orphan_after_s: How long an ant that never met a queen counts as not orphaned.
        log_head_bytes: First part of an attempt's log, sent as it comes.
        log_tail_bytes: Last part of an attempt's log, sent at its end when the head was full; what lies between is
            dropped and counted.
        max_line_bytes: Longest log line; the rest of a longer one is cut off.
        max_pending_log_bytes: Log lines waiting for a slow or absent queen; more are dropped and counted.
        max_outputs_bytes: Outputs of one attempt as JSON; more fail it.
        max_body_bytes: Body of an HTTP answer; the rest is not read.
        python: Interpreter of the PYTHON workers.
        executors: Executors by method that are used instead of the built-in ones.
        nats: Addresses of NATS servers for MESSAGING, separated by commas; default FORMICARY_NATS. Empty = none.
        nats_credentials: File of a NATS user's credentials; default FORMICARY_NATS_CREDENTIALS. Empty = none.
        docker: Address of the Docker engine; default FORMICARY_DOCKER, DOCKER_HOST, or the socket where it usually is.
            Empty = none.
        docker_certificates: Folder of ca.pem, cert.pem and key.pem for it; default DOCKER_CERT_PATH where
            DOCKER_TLS_VERIFY is set.
        docker_volumes: Folders of the host and names of volumes that containers may have; default
            FORMICARY_DOCKER_VOLUMES, separated by colons.
        docker_allow: What else they may have of the host: privileged, host_network, devices, networks; default
            FORMICARY_DOCKER_ALLOW, separated by commas.
    """

    ant_id: str
    slots: int = field(default_factory=lambda: os.cpu_count() or 1)
    tags: frozenset[str] = frozenset()
    resources: Mapping[str, float] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    devices: Mapping[str, AntDevice] = field(default_factory=dict)
    methods: frozenset[str] = field(default_factory=methods_here)
    paths: tuple[str, ...] = ()
    max_window: int = 256
    warm_workers: int = 0
    default_timeout_s: float = 3600.0
    lease_margin_s: float = 1.0
    announce_after_s: float = 0.1
    give_back_after_s: float = 0.05
    stop_grace_s: float = 30.0
    kill_grace_s: float = 2.0
    after_script_s: float = 30.0
    flush_s: float = 10.0
    reconnect_min_s: float = 0.05
    reconnect_max_s: float = 2.0
    welcome_timeout_s: float = 5.0
    exit_when_orphaned: bool = False
    orphan_after_s: float = 10.0
    log_head_bytes: int = 8 * 1024 * 1024
    log_tail_bytes: int = 2 * 1024 * 1024
    max_line_bytes: int = 64 * 1024
    max_pending_log_bytes: int = 16 * 1024 * 1024
    max_outputs_bytes: int = 1024 * 1024
    max_body_bytes: int = 1024 * 1024
    python: str = field(default_factory=lambda: sys.executable)
    executors: Mapping[str, Executor] = field(default_factory=dict)
    nats: str = field(default_factory=nats_here, repr=False)
    nats_credentials: str = field(default_factory=lambda: os.environ.get(NATS_CREDENTIALS_VARIABLE, ""), repr=False)
    docker: str = field(default_factory=docker_here)
    docker_certificates: str = field(default_factory=docker_certificates_here)
    docker_volumes: tuple[str, ...] = field(default_factory=lambda: _listed(DOCKER_VOLUMES_VARIABLE, ":"))
    docker_allow: frozenset[str] = field(default_factory=lambda: frozenset(_listed(DOCKER_ALLOW_VARIABLE, ",")))

    def __post_init__(self) -> None:
        """Checks every field and their relations.

        Raises:
            Problem: VALIDATION_FAILED with one error per field that is wrong.
        """
        errors = [*self._range_errors(), *self._relation_errors()]
        if errors:
            text = "; ".join(f"{error.field} {error.message}" for error in errors)
            raise problem("VALIDATION_FAILED", f"The ant's configuration is not valid: {text}.", errors=errors)

    def device_environment(self, names: Sequence[str]) -> dict[str, str]:
        """What a task that has these devices finds in its environment."""
        found: dict[str, list[str]] = {DEVICES_VARIABLE: list(names)}
        for name in names:
            for variable, value in self.devices[name].environment.items() if name in self.devices else ():
                found.setdefault(variable, []).append(value)
        return {variable: ",".join(values) for variable, values in found.items()}

    def _range_errors(self) -> list[FieldError]:
        errors: list[FieldError] = []
        if not self.ant_id or len(self.ant_id) > 200 or any(c.isspace() for c in self.ant_id):
            errors.append(_error("ant_id", "must have 1 to 200 characters and no blanks"))
        if not 1 <= self.slots <= MAX_SLOTS:
            errors.append(_error("slots", f"must lie between 1 and {MAX_SLOTS}"))
        for name in _POSITIVE:
            if not getattr(self, name) > 0:
                errors.append(_error(name, "must be greater than 0"))
        if any(tag != tag.lower() or not tag for tag in self.tags):
            errors.append(_error("tags", "must be lower case and not empty"))
        if any(not is_resource(name) or not amount >= 0 for name, amount in self.resources.items()):
            errors.append(_error("resources", "must be lower-case names with amounts of 0 or more"))
        unknown = sorted(m for m in self.methods - AVAILABLE_METHODS if not is_third_party(m))
        if unknown:
            errors.append(_error("methods", f"names {', '.join(unknown)}, which this version cannot run"))
        missing = [path for path in self.paths if not Path(path).is_dir()]
        if missing:
            errors.append(_error("paths", f"names {', '.join(missing)}, which is not a folder"))
        if strange := sorted(self.docker_allow - set(WORDS)):
            errors.append(_error("docker_allow", f"names {', '.join(strange)}; possible are {', '.join(WORDS)}"))
        if self.docker and not self.docker.startswith(("unix:///", "tcp://", "http://", "https://")):
            errors.append(_error("docker", "must be an address like unix:///var/run/docker.sock or tcp://HOST:2376"))
        errors += [_error("methods", f"names {method}, which {why}") for method, why in self._unmet()]
        return errors

    def _unmet(self) -> list[tuple[str, str]]:
        """Methods that lack what they need, each with what that is."""
        own = sorted(self.methods & AVAILABLE_METHODS - self.executors.keys())
        return [(method, why) for method in own if (why := missing_for(method, nats=self.nats, docker=self.docker))]

    def _relation_errors(self) -> list[FieldError]:
        errors: list[FieldError] = []
        if self.max_window < self.slots:
            errors.append(_error("max_window", "must not be smaller than slots"))
        if not 0 <= self.warm_workers <= self.slots:
            errors.append(_error("warm_workers", "must lie between 0 and slots"))
        if self.reconnect_max_s < self.reconnect_min_s:
            errors.append(_error("reconnect_max_s", "must not be smaller than reconnect_min_s"))
        return errors


def machine_resources(parts: int = 1) -> dict[str, float]:
    """The processors and the memory (bytes) of this machine, divided among so many ants."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {"cpu": (os.cpu_count() or 1) / parts, "memory": float(memory // parts)}


_POSITIVE = (
    "default_timeout_s", "lease_margin_s", "announce_after_s", "give_back_after_s", "stop_grace_s", "kill_grace_s",
    "after_script_s", "flush_s", "reconnect_min_s", "reconnect_max_s", "welcome_timeout_s", "orphan_after_s",
    "log_head_bytes", "log_tail_bytes", "max_line_bytes", "max_pending_log_bytes", "max_outputs_bytes",
    "max_body_bytes",
)  # fmt: skip


def _listed(variable: str, separator: str) -> tuple[str, ...]:
    return tuple(filter(None, (part.strip() for part in os.environ.get(variable, "").split(separator))))


def _error(name: str, message: str) -> FieldError:
    return FieldError(name, "INVALID_VALUE", message)
