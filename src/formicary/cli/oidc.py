"""The options of `formicary up` about an issuer of tokens."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import click

from formicary.cli import exits
from formicary.problems import Problem
from formicary.server.auth.oidc_config import OidcConfig

_OPTIONS = (
    click.option(
        "--oidc-issuer",
        default="",
        envvar="FORMICARY_OIDC_ISSUER",
        metavar="URL",
        help="Take JSON web tokens of this OpenID Connect issuer beside API tokens (FORMICARY_OIDC_ISSUER).",
    ),
    click.option(
        "--oidc-audience",
        default="",
        envvar="FORMICARY_OIDC_AUDIENCE",
        metavar="NAME",
        help="What they name as their audience: this server (FORMICARY_OIDC_AUDIENCE).",
    ),
    click.option("--oidc-jwks", default="", metavar="URL", help="The issuer's keys; default as its discovery says."),
    click.option(
        "--oidc-roles-claim", default="roles", show_default=True, metavar="NAME", help="Claim with the caller's roles."
    ),
    click.option(
        "--oidc-org-claim", default="org", show_default=True, metavar="NAME", help="Claim with the organisation."
    ),
)


def oidc_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options; the command is given one argument ``oidc``, None without an issuer."""

    @functools.wraps(command)
    def gathered(**given: Any) -> Any:
        issuer, audience, jwks, roles, org = (
            given.pop(f"oidc_{name}") for name in ("issuer", "audience", "jwks", "roles_claim", "org_claim")
        )
        oidc = None
        if issuer:
            try:
                oidc = OidcConfig(issuer, audience, jwks, roles, org, insecure=bool(given.get("insecure")))
            except Problem as error:
                exits.tell(error)
                return exits.CANNOT_START
        elif audience or jwks:
            raise click.UsageError("--oidc-audience and --oidc-jwks need --oidc-issuer URL.")
        return command(**given, oidc=oidc)

    for option in reversed(_OPTIONS):
        gathered = option(gathered)
    return gathered
