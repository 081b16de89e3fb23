"""Pages for people beside the API: its OpenAPI document, and a viewer of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from importlib.resources import files
from typing import Any

import msgspec

from examples.todo.v1 import todo_pb2
from formicary.gateway.openapi import PageFile, Security, docs_page, openapi_document
from formicary.problems import problem

OPENAPI = "/openapi.json"
DOCS = "/docs/"

Scope = MutableMapping[str, Any]
Application = Callable[[Scope, Any, Any], Awaitable[None]]


def pages(*, authenticated: bool) -> Application:
    """The application for paths that are not of the API; where nothing is, it raises Problem NOT_FOUND.

    Args:
        authenticated: Whether calls need a bearer token.
    """
    document = openapi_document(
        [todo_pb2.DESCRIPTOR.services_by_name["TodoService"]],
        title="To-do list",
        version="1",
        security=Security() if authenticated else None,
        comments=files("examples.todo.v1").joinpath("todo.binpb").read_bytes(),
    )
    found = {OPENAPI: PageFile(msgspec.json.encode(document), "application/json", {})}
    found |= {DOCS + name: file for name, file in docs_page("To-do list", OPENAPI).items()}

    async def app(scope: Scope, _: Any, send: Any) -> None:
        page = found.get(scope["path"])
        if page is None or scope["method"] not in ("GET", "HEAD"):
            raise problem("ROUTE_NOT_FOUND", f"Nothing is served at {scope['path'][:200]}.")
        headers = {"content-type": page.media_type, "content-length": str(len(page.content)), **page.headers}
        pairs = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": 200, "headers": pairs})
        await send({"type": "http.response.body", "body": page.content if scope["method"] == "GET" else b""})

    return app
