"""The option that writes what happens into the scenario files."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds --rewrite."""
    parser.addoption("--rewrite", action="store_true", help="write what happens into the scenario files")
