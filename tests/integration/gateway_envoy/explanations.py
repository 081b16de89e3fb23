"""Where our transcoder and Envoy's may differ, each with its reason: what no rule explains is a defect.

Quotations are of google/api/http.proto ("http.proto"), the JSON mapping of protobuf ("ProtoJSON") and the RFCs named.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_to_bytes

from google.protobuf.descriptor import Descriptor, FieldDescriptor, ServiceDescriptor

from tests.integration.gateway_envoy import lenience, places
from tests.integration.gateway_envoy.generator import BINDINGS, Request
from tests.integration.gateway_envoy.outcome import Outcome

REASONS = {
    # --- routes
    "405 with Allow": "RFC 9110, 15.5.6: a path that is served, not with this method, is 405 and lists the methods in "
    "Allow; Envoy knows 404 alone.",
    "HEAD and OPTIONS": "RFC 9110, 9.3.2 and 9.3.7: HEAD is GET without the content, OPTIONS tells the methods; Envoy "
    "answers 404 to both.",
    "method nobody knows": "A method in no registry: Envoy's parser refuses it with 400, ours answers as to any "
    "other that is not served there.",
    "trailing slash": "http.proto: 'Segments = Segment { \"/\" Segment }': a path that ends in a slash has one segment "
    "more, which is empty; Envoy cuts the slash off.",
    "empty segment": "http.proto: 'The syntax `*` matches a single URL path segment': an empty one is none to us, nor "
    "may `**` begin with one.",
    "encoded literal": "RFC 3986, 6.2.2.2: %74 and t are equivalent, so a literal matches in either form; Envoy "
    "compares literals undecoded.",
    "bad percent-encoding": "RFC 3986, 2.1: a percent sign is followed by two hexadecimal digits; we refuse what is "
    "not, Envoy takes it literally.",
    "text that is not UTF-8": "protobuf: 'A string must always contain UTF-8 encoded text': we answer 400, Envoy sends "
    "the bytes on and the server behind it fails with 500.",
    "415": "RFC 9110, 15.5.16: a body of a type that is not read is 415; Envoy reads any type as JSON or passes it on.",
    # --- queries
    "parameter given twice": "http.proto lets repeated fields be 'repeated primitive' parameters; one that holds one "
    "value is ambiguous when given twice: we refuse it, Envoy takes the last.",
    "parameter of the path or body": "http.proto: 'Any fields in the request message which are not bound by the path "
    "template automatically become HTTP query parameters' and, of body `*`, 'there are no HTTP parameters': one that "
    "is bound is refused; Envoy lets it win.",
    "parameter through a repeated message": "http.proto: parameters 'must have a primitive type or a repeated "
    "primitive type or a non-repeated message type'; Envoy appends to the list.",
    "inside of a well-known type": "ProtoJSON gives these types one text (`1.5s`), whose parts have no names; Envoy "
    "lets the parts be set.",
    "parameter without a name": "`=x` names nothing: we refuse it, Envoy passes it over.",
    "parameter without =": "URL standard, 5.1: a piece without = is a name with an empty value; Envoy passes it over.",
    "encoded dot in a name": "RFC 3986, 6.2.2.2: %2E and the dot are equivalent; Envoy splits names before decoding.",
    # --- values that Envoy takes
    lenience.NUMBER: "ProtoJSON: a number is a JSON number, in quotes or not: no plus sign, no `.5`, no `5.`, no "
    "hexadecimal, no spaces, and within range: Envoy's parser is looser, and clamps -2^63 - 1.",
    lenience.BOOL: "ProtoJSON: bool is `true, false`; Envoy also takes 1, t, yes, True, and text in a body.",
    lenience.ENUM: "ProtoJSON: 'Parsers accept both enum names and integer values': in a body the integer is a number, "
    "not a text; Envoy takes both.",
    lenience.BYTES: "RFC 4648, 3.3: 'Implementations MUST reject the encoded data if it contains characters outside "
    "the base alphabet'; Envoy passes over spaces.",
    lenience.DURATION: "ProtoJSON: 'Required precision is seconds, with suffix s': no sign +, no space, no bare point.",
    lenience.MASK: "google/protobuf/field_mask.proto: paths are field names with dots between; empty ones and spaces "
    "are none.",
    lenience.ARRAY: "ProtoJSON: a repeated field is `[v, …]`; Envoy takes one value without brackets.",
    lenience.NESTED: "No JSON mapping has arrays of arrays for a repeated field; Envoy flattens them.",
    lenience.TEXT: "ProtoJSON: a FieldMask, Duration or Timestamp is one text; Envoy reads an object as the message.",
    lenience.OBJECT: "ProtoJSON: wrappers 'use the same representation in JSON as the wrapped primitive type'; Envoy "
    "takes an object as an empty one.",
    lenience.NULL: "ProtoJSON: 'null is not allowed as an element of a repeated field'; Envoy skips it, or makes an "
    "empty value for a key.",
    "unknown field in a body": "ProtoJSON: 'a parser should reject unknown fields by default'; Envoy's transcoder "
    "passes them over in bodies.",
    "field or key given twice": "RFC 8259, 4: 'names within an object SHOULD be unique'; we refuse what is not, also "
    "a field under both its names; Envoy takes the last.",
    "loose JSON": "RFC 8259 has no single quotes, bare names, trailing commas, control characters in strings; Envoy's "
    "parser takes them.",
    "null for the body of a field": "ProtoJSON lets null stand for a field that is absent; a body that is null "
    "is not absent: we refuse it, Envoy leaves the field unset.",
    "body where none is taken": "http.proto: 'If omitted, there is no HTTP request body'; we refuse one that says "
    "something, Envoy merges it as with `*`.",
    # --- values that Envoy refuses
    "whole number with point or exponent": "ProtoJSON: 'Exponent notation (such as 1e2) is accepted in both quoted and "
    "unquoted forms', and -0 is 0; Envoy takes unquoted forms alone.",
    "open enum": "proto3 enums are open, and ProtoJSON takes integer values: an unknown one is kept; Envoy refuses it.",
    "path and body": "A field that both the path and the body have must be the same in both: we compare the field "
    "of the message, Envoy the text.",
    # --- both called
    "automatic update mask": "The update mask of a PATCH is filled from the fields the body has, as in grpc-gateway; "
    "Envoy leaves it out.",
    "capital first in a mask": "ProtoJSON: lower camel case becomes snake case: `FooBar` is `_foo_bar` to protobuf's "
    "own parsers in Go, Java and Python; Envoy drops the first underscore.",
    "empty body of a part": "An empty body says nothing about the field that is the body; Envoy sets it, and puts one "
    "empty element into a list.",
    "content type of nothing": "Without a body there is no type of it.",
    "content type not named": "RFC 9110, 8.3: content without a type may be taken as application/octet-stream: we say "
    "so where a google.api.HttpBody names none, Envoy leaves it out.",
    "verb of another path": "http.proto: 'Verb = \":\" LITERAL' belongs to a template: where no template with the verb "
    "matches, the colon is a part of the segment; Envoy takes off each verb that any template has.",
    "verb after an empty segment": "`/v1/files/:describe` has a last segment that is a colon and more, so it is that "
    "segment's text; Envoy takes the verb off and has an empty one.",
}


@dataclass(frozen=True, slots=True)
class Case:
    """A pair of outcomes that are not the same.

    Attributes:
        message: type of the request of the method that was called, or meant.
        root: the body of its bindings.
    """

    request: Request
    theirs: Outcome
    ours: Outcome
    message: Descriptor
    root: str

    @property
    def path(self) -> str:
        """The path as it was sent."""
        return self.request.target.partition("?")[0]

    @property
    def refused(self) -> list[dict[str, Any]]:
        """The violations of our problem."""
        try:
            found = json.loads(self.ours.reply.body).get("errors", [])
        except (ValueError, AttributeError):
            return []
        return found if isinstance(found, list) else []


def same(theirs: Outcome, ours: Outcome) -> bool:
    """Whether both called the same with the same and answered the same, or refused with the same status."""
    if theirs.called and ours.called:
        return theirs.same_call(ours) and theirs.reply.status == ours.reply.status and theirs.answer == ours.answer
    return not theirs.called and not ours.called and theirs.reply.status == ours.reply.status


def explain(service: ServiceDescriptor, request: Request, theirs: Outcome, ours: Outcome) -> str | None:
    """The name of the reason for a difference; empty: there is none; None: nothing explains it."""
    if same(theirs, ours):
        return ""
    method = theirs.method or ours.method or request.binding.method
    root = next(one.body for one in BINDINGS if one.method == method)
    case = Case(request, theirs, ours, service.methods_by_name[method].input_type, root)
    for step in (_verbs, _paths, _refused_here, _refused_by_envoy, _both_refused, _both_called):
        found = step(case)
        if found is not None:
            assert found in REASONS, found
            return found
    return None


# --- routes -----------------------------------------------------------------------------------------------------------


def _verbs(case: Case) -> str | None:
    status = case.ours.reply.status
    if case.request.verb in ("HEAD", "OPTIONS") and case.theirs.reply.status == 404:
        return "HEAD and OPTIONS"
    if case.request.verb in ("FOO",) and not case.ours.called and not case.theirs.called:
        return "method nobody knows"
    if status == 405 and case.theirs.reply.status == 404 and case.ours.reply.headers.get("allow"):
        return "405 with Allow"
    media = case.request.headers.get("content-type", "")
    return "415" if status == 415 and not re.match(r"application/([a-z.]+\+)?json", media, re.I) else None


_BAD_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")


def _is_text(said: str) -> bool:
    try:
        unquote_to_bytes(said).decode()
    except UnicodeDecodeError:
        return False
    return True


def _paths(case: Case) -> str | None:
    path, status = case.path, case.ours.reply.status
    if status == 400 and _BAD_PERCENT.search(path):
        return "bad percent-encoding"
    if status == 400 and not _is_text(case.request.target) and case.theirs.reply.status in (404, 500):
        return "text that is not UTF-8"
    if "%74" in path and case.theirs.reply.status == 404:
        return "encoded literal"
    deep = case.ours.called and case.theirs.called
    if path.endswith("/") and (status in (404, 405) or (deep and not case.theirs.same_call(case.ours))):
        return "trailing slash"
    if "//" in path and status in (404, 405):
        return "empty segment"
    if re.search(r":(touch|download|describe|watch)$", path) and case.theirs.reply.status == 404 and status != 404:
        return "verb of another path"
    if re.search(r"/:[^/]*$", path) and case.theirs.called:
        return "verb after an empty segment"
    return None


# --- refused by one ---------------------------------------------------------------------------------------------------


def _refused_here(case: Case) -> str | None:
    """Envoy called the method and we did not: every violation that we found needs its reason."""
    if not case.theirs.called or case.ours.called or case.ours.reply.status != 400:
        return None
    found = [_violation(case, one["code"], one["field"]) for one in case.refused]
    return found[0] if found and None not in found else None


_VALUES = ("INVALID_VALUE", "INVALID_FORMAT", "INVALID_ENUM", "OUT_OF_RANGE", "UNKNOWN_ENUM")


def _violation(case: Case, code: str, path: str) -> str | None:
    if code in ("INVALID_JSON", "MALFORMED_JSON"):
        return "loose JSON" if _is_loose(case.request.body or b"") else None
    if code == "UNEXPECTED_BODY":
        return "body where none is taken" if case.root == "" and case.request.body else None
    if code == "INVALID_QUERY":
        query = case.request.target.partition("?")[2]
        return "bad percent-encoding" if _BAD_PERCENT.search(query) else None
    names = [places.canonical(case.message, name) for name, _ in places.pairs_of(case.request)]
    if path in [places.canonical(case.message, name) for name in places.bare_of(case.request)]:
        return "parameter without ="
    if code.startswith("DUPLICATE_"):
        return "parameter given twice" if names.count(path) > 1 else _twice(case)
    if code == "CONFLICT":
        return "parameter of the path or body" if places.canonical(case.message, path) in names else None
    place = places.find(case.request, case.message, case.root, path)
    if code in ("UNKNOWN_FIELD", "NOT_A_PARAMETER"):
        return _unknown(case, place, path, {name for name, _ in places.pairs_of(case.request)})
    if path == case.root and (case.request.body or b"").strip() == b"null":
        return "null for the body of a field"
    return lenience.rule_for(place) if code in _VALUES else None


def _unknown(case: Case, place: places.Place, path: str, names: set[str]) -> str | None:
    if path in names:
        if not path:
            return "parameter without a name"
        way = [*place.parents, *([place.field] if place.field else [])]
        if any(field.is_repeated and field.message_type is not None for field in way):
            return "parameter through a repeated message"
        known = any(_is_known(field) for field in way)
        return "inside of a well-known type" if known else None
    return "unknown field in a body" if place.field is None or _is_known(place.field) else None


def _is_known(field: FieldDescriptor) -> bool:
    return field.message_type is not None and field.message_type.full_name.startswith("google.protobuf.")


def _is_loose(body: bytes) -> bool:
    """Whether protobuf's and Python's own parser refuse the text as well."""
    try:
        json.loads(body.decode("utf-8"), parse_constant=lambda name: 1 / 0)
    except (ValueError, ZeroDivisionError):
        return True
    return False


def _twice(case: Case) -> str | None:
    """Whether an object of the body has a key, or a field under both names, twice."""
    found: list[bool] = []

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        flat = ["renamed" if key == "otherName" else key.replace("_", "").lower() for key, _ in items]
        found.append(len(set(flat)) < len(flat))
        return dict(items)

    try:
        json.loads(case.request.body or b"", object_pairs_hook=pairs)
    except ValueError:
        return None
    return "field or key given twice" if any(found) else None


_DECIMAL = re.compile(rb'invalid value "-?[0-9]+(\.0+|(\.[0-9]+)?[eE][0-9]+)?" for type TYPE_[A-Z]*(INT|FIXED)(32|64)')


def _refused_by_envoy(case: Case) -> str | None:
    """We called the method and Envoy did not: by what Envoy says."""
    said = case.theirs.reply.body
    if case.theirs.called or not case.ours.called:
        return None
    if _DECIMAL.search(said):
        return "whole number with point or exponent"
    if re.search(rb'invalid value "?-?\d+"? for type type.googleapis.com/oracle.v1.Kind', said):
        return "open enum"
    if re.search(rb'Could not find field "[^"]*%2E', said):
        return "encoded dot in a name"
    if b"conflicting with the value" in said:
        return "path and body"
    return None


def _both_refused(case: Case) -> str | None:
    if case.ours.called or case.theirs.called:
        return None
    if case.theirs.reply.status == 500 and case.ours.reply.status == 400 and not _is_text(case.request.target):
        return "text that is not UTF-8"
    return None


# --- both called ------------------------------------------------------------------------------------------------------


def _untyped(theirs: Any, ours: Any) -> bool:
    return bool(theirs[0] == "" and ours[0] == "application/octet-stream" and theirs[1] == ours[1])


def _both_called(case: Case) -> str | None:
    theirs, ours = case.theirs, case.ours
    if not (theirs.called and ours.called and theirs.method == ours.method):
        return None
    mine, their = ours.message, theirs.message
    if ours.method == "Update" and not their.HasField("update_mask"):
        without = type(mine)()
        without.CopyFrom(mine)
        without.ClearField("update_mask")
        if without == their:
            return "automatic update mask"
    if b"FooBar" in (case.request.body or b"") + case.request.target.encode() and "_foo_bar" in str(mine):
        return "capital first in a mask"
    if not case.request.body and case.root in ("scalars", "inners", "thing"):
        return "empty body of a part"
    if theirs.same_call(ours) and ours.method in ("Upload", "Download") and _untyped(theirs.answer, ours.answer):
        return "content type not named"
    if places.bare_of(case.request) and not theirs.same_call(ours):
        return "parameter without ="
    if not case.request.body and ours.method == "Upload" and mine.id == their.id and not mine.data.data:
        return "content type of nothing"
    return None
