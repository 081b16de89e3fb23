"""The pattern of whole numbers of 64 bits takes exactly those that fit."""

from __future__ import annotations

import re

import pytest

from formicary.gateway.openapi.wellknown import scalar

LARGEST = 2**64 - 1


@pytest.mark.parametrize("number", [0, 9, 10**18, 10**19, 18_399_999_999_999_999_999, LARGEST - 1, LARGEST])
def test_what_fits_is_taken(number: int) -> None:
    """Up to the largest."""
    assert re.fullmatch(scalar("uint64")["pattern"], str(number))


@pytest.mark.parametrize("text", ["", "-1", str(LARGEST + 1), "19000000000000000000", "9" * 20, "1" * 21, "1e3"])
def test_what_does_not_fit_is_not(text: str) -> None:
    """Beyond it, or no whole number."""
    assert not re.fullmatch(scalar("uint64")["pattern"], text)
