"""An OpenAPI 3.1 document from service descriptors.

Two passes: the first one finds which messages are used and in which direction, so that names are settled before any
schema is made; the second one makes operations and schemas. Nothing depends on the order of dictionaries or on what
else the process has imported, so the same protos give the same document.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from google.protobuf.descriptor import (
    Descriptor,
    EnumDescriptor,
    FieldDescriptor,
    FileDescriptor,
    MethodDescriptor,
    ServiceDescriptor,
)
from google.protobuf.descriptor_pb2 import FileDescriptorSet

from formicary.gateway.openapi.comments import comments_of
from formicary.gateway.openapi.operations import Operations, Security
from formicary.gateway.openapi.options import Binding, OptionReader
from formicary.gateway.openapi.responses import catalogue_of, problem_responses, problem_schemas
from formicary.gateway.openapi.schemas import Role, Schemas
from formicary.gateway.openapi.wellknown import Json, well_known
from formicary.problems import CodeEntry

RESERVED = frozenset({"Problem", "FieldError"})
_METHODS = frozenset({"GET", "PUT", "POST", "DELETE", "OPTIONS", "HEAD", "PATCH", "TRACE"})


class HasDescriptor(Protocol):
    """Something that carries its service descriptor, like ``formicary.gateway.Service``."""

    @property
    def descriptor(self) -> ServiceDescriptor:
        """Of the service."""


@dataclass(frozen=True, slots=True)
class _Route:
    """One binding of one method; ``number`` counts the method's bindings from 1."""

    method: MethodDescriptor
    binding: Binding
    number: int


def openapi_document(
    services: Sequence[ServiceDescriptor | HasDescriptor],
    *,
    title: str,
    version: str,
    description: str = "",
    json_names: Literal["proto", "camel"] = "proto",
    servers: Sequence[str] = (),
    problem_catalogue: Mapping[str, CodeEntry] | None = None,
    security: Security | None = None,
    comments: bytes | FileDescriptorSet | None = None,
    default_bindings: bool = False,
) -> dict[str, object]:
    """Describes the HTTP side of services: every ``google.api.http`` binding, its messages and its problems.

    Args:
        services: Service descriptors of generated modules, or objects that carry one.
        title: Of the API.
        version: Of the API.
        description: Of the API, in Markdown.
        json_names: How fields are named: as in the proto file, or in camelCase.
        servers: Base URLs; without, the document's own host.
        problem_catalogue: Codes with their statuses; absent = the catalogue of :mod:`formicary.problems`.
        security: How callers say who they are; absent = they do not.
        comments: A FileDescriptorSet with comments, see :func:`formicary.gateway.openapi.descriptor_set`.
        default_bindings: Whether methods without a binding are there as ``POST /package.Service/Method``.

    Returns:
        The document as JSON values, the same for the same input. Routes that OpenAPI cannot express (a second one of
        the same shape and method, methods that OpenAPI does not know) are listed under ``x-not-expressible``.

    Raises:
        ValueError: A binding names a field that is not there.
    """
    found = [one if isinstance(one, ServiceDescriptor) else one.descriptor for one in services]
    texts = comments_of(comments)
    reader = OptionReader(_files(found))
    routes = list(_routes(found, reader, default_bindings))
    names, twofold = _names(routes)
    schemas = Schemas(reader, texts, names, twofold, _json_name(json_names))
    operations = Operations(reader, schemas, texts, security, short_names(found))
    paths, left = _paths(routes, operations)
    catalogue = catalogue_of(problem_catalogue)
    info: Json = {"title": title, "version": version}
    if description:
        info["description"] = description
    document: Json = {"openapi": "3.1.0", "info": info}
    if servers:
        document["servers"] = [{"url": url} for url in servers]
    document["tags"] = [_tag(service, operations, texts) for service in found]
    document["paths"] = paths
    components: Json = {"schemas": dict(sorted({**schemas.components, **problem_schemas(catalogue)}.items()))}
    components["responses"] = problem_responses(operations.statuses, catalogue)
    if security is not None:
        components["securitySchemes"] = security.schemes()
        document["security"] = security.requirement()
    document["components"] = components
    if left:
        document["x-not-expressible"] = left
    return document


