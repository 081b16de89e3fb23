"""Each protovalidate rule becomes the keyword that says the same."""

import pytest

from tests.unit.gateway_openapi.protos import compiled, schemas_for

ENUM = "enum Color { COLOR_UNSPECIFIED = 0; RED = 1; BLUE = 2; }"

# field declaration -> schema of the field in a request
KEYWORDS = {
    "string x = 1 [(buf.validate.field).string.min_len = 3]": {"type": "string", "minLength": 3},
    "string x = 1 [(buf.validate.field).string.max_len = 9]": {"type": "string", "maxLength": 9},
    "string x = 1 [(buf.validate.field).string.len = 4]": {"type": "string", "minLength": 4, "maxLength": 4},
    "string x = 1 [(buf.validate.field).string.pattern = '^a+$']": {"type": "string", "pattern": "^a+$"},
    "string x = 1 [(buf.validate.field).string.prefix = 'a.b']": {"type": "string", "pattern": r"^a\.b"},
    "string x = 1 [(buf.validate.field).string.suffix = '+']": {"type": "string", "pattern": r"\+$"},
    "string x = 1 [(buf.validate.field).string.pattern = '(?i)a']": {
        "type": "string",
        "description": "Matches the RE2 expression (?i)a",
    },
    "string x = 1 [(buf.validate.field).string.max_bytes = 5]": {
        "type": "string",
        "maxLength": 5,
        "description": "At most 5 bytes in UTF-8.",
    },
    "string x = 1 [(buf.validate.field).string.uuid = true]": {"type": "string", "format": "uuid"},
    "string x = 1 [(buf.validate.field).string.email = true]": {"type": "string", "format": "email"},
    "string x = 1 [(buf.validate.field).string.uri = true]": {"type": "string", "format": "uri"},
    "string x = 1 [(buf.validate.field).string.ip = true]": {
        "type": "string",
        "anyOf": [{"format": "ipv4"}, {"format": "ipv6"}],
    },
    "string x = 1 [(buf.validate.field).string = {in: ['a', 'b']}]": {"type": "string", "enum": ["a", "b"]},
    "string x = 1 [(buf.validate.field).string = {not_in: ['a']}]": {"type": "string", "not": {"enum": ["a"]}},
    "string x = 1 [(buf.validate.field).string.const = 'a']": {"type": "string", "const": "a"},
    "optional string x = 1 [(buf.validate.field).string = {prefix: 'a', suffix: 'b'}]": {
        "type": "string",
        "allOf": [{"pattern": "^a"}, {"pattern": "b$"}],
    },
    "uint32 x = 1 [(buf.validate.field).uint32 = {gt: 1, lte: 9}]": {
        "type": "integer",
        "format": "uint32",
        "exclusiveMinimum": 1,
        "maximum": 9,
    },
    "int32 x = 1 [(buf.validate.field).int32 = {gte: -1, lt: 9}]": {
        "type": "integer",
        "format": "int32",
        "minimum": -1,
        "exclusiveMaximum": 9,
    },
    "int64 x = 1 [(buf.validate.field).int64 = {gt: 0}]": {
        "type": "string",
        "format": "int64",
        "pattern": "^0*[1-9][0-9]{0,19}$",
        "description": "Above 0.",
    },
    "int64 x = 1 [(buf.validate.field).int64 = {in: [1, 2]}]": {
        "type": "string",
        "format": "int64",
        "pattern": "^-?[0-9]{1,19}$",
        "enum": ["1", "2"],
    },
    "double x = 1 [(buf.validate.field).double = {gte: 0, lte: 1}]": {
        "type": "number",
        "format": "double",
        "minimum": 0,
        "maximum": 1,
    },
    "double x = 1 [(buf.validate.field).double.finite = true]": {"type": "number", "format": "double"},
    "bool x = 1 [(buf.validate.field).bool.const = true]": {"type": "boolean", "const": True},
    "bytes x = 1 [(buf.validate.field).bytes = {min_len: 1, max_len: 4}]": {
        "type": "string",
        "format": "byte",
        "contentEncoding": "base64",
        "minLength": 2,
        "maxLength": 8,
        "description": "At least 1 bytes. At most 4 bytes.",
    },
    "Color x = 1 [(buf.validate.field).enum.defined_only = true]": {"$ref": "#/components/schemas/Color"},
    "Color x = 1 [(buf.validate.field).enum = {not_in: [0]}]": {"type": "string", "enum": ["RED", "BLUE"]},
    "Color x = 1 [(buf.validate.field).enum = {in: [1]}]": {"type": "string", "enum": ["RED"]},
    "repeated string x = 1 [(buf.validate.field).repeated = {min_items: 1, max_items: 3, unique: true}]": {
        "type": "array",
        "items": {"type": "string"},
        "minItems": 1,
        "maxItems": 3,
        "uniqueItems": True,
    },
    "repeated string x = 1 [(buf.validate.field).repeated.items.string.min_len = 2]": {
        "type": "array",
        "items": {"type": "string", "minLength": 2},
    },
    "map<string, uint32> x = 1 [(buf.validate.field).map = "
    "{min_pairs: 1, max_pairs: 2, keys: {string: {min_len: 1}}, values: {uint32: {lte: 5}}}]": {
        "type": "object",
        "additionalProperties": {"type": "integer", "format": "uint32", "minimum": 0, "maximum": 5},
        "propertyNames": {"minLength": 1},
        "minProperties": 1,
        "maxProperties": 2,
    },
    "google.protobuf.Duration x = 1 [(buf.validate.field).duration = {lte: {seconds: 60}}]": {
        "type": "string",
        "pattern": r"^-?[0-9]{1,12}(\.[0-9]{1,9})?s$",
        "examples": ["1.5s"],
        "description": "At most 60s.",
    },
    "google.protobuf.Timestamp x = 1 [(buf.validate.field).timestamp.gt_now = true]": {
        "type": "string",
        "format": "date-time",
        "description": "In the future.",
    },
    "google.protobuf.StringValue x = 1 [(buf.validate.field).string.min_len = 1]": {"type": "string", "minLength": 1},
    "string x = 1 [(buf.validate.field) = {ignore: IGNORE_IF_ZERO_VALUE, string: {min_len: 2}}]": {
        "anyOf": [{"type": "string", "minLength": 2}, {"const": ""}]
    },
    "string x = 1 [(buf.validate.field) = {ignore: IGNORE_ALWAYS, string: {min_len: 2}}]": {"type": "string"},
    "string x = 1 [(buf.validate.field).required = true]": {"type": "string", "minLength": 1},
}


