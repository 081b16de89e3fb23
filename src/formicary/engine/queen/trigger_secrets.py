"""Where triggers find their secrets: a port, and the one that needs nothing but the server's environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from formicary.engine.jobs.triggers import WebhookAuth
from formicary.engine.queen.configs import Configs
from formicary.engine.queen.keyring import VARIABLE

PREFIX = "FORMICARY_SECRET_"
FOLDER_VARIABLE = "FORMICARY_SECRET_DIR"
"""Names the folder of `secret_file`."""
_RESERVED = frozenset({VARIABLE, f"{VARIABLE}_FILE", FOLDER_VARIABLE})
MOST_BYTES = 64 * 1024


def missing(auth: WebhookAuth) -> str:
    """What to say where the secret of a trigger is nowhere."""
    if auth.secret_env:
        return f"its secret is not set: the server's environment has no {auth.secret_env}"
    if auth.secret_file:
        return f"its secret is not set: the server has no file {auth.secret_file} in the folder of {FOLDER_VARIABLE}"
    name = auth.secret_config
    return f"its secret is not set: `formicary secrets set {name}`, or {PREFIX}{name} in the server's environment"


class TriggerSecrets(Protocol):
    """Finds the secret of a trigger."""

    def find(self, org: str, job_type: str, auth: WebhookAuth) -> bytes:
        """The secret, empty where there is none; may block."""
        ...


class ServerSecrets:
    """Secrets of the server's environment: variables whose names begin with ``FORMICARY_SECRET_``, and files of one
    folder. They are read anew with each request, so that a file can be replaced.

    Args:
        environment: None = that of the process.
    """

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        self._environment = os.environ if environment is None else environment

    def find(self, org: str, job_type: str, auth: WebhookAuth) -> bytes:
        """The secret, empty where there is none."""
        if auth.secret_env:
            return self._variable(auth.secret_env)
        if auth.secret_file:
            return self._file(auth.secret_file)
        name = auth.secret_config
        return (self._variable(PREFIX + name) or self._file(name)) if name else b""

    def _variable(self, name: str) -> bytes:
        is_free = name.startswith(PREFIX) and name not in _RESERVED
        return self._environment.get(name, "").encode() if is_free else b""

    def _file(self, name: str) -> bytes:
        folder = self._environment.get(FOLDER_VARIABLE, "")
        if not folder or "/" in name or name.startswith("."):
            return b""
        try:
            with (Path(folder) / name).open("rb") as file:
                return file.read(MOST_BYTES).strip()
        except OSError:
            return b""


class StoredSecrets:
    """Secrets that were set with `formicary secrets set`, by the name in `secret_config`; then those of the server.

    Args:
        configs: The configurations of the queen.
        others: Where else secrets are; None = the server's environment.
    """

    def __init__(self, configs: Configs, others: TriggerSecrets | None = None) -> None:
        self._configs = configs
        self._others = others or ServerSecrets()

    def find(self, org: str, job_type: str, auth: WebhookAuth) -> bytes:
        """The secret, empty where there is none or it cannot be read."""
        own = self._configs.secret_text(org, job_type, auth.secret_config) if auth.secret_config else ""
        return own.encode() or self._others.find(org, job_type, auth)
