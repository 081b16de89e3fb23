"""Fixtures of these tests."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.acceptance.stage import Stage


@pytest.fixture
def stage(data_dir: Path) -> Iterator[Callable[..., Stage]]:
    """Makes a stage; whatever happens it is taken down."""
    made: list[Stage] = []

    def make(queues: str, *options: str) -> Stage:
        made.append(Stage(data_dir, queues, *options))
        return made[-1]

    yield make
    for one in made:
        one.close()
