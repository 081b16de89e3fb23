"""What a request must fulfil beside the rules of the contract; both tell everything that is wrong at once.

The sessions of ants and of the client library are left out: their messages are many and small, and the queen checks
what it takes from them itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from google.protobuf.struct_pb2 import ListValue, Struct

from formicary.gateway.interceptors import Validate
from formicary.problems import FieldError
from formicary.problems.validation import Rule, Validator
from formicary.v1 import jobs_pb2 as pb

LARGEST_WHOLE = 2**53
"""Whole numbers beyond it are not what was sent any more: JSON's numbers are doubles."""

_SUSPECT = re.compile(rb"\x11.{6}(?:[\x40-\xff][\x43\xc3]|.[\x44-\x7f\xc4-\xff])", re.DOTALL).search
"""Finds every `number_value` from 2^53 on in the binary form of a Struct, by the exponent of the double behind its
tag, and some things that are none: to look at each value takes longer than all other checks."""
_WHICH = "Give job_type, or definition_id of one version."
_TOO_LARGE = "A whole number beyond 2^53 does not survive JSON: send it as a text."


def check_requests() -> Validate:
    """The interceptor that checks the requests of all methods with a single request."""
    rules: dict[str, Iterable[Rule]] = {
        "formicary.v1.SubmitJobRequest": (_submission,),
        "formicary.v1.SubmitJobsRequest": (_which,),
    }
    return Validate(Validator(names="proto", rules=rules), streams=False)


def _submission(request: pb.SubmitJobRequest) -> Iterator[FieldError]:
    yield from _which(request)
    if _SUSPECT(request.params.SerializeToString()):
        for path in _too_large(request.params, "params"):
            yield FieldError(path, "OUT_OF_RANGE", _TOO_LARGE)


def _which(request: pb.SubmitJobRequest | pb.SubmitJobsRequest) -> Iterator[FieldError]:
    if not (request.job_type or request.definition_id):
        yield FieldError("job_type", "REQUIRED_FIELD", _WHICH)


def _too_large(found: Struct | ListValue, path: str) -> Iterator[str]:
    if isinstance(found, Struct):
        pairs = [(f"{path}.{key}", one) for key, one in found.fields.items()]
    else:
        pairs = [(f"{path}[{at}]", one) for at, one in enumerate(found.values)]
    for place, one in pairs:
        kind = one.WhichOneof("kind")
        if kind == "number_value":
            if abs(one.number_value) > LARGEST_WHOLE and one.number_value.is_integer():
                yield place
        elif kind == "struct_value":
            yield from _too_large(one.struct_value, place)
        elif kind == "list_value":
            yield from _too_large(one.list_value, place)
