"""Which methods can be offered here: some need a server or a package that is not everywhere."""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib.util import find_spec

from formicary.engine.ants.plugins import installed
from formicary.engine.jobs.model import AVAILABLE_METHODS

NATS_VARIABLE = "FORMICARY_NATS"
"""Addresses of NATS servers, separated by commas: ``nats://USER:PASSWORD@HOST:4222``, ``tls://…``."""
NATS_CREDENTIALS_VARIABLE = "FORMICARY_NATS_CREDENTIALS"
"""File of a NATS user's credentials."""
WORKER_TOKEN_VARIABLE = "FORMICARY_WORKER_TOKEN"
"""What workers have to know that register at an ant's port."""
DOCKER_VARIABLE = "FORMICARY_DOCKER"
"""Address of the Docker engine, or ``none``; else DOCKER_HOST, else the usual socket."""
DOCKER_VOLUMES_VARIABLE = "FORMICARY_DOCKER_VOLUMES"
"""What containers may mount: folders of the host and names of volumes, separated by colons."""
DOCKER_ALLOW_VARIABLE = "FORMICARY_DOCKER_ALLOW"
"""What else they may have of the host, separated by commas."""
_DOCKER_SOCKET = "/var/run/docker.sock"
DEVICES_VARIABLE = "FORMICARY_DEVICES"
"""Names of the devices that a task has, separated by commas."""
PRIVATE_VARIABLES = (NATS_VARIABLE, WORKER_TOKEN_VARIABLE, "FORMICARY_CHECKPOINT", DEVICES_VARIABLE)
"""What the ant needs and the tasks it starts must not have; and what is of the task that the ant itself runs in."""


def nats_here(environment: Mapping[str, str] = os.environ) -> str:
    """Where the environment says that NATS is; empty = nowhere."""
    return environment.get(NATS_VARIABLE, "").strip()


def docker_here(environment: Mapping[str, str] = os.environ) -> str:
    """Where the Docker engine is; empty = nowhere."""
    given = environment.get(DOCKER_VARIABLE, "").strip() or environment.get("DOCKER_HOST", "").strip()
    if given:
        return "" if given == "none" else given
    return f"unix://{_DOCKER_SOCKET}" if os.access(_DOCKER_SOCKET, os.R_OK | os.W_OK) else ""


def docker_certificates_here(environment: Mapping[str, str] = os.environ) -> str:
    """The folder of certificates for it; empty = no TLS."""
    if not environment.get("DOCKER_TLS_VERIFY"):
        return ""
    return environment.get("DOCKER_CERT_PATH") or os.path.expanduser("~/.docker")


def missing_for(method: str, *, nats: str, docker: str) -> str:
    """What a method needs and has not got here, as the end of a sentence; empty = it can be offered."""
    if method == "MESSAGING":
        if not nats:
            return f"needs a NATS server: set {NATS_VARIABLE}, like nats://127.0.0.1:4222"
        if find_spec("nats") is None:
            return "needs a client for NATS: install formicary[nats]"
    if method == "DOCKER" and not docker:
        return f"needs a Docker engine: start one, or set {DOCKER_VARIABLE}, like unix:///run/user/1000/docker.sock"
    if method == "WEBSOCKET" and find_spec("websockets") is None:
        return "needs a package: install formicary[websocket]"
    return ""


def methods_here(*, nats: str | None = None, docker: str | None = None) -> frozenset[str]:
    """The methods an ant can offer here: those of this version as far as it has what they need, and installed ones.

    Args:
        nats: Where NATS is; None = as the environment says.
        docker: Where the Docker engine is; None = as the environment says.
    """
    nats = nats_here() if nats is None else nats
    docker = docker_here() if docker is None else docker
    own = frozenset(method for method in AVAILABLE_METHODS if not missing_for(method, nats=nats, docker=docker))
    return own | installed().keys()


def missing_here(method: str) -> str:
    """Why :func:`methods_here` has not got a method, as the end of a sentence."""
    return (
        missing_for(method, nats=nats_here(), docker=docker_here())
        or "needs a package that brings it, and none is installed here"
    )