def _files(services: Iterable[ServiceDescriptor]) -> list[FileDescriptor]:
    return [service.file for service in services]


def _json_name(style: Literal["proto", "camel"]) -> Callable[[FieldDescriptor], str]:
    return _camel if style == "camel" else _proto


def _camel(field: FieldDescriptor) -> str:
    return str(field.json_name)


def _proto(field: FieldDescriptor) -> str:
    return field.name


def _routes(services: Iterable[ServiceDescriptor], reader: OptionReader, defaults: bool) -> Iterator[_Route]:
    for service in services:
        for method in service.methods:
            bindings = reader.bindings(method)
            if not bindings and defaults:
                bindings = [Binding("POST", f"/{service.full_name}/{method.name}", "*")]
            for number, binding in enumerate(bindings, 1):
                yield _Route(method, binding, number)


def _paths(routes: Iterable[_Route], operations: Operations) -> tuple[Json, list[str]]:
    """The paths by method, and the routes that could not be listed."""
    shapes: dict[str, str] = {}
    paths: dict[str, dict[str, object]] = {}
    left = []
    for route in routes:
        path = operations.path(route.method, route.binding)
        known = shapes.setdefault(path.shape, path.path)
        verb = route.binding.verb
        if verb not in _METHODS or verb.lower() in paths.get(known, {}):
            left.append(f"{verb} {route.binding.template}: {route.method.full_name}")
            continue
        operation = operations.operation(route.method, route.binding, route.number, known)
        paths.setdefault(known, {})[verb.lower()] = operation
    return {path: paths[path] for path in sorted(paths)}, left


def _tag(service: ServiceDescriptor, operations: Operations, texts: Mapping[str, str]) -> Json:
    tag: Json = {"name": operations.tags[service.full_name]}
    if texts.get(service.full_name):
        tag["description"] = texts[service.full_name]
    return tag


def short_names(described: Iterable[ServiceDescriptor | Descriptor | EnumDescriptor]) -> dict[str, str]:
    """A short name for each full name: without its package where that is unique, the full name otherwise."""
    shorts = {one.full_name: one.full_name.removeprefix(f"{one.file.package}.") for one in described}
    short = list(shorts.values())
    taken = {name for name in short if short.count(name) > 1} | RESERVED
    both = {f"{name}Input" for name in short}
    return {full: full if name in taken or name in both else name for full, name in shorts.items()}


def _names(routes: Iterable[_Route]) -> tuple[dict[str, str], frozenset[str]]:
    """Names of all messages and enums in use, and which messages go both ways."""
    used: dict[str, Descriptor | EnumDescriptor] = {}
    ways: dict[Role, set[str]] = {"request": set(), "response": set()}
    for route in routes:
        _walk(route.method.input_type, "request", used, ways)
        _walk(route.method.output_type, "response", used, ways)
    return short_names(used[name] for name in sorted(used)), frozenset(ways["request"] & ways["response"])


def _walk(
    message: Descriptor, role: Role, used: dict[str, Descriptor | EnumDescriptor], ways: Mapping[Role, set[str]]
) -> None:
    if message.full_name in ways[role] or well_known(message.full_name, strict=True) is not None:
        return
    if not message.GetOptions().map_entry:
        used[message.full_name] = message
        ways[role].add(message.full_name)
    for field in message.fields:
        _walk_field(field, role, used, ways)


def _walk_field(
    field: FieldDescriptor, role: Role, used: dict[str, Descriptor | EnumDescriptor], ways: Mapping[Role, set[str]]
) -> None:
    if field.enum_type is not None:
        used[field.enum_type.full_name] = field.enum_type
    if field.message_type is not None:
        _walk(field.message_type, role, used, ways)
