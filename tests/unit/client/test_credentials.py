"""Where tokens may go, and how addresses are read."""

from __future__ import annotations

import pytest

from formicary.client import Client, RestClient
from formicary.client.credentials import is_private_url
from formicary.engine.ants.channel import Reach, is_local, reach
from formicary.problems import Problem


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("queen:7778", Reach("queen:7778")),
        ("https://queen:7778", Reach("queen:7778", True)),
        ("http://queen:7778/", Reach("queen:7778")),
        ("https://[::1]:7778", Reach("[::1]:7778", True)),
        ("unix:/run/q.sock", Reach("unix:/run/q.sock")),
    ],
)
def test_addresses(text: str, expected: Reach) -> None:
    """The scheme says whether the connection is encrypted."""
    assert reach(text) == expected


@pytest.mark.parametrize(
    "text", ["", "queen", "queen:", "queen:x", "queen:0", "queen:70000", "ftp://queen:1", "queen:²"]
)
def test_what_is_no_address(text: str) -> None:
    """Anything else is refused when it is read."""
    with pytest.raises(Problem):
        reach(text)


def test_certificates_mean_tls() -> None:
    """Naming an authority or a certificate is enough; a certificate has a key."""
    assert reach("q:1", ca="x").tls and reach("q:1", cert="x", key="y").tls and reach("q:1", tls=True).tls
    assert not reach("http://q:1", ca="x").tls
    with pytest.raises(Problem):
        reach("q:1", cert="x")


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:7778", "localhost:1", "[::1]:1", "::1", "unix:/x"])
def test_local(host: str) -> None:
    """What only this machine reaches."""
    assert is_local(host)


@pytest.mark.parametrize("host", ["10.0.0.1:1", "queen:1", "localhost.example:1", "[2001:db8::1]:1", "2001:db8::1", ""])
def test_not_local(host: str) -> None:
    """Everything else."""
    assert not is_local(host)


def test_urls() -> None:
    """HTTPS anywhere, HTTP here only; a user's name does not make a host look local."""
    assert is_private_url("https://q.example") and is_private_url("http://127.0.0.1:7777/x")
    assert not is_private_url("http://q.example") and not is_private_url("http://127.0.0.1@q.example/")


def test_a_token_never_leaves_this_machine_as_plain_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unless that is said; the error says what to do. Without a token there is nothing to keep."""
    for name in ("FORMICARY_TOKEN", "FORMICARY_TLS", "FORMICARY_CA"):
        monkeypatch.delenv(name, raising=False)
    for make in (
        lambda **more: Client("queen.example:7778", **more),
        lambda **more: RestClient("http://queen.example:7777", **more),
    ):
        with pytest.raises(Problem) as error:
            make(token="t")
        assert error.value.code == "FAILED_PRECONDITION" and "--insecure" in (error.value.remedy or "")
        make(token="t", insecure=True)
        make()
    Client("https://queen.example:7778", token="t")
    monkeypatch.setenv("FORMICARY_TLS", "1")
    Client("queen.example:7778", token="t")
    monkeypatch.setenv("FORMICARY_TLS", "0")
    with pytest.raises(Problem):
        Client("queen.example:7778", token="t")
