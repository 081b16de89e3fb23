"""The three clients have the same methods with the same arguments."""

from __future__ import annotations

import inspect

import pytest

from formicary.client import Client, RestClient, SyncClient

OVER_GRPC_ONLY = {
    "call": "a method by its name, for modules that add commands",
    "upload": "it streams requests, which REST does not",
}


def methods(client: type) -> dict[str, list[tuple[str, object, object]]]:
    """Public methods: their arguments with kind and default."""
    return {
        name: [(one.name, one.kind, one.default) for one in inspect.signature(found).parameters.values()]
        for name, found in inspect.getmembers(client, inspect.isfunction)
        if not name.startswith("_")
    }


@pytest.mark.parametrize("other", [RestClient, SyncClient])
def test_each_client_has_every_method(other: type) -> None:
    """What one can, the others can."""
    missing = methods(Client).keys() - methods(other).keys()
    assert missing <= OVER_GRPC_ONLY.keys() and methods(other).keys() <= methods(Client).keys()


@pytest.mark.parametrize("name", sorted(methods(Client).keys() - OVER_GRPC_ONLY.keys()))
def test_their_arguments_are_the_same(name: str) -> None:
    """In the same order, of the same kind, with the same default."""
    assert methods(Client)[name] == methods(SyncClient)[name] == methods(RestClient)[name]


def test_what_they_do_not_wait_for_is_the_same() -> None:
    """An iterator of one is an iterator of the other."""
    for name in methods(Client).keys() - OVER_GRPC_ONLY.keys():
        assert inspect.isasyncgenfunction(getattr(Client, name)) == inspect.isasyncgenfunction(
            getattr(RestClient, name)
        )
