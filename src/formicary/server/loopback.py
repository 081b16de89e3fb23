"""Which addresses only this machine reaches."""

from __future__ import annotations

import ipaddress

from formicary.problems import problem


def is_loopback(host: str) -> bool:
    """Whether nobody but this machine reaches the host."""
    name = host.strip("[]")
    try:
        return name == "localhost" or ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def check_loopback(host: str) -> str:
    """The host as it was given. Raises Problem VALIDATION_FAILED where it is not a loopback address."""
    if not is_loopback(host):
        raise problem(
            "VALIDATION_FAILED",
            f"{host} is not a loopback address. Nobody is authenticated, so this machine only is served: use "
            "127.0.0.1, ::1 or localhost, or have callers send tokens.",
        )
    return host
