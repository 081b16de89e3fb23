"""Requests as prepared bytes over plain sockets: a client so cheap that the server is what is measured.

Every request is the same, so nothing is encoded in the loop; of an answer only as much is read as tells that it came
and that it is a good one. One process, one thread, readiness by epoll. HTTP/1.1 has one request in flight per
connection, HTTP/2 several streams per connection.
"""

from __future__ import annotations

import select
import socket
import struct
from dataclasses import dataclass, field

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RESET, _SETTINGS, _PING, _GOAWAY = 0, 1, 3, 4, 6, 7
_END_STREAM, _END_HEADERS, _ACK = 1, 4, 1
_INITIAL_WINDOW = 4
_WINDOW = (1 << 31) - 1
_CHUNK = 1 << 18


def _connect(port: int) -> socket.socket:
    made = socket.create_connection(("127.0.0.1", port), timeout=10)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return made


def http1(port: int, path: str, body: bytes, requests: int, connections: int, authorization: str) -> None:
    """Send `requests` POSTs with a JSON body, one in flight on each connection.

    Raises:
        RuntimeError: an answer is not 200, or a connection was closed.
    """
    head = f"POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {len(body)}"
    head += f"\r\nauthorization: {authorization}"
    request = head.encode() + b"\r\n\r\n" + body
    sockets = {one.fileno(): one for one in (_connect(port) for _ in range(min(connections, requests)))}
    waiting = dict.fromkeys(sockets, b"")
    poll = select.epoll()
    for number, one in sockets.items():
        poll.register(number, select.EPOLLIN)
        one.sendall(request)
    sent, done = len(sockets), 0
    while done < requests:
        for number, _ in poll.poll(10):
            answer = waiting[number] + sockets[number].recv(_CHUNK)
            if not _whole(answer):
                waiting[number] = answer
                continue
            waiting[number] = b""
            done += 1
            if sent < requests:
                sent += 1
                sockets[number].send(request)
    for one in sockets.values():
        one.close()


def _whole(answer: bytes) -> bool:
    """Whether one answer is complete. Raises RuntimeError where it is none, or no good one."""
    if not answer.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(f"not answered with 200: {answer[:300]!r}")
    end = answer.find(b"\r\n\r\n")
    if end < 0:
        return False
    at = answer.find(b"content-length: ", 0, end) + 16
    return len(answer) >= end + 4 + int(answer[at : answer.find(b"\r", at)])


@dataclass(slots=True)
class _Http2:
    """One connection with several streams in flight."""

    socket: socket.socket
    headers: bytes
    data: bytes
    stream: int = 1
    answered: set[int] = field(default_factory=set)
    rest: bytes = b""

    def open(self, count: int) -> None:
        """Sends the next requests."""
        out = []
        for _ in range(count):
            out.append(_frame(_HEADERS, _END_HEADERS, self.stream, self.headers))
            out.append(_frame(_DATA, _END_STREAM, self.stream, self.data))
            self.stream += 2
        self.socket.sendall(b"".join(out))

    def read(self) -> int:
        """Reads what has come; returns how many streams ended well."""
        buffer = self.rest + self.socket.recv(_CHUNK)
        at, ended = 0, 0
        while at + 9 <= len(buffer):
            length = int.from_bytes(buffer[at : at + 3], "big")
            end = at + 9 + length
            if end > len(buffer):
                break
            kind, flags, stream = buffer[at + 3], buffer[at + 4], int.from_bytes(buffer[at + 5 : at + 9], "big")
            if kind == _DATA:
                self.answered.add(stream)
            elif kind == _HEADERS and flags & _END_STREAM:
                if stream not in self.answered:
                    raise RuntimeError("a call ended without a message")
                self.answered.discard(stream)
                ended += 1
            elif kind in (_SETTINGS, _PING) and not flags & _ACK:
                self.socket.sendall(_frame(kind, _ACK, 0, buffer[at + 9 : end] if kind == _PING else b""))
            elif kind in (_RESET, _GOAWAY):
                raise RuntimeError(f"the server broke off: {buffer[at:end]!r}")
            at = end
        self.rest = buffer[at:]
        return ended


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


def _literal(name: str, value: str) -> bytes:
    """A header field without indexing (RFC 7541, 6.2.2), so that every request has the same bytes."""
    return b"\x00" + bytes((len(name),)) + name.encode() + bytes((len(value),)) + value.encode()


def grpc(
    port: int, path: str, message: bytes, requests: int, connections: int, streams: int, authorization: str
) -> None:
    """Make `requests` unary calls, `streams` in flight on each connection.

    Raises:
        RuntimeError: a call ended without an answer, or the server broke off.
    """
    fields = {":method": "POST", ":scheme": "http", ":path": path, ":authority": "localhost"}
    fields |= {"content-type": "application/grpc", "te": "trailers", "authorization": authorization}
    headers = b"".join(_literal(name, value) for name, value in fields.items())
    data = struct.pack(">BI", 0, len(message)) + message
    opened = [_Http2(_connect(port), headers, data) for _ in range(connections)]
    known = {one.socket.fileno(): one for one in opened}
    poll = select.epoll()
    settings = _frame(_SETTINGS, 0, 0, struct.pack(">HI", _INITIAL_WINDOW, _WINDOW))
    wider = _frame(8, 0, 0, (_WINDOW - 65535).to_bytes(4, "big"))
    sent, done = 0, 0
    for number, one in known.items():
        poll.register(number, select.EPOLLIN)
        one.socket.sendall(_PREFACE + settings + wider)
        first = min(streams, requests - sent)
        one.open(first)
        sent += first
    while done < requests:
        for number, _ in poll.poll(10):
            ended = known[number].read()
            done += ended
            more = min(ended, requests - sent)
            if more:
                known[number].open(more)
                sent += more
    for one in opened:
        one.socket.close()
