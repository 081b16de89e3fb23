"""Operations: one binding of one method as OpenAPI says it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from google.protobuf.descriptor import Descriptor, MethodDescriptor

from formicary.gateway.openapi.options import Binding, OptionReader
from formicary.gateway.openapi.parameters import field_at, path_parameters, query_parameters
from formicary.gateway.openapi.responses import problem_references, statuses_of
from formicary.gateway.openapi.schemas import Schemas
from formicary.gateway.openapi.templates import OpenApiPath, openapi_path
from formicary.gateway.openapi.wellknown import Json

JSON_TYPE, NDJSON_TYPE, EVENTS_TYPE = "application/json", "application/x-ndjson", "text/event-stream"
_HTTP_BODY = "google.api.HttpBody"


@dataclass(frozen=True, slots=True)
class Security:
    """How callers say who they are.

    Attributes:
        bearer: Whether a bearer token is taken.
        bearer_format: What a token looks like, for readers; empty = not said.
        openid_connect_url: Address of the OpenID Connect discovery document; None = not offered.
        optional: Whether there are servers that ask nobody.
        public: Full names of methods (``package.Service.Method``) that anybody may call.
    """

    bearer: bool = True
    bearer_format: str = ""
    openid_connect_url: str | None = None
    optional: bool = False
    public: frozenset[str] = frozenset()

    def schemes(self) -> Json:
        """The members of ``securitySchemes``."""
        found: Json = {}
        if self.bearer:
            scheme: Json = {"type": "http", "scheme": "bearer"}
            found["bearer"] = {**scheme, "bearerFormat": self.bearer_format} if self.bearer_format else scheme
        if self.openid_connect_url is not None:
            found["openIdConnect"] = {"type": "openIdConnect", "openIdConnectUrl": self.openid_connect_url}
        return found

    def requirement(self) -> list[Json]:
        """Any one of the schemes is enough; an empty requirement says that none may be needed."""
        found: list[Json] = [{name: []} for name in self.schemes()]
        return [*found, {}] if self.optional else found


class Operations:
    """Makes operations; collects the statuses that they refer to.

    Args:
        reader: Of the options.
        schemas: Makes the schemas.
        comments: By full name.
        security: How callers say who they are.
        tags: Names of services by full name.
    """

    def __init__(
        self,
        reader: OptionReader,
        schemas: Schemas,
        comments: Mapping[str, str],
        security: Security | None,
        tags: Mapping[str, str],
    ) -> None:
        self._reader = reader
        self._schemas = schemas
        self._comments = comments
        self._security = security
        self.tags = tags
        self.statuses: set[int] = set()

    def path(self, method: MethodDescriptor, binding: Binding) -> OpenApiPath:
        """The OpenAPI path of a method's binding."""
        return openapi_path(binding.template, lambda path: self._named(method.input_type, path))

    def _named(self, message: Descriptor, path: str) -> str:
        steps = path.split(".")
        fields = [field_at(message, ".".join(steps[: k + 1])) for k in range(len(steps))]
        return ".".join(self._schemas.json_name(field) for field in fields)

    def operation(self, method: MethodDescriptor, binding: Binding, number: int, known: str) -> Json:
        """The operation of a binding.

        Args:
            method: The method.
            binding: Its route.
            number: Which of the method's routes, from 1.
            known: The path under which it stands; its parameters may have other names than the binding's own.
        """
        path = self.path(method, binding)
        tag = self.tags[method.containing_service.full_name]
        name = f"{tag}_{method.name}" if number == 1 else f"{tag}_{method.name}_{number}"
        found: Json = {"tags": [tag], "operationId": name.replace(".", "_")}
        found |= _texts(self._comments.get(method.full_name, ""))
        parameters = path_parameters(path, method.input_type, self._schemas)
        for parameter, other in zip(parameters, re.findall(r"\{([^{}]*)\}", known), strict=True):
            parameter["name"] = other
        if binding.body != "*" and (not method.client_streaming or _is_raw(method, binding)):
            taken = path.fields | ({binding.body} if binding.body else set())
            parameters += query_parameters(method.input_type, frozenset(taken), self._schemas)
        if parameters:
            found["parameters"] = parameters
        if binding.body:
            found["requestBody"] = self._request_body(method, binding, path.fields)
        found["responses"] = self._responses(method, binding, bool(parameters or binding.body), bool(path.parameters))
        if self._reader.deprecated(method):
            found["deprecated"] = True
        if self._security is not None and method.full_name in self._security.public:
            found["security"] = []
        return found

    def _request_body(self, method: MethodDescriptor, binding: Binding, bound: frozenset[str]) -> Json:
        request = method.input_type
        if binding.body == "*":
            if request.full_name == _HTTP_BODY:
                return {"content": {"*/*": {}}, "required": True}
            whole = self._schemas.message(request, "request", bound) if bound else None
            schema = whole or self._schemas.reference(request, "request")
            required = bool((whole or self._schemas.message(request, "request")).get("required"))
        else:
            field = field_at(request, binding.body)
            if _is_raw(method, binding):
                return {"content": {"*/*": {}}, "required": not method.client_streaming}
            inner = frozenset(
                one.removeprefix(f"{binding.body}.") for one in bound if one.startswith(f"{binding.body}.")
            )
            schema = self._schemas.field(field, "request")
            required = self._schemas.required(field)
            if inner and field.message_type is not None and not field.is_repeated:
                schema = self._relaxed(field.message_type, inner)
        kind = NDJSON_TYPE if method.client_streaming else JSON_TYPE
        body: Json = {"content": {kind: {"schema": schema}}}
        if method.client_streaming:
            body["description"] = "One document per line."
        if required or method.client_streaming:
            body["required"] = True
        return body

    def _relaxed(self, message: Descriptor, bound: frozenset[str]) -> Json:
        """A message in the body whose fields of the path may be there, but need not."""
        schema = self._schemas.message(message, "request")
        names = {self._schemas.json_name(field_at(message, path.split(".")[0])) for path in bound}
        needed = schema.pop("required", [])
        left = [name for name in needed if name not in names] if isinstance(needed, list) else []
        if left:
            schema["required"] = left
        return schema

    def _responses(self, method: MethodDescriptor, binding: Binding, has_input: bool, has_path: bool) -> Json:
        secured = self._security is not None and method.full_name not in self._security.public
        statuses = statuses_of(
            binding.verb, has_input=has_input, has_path=has_path, has_body=bool(binding.body), secured=secured
        )
        self.statuses |= set(statuses)
        return {"200": self._success(method, binding), **problem_references(statuses)}

    def _success(self, method: MethodDescriptor, binding: Binding) -> Json:
        response = method.output_type
        if binding.response_body:
            field = field_at(response, binding.response_body)
            raw = field.message_type is not None and field.message_type.full_name == _HTTP_BODY
            schema = self._schemas.field(field, "response")
        else:
            raw = response.full_name == _HTTP_BODY
            schema = self._schemas.reference(response, "response")
        if raw:
            return {"description": "The content itself, with its own type.", "content": {"*/*": {}}}
        if not method.server_streaming:
            return {"description": "Done.", "content": {JSON_TYPE: {"schema": schema}}}
        item: Json = {"anyOf": [schema, {"$ref": "#/components/schemas/Problem"}]}
        text = (
            "A stream: one document per line, or one per event, as the header Accept asks. "
            "When it fails on its way, the last document is the problem."
        )
        return {"description": text, "content": {kind: {"schema": item} for kind in (NDJSON_TYPE, EVENTS_TYPE)}}


def _is_raw(method: MethodDescriptor, binding: Binding) -> bool:
    """Whether the body is one field that takes it as it comes; a stream takes an empty one, too."""
    field = field_at(method.input_type, binding.body) if binding.body not in ("", "*") else None
    return field is not None and field.message_type is not None and field.message_type.full_name == _HTTP_BODY


def _texts(comment: str) -> Json:
    """The first sentence as the summary, the whole as the description where there is more."""
    if not comment:
        return {}
    flat = re.sub(r"\s+", " ", comment.split("\n\n")[0])
    match = re.match(r"(.+?)[.](?=\s|$)", flat)
    summary = match.group(1) if match else flat
    found: Json = {"summary": summary.replace("`", "")}
    if comment.rstrip(".") != summary:
        found["description"] = comment
    return found
