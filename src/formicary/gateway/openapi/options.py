"""Options of descriptors, read whatever the process has imported.

Options reach a program as known extensions or as unknown bytes, depending on which generated modules were loaded
first. So every option is read again from its bytes, with a pool of its own that is made from the files that the
services' file imports: what a proto can say, its imports can explain.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from formicary.gateway.openapi.comments import rules_set

_KINDS = ("get", "put", "post", "delete", "patch")


class HasOptions(Protocol):
    """Any descriptor."""

    def GetOptions(self) -> Message:
        """The options of the descriptor."""


@dataclass(frozen=True, slots=True)
class Binding:
    """One HTTP route of a method, as ``google.api.http`` says it.

    Attributes:
        verb: Upper-case HTTP method; ``*`` for any.
        template: Path template.
        body: ``*``, a field of the request or nothing.
        response_body: A field of the response or nothing.
    """

    verb: str
    template: str
    body: str = ""
    response_body: str = ""


class OptionReader:
    """Reads options of descriptors that belong to the given files or to what those import."""

    def __init__(self, files: Iterable[FileDescriptor]) -> None:
        self._pool = DescriptorPool()
        seen: set[str] = set()
        for file in files:
            for one in _with_imports(file, seen):
                self._pool.AddSerializedFile(one.serialized_pb)
        for rules in rules_set().file:  # code may carry rules without importing their file, which nobody else needs
            if rules.name not in seen:
                self._pool.AddSerializedFile(rules.SerializeToString())

    def bindings(self, method: HasOptions) -> list[Binding]:
        """The routes of a method: the first one, then the additional ones; none without the option."""
        rule = self._extension(method, "google.api.http")
        if rule is None:
            return []
        return [made for one in (rule, *rule.additional_bindings) if (made := _binding(one)) is not None]

    def behaviors(self, field: HasOptions) -> frozenset[str]:
        """Names like ``REQUIRED`` and ``OUTPUT_ONLY`` of ``google.api.field_behavior``."""
        found = self._extension(field, "google.api.field_behavior")
        if found is None:
            return frozenset()
        names = self._pool.FindEnumTypeByName("google.api.FieldBehavior").values_by_number
        return frozenset(names[number].name for number in found if number in names)

    def rules(self, field: HasOptions) -> Any:
        """``buf.validate.FieldRules`` of a field; None without."""
        return self._extension(field, "buf.validate.field")

    def message_rules(self, message: HasOptions) -> Any:
        """``buf.validate.MessageRules`` of a message; None without."""
        return self._extension(message, "buf.validate.message")

    def oneof_required(self, oneof: HasOptions) -> bool:
        """Whether one member of the oneof must be set."""
        rules = self._extension(oneof, "buf.validate.oneof")
        return rules is not None and bool(rules.required)

    def deprecated(self, descriptor: HasOptions) -> bool:
        """Whether the descriptor is marked as deprecated."""
        return bool(getattr(descriptor.GetOptions(), "deprecated", False))

    def _extension(self, descriptor: HasOptions, name: str) -> Any:
        raw = descriptor.GetOptions()
        data = raw.SerializeToString()
        if not data:
            return None
        try:
            extension = self._pool.FindExtensionByName(name)
        except KeyError:
            return None
        kind = self._pool.FindMessageTypeByName(raw.DESCRIPTOR.full_name)
        options: Any = GetMessageClass(kind).FromString(data)
        if extension.is_repeated:
            return list(options.Extensions[extension]) or None
        return options.Extensions[extension] if options.HasExtension(extension) else None


def _with_imports(file: FileDescriptor, seen: set[str]) -> Iterator[FileDescriptor]:
    """The file behind everything that it imports, each once."""
    if file.name in seen:
        return
    seen.add(file.name)
    for one in file.dependencies:
        yield from _with_imports(one, seen)
    yield file


def _binding(rule: Any) -> Binding | None:
    kind = rule.WhichOneof("pattern")
    if kind == "custom":
        return Binding(rule.custom.kind.upper(), rule.custom.path, rule.body, rule.response_body)
    if kind in _KINDS:
        return Binding(kind.upper(), getattr(rule, kind), rule.body, rule.response_body)
    return None
