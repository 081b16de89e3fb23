"""One way to call a method over HTTP: an ``HttpRule`` bound to the method's descriptors, checked at start."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from google.api import annotations_pb2, field_behavior_pb2
from google.protobuf.descriptor import FieldDescriptor, MethodDescriptor

from formicary.gateway.service import Method
from formicary.gateway.transcoding import well_known
from formicary.gateway.transcoding.field_path import FieldPath, NoSuchField
from formicary.gateway.transcoding.path_template import PathTemplate, TemplateError

HTTP_BODY = "google.api.HttpBody"


class BindingError(ValueError):
    """A rule does not fit its method; the message names both."""


class Binding:
    """A rule, resolved.

    Attributes:
        method: What it calls.
        http_method: Upper case; ``*`` for any.
        template: Of the path.
        pattern: Text of the template.
        path_fields: The field of each variable.
        body: ``*``, the name of a field, or empty.
        body_field: The field of the body, None unless `body` names one.
        response_field: The field of the answer that is its body, None = the whole answer.
        raw_request: Whether the body is a ``google.api.HttpBody``, taken as it comes.
        raw_response: The same of the answer.
        mask_field: ``update_mask`` of a PATCH whose body is one message; None where there is none.
        mask_required: Whether that field must be given by the caller.
        etag_in_request: Whether the request has a field ``etag``, or the message that is its body.
    """

    def __init__(
        self, method: Method, http_method: str, pattern: str, rule: Any, name: Callable[[FieldDescriptor], str]
    ) -> None:
        self.method = method
        self.http_method = http_method.upper()
        self.pattern = pattern
        self.body: str = rule.body
        request, response = method.descriptor.input_type, method.descriptor.output_type
        try:
            self.template = PathTemplate.parse(pattern)
            self.path_fields = {
                variable.field_path: FieldPath.find(request, variable.field_path, name)
                for variable in self.template.variables
            }
        except (TemplateError, NoSuchField) as error:
            raise BindingError(f"{method.full_name}: {error}") from error
        for path in self.path_fields.values():
            if path.leaf.is_repeated:
                raise BindingError(f"{method.full_name}: {path.shown} is repeated; it cannot stand in a path")
        self.body_field = _top(method, request, self.body, "body") if self.body not in ("", "*") else None
        self.response_field = (
            _top(method, response, rule.response_body, "response_body") if rule.response_body else None
        )
        self.raw_request = _is_http_body(request if self.body == "*" else None, self.body_field)
        self.raw_response = _is_http_body(None if self.response_field else response, self.response_field)
        self.mask_field, self.mask_required = self._mask()
        self.etag_in_request = "etag" in _strings(request)
        self.etag_in_body = (
            self.body_field is not None
            and well_known.is_message(self.body_field)
            and not self.body_field.is_repeated
            and "etag" in _strings(self.body_field.message_type)
        )
        self.etag_in_response = self.response_field is None and "etag" in _strings(response)

    def __repr__(self) -> str:
        return f"{self.method.full_name} ({self.http_method} {self.pattern})"

    def _mask(self) -> tuple[FieldDescriptor | None, bool]:
        field = self.method.descriptor.input_type.fields_by_name.get("update_mask")
        body = self.body_field
        if field is None or self.http_method != "PATCH" or body is None or body.is_repeated:
            return None, False
        if not well_known.is_message(body) or well_known.message_of(body).full_name in well_known.SPECIAL:
            return None, False
        if not well_known.is_message(field) or well_known.message_of(field).full_name != well_known.FIELD_MASK:
            return None, False
        behaviour = field.GetOptions().Extensions[field_behavior_pb2.field_behavior]
        return field, field_behavior_pb2.REQUIRED in behaviour


def _strings(descriptor: Any) -> set[str]:
    return {
        field.name for field in descriptor.fields if field.type == FieldDescriptor.TYPE_STRING and not field.is_repeated
    }


def _is_http_body(message: Any, field: FieldDescriptor | None) -> bool:
    if field is not None and well_known.is_message(field) and not field.is_repeated:
        message = field.message_type
    return message is not None and message.full_name == HTTP_BODY


def _top(method: Method, descriptor: Any, name: str, what: str) -> FieldDescriptor:
    field: FieldDescriptor | None = descriptor.fields_by_name.get(name)
    if field is None:
        raise BindingError(f"{method.full_name}: {what} names {name!r}, which {descriptor.full_name} does not have")
    return field


def annotated_rule(descriptor: MethodDescriptor) -> Any:
    """The ``HttpRule`` of a method's options, None where it has none."""
    options = descriptor.GetOptions()
    return options.Extensions[annotations_pb2.http] if options.HasExtension(annotations_pb2.http) else None


def bindings(
    method: Method, rules: Iterable[Any], name: Callable[[FieldDescriptor], str], *, default: bool = True
) -> Iterator[Binding]:
    """Every binding of a method: of its rules, of their additional bindings, else the default POST.

    Args:
        method: What is called.
        rules: ``HttpRule`` messages.
        name: How violations name a field.
        default: Whether a method without a rule is bound to ``POST /package.Service/Method``.

    Raises:
        BindingError: A rule does not fit.
    """
    from google.api import http_pb2

    found = False
    for rule in rules:
        for one in (rule, *rule.additional_bindings):
            kind = one.WhichOneof("pattern")
            if kind is None:
                continue
            found = True
            if kind == "custom":
                yield Binding(method, one.custom.kind, one.custom.path, one, name)
            else:
                yield Binding(method, kind, getattr(one, kind), one, name)
    if default and not found:
        yield Binding(method, "POST", method.full_name, http_pb2.HttpRule(body="*"), name)
