"""Bytes that no gRPC library would send: metadata that says to be binary and is not, in frames written by hand."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from tests.acceptance.server import Up

Pairs = tuple[tuple[bytes, bytes], ...]
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RESET, SETTINGS = 0, 1, 3, 4
END_STREAM, END_HEADERS = 1, 4
NO_TABLE = struct.pack(">HI", 1, 0)
"""The settings by which the other side writes header fields out, so that they can be read here."""
OK, INTERNAL = 0, 13


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def literal(name: bytes, value: bytes) -> bytes:
    """A header field, never indexed, without Huffman's code (RFC 7541, section 6.2.3); short ones alone."""
    return b"\x10" + bytes([len(name)]) + name + bytes([len(value)]) + value


@dataclass(slots=True)
class Wire:
    """One HTTP/2 connection."""

    socket: socket.socket
    rest: bytes = b""
    streams: dict[int, bytes] = field(default_factory=dict)

    def call(self, stream: int, extra: Pairs) -> bytes:
        """All header fields of the answer to an empty ListJobs request with more metadata."""
        usual: Pairs = (
            (b":method", b"POST"),
            (b":scheme", b"http"),
            (b":path", b"/formicary.v1.JobService/ListJobs"),
            (b":authority", b"localhost"),
            (b"te", b"trailers"),
            (b"content-type", b"application/grpc"),
        )
        fields = b"".join(literal(*pair) for pair in (*usual, *extra))
        self.socket.sendall(
            frame(HEADERS, END_HEADERS, stream, fields) + frame(DATA, END_STREAM, stream, b"\x00\x00\x00\x00\x00")
        )
        found = b""
        while True:
            kind, flags, of, payload = self._next()
            if of != stream:
                continue
            if kind == HEADERS:
                found += payload
            if kind == RESET or (kind in (DATA, HEADERS) and flags & END_STREAM):
                return found

    def _next(self) -> tuple[int, int, int, bytes]:
        while len(self.rest) < 9 or len(self.rest) < 9 + int.from_bytes(self.rest[:3]):
            piece = self.socket.recv(65536)
            assert piece, "the server closed the connection"
            self.rest += piece
        size = int.from_bytes(self.rest[:3])
        head, payload, self.rest = self.rest[:9], self.rest[9 : 9 + size], self.rest[9 + size :]
        return head[3], head[4], int.from_bytes(head[5:9]), payload


def status(fields: bytes) -> int:
    """The ``grpc-status`` among header fields."""
    at = fields.index(b"grpc-status") + len(b"grpc-status")
    return int(fields[at + 1 : at + 1 + fields[at]])


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """One server without ants."""
    server = Up(tmp_path_factory.mktemp("wire") / "data", "--ants", "0")
    server.start()
    yield server
    server.clear()


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        pytest.param(b"x-canary-bin", b"%%%CANARY%%%", INTERNAL, id="no base64"),
        pytest.param(b"x-canary-bin", b"A", INTERNAL, id="a length that base64 never has"),
        pytest.param(b"x-canary-bin", b"\xff\xfe", INTERNAL, id="bytes as they are"),
        pytest.param(b"grpc-status-details-bin", b"%%%", INTERNAL, id="under a name of gRPC's own"),
        pytest.param(b"x-canary-bin", b"", OK, id="empty"),
        pytest.param(b"x-canary-bin", b"AAEC,AwQ", INTERNAL, id="two values in one field"),
        pytest.param(b"x-canary-bin", b"/////w==", OK, id="every bit, padded"),
    ],
)
def test_binary_metadata_that_is_none_ends_its_call_and_nothing_else(
    up: Up, name: bytes, value: bytes, expected: int
) -> None:
    """gRPC's core refuses it before any of our code sees it, naming the key alone; the connection lives on."""
    with socket.create_connection(("127.0.0.1", up.grpc), timeout=20) as raw:
        raw.sendall(PREFACE + frame(SETTINGS, 0, 0, NO_TABLE))
        wire = Wire(raw)
        fields = wire.call(1, ((name, value),))
        assert status(fields) == expected and b"CANARY" not in fields
        assert (name in fields) is (expected == INTERNAL)
        assert status(wire.call(3, ())) == OK
    assert "Traceback" not in up.log.read_text()
