"""The token that clients send, and the way it goes."""

from __future__ import annotations

import os

from formicary.engine.ants.channel import Reach, is_local, reach
from formicary.problems import Problem, problem

VARIABLE = "FORMICARY_TOKEN"
TLS_VARIABLE = "FORMICARY_TLS"
CA_VARIABLE = "FORMICARY_CA"
_NO = ("", "0", "false", "no", "off")


def bearer(token: str | None) -> tuple[tuple[str, str], ...]:
    """Metadata that says who is calling.

    Args:
        token: None = what FORMICARY_TOKEN holds; empty = send nothing.
    """
    found = os.environ.get(VARIABLE, "") if token is None else token
    return (("authorization", f"Bearer {found}"),) if found else ()


def way_to(address: str, *, tls: bool | None, ca: str | None) -> Reach:
    """The way to a gRPC port.

    Args:
        address: HOST:PORT, https://HOST:PORT, http://HOST:PORT or unix:PATH.
        tls: None = what FORMICARY_TLS says, or whether certificates are named.
        ca: File of trusted certificates; None = FORMICARY_CA, empty = the well-known ones.

    Raises:
        Problem: VALIDATION_FAILED.
    """
    named = trusted(ca)
    said = os.environ.get(TLS_VARIABLE, "").strip().lower() not in _NO
    wanted = (said or bool(named)) if tls is None else tls
    return reach(address, tls=wanted, ca=named if wanted or "://" in address else "")


def trusted(ca: str | None) -> str:
    """File of the certificates to trust: as given, else FORMICARY_CA; empty = the well-known ones."""
    return os.environ.get(CA_VARIABLE, "") if ca is None else ca


def keep_secret(where: str, *, is_private: bool, has_token: bool, insecure: bool) -> None:
    """Refuses to send a token where others can read it.

    Raises:
        Problem: FAILED_PRECONDITION.
    """
    if has_token and not (is_private or insecure):
        raise _readable(where)


def is_private_url(url: str) -> bool:
    """Whether nobody on the way can read what is sent to a URL."""
    scheme, _, rest = url.partition("://")
    return scheme.lower() == "https" or is_local(rest.partition("/")[0].rpartition("@")[2])


def _readable(where: str) -> Problem:
    return problem(
        "FAILED_PRECONDITION",
        f"The token would travel to {where} as plain text, and whoever reads it can use it.",
        remedy='Encrypt the connection with --tls or --ca FILE (tls=True, ca="FILE", or https:// in the address); in '
        "a network that you trust, say --insecure (insecure=True).",
    )
