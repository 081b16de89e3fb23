"""The options of `formicary up` about certificates, keys of secrets and an issuer of tokens."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypedDict

import click

from formicary.cli import exits
from formicary.problems import Problem
from formicary.server.auth.oidc_config import OidcConfig

_PORT = click.IntRange(0, 65535)
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_OPTIONS = (
    click.option(
        "--tls-cert", type=_FILE, help="Certificate with its chain (PEM) for both ports; read again when renewed."
    ),
    click.option("--tls-key", type=_FILE, help="Key of the certificate."),
    click.option(
        "--client-ca", type=_FILE, help="Certificates that sign those of ants, for --ant-port; only with --auth."
    ),
    click.option(
        "--ant-port",
        type=_PORT,
        default=7779,
        show_default=True,
        help="With --client-ca: gRPC port for ants that show a certificate; 0 = any free port.",
    ),
    click.option(
        "--secret-key-file",
        type=_FILE,
        envvar="FORMICARY_SECRET_KEY_FILE",
        help="Keys of secrets, from `formicary secrets keygen` (FORMICARY_SECRET_KEY_FILE, or FORMICARY_SECRET_KEY).",
    ),
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


class Secured(TypedDict):
    """What the options say, as the configuration has it."""

    tls_cert: Path | None
    tls_key: Path | None
    client_ca: Path | None
    ant_port: int
    secret_key_file: Path | None
    oidc: OidcConfig | None


def securing_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options; the command is given all of them as one argument ``secured``."""

    @functools.wraps(command)
    def gathered(**given: Any) -> Any:
        try:
            oidc = _oidc(given)
        except Problem as error:
            exits.tell(error)
            return exits.CANNOT_START
        secured = Secured(
            tls_cert=given.pop("tls_cert"),
            tls_key=given.pop("tls_key"),
            client_ca=given.pop("client_ca"),
            ant_port=given.pop("ant_port"),
            secret_key_file=given.pop("secret_key_file"),
            oidc=oidc,
        )
        return command(**given, secured=secured)

    for option in reversed(_OPTIONS):
        gathered = option(gathered)
    return gathered


def _oidc(given: dict[str, Any]) -> OidcConfig | None:
    """Takes what is said of the issuer out of the arguments. Raises Problem, click.UsageError."""
    issuer, audience, jwks, roles, org = (
        given.pop(f"oidc_{name}") for name in ("issuer", "audience", "jwks", "roles_claim", "org_claim")
    )
    if issuer:
        return OidcConfig(issuer, audience, jwks, roles, org, insecure=bool(given.get("insecure")))
    if audience or jwks:
        raise click.UsageError("--oidc-audience and --oidc-jwks need --oidc-issuer URL.")
    return None
