"""What `import formicary` gives, and what it must not cost."""

import subprocess
import sys

import pytest

import formicary

HEAVY = ("grpc", "google.protobuf", "numpy", "sqlalchemy", "psycopg", "httpx", "uvicorn", "rich", "jinja2", "asyncio")


def test_importing_the_package_loads_nothing_heavy() -> None:
    """`import formicary` alone loads no gRPC, database driver, HTTP or template library."""
    code = "import sys, formicary; print('\\n'.join(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert [name for name in HEAVY if name in loaded] == []


def test_an_unknown_name_is_an_attribute_error() -> None:
    """A name that the package does not export is refused like that of any module."""
    with pytest.raises(AttributeError, match="no attribute 'queen_bee'"):
        getattr(formicary, "queen_bee")  # noqa: B009 - the point is the name in the message, and mypy knows it is wrong


def test_every_export_is_there() -> None:
    """Each name of `__all__` can be had."""
    for name in formicary.__all__:
        assert getattr(formicary, name) is not None
