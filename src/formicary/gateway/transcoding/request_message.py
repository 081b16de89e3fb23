"""From the parts of an HTTP request to the request message: body, then query, then path; all violations at once."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from functools import lru_cache
from typing import Any

from google.api import field_behavior_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import DecodeError

from formicary.gateway.transcoding import json_text, well_known
from formicary.gateway.transcoding.binding import Binding
from formicary.gateway.transcoding.decoder import Decoder, fields_by_any_name
from formicary.gateway.transcoding.query import QueryReader
from formicary.gateway.transcoding.violations import Violations
from formicary.problems import problem

Values = tuple[tuple[tuple[str, ...], str], ...]


class RequestReader:
    """Makes the request messages of one binding.

    Args:
        binding: Which.
        decoder: Reads the body.
        ignored: Query parameters that are not fields.
    """

    def __init__(self, binding: Binding, decoder: Decoder, ignored: Collection[str] = ()) -> None:
        self._binding = binding
        self._decoder = decoder
        self._make = binding.method.request_class
        self._name: Callable[[FieldDescriptor], str] = decoder.name
        self._query = QueryReader(
            binding.method.descriptor.input_type,
            tuple(binding.path_fields),
            binding.body,
            decoder.name,
            lenient=decoder.lenient,
            ignored=ignored,
        )

    def read(self, body: bytes, media: str, values: Values, query: str) -> Any:
        """Makes a message.

        Args:
            body: Decompressed.
            media: Type of the body: ``json``, ``proto``, or, for ``google.api.HttpBody``, the content type itself.
            values: What the path has.
            query: As it was sent, without the question mark.

        Raises:
            Problem: VALIDATION_FAILED with every violation.
        """
        message = self._make()
        violations = Violations()
        document = self._read_body(message, body, media, violations)
        taken = self._take_path_fields(message)
        if query:
            self._query.read(message, query, violations)
        self._put_path(message, values, taken, violations)
        if self._binding.mask_field is not None:
            self._fill_mask(message, document, violations)
        if violations.found:
            raise violations.problem()
        return message

    # --- body -------------------------------------------------------------------------------------------------------

    def _read_body(self, message: Any, body: bytes, media: str, violations: Violations) -> Any:
        """Reads the body into the message and returns its JSON value, None where it is no JSON."""
        binding = self._binding
        if not binding.body:
            if body and body.strip() not in (b"", b"{}") and not self._decoder.lenient:
                violations.put("", "UNEXPECTED_BODY", "This call takes no body.")
            return None
        if binding.raw_request:
            target = message if binding.body_field is None else getattr(message, binding.body_field.name)
            target.content_type, target.data = media, body
            return None
        if not body:
            return None
        if media == "proto":
            return self._read_binary(message, body, violations)
        try:
            document = json_text.parse(body)
        except json_text.JsonError as error:
            code = "DUPLICATE_FIELD" if isinstance(error, json_text.DuplicateKey) else "MALFORMED_JSON"
            violations.put("", code, str(error))
            return None
        if binding.body_field is None:
            self._decoder.read(message, document, violations)
        elif document is not None or binding.body_field.message_type is not None:
            violations.document_at = 1
            self._decoder.read_field(message, binding.body_field, document, violations)
        return document

    def _read_binary(self, message: Any, body: bytes, violations: Violations) -> None:
        field = self._binding.body_field
        if field is not None and (field.is_repeated or not well_known.is_message(field)):
            raise problem("VALIDATION_FAILED", "The body of this call must be JSON.")
        target = message if field is None else getattr(message, field.name)
        try:
            target.ParseFromString(body)
            if field is not None:
                target.SetInParent()
        except DecodeError:
            violations.put("", "INVALID_PROTOBUF", "The body is not the message in the binary form of protobuf.")

    # --- path -------------------------------------------------------------------------------------------------------

    def _take_path_fields(self, message: Any) -> dict[tuple[str, ...], Any]:
        """Removes from the message what the body says about fields that the path has, to be compared afterwards."""
        if not self._binding.body:
            return {}
        taken = {}
        for key, path in self._binding.path_fields.items():
            value = path.value(message)
            if value is not None:
                taken[key] = value
                if path.leaf.containing_oneof is not None:
                    path.clear(message)
        return taken

    def _put_path(
        self, message: Any, values: Values, taken: dict[tuple[str, ...], Any], violations: Violations
    ) -> None:
        for key, text in values:
            path = self._binding.path_fields[key]
            path.put(message, text, violations, self._name)
            if key in taken and path.value(message) != taken[key]:
                violations.put(path.shown, "CONFLICT", f"{path.shown} in the body is not that of the path.")

    # --- update mask ------------------------------------------------------------------------------------------------

    def _fill_mask(self, message: Any, document: Any, violations: Violations) -> None:
        binding = self._binding
        mask, body = binding.mask_field, binding.body_field
        if mask is None or body is None or message.HasField(mask.name):
            return
        if binding.mask_required:
            violations.put(self._name(mask), "REQUIRED_FIELD", "update_mask is required: name the fields to change.")
            return
        if type(document) is dict:
            bound = {path.names[1:] for path in binding.path_fields.values() if path.names[0] == body.name}
            target = getattr(message, mask.name)
            target.SetInParent()
            target.paths.extend(
                ".".join(path) for path in given(well_known.message_of(body), document) if path not in bound
            )


@lru_cache(maxsize=4096)
def output_only(field: FieldDescriptor) -> bool:
    """Whether only the server sets the field: what a caller says about it changes nothing."""
    return field_behavior_pb2.OUTPUT_ONLY in field.GetOptions().Extensions[field_behavior_pb2.field_behavior]


def given(descriptor: Descriptor, document: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    """The paths of the fields that a JSON object has and a caller may set, as deep as single messages go."""
    fields = fields_by_any_name(descriptor)
    for key, value in document.items():
        field = fields.get(key)
        if field is None or output_only(field):
            continue
        inner = (
            type(value) is dict
            and value
            and well_known.is_message(field)
            and not field.is_repeated
            and well_known.message_of(field).full_name not in well_known.SPECIAL
        )
        if inner:
            yield from ((field.name, *path) for path in given(well_known.message_of(field), value))
        else:
            yield (field.name,)
