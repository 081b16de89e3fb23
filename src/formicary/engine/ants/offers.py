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
PRIVATE_VARIABLES = (NATS_VARIABLE, WORKER_TOKEN_VARIABLE)
"""What the ant needs and the tasks it starts must not have."""


def nats_here(environment: Mapping[str, str] = os.environ) -> str:
    """Where the environment says that NATS is; empty = nowhere."""
    return environment.get(NATS_VARIABLE, "").strip()


def missing_for(method: str, *, nats: str) -> str:
    """What a method needs and has not got here, as the end of a sentence; empty = it can be offered."""
    if method == "MESSAGING":
        if not nats:
            return f"needs a NATS server: set {NATS_VARIABLE}, like nats://127.0.0.1:4222"
        if find_spec("nats") is None:
            return "needs a client for NATS: install formicary[nats]"
    if method == "WEBSOCKET" and find_spec("websockets") is None:
        return "needs a package: install formicary[websocket]"
    return ""


def methods_here(*, nats: str | None = None) -> frozenset[str]:
    """The methods an ant can offer here: those of this version as far as it has what they need, and installed ones.

    Args:
        nats: Where NATS is; None = as the environment says.
    """
    nats = nats_here() if nats is None else nats
    own = frozenset(method for method in AVAILABLE_METHODS if not missing_for(method, nats=nats))
    return own | installed().keys()


def missing_here(method: str) -> str:
    """Why :func:`methods_here` has not got a method, as the end of a sentence."""
    return missing_for(method, nats=nats_here()) or "needs a package that brings it, and none is installed here"
