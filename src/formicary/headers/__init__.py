"""HTTP headers and gRPC metadata: one mapping, said once, the same at the gateway, the service and the client.

Write it with :class:`MappingBuilder`, as a file (:func:`load`) or as dataclasses (:func:`compile_mapping`).
The adapters are in ``formicary.headers.asgi``, ``formicary.headers.grpc_aio`` and ``formicary.headers.grpc_sync``.
"""

from formicary.headers.builder import MappingBuilder
from formicary.headers.compiling import compile_mapping
from formicary.headers.engine_chain import engine_mapping
from formicary.headers.files import load, loads
from formicary.headers.mapping import HeaderMapping
from formicary.headers.model import Direction, Generated, Limits, MappingConfig, PathPattern, Route, Rule
from formicary.headers.presets import PRESETS
from formicary.headers.transforms import Rejected, Transform, reject
from formicary.headers.transforms import make as transform

__all__ = [
    "PRESETS",
    "Direction",
    "Generated",
    "HeaderMapping",
    "Limits",
    "MappingBuilder",
    "MappingConfig",
    "PathPattern",
    "Rejected",
    "Route",
    "Rule",
    "Transform",
    "compile_mapping",
    "engine_mapping",
    "load",
    "loads",
    "reject",
    "transform",
]
