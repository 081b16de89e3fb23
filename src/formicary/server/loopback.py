"""Only this machine may connect: this version does not know who is calling."""

from __future__ import annotations

import ipaddress

from formicary.problems import problem


def check_loopback(host: str) -> str:
    """The host as it was given. Raises Problem VALIDATION_FAILED where it is not a loopback address."""
    name = host.strip("[]")
    try:
        fine = name == "localhost" or ipaddress.ip_address(name).is_loopback
    except ValueError:
        fine = False
    if not fine:
        raise problem(
            "VALIDATION_FAILED",
            f"{host} is not a loopback address. This version does not authenticate anybody, so it serves this machine "
            "only: use 127.0.0.1, ::1 or localhost.",
        )
    return host
