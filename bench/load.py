"""Load over HTTP/1.1 and gRPC from a process of its own: h2load where it is installed, else `bench.wire` as a client.

``python -m bench.load http|grpc --port N --path P --file F --requests N`` sends the same request again and again.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import struct
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from bench import wire

CONNECTIONS = 32
GRPC_CONNECTIONS, GRPC_STREAMS = 8, 4
TOKEN = "fmc_00000000bea7_" + "5" * 48
"""The token of every call; it opens nothing but the servers of `bench.gateway_servers`."""
AUTHORIZATION = f"Bearer {TOKEN}"
_LIMIT_S = 60.0


@dataclass(frozen=True, slots=True)
class Load:
    """One request to repeat.

    Args:
        protocol: ``http`` or ``grpc``.
        port: at 127.0.0.1.
        path: of the request.
        payload: file with the body; for gRPC the message without its frame.
        core: the processor core that the client runs on; None: any.
    """

    protocol: str
    port: int
    path: str
    payload: Path
    core: int | None = None

    def run(self, requests: int) -> float:
        """Send so many requests, 32 in flight, and return the requests per second.

        Raises:
            RuntimeError: not every request succeeded.
        """
        command = self._h2load(requests) if shutil.which("h2load") else self._own(requests)
        if self.core is not None and shutil.which("taskset"):
            command = ["taskset", "-c", str(self.core), *command]
        done = subprocess.run(command, capture_output=True, text=True, timeout=_LIMIT_S, check=False)
        if done.returncode:
            raise RuntimeError(f"{command[0]} ended with {done.returncode}: {(done.stdout + done.stderr)[-500:]}")
        return _read(done.stdout, requests)

    def _h2load(self, requests: int) -> list[str]:
        url = f"http://127.0.0.1:{self.port}{self.path}"
        if self.protocol == "http":
            form = ["--h1", f"-c{CONNECTIONS}", "-H", "content-type: application/json", "-d", str(self.payload)]
        else:
            framed = self.payload.with_suffix(".grpc")
            message = self.payload.read_bytes()
            framed.write_bytes(struct.pack(">BI", 0, len(message)) + message)
            form = [f"-c{GRPC_CONNECTIONS}", f"-m{GRPC_STREAMS}", "-H", "content-type: application/grpc"]
            form += ["-H", "te: trailers", "-d", str(framed)]
        return ["h2load", f"-n{requests}", "-H", f"authorization: {AUTHORIZATION}", *form, url]

    def _own(self, requests: int) -> list[str]:
        command = [sys.executable, "-m", "bench.load", self.protocol, "--port", str(self.port), "--path", self.path]
        return [*command, "--file", str(self.payload), "--requests", str(requests)]


def client() -> str:
    """What sends the load."""
    return "h2load" if shutil.which("h2load") else "sockets with prepared requests"


def _read(output: str, requests: int) -> float:
    if output.startswith("{"):
        return float(json.loads(output)["per_s"])
    found = re.search(r"finished in [^,]+, ([\d.]+) req/s", output)
    passed = re.search(r"(\d+) 2xx", output)
    if found is None or passed is None or int(passed.group(1)) != requests:
        raise RuntimeError(f"not every request succeeded: {output[-600:]}")
    return float(found.group(1))


def main() -> None:
    """The client of our own."""
    parser = argparse.ArgumentParser(prog="python -m bench.load", description=__doc__)
    parser.add_argument("protocol", choices=("http", "grpc"))
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--path", required=True)
    parser.add_argument("--file", type=Path, required=True, help="the body")
    parser.add_argument("--requests", type=int, required=True)
    chosen = parser.parse_args()
    body = chosen.file.read_bytes()
    begin = time.perf_counter()
    if chosen.protocol == "http":
        wire.http1(chosen.port, chosen.path, body, chosen.requests, CONNECTIONS, AUTHORIZATION)
    else:
        wire.grpc(chosen.port, chosen.path, body, chosen.requests, GRPC_CONNECTIONS, GRPC_STREAMS, AUTHORIZATION)
    print(json.dumps({"per_s": chosen.requests / (time.perf_counter() - begin)}))


if __name__ == "__main__":
    main()
