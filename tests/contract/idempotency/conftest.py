"""The stores that every contract test of idempotency runs on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.idempotency.places import KINDS, SHARED, Place, make_place


@pytest.fixture(params=KINDS)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """Each store in turn, empty."""
    place = make_place(request.param, tmp_path, request.getfixturevalue)
    yield place
    place.remove()


@pytest.fixture(params=SHARED)
def shared(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """Each store that several processes may use, empty."""
    place = make_place(request.param, tmp_path, request.getfixturevalue)
    yield place
    place.remove()
