"""What it costs a call to find out who is calling: API tokens, and an issuer's tokens by three kinds of signature.

``python -m bench.access --output json`` prints one document. Each call runs the interceptor `Authenticate` in this
process in front of a handler that does nothing, and the figure is what it adds to the same handler alone, in processor
time of this thread. *New* tokens have never come before: an API token is hashed, an issuer's is parsed and its
signature verified. *Known* ones came before: only whether they still hold is looked at.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import time
from collections.abc import Sequence
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from google.protobuf.empty_pb2 import Empty
from grpc_health.v1 import health_pb2
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from bench import machine
from formicary.engine.storage.memory import MemoryStore
from formicary.gateway import Call, Method, Service, bind
from formicary.server.auth.interceptors import Authenticate
from formicary.server.auth.jwks import KeySet, new_http, read_keys
from formicary.server.auth.oidc import Issuer
from formicary.server.auth.oidc_config import OidcConfig
from formicary.server.auth.tokens import TokenBook, new_token

ISSUER, AUDIENCE = "https://issuer.example", "formicary"
CLAIMS = {"iss": ISSUER, "aud": AUDIENCE, "org": "acme", "roles": ["viewer"]}


class Nothing:
    """Answers at once."""

    async def Check(self, _: Any, __: Call) -> Any:
        """Unary."""
        return _ANSWER

    List = Watch = Check


_ANSWER = Empty()


class _Keys(KeySet):
    """The keys of an issuer that need not be fetched."""

    def __init__(self, config: OidcConfig, document: dict[str, Any]) -> None:
        super().__init__(config, new_http(config))
        self._keys, self._fetched_at = read_keys(document, config.algorithms), self._now()


def _signers() -> dict[str, tuple[Any, dict[str, Any]]]:
    """A private key and its public half as JWK, by algorithm."""
    rsa_key, ec_key = rsa.generate_private_key(65537, 2048), ec.generate_private_key(ec.SECP256R1())
    ed_key = ed25519.Ed25519PrivateKey.generate()
    return {
        "RS256": (rsa_key, RSAAlgorithm.to_jwk(rsa_key.public_key(), as_dict=True)),
        "ES256": (ec_key, ECAlgorithm.to_jwk(ec_key.public_key(), as_dict=True)),
        "EdDSA": (ed_key, OKPAlgorithm.to_jwk(ed_key.public_key(), as_dict=True)),
    }


def _issuer(signers: dict[str, tuple[Any, dict[str, Any]]]) -> Issuer:
    config = OidcConfig(ISSUER, AUDIENCE)
    listed = [{**public, "kid": kid, "use": "sig"} for kid, (_, public) in signers.items()]
    return Issuer(config, _Keys(config, {"keys": listed}))


async def _tokens(book: TokenBook, signers: dict[str, tuple[Any, dict[str, Any]]], n: int) -> dict[str, list[str]]:
    """So many headers of each kind."""
    found: dict[str, list[str]] = {"API token": []}
    for _ in range(n):
        text, token = new_token("viewer", "acme")
        await book.add(token)
        found["API token"].append(f"Bearer {text}")
    until = time.time() + 3600
    for kind, (private, _) in signers.items():
        claims = [{**CLAIMS, "sub": f"user {at}", "exp": until} for at in range(n)]
        found[kind] = ["Bearer " + jwt.encode(each, private, kind, {"kid": kind}) for each in claims]
    return found


async def _per_call_us(method: Method, headers: Sequence[str]) -> float:
    request = health_pb2.HealthCheckRequest()
    begin = time.thread_time()
    for header in headers:
        call = Call(method, "grpc", (("authorization", header),))
        call.request = request
        await method.run(call)
    return (time.thread_time() - begin) / len(headers) * 1e6


def _method(*chain: Any) -> Method:
    service = Service(health_pb2.DESCRIPTOR.services_by_name["Health"], Nothing())
    return next(one for one in bind([service], chain) if one.name == "Check")


async def measure(calls: int, rounds: int) -> list[dict[str, object]]:
    """Measures each kind, new and known; a row each."""
    signers = _signers()
    figures: dict[tuple[str, str], list[float]] = {}
    alone = _method()
    for _ in range(rounds):
        book = TokenBook(MemoryStore())
        checked = _method(Authenticate(book, [_issuer(signers).verify]))
        for kind, headers in (await _tokens(book, signers, calls)).items():
            plain = await _per_call_us(alone, headers * 10)
            new = await _per_call_us(checked, headers)
            known = await _per_call_us(checked, headers[-1:] * calls * 10)
            figures.setdefault((kind, "new"), []).append(new - plain)
            figures.setdefault((kind, "known"), []).append(known - plain)
    return [_row(f"{kind}, {how}", runs) for (kind, how), runs in figures.items()]


def _row(what: str, runs: list[float]) -> dict[str, object]:
    spread = {"median": round(statistics.median(runs), 2), "min": round(min(runs), 2), "max": round(max(runs), 2)}
    return {"what": what, "unit": "µs added to a call", **spread, "runs": [round(run, 2) for run in runs]}


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(prog="python -m bench.access", description=__doc__)
    parser.add_argument("--output", choices=["table", "json"], default="table")
    parser.add_argument("--calls", type=int, default=300, help="new tokens of a kind in a round, default 300")
    parser.add_argument("--rounds", type=int, default=7)
    chosen = parser.parse_args()
    rows = asyncio.run(measure(chosen.calls, chosen.rounds))
    if chosen.output == "json":
        document = {"name": "access", "machine": machine.facts(), "figures": rows, "bars": [], "peers": []}
        json.dump(document, sys.stdout, indent=2, ensure_ascii=False)
        sys.stdout.write("\n")
        return
    for row in rows:
        print(f"{row['what']:<18} {row['median']:>8} {row['unit']}  ({row['min']} to {row['max']})")


if __name__ == "__main__":
    main()
