"""Registers every job of a file with a queen, here or on a server."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from typing import Protocol, TypeVar

from formicary.cli.job_files import Loaded, relocated
from formicary.problems import Problem

Ref = TypeVar("Ref", covariant=True)


class Register(Protocol[Ref]):
    """The method of that name of a client or of an embedded colony."""

    def __call__(
        self, source: str, *, methods: Mapping[str, str] | None = ..., path: str = ..., filename: str = ...
    ) -> Awaitable[Ref]:
        """Stores a definition."""
        ...


async def register(method: Register[Ref], loaded: Loaded, methods: Mapping[str, str]) -> Ref:
    """Stores all jobs of a file and returns the reference to the one to submit.

    Raises:
        Problem: With the lines of the file.
    """
    return (await register_each(method, loaded, methods))[-1]


async def register_each(method: Register[Ref], loaded: Loaded, methods: Mapping[str, str]) -> list[Ref]:
    """The same, with the references to all of them in the order of the file.

    Raises:
        Problem: With the lines of the file.
    """
    found: list[Ref] = []
    for document in loaded.documents:
        filename = document.filename or loaded.filename
        try:
            found.append(await method(document.source, methods=methods, path=loaded.path, filename=filename))
        except Problem as error:
            raise relocated(error, filename, document.line) from error
    return found
