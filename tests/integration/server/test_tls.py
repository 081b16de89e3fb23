"""A real server with TLS: both ports encrypt, certificates are renewed under way, ants show their own."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from formicary.client import Client, RestClient, SyncClient
from formicary.problems import Problem
from tests.acceptance.server import free_port, until
from tests.integration.server.test_rest_api import JOB
from tests.integration.server.tls_server import Certificates, TlsUp, ant_process, started, until_in


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TlsUp]:
    """A server with TLS, tokens, a port for ants with certificates, and one local ant; it listens everywhere."""
    folder = tmp_path_factory.mktemp("tls")
    ants = Certificates(folder / "ants")
    options = ("--auth", "token", "--host", "0.0.0.0", "--client-ca", str(ants.ca), "--verbose")
    scaler = free_port()
    server = TlsUp(folder, *options, "--scaler", f"127.0.0.1:{scaler}", "--scaler-tls")
    server.scaler = scaler  # type: ignore[attr-defined]  # for a test here
    with started(server):
        yield server


@pytest.fixture
def ants(up: TlsUp) -> Certificates:
    """An authority that the server does not know; see `known`."""
    return Certificates(up.data.parent / "strangers")


def shown(up: TlsUp, port: int) -> str:
    """The serial number of the certificate that a port shows."""
    with (
        socket.create_connection(("127.0.0.1", port), timeout=10) as plain,
        up.context.wrap_socket(plain, server_hostname="127.0.0.1") as encrypted,
    ):
        found = encrypted.getpeercert()
        assert found is not None
        return str(found["serialNumber"])


def first_byte(context: ssl.SSLContext, port: int) -> bytes:
    """What a gRPC port says first; empty where it closes the connection instead."""
    try:
        with (
            socket.create_connection(("127.0.0.1", port), timeout=10) as plain,
            context.wrap_socket(plain, server_hostname="127.0.0.1") as encrypted,
        ):
            encrypted.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0")
            return encrypted.recv(1)  # with TLS 1.3, a refusal comes after the client's side of the handshake
    except TimeoutError:
        raise AssertionError("it neither speaks nor closes") from None
    except OSError:
        return b""


def test_jobs_run_over_both_protocols(up: TlsUp) -> None:
    """Client, RestClient, SyncClient and the command line reach it by https:// or by trusting its authority."""

    async def test() -> None:
        async with (
            Client(f"https://{up.address}", ca=up.ca) as client,
            Client(up.address, tls=True) as other,
            RestClient(f"https://127.0.0.1:{up.http}", ca=up.ca) as rest,
        ):
            for one in (client, other, rest):
                handle = await one.submit(await one.register(JOB), {"name": "Ada"}, watch=True)
                assert (await one.wait(handle.id, 90)).outputs["text"] == "hello Ada"

    asyncio.run(test())
    with SyncClient(up.address, ca=up.ca) as client:
        assert len(list(client.list())) >= 3
    assert "COMPLETED" in up.cli("list")
    assert "COMPLETED" in up.cli("list", "--server", f"https://{up.address}")
    assert up.page("/readyz")[0] == 200


def test_whoever_does_not_trust_it_does_not_talk_to_it(up: TlsUp, ants: Certificates) -> None:
    """A client with another authority, or without TLS, gets no answer and sends no token."""

    async def test() -> None:
        for options in ({"ca": str(ants.ca)}, {"tls": False}):
            async with Client(up.address, timeout_s=1, **options) as client:
                with pytest.raises(Problem) as error:
                    await client.get("1")
            assert error.value.code == "UNAVAILABLE"
        async with RestClient(f"https://127.0.0.1:{up.http}", ca=str(ants.ca), timeout_s=1) as rest:
            with pytest.raises(Problem) as error:
                await rest.get("1")
        assert error.value.code == "UNAVAILABLE"

    asyncio.run(test())


def test_old_protocols_are_refused(up: TlsUp) -> None:
    """TLS 1.1 and before are not spoken on either port."""
    for port in (up.http, up.grpc):
        context = ssl.create_default_context(cafile=up.ca)
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        with (
            socket.create_connection(("127.0.0.1", port), timeout=10) as plain,
            context.wrap_socket(plain, server_hostname="127.0.0.1") as encrypted,
        ):
            assert encrypted.version() == "TLSv1.2"
        with pytest.warns(DeprecationWarning, match="TLSv1_1"):
            context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
        context.set_ciphers("ALL:@SECLEVEL=0")
        with socket.create_connection(("127.0.0.1", port), timeout=10) as plain, pytest.raises((ssl.SSLError, OSError)):
            context.wrap_socket(plain, server_hostname="127.0.0.1")


def test_renewed_certificates_are_shown_without_a_restart(up: TlsUp) -> None:
    """The next handshake of each port has the new one; a pair that does not fit changes nothing."""
    before = shown(up, up.http)
    assert shown(up, up.grpc) == before
    cert, _ = up.certificates.issue("server", "127.0.0.1", "localhost")
    renewed = shown(up, up.http)
    assert renewed != before and shown(up, up.grpc) == renewed
    good = cert.read_bytes()
    cert.write_bytes(good.replace(b"-----BEGIN CERTIFICATE-----\n", b"-----BEGIN CERTIFICATE-----\nAAAA", 1))
    assert up.process is not None
    up.process.send_signal(signal.SIGHUP)
    until_in(up.log, "the certificate before stays")
    assert shown(up, up.http) == shown(up, up.grpc) == renewed
    cert.write_bytes(good)
    assert shown(up, up.grpc) == shown(up, up.http) == renewed


