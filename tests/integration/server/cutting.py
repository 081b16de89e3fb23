"""A connection that breaks: a relay of bytes on a port of its own, which stops after so many of them."""

from __future__ import annotations

import contextlib
import socket
import threading

PIECE = 16_384


class Cutting:
    """Carries connections to a port; the bytes of clients are counted over all of them.

    Args:
        target: Port of this machine.
        stops_at: So many bytes of clients go through, then all stand still until they are cut. None = all of them.
    """

    def __init__(self, target: int, stops_at: int | None = None) -> None:
        self._target = target
        self._room = threading.Condition()
        self._left = stops_at
        self.stands = threading.Event()
        """Set when the bytes stand still."""
        self.connections = 0
        self.refused = 0
        """Connections for which nobody was there."""
        self._open: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._listen, daemon=True).start()

    def cut(self, stops_at: int | None = None) -> None:
        """Breaks every connection; later ones carry so many bytes again."""
        with self._room:
            self._left = stops_at
            self.stands.clear()
            cut, self._open = self._open, []
            self._room.notify_all()
        for one in cut:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Ends all."""
        self._listener.close()
        self.cut()

    def _listen(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(("127.0.0.1", self._target))
            except OSError:
                self.refused += 1
                client.close()
                continue
            with self._room:
                self.connections += 1
                self._open += [client, server]
            threading.Thread(target=self._serve, args=(client, server), daemon=True).start()

    def _serve(self, client: socket.socket, server: socket.socket) -> None:
        with client, server:
            back = threading.Thread(target=self._carry, args=(server, client, False), daemon=True)
            back.start()
            self._carry(client, server, True)
            back.join()
            with self._room:
                self._open = [one for one in self._open if one not in (client, server)]

    def _carry(self, source: socket.socket, target: socket.socket, counted: bool) -> None:
        with contextlib.suppress(OSError):
            while piece := source.recv(PIECE):
                if counted and not self._may_go(len(piece), source):
                    break
                target.sendall(piece)
        for one in (source, target):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def _may_go(self, size: int, source: socket.socket) -> bool:
        """Waits while the bytes stand still; False where the connection was cut meanwhile."""
        with self._room:
            while self._left is not None and self._left < size and source in self._open:
                self.stands.set()
                self._room.wait()
            if self._left is not None:
                self._left -= size
            return source in self._open