@pytest.mark.parametrize("declaration", KEYWORDS)
def test_a_rule_becomes_its_keyword(declaration: str) -> None:
    """The schema of a field in a request has the keywords of its rules, and nothing else."""
    file, _ = compiled(f"message M {{ {declaration}; }} {ENUM}")
    field = file.message_types_by_name["M"].fields[0]
    assert schemas_for(file).field(field, "request") == KEYWORDS[declaration]


REQUIRED = {
    "string x = 1": False,
    "string x = 1 [(google.api.field_behavior) = REQUIRED]": True,
    "string x = 1 [(google.api.field_behavior) = OUTPUT_ONLY, (buf.validate.field).required = true]": False,
    "string x = 1 [(buf.validate.field).required = true]": True,
    "string x = 1 [(buf.validate.field).string.min_len = 1]": True,
    "string x = 1 [(buf.validate.field).string.max_len = 1]": False,
    "string x = 1 [(buf.validate.field).string.uuid = true]": True,
    "string x = 1 [(buf.validate.field).string.uri_ref = true]": False,
    "string x = 1 [(buf.validate.field).string.pattern = '^a*$']": False,
    "string x = 1 [(buf.validate.field).string.pattern = '^a+$']": True,
    "optional string x = 1 [(buf.validate.field).string.min_len = 1]": False,
    "string x = 1 [(buf.validate.field) = {ignore: IGNORE_IF_ZERO_VALUE, string: {min_len: 2}}]": False,
    "int32 x = 1 [(buf.validate.field).int32.gt = 0]": True,
    "int32 x = 1 [(buf.validate.field).int32.gte = 0]": False,
    "int64 x = 1 [(buf.validate.field).int64.gt = 0]": True,
    "int64 x = 1 [(buf.validate.field).int64.gte = 0]": False,
    "repeated string x = 1 [(buf.validate.field).repeated.min_items = 1]": True,
    "map<string, string> x = 1 [(buf.validate.field).map.min_pairs = 1]": True,
    "Color x = 1 [(buf.validate.field).enum = {not_in: [0]}]": True,
    "google.protobuf.Timestamp x = 1 [(buf.validate.field).timestamp.gt_now = true]": False,
}


@pytest.mark.parametrize("declaration", REQUIRED)
def test_a_field_is_required_when_its_absence_is_refused(declaration: str) -> None:
    """A request must have a field that says so, and one whose zero value its rules refuse."""
    file, _ = compiled(f"message M {{ {declaration}; }} {ENUM}")
    assert schemas_for(file).required(file.message_types_by_name["M"].fields[0]) is REQUIRED[declaration]


def test_rules_do_not_hold_for_what_the_server_sends() -> None:
    """A response may hold what an older rule allowed, and leaves out defaults: it has types, no rules."""
    file, _ = compiled("message M { string x = 1 [(buf.validate.field).string.min_len = 3]; }")
    found = schemas_for(file).message(file.message_types_by_name["M"], "response")
    assert found == {"type": "object", "properties": {"x": {"type": "string"}}}
