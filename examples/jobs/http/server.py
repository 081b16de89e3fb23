"""A small shop of items over HTTP, for the job in ``http.yaml``: standard library only.

    python -m examples.jobs.http.server --port 8093

It prints ``ready http://127.0.0.1:PORT`` when it serves. ``--port 0`` takes any free port.
"""

from __future__ import annotations

import argparse
import json
import re
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock
from typing import Any
from urllib.parse import urlsplit


class Shop:
    """Items by number. A POST with a known Idempotency-Key gives the item that its first one made."""

    def __init__(self) -> None:
        self.lock = Lock()
        self.items: dict[int, dict[str, Any]] = {}
        self.made: dict[str, int] = {}
        self.asked: dict[str, int] = {}

    def answer(self, verb: str, path: str, key: str, body: dict[str, Any]) -> tuple[int, Any]:
        """Returns status and body."""
        with self.lock:
            if path == "/items":
                return self._items(verb, key, body)
            if (match := re.fullmatch(r"/items/(\d+)", path)) is not None:
                return self._item(verb, int(match[1]), body)
            if (match := re.fullmatch(r"/busy/(\d+)/(\w+)", path)) is not None:
                self.asked[match[2]] = self.asked.get(match[2], 0) + 1
                ready = self.asked[match[2]] > int(match[1])
                return (200, {"asked": self.asked[match[2]]}) if ready else (503, {"error": "busy"})
            return 404, {"error": f"no such path: {path}"}

    def _items(self, verb: str, key: str, body: dict[str, Any]) -> tuple[int, Any]:
        if verb == "GET":
            return 200, {"items": list(self.items.values())}
        if verb != "POST":
            return 405, {"error": f"{verb} not allowed"}
        number = self.made.get(key) if key else None
        if number is None:
            number = max(self.items, default=0) + 1
            self.items[number] = {**body, "number": number}
            if key:
                self.made[key] = number
        return 201, self.items.get(number, {"number": number})

    def _item(self, verb: str, number: int, body: dict[str, Any]) -> tuple[int, Any]:
        if number not in self.items:
            return 404, {"error": f"no item {number}"}
        if verb == "DELETE":
            del self.items[number]
            return 204, None
        if verb == "PUT":
            self.items[number] = {**body, "number": number}
        elif verb == "PATCH":
            self.items[number].update(body)
        elif verb != "GET":
            return 405, {"error": f"{verb} not allowed"}
        return 200, self.items[number]


class Handler(BaseHTTPRequestHandler):
    """Speaks HTTP for the shop of its server."""

    protocol_version = "HTTP/1.1"
    server: ShopServer

    def handle_any(self) -> None:
        """Answers one request."""
        length = int(self.headers.get("Content-Length") or 0)
        data = self.rfile.read(length)
        try:
            body = json.loads(data) if data else {}
        except ValueError:
            body = None
        path = urlsplit(self.path).path
        if isinstance(body, dict):
            key = self.headers.get("Idempotency-Key", "")
            status, answer = self.server.shop.answer(self.command, path, key, body)
        else:
            status, answer = 400, {"error": "the body is no JSON object"}
        payload = b"" if answer is None else json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = handle_any

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing on standard error."""


class ShopServer(ThreadingHTTPServer):
    """A server with a shop."""

    daemon_threads = True

    def __init__(self, port: int) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.shop = Shop()

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.server_address[1]}"


def main() -> None:
    """Serves until it is stopped."""
    parser = argparse.ArgumentParser(description="A small shop of items over HTTP, for examples/jobs/http/http.yaml.")
    parser.add_argument("--port", type=int, default=8093, help="port on 127.0.0.1, 0 = any free one (default 8093)")
    server = ShopServer(parser.parse_args().port)
    print(f"ready {server.url}", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
