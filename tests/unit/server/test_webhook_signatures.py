"""Signatures and secrets of webhooks: who is let in, and what the identity of an event is."""

from __future__ import annotations

import hmac
from base64 import b64encode
from pathlib import Path

import pytest

from formicary.engine.jobs.triggers import WebhookAuth
from formicary.engine.queen.trigger_secrets import ServerSecrets
from formicary.engine.queen.webhooks import Request, verify
from formicary.problems import Problem

SECRET, NOW = b"It's a Secret to Everybody", 1_700_000_000.0


def request(body: bytes, **headers: str) -> Request:
    """A request; underscores in the names of headers stand for hyphens."""
    return Request({name.replace("_", "-"): value for name, value in headers.items()}, {}, body)


def code(auth: WebhookAuth, sent: Request, secret: bytes = SECRET) -> str:
    """The code of the refusal."""
    with pytest.raises(Problem) as raised:
        verify(auth, secret, sent, NOW)
    return raised.value.code


def signed(content: bytes, secret: bytes = SECRET) -> str:
    """HMAC with SHA-256 in hexadecimal."""
    return hmac.digest(secret, content, "sha256").hex()


def test_the_example_of_github() -> None:
    """The published example is right; the same body has the same identity, whatever the delivery is called."""
    auth = WebhookAuth(header="X-Hub-Signature-256")
    sign = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    first = verify(auth, SECRET, request(b"Hello, World!", x_hub_signature_256=sign, x_github_delivery="1"), NOW)
    again = verify(auth, SECRET, request(b"Hello, World!", x_hub_signature_256=sign, x_github_delivery="2"), NOW)
    assert first == again != ""
    assert code(auth, request(b"Hello, World?", x_hub_signature_256=sign)) == "WEBHOOK_UNAUTHENTICATED"
    assert code(auth, request(b"Hello, World!")) == "WEBHOOK_UNAUTHENTICATED"
    assert code(auth, request(b"Hello, World!", x_hub_signature_256=sign), b"") == "WEBHOOK_UNAUTHENTICATED"


@pytest.mark.parametrize(("away", "right"), [(0, True), (299, True), (-299, True), (301, False), (-301, False)])
def test_a_signed_time_has_to_be_the_present(away: int, right: bool) -> None:
    """Outside of the window a right signature is too old or too early; a changed time is no right signature."""
    auth = WebhookAuth(header="X-Formicary-Signature", form="timestamp")
    at = str(int(NOW) + away)
    sent = request(b"{}", x_formicary_signature=f"t={at},v1={signed(at.encode() + b'.{}')}")
    if right:
        assert verify(auth, SECRET, sent, NOW)
    else:
        assert code(auth, sent) == "WEBHOOK_EXPIRED"
    changed = sent.headers["x-formicary-signature"].replace(at, str(int(NOW) + 1))
    assert code(auth, request(b"{}", x_formicary_signature=changed)) == "WEBHOOK_UNAUTHENTICATED"


def test_another_time_is_another_event() -> None:
    """The same body signed at two times is two events; the same request is one."""
    auth = WebhookAuth(header="X-Formicary-Signature", form="timestamp")

    def at(time: int) -> str:
        text = str(int(NOW) + time)
        return verify(
            auth, SECRET, request(b"{}", x_formicary_signature=f"t={text},v1={signed(text.encode() + b'.{}')}"), NOW
        )

    assert at(0) == at(0) != at(1)


@pytest.mark.parametrize("time", ["", "x", "1e9", "９９９９", "-1", "9" * 13])
def test_a_time_that_is_none_is_too_old(time: str) -> None:
    """However it is signed."""
    auth = WebhookAuth(header="s", form="timestamp")
    sent = request(b"", s=f"t={time},v1={signed(time.encode() + b'.')}")
    assert code(auth, sent) in ("WEBHOOK_EXPIRED", "WEBHOOK_UNAUTHENTICATED")


def test_standard_webhooks() -> None:
    """The signed id is the identity; one of several signatures is enough; a secret may be written as whsec_."""
    auth = WebhookAuth(header="webhook-signature", form="standard")
    raw = b"0123456789abcdef0123456789abcdef"
    at = str(int(NOW))
    right = b64encode(hmac.digest(raw, f"msg_1.{at}.".encode() + b"{}", "sha256")).decode()
    sent = request(b"{}", webhook_id="msg_1", webhook_timestamp=at, webhook_signature=f"v1,AAAA v1,{right}")
    assert verify(auth, b"whsec_" + b64encode(raw), sent, NOW) == "msg_1"
    assert verify(auth, raw, sent, NOW) == "msg_1"
    changed = request(b"{}", webhook_id="msg_2", webhook_timestamp=at, webhook_signature=f"v1,{right}")
    assert code(auth, changed, raw) == "WEBHOOK_UNAUTHENTICATED"


def test_tokens_and_keys() -> None:
    """They are compared as a whole; what the sender calls the delivery is its identity, if it does."""
    bearer, key = WebhookAuth("bearer_token"), WebhookAuth("api_key_header", "X-Api-Key")
    assert verify(bearer, b"abc", request(b"", authorization="Bearer abc", idempotency_key="k"), NOW) == "k"
    assert verify(key, b"abc", request(b"", x_api_key="abc"), NOW) == ""
    for sent in ("Bearer abcd", "Bearer ab", "Basic abc", "abc", ""):
        assert code(bearer, request(b"", authorization=sent), b"abc") == "WEBHOOK_UNAUTHENTICATED"
    for secret in (b"", b"ab"):
        assert code(key, request(b"", x_api_key=""), secret) == "WEBHOOK_UNAUTHENTICATED"


def test_secrets_come_from_the_server_alone(tmp_path: Path) -> None:
    """Variables of the prefix and files of the folder; a name finds either; nothing else can be read."""
    (tmp_path / "hook").write_text("from file\n")
    secrets = ServerSecrets(
        {"FORMICARY_SECRET_DIR": str(tmp_path / "."), "FORMICARY_SECRET_A": "variable", "OTHER": "no"}
    )

    def find(**where: str) -> bytes:
        return secrets.find("local", "j", WebhookAuth(**where))  # type: ignore[arg-type]  # the fields of a secret

    assert find(secret_env="FORMICARY_SECRET_A") == find(secret_config="A") == b"variable"
    assert find(secret_file="hook") == find(secret_config="hook") == b"from file"
    assert find(secret_env="OTHER") == find(secret_file="../x") == find(secret_config="none") == find() == b""
