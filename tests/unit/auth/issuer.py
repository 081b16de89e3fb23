"""A real issuer on loopback: discovery and keys over HTTP, tokens signed with keys that it makes."""

from __future__ import annotations

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

Private = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
AUDIENCE = "formicary"


class FakeIssuer:
    """Serves its keys until it is closed.

    Attributes:
        keys: Private keys by name.
        questions: How often its keys were asked for.
        body: What it answers instead of its keys, where that is not None.
    """

    def __init__(self) -> None:
        self.keys: dict[str, Private] = {}
        self.questions = 0
        self.body: bytes | None = None
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        """Answers no more."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def new_key(self, kid: str, kind: str = "RS256") -> Private:
        """Makes a key."""
        if kind.startswith(("RS", "PS")):
            self.keys[kid] = rsa.generate_private_key(65537, 2048)
        elif kind == "EdDSA":
            self.keys[kid] = ed25519.Ed25519PrivateKey.generate()
        else:
            curves: dict[str, ec.EllipticCurve] = {"ES256": ec.SECP256R1(), "ES384": ec.SECP384R1()}
            self.keys[kid] = ec.generate_private_key(curves[kind])
        return self.keys[kid]

    def token(self, kid: str, algorithm: str = "RS256", headers: dict[str, Any] | None = None, **claims: Any) -> str:
        """A token that is good, but for what is said; a claim of None is left out."""
        now = time.time()
        usual = {"iss": self.url, "aud": AUDIENCE, "sub": "ada", "org": "acme", "roles": ["viewer"], "exp": now + 300}
        given = {name: value for name, value in {**usual, **claims}.items() if value is not None}
        named = {"kid": kid} if kid in self.keys else {}
        return jwt.encode(given, self.keys.get(kid) or self.keys["k1"], algorithm, {**named, **(headers or {})})

    def jwks(self) -> dict[str, Any]:
        """The public keys."""
        return {"keys": [{**_public(key), "kid": kid, "use": "sig"} for kid, key in self.keys.items()]}

    def _handler(issuer) -> type[BaseHTTPRequestHandler]:  # the class inside has a self of its own
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                found: object = issuer.jwks()
                if self.path == "/.well-known/openid-configuration":
                    found = {"issuer": issuer.url, "jwks_uri": f"{issuer.url}/keys"}
                else:
                    issuer.questions += 1
                content = json.dumps(found).encode()
                if issuer.body is not None and self.path == "/keys":
                    content = issuer.body
                self.send_response(200)
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                try:
                    self.wfile.write(content)
                except ConnectionError:
                    self.close_connection = True  # the reader has seen enough

            def log_message(self, *_: object) -> None:
                pass

        return Handler


def _public(key: Private) -> dict[str, Any]:
    if isinstance(key, rsa.RSAPrivateKey):
        return RSAAlgorithm.to_jwk(key.public_key(), as_dict=True)
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return ECAlgorithm.to_jwk(key.public_key(), as_dict=True)
    return OKPAlgorithm.to_jwk(key.public_key(), as_dict=True)
