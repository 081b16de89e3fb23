"""Whose JSON web tokens a server takes: one frozen value, checked as a whole."""

from __future__ import annotations

from dataclasses import dataclass

from formicary.problems import problem
from formicary.server.loopback import is_loopback

ALGORITHMS = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"})
"""Signatures that are taken: asymmetric ones. None, and those with a shared secret, never are."""


@dataclass(frozen=True, slots=True)
class OidcConfig:
    """An issuer of OpenID Connect.

    Attributes:
        issuer: Its URL, exactly as tokens name it in ``iss``.
        audience: What tokens must name in ``aud``: this server, as the issuer knows it.
        jwks_url: Where its keys are; empty = where its discovery document says.
        roles_claim: Claim with the roles, a list or a text with blanks; dots lead into objects.
        org_claim: Claim with the organisation.
        algorithms: Signatures that are taken, a part of :data:`ALGORITHMS`.
        leeway_s: How far its clock may be from ours.
        refresh_s: How old keys get before they are asked for again, in the background.
        interval_s: Shortest time between two questions for keys, whatever tokens arrive. Too long: tokens that are
            signed with a new key are refused meanwhile; too short: strangers can have us trouble the issuer.
        timeout_s: Longest time that one question takes.
        insecure: The issuer may be asked without TLS beyond this machine.

    Raises:
        Problem: VALIDATION_FAILED.
    """

    issuer: str
    audience: str
    jwks_url: str = ""
    roles_claim: str = "roles"
    org_claim: str = "org"
    algorithms: frozenset[str] = ALGORITHMS
    leeway_s: float = 30.0
    refresh_s: float = 600.0
    interval_s: float = 10.0
    timeout_s: float = 5.0
    insecure: bool = False

    def __post_init__(self) -> None:
        if not self.audience:
            raise problem("VALIDATION_FAILED", "--oidc-issuer needs --oidc-audience: whom its tokens are for.")
        for option, url in (("--oidc-issuer", self.issuer), ("--oidc-jwks", self.jwks_url)):
            if url or option == "--oidc-issuer":
                check_url(url, option, insecure=self.insecure)
        if not self.algorithms or not self.algorithms <= ALGORITHMS:
            raise problem("VALIDATION_FAILED", f"Signatures are some of {', '.join(sorted(ALGORITHMS))}.")
        if not (self.roles_claim and self.org_claim):
            raise problem("VALIDATION_FAILED", "The claims with roles and organisation need names.")


def check_url(url: str, option: str, *, insecure: bool) -> None:
    """Checks where keys come from. Raises Problem VALIDATION_FAILED for a URL whose answer others could change."""
    scheme, _, rest = url.partition("://")
    host = rest.partition("/")[0].rpartition("@")[2]
    name = host.partition("]")[0] if host.startswith("[") else host.partition(":")[0]
    if scheme not in ("https", "http") or not name:
        raise problem("VALIDATION_FAILED", f"{option} {url[:200]}: write https://HOST/…")
    if scheme == "http" and not (insecure or is_loopback(name)):
        text = f"{option} {url[:200]}: keys that come as plain text can be anybody's; use https, or add --insecure."
        raise problem("VALIDATION_FAILED", text)
