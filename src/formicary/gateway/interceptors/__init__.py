"""The interceptors of the chain; one chain serves both protocols, unary calls and streams."""

from formicary.gateway.interceptors.access_log import AccessLog, CallCounts
from formicary.gateway.interceptors.chain import standard_chain
from formicary.gateway.interceptors.deadline import keep_deadline
from formicary.gateway.interceptors.failures import as_problems
from formicary.gateway.interceptors.header_mapping import MapHeaders
from formicary.gateway.interceptors.idempotency import Idempotent
from formicary.gateway.interceptors.tracing import trace
from formicary.gateway.interceptors.validation import Validate

__all__ = [
    "AccessLog",
    "CallCounts",
    "Idempotent",
    "MapHeaders",
    "Validate",
    "as_problems",
    "keep_deadline",
    "standard_chain",
    "trace",
]
