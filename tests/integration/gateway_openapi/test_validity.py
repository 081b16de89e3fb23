"""Documents are valid OpenAPI, and their schemas accept what protobuf writes."""

import functools
import json
from typing import Any

import protovalidate
import pytest
from google.protobuf import json_format
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from formicary.gateway.openapi import Security, descriptor_set, openapi_document
from formicary.v1 import jobs_pb2
from tests.integration.gateway_openapi.messages import fill
from tests.unit.gateway_openapi.protos import compiled, message, service
from tests.unit.gateway_openapi.test_document import API

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:jsonschema_path.*")

FREE = """
service Api { rpc Put(Everything) returns (Everything) { option (google.api.http) = {post: "/v1/all" body: "*"}; } }
enum Color { COLOR_UNSPECIFIED = 0; RED = 1; BLUE = 2; }
message Everything {
  int32 a = 1; uint32 b = 2; int64 c = 3; uint64 d = 4; float e = 5; double f = 6; bool g = 7; string h = 8;
  bytes i = 9; Color j = 10; Everything k = 11; sint32 l = 12; fixed64 m = 13; optional string n = 14;
  repeated int64 ra = 20; repeated Color rb = 21; repeated Everything rc = 22; repeated double rd = 23;
  map<string, Everything> ma = 30; map<int32, string> mb = 31; map<bool, Color> mc = 32; map<uint64, bytes> md = 33;
  oneof pick { string oa = 40; Everything ob = 41; google.protobuf.Empty oc = 42; }
  google.protobuf.Timestamp wa = 50; google.protobuf.Duration wb = 51; google.protobuf.FieldMask wc = 52;
  google.protobuf.Struct wd = 53; google.protobuf.Value we = 54; google.protobuf.ListValue wf = 55;
  google.protobuf.Any wg = 56; google.protobuf.Int64Value wh = 57; google.protobuf.BytesValue wi = 58;
  google.protobuf.DoubleValue wj = 59; google.protobuf.BoolValue wk = 60; google.protobuf.StringValue wl = 61;
}
"""

# Each message has one or two rules, so that random values meet them often enough.
RULED = {
    "string x = 1 [(buf.validate.field).string = {min_len: 2, max_len: 3}];",
    "string x = 1 [(buf.validate.field).string = {pattern: '^a.*b$'}]; string y = 2;",
    "string x = 1 [(buf.validate.field).string.min_bytes = 3];",
    "string x = 1 [(buf.validate.field).string.max_bytes = 3];",
    "string x = 1 [(buf.validate.field).string = {prefix: 'a', contains: 'b'}];",
    "string x = 1 [(buf.validate.field).string = {in: ['a', '']}];",
    "string x = 1 [(buf.validate.field).string = {not_in: ['a']}];",
    "string x = 1 [(buf.validate.field).string.not_contains = '.'];",
    "string x = 1 [(buf.validate.field).string.email = true];",
    "string x = 1 [(buf.validate.field).string.uuid = true];",
    "string x = 1 [(buf.validate.field).string.uri_ref = true];",
    "string x = 1 [(buf.validate.field) = {ignore: IGNORE_IF_ZERO_VALUE, string: {min_len: 3}}];",
    "optional string x = 1 [(buf.validate.field).string.min_len = 1];",
    "string x = 1 [(buf.validate.field).required = true];",
    "int32 x = 1 [(buf.validate.field).int32 = {gt: 0, lte: 9}];",
    "int32 x = 1 [(buf.validate.field).int32 = {gt: 9, lt: 2}];",
    "int32 x = 1 [(buf.validate.field).required = true];",
    "uint32 x = 1 [(buf.validate.field).uint32 = {not_in: [0, 1]}];",
    "int64 x = 1 [(buf.validate.field).int64 = {gte: 0}];",
    "int64 x = 1 [(buf.validate.field).int64 = {gt: 0}];",
    "int64 x = 1 [(buf.validate.field).int64 = {gt: 9, lt: 2}];",
    "uint64 x = 1 [(buf.validate.field).uint64 = {in: [1, 2, 3]}];",
    "double x = 1 [(buf.validate.field).double = {gte: 0}];",
    "double x = 1 [(buf.validate.field).double = {gte: 0, lt: 9}];",
    "double x = 1 [(buf.validate.field).double = {gt: 9, lt: 2}];",
    "float x = 1 [(buf.validate.field).float.finite = true];",
    "bool x = 1 [(buf.validate.field).bool.const = true];",
    "bytes x = 1 [(buf.validate.field).bytes = {min_len: 2, max_len: 5}];",
    "Color x = 1 [(buf.validate.field).enum = {defined_only: true, not_in: [0]}];",
    "Color x = 1 [(buf.validate.field).required = true];",
    "repeated int32 x = 1 [(buf.validate.field).repeated = {min_items: 1, max_items: 2, unique: true}];",
    "repeated string x = 1 [(buf.validate.field).repeated.items.string.min_len = 1];",
    "map<string, int32> x = 1 [(buf.validate.field).map = {min_pairs: 1, keys: {string: {min_len: 1}}}];",
    "map<int32, string> x = 1 [(buf.validate.field).map = {values: {string: {min_len: 1}}}];",
    "google.protobuf.Duration x = 1 [(buf.validate.field).duration = {gte: {seconds: 1}}];",
    "google.protobuf.Timestamp x = 1 [(buf.validate.field).required = true];",
    "google.protobuf.Int32Value x = 1 [(buf.validate.field).int32.gte = 0];",
    "google.protobuf.StringValue x = 1 [(buf.validate.field).string.min_len = 1];",
    "google.protobuf.Any x = 1 [(buf.validate.field).any = {in: ['type.googleapis.com/google.protobuf.Duration']}];",
    "oneof pick { option (buf.validate.oneof).required = true; string x = 1; int32 y = 2; }",
    "oneof pick { string x = 1; int32 y = 2; } oneof other { bool a = 3; bool b = 4; }",
    "option (buf.validate.message).oneof = {fields: ['x', 'y'], required: true}; "
    "optional string x = 1; optional int32 y = 2;",
}
# All of them in one file, compiled once: message M0, M1, … and a method for each.
CASES = sorted(RULED)
_METHODS = "".join(
    f'rpc Put{k}(M{k}) returns (M{k}) {{ option (google.api.http) = {{post: "/v1/m{k}" body: "*"}}; }}'
    for k in range(len(CASES))
)
_MESSAGES = "".join(f"message M{k} {{ {fields} }}" for k, fields in enumerate(CASES))
RULED_API = f"enum Color {{ COLOR_UNSPECIFIED = 0; RED = 1; BLUE = 2; }} service Api {{ {_METHODS} }} {_MESSAGES}"