def test_an_ant_with_a_certificate_needs_no_token(up: TlsUp, tmp_path: Path) -> None:
    """It is welcomed on the port for ants, and runs what only it can run."""
    known = Certificates(tmp_path / "again")  # a new authority in the place of the old one is taken, too
    target = up.data.parent / "ants" / "ca.pem"
    known.ca.replace(target)
    cert, key = known.issue("ant", "ant-7.example")
    way = ("--queen", f"127.0.0.1:{up.ant_port}", "--cert", str(cert), "--key", str(key), "--tags", "far", "--id", "a7")
    with ant_process(tmp_path / "log", *way, FORMICARY_TOKEN=""):
        until_in(tmp_path / "log", "ready ant a7")
        with SyncClient(up.address, ca=up.ca) as client:
            ref = client.register(JOB.replace("  method: SHELL", "  method: SHELL\n  tags: [far]"))
            assert client.wait(client.submit(ref, {"name": "Bo"}).id, 90).outputs["text"] == "hello Bo"


def test_an_ant_may_do_no_more_than_an_ant(up: TlsUp, tmp_path: Path) -> None:
    """A certificate stands for the role ant: it reads no job."""
    import grpc

    from formicary.v1 import jobs_pb2, jobs_pb2_grpc

    known = Certificates(tmp_path / "again")
    known.ca.replace(up.data.parent / "ants" / "ca.pem")
    cert, key = known.issue("ant", "ant-8.example")
    credentials = grpc.ssl_channel_credentials(Path(up.ca).read_bytes(), key.read_bytes(), cert.read_bytes())
    with grpc.secure_channel(f"127.0.0.1:{up.ant_port}", credentials) as channel:
        stub = jobs_pb2_grpc.JobServiceStub(channel)  # type: ignore[no-untyped-call]  # generated code is untyped
        with pytest.raises(grpc.RpcError) as error:
            stub.GetJob(jobs_pb2.GetJobRequest(id="1"), timeout=90)
    assert error.value.code() == grpc.StatusCode.PERMISSION_DENIED


def test_strangers_are_refused_at_the_handshake(up: TlsUp, ants: Certificates, tmp_path: Path) -> None:
    """Without a certificate, or with one of another authority, the port for ants does not talk, token or not."""
    cert, key = ants.issue("stranger", "ant-9.example")
    context = ssl.create_default_context(cafile=up.ca)
    context.load_cert_chain(cert, key)
    context.set_alpn_protocols(["h2"])
    assert first_byte(up.context, up.grpc) != b""
    for one in (up.context, context):
        assert first_byte(one, up.ant_port) == b""
    way = ("--queen", f"127.0.0.1:{up.ant_port}", "--cert", str(cert), "--key", str(key), "--id", "a9")
    with ant_process(tmp_path / "log", *way), pytest.raises(AssertionError):
        until_in(tmp_path / "log", "ready ant", 2)


def test_keda_shows_a_certificate_on_its_own_port(up: TlsUp, ants: Certificates, tmp_path: Path) -> None:
    """`--scaler-tls` with `--client-ca`: without one, or with a stranger's, that port does not talk."""
    cert, key = ants.issue("stranger", "keda.example")
    stranger, known = (ssl.create_default_context(cafile=up.ca) for _ in range(2))
    stranger.load_cert_chain(cert, key)
    authority = Certificates(tmp_path / "again")
    authority.ca.replace(up.data.parent / "ants" / "ca.pem")
    known.load_cert_chain(*authority.issue("keda", "keda.example"))
    for context in (stranger, known):
        context.set_alpn_protocols(["h2"])
    assert [first_byte(one, up.scaler) == b"" for one in (up.context, stranger, known)] == [True, True, False]  # type: ignore[attr-defined]  # see above


def test_an_ant_with_a_token_uses_the_port_of_everybody(up: TlsUp, tmp_path: Path) -> None:
    """TLS and a token of role ant are enough there."""
    text = up.cli("token", "create", "--role", "ant").strip()
    with ant_process(tmp_path / "log", "--queen", up.address, "--ca", up.ca, "--id", "a5", FORMICARY_TOKEN=text):
        until_in(tmp_path / "log", "ready ant a5")


def test_local_ants_live_on_after_the_server_was_killed(tmp_path: Path) -> None:
    """With --auth and TLS, the ant of a server that was killed is adopted by the next one, and works for it."""
    server = TlsUp(tmp_path, "--auth", "token")
    with started(server):
        until(lambda: "ready ant" in server.ant_log(), 20, "the ant is there")
        before = server.ants()
        server.kill()
        server.start()
        until(lambda: server.page("/readyz")[0] == 200, 20, "ready")
        assert len(before) == 1 and server.ants() == before
        with SyncClient(server.address) as client:
            assert client.wait(client.submit(client.register(JOB), {"name": "Cy"}).id, 90).outputs["text"] == "hello Cy"
        assert os.stat(server.data / "queen.sock").st_mode & 0o077 == 0
        assert server.stop() == 0
