"""Whole numbers that JSON cannot hold are found by their bytes first: none is missed, whatever stands beside it."""

from __future__ import annotations

import math

import pytest
from google.protobuf.struct_pb2 import Struct
from hypothesis import given
from hypothesis import strategies as st

from formicary.problems import Problem
from formicary.server.api.rules import LARGEST_WHOLE, check_requests
from formicary.v1 import jobs_pb2 as pb

CHECK = check_requests().check


def refused(value: object, beside: str = "") -> bool:
    """Whether a submission with this parameter is refused for it."""
    params = Struct()
    params.update({"beside": beside, "a": [{"b": value}]})
    try:
        CHECK(pb.SubmitJobRequest(job_type="x", params=params))
    except Problem as error:
        assert [(one.field, one.code) for one in error.errors] == [("params.a[0].b", "OUT_OF_RANGE")]
        return True
    return False


@given(st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**62), 2**62).map(float), st.text(max_size=9))
def test_exactly_whole_numbers_beyond_the_bound_are_refused(value: float, beside: str) -> None:
    """A double is refused when it is whole and beyond 2^53."""
    assert refused(value, beside) == (abs(value) > LARGEST_WHOLE and value.is_integer())


@pytest.mark.parametrize("sign", [1, -1])
def test_the_bound_itself_passes(sign: int) -> None:
    """2^53 can be told from its neighbours; what only looks like a large number is none."""
    assert not refused(sign * 2**53) and refused(sign * (2**53 + 2)) and refused(math.copysign(1e300, sign))
    assert not refused(1.5, "\x11" + "C" * 8)
