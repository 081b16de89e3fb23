"""The mapping of the engine's own chain: what its API takes from headers, and what it sends back."""

from __future__ import annotations

from collections.abc import Sequence

from formicary.headers.compiling import compile_mapping
from formicary.headers.mapping import HeaderMapping
from formicary.headers.model import MappingConfig, Rule
from formicary.headers.presets import SECURITY


def engine_mapping(
    mappings: Sequence[Rule] = (), *, trusted_peers: Sequence[str] = (), hsts: bool = False
) -> HeaderMapping:
    """Makes the mapping that belongs between the deadline and the authentication of the engine's chain.

    It is the preset ``engine``: common, authentication, tracing, rate limit and security headers. Traces are the
    chain's own, so nothing is generated for them here; ids of requests and correlations are, and come back.

    Args:
        mappings: More rules; one with the header and key of the preset's replaces it.
        trusted_peers: Networks, or ``unix``, whose identity headers are believed.
        hsts: Whether to send Strict-Transport-Security; only for a host that serves nothing over plain HTTP.

    Raises:
        Problem: VALIDATION_FAILED with every mistake.
    """
    own = tuple(rule for rule in SECURITY if hsts and rule.header == "Strict-Transport-Security")
    return compile_mapping(
        MappingConfig(presets=("engine",), mappings=(*own, *mappings), trusted_peers=tuple(trusted_peers))
    )
