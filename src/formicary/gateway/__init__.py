"""One definition, two protocols: servicers served over gRPC and, transcoded in process, over REST; knows no engine.

Names are loaded on first use, so that whoever wants one part does not load gRPC or the HTTP side.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from formicary.gateway.call import Call
    from formicary.gateway.grpc_server import add_services, refuse_unknown
    from formicary.gateway.service import Interceptor, Method, Run, Service, before, bind
    from formicary.gateway.shared import SharedMessage
    from formicary.gateway.transcoding.transcoder import Transcoder

__all__ = [
    "Call",
    "Interceptor",
    "Method",
    "Run",
    "Service",
    "SharedMessage",
    "Transcoder",
    "add_services",
    "before",
    "bind",
    "refuse_unknown",
]

_EXPORTS = {
    "Call": "formicary.gateway.call",
    "add_services": "formicary.gateway.grpc_server",
    "Interceptor": "formicary.gateway.service",
    "Method": "formicary.gateway.service",
    "Run": "formicary.gateway.service",
    "Service": "formicary.gateway.service",
    "SharedMessage": "formicary.gateway.shared",
    "refuse_unknown": "formicary.gateway.grpc_server",
    "before": "formicary.gateway.service",
    "bind": "formicary.gateway.service",
    "Transcoder": "formicary.gateway.transcoding.transcoder",
}


def __getattr__(name: str) -> object:
    """Loads an exported name on first use."""
    room = _EXPORTS.get(name)
    if room is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(room), name)
    globals()[name] = value
    return value