def check(document: dict[str, object]) -> None:
    """Fails if the document is not OpenAPI 3.1."""
    OpenAPIV31SpecValidator(json.loads(json.dumps(document))).validate()


@functools.cache
def validator(body: str, name: str) -> Draft202012Validator:
    """Of one named schema of the document."""
    document: Any = openapi_document([service(body)], title="x", version="1")
    schema = {"$ref": f"#/components/schemas/{name}", "components": document["components"]}
    return Draft202012Validator(schema, format_checker=Draft202012Validator.FORMAT_CHECKER)


def written(made: Any) -> Any:
    """The message as protobuf writes it in JSON."""
    return json.loads(json_format.MessageToJson(made, preserving_proto_field_name=True))


@pytest.mark.parametrize("names", ["proto", "camel"])
def test_documents_are_valid_openapi(names: Any) -> None:
    """Every feature at once passes the validator of the specification."""
    security = Security(openid_connect_url="https://id.example.com/.well-known/openid-configuration")
    for body in (API, FREE):
        check(
            openapi_document(
                [service(body)],
                title="x",
                version="1",
                json_names=names,
                servers=["https://api.example.com"],
                security=security,
                comments=compiled(body)[1],
                default_bindings=True,
            )
        )


def test_our_own_api_has_a_valid_document() -> None:
    """The product's services and their comments make a valid document in which nothing is lost."""
    services = list(jobs_pb2.DESCRIPTOR.services_by_name.values())
    comments = descriptor_set(["formicary/v1/jobs.proto"], ["proto"])
    document: Any = openapi_document(services, title="Formicary", version="1", comments=comments, security=Security())
    check(document)
    assert "x-not-expressible" not in document
    assert document["paths"]["/v1/jobs/{id}:cancel"]["post"]["summary"]


@pytest.mark.parametrize("name", ["Everything", "EverythingInput"])
@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_what_protobuf_writes_is_valid(name: str, data: st.DataObject) -> None:
    """Any message without rules, written as JSON, passes its schema in both forms."""
    made = fill(data.draw, message(FREE, "Everything"))
    validator(FREE, name).validate(written(made))


@pytest.mark.parametrize("fields", CASES)
@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_what_the_rules_allow_is_valid(fields: str, data: st.DataObject) -> None:
    """A message that protovalidate accepts passes the request's schema: no keyword refuses what a rule allows."""
    name = f"M{CASES.index(fields)}"
    made = fill(data.draw, message(RULED_API, name))
    assume(not protovalidate.collect_violations(made))
    validator(RULED_API, f"{name}Input").validate(written(made))
