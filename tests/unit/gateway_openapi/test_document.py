"""What a document says about bindings, messages, problems and comments."""

import json
from typing import Any

import pytest

from formicary.gateway.openapi import Security, openapi_document
from formicary.problems import CodeEntry
from tests.unit.gateway_openapi.protos import compiled, service

API = """
// Things and what is done with them.
//
// More about them.
service Api {
  // Makes a thing. It is there at once.
  rpc Create(CreateRequest) returns (Thing) { option (google.api.http) = {
    post: "/v1/things" body: "thing"
    additional_bindings { post: "/old/things" body: "*" } }; }
  rpc Get(GetRequest) returns (Thing) { option (google.api.http) = {get: "/v1/{thing_name=things/*}"}; }
  rpc Update(UpdateRequest) returns (Thing) { option (google.api.http) = {
    patch: "/v1/{thing.name=things/*}" body: "thing"}; }
  rpc Stop(GetRequest) returns (google.protobuf.Empty) {
    option deprecated = true;
    option (google.api.http) = {post: "/v1/{thing_name=things/*}:stop" body: "*"}; }
  rpc List(ListRequest) returns (ListResponse) { option (google.api.http) = {
    get: "/v1/things" response_body: "things"}; }
  rpc Watch(GetRequest) returns (stream Thing) { option (google.api.http) = {get: "/v1/{thing_name=things/*}:watch"}; }
  rpc Send(stream Thing) returns (ListResponse) { option (google.api.http) = {post: "/v1/things:send" body: "*"}; }
  rpc Download(GetRequest) returns (google.api.HttpBody) { option (google.api.http) = {
    get: "/v1/{thing_name=things/*}/content"}; }
  rpc Upload(google.api.HttpBody) returns (Thing) { option (google.api.http) = {post: "/v1/upload" body: "*"}; }
  rpc Same(GetRequest) returns (Thing) { option (google.api.http) = {get: "/v1/things/{thing_name}"}; }
  rpc Query(GetRequest) returns (Thing) { option (google.api.http) = {custom: {kind: "QUERY" path: "/v1/things"}}; }
  rpc Unbound(GetRequest) returns (Thing);
}
// A thing.
message Thing {
  // Its name.
  string name = 1 [(google.api.field_behavior) = IDENTIFIER];
  string title = 2 [(google.api.field_behavior) = REQUIRED];
  google.protobuf.Timestamp made_at = 3 [(google.api.field_behavior) = OUTPUT_ONLY];
  string secret = 4 [(google.api.field_behavior) = INPUT_ONLY];
  string owner = 5 [(google.api.field_behavior) = IMMUTABLE];
  Kind kind = 6;
  Thing parent = 7;
  map<string, Thing> parts = 8;
  oneof choice { string text = 9; int64 number = 10; }
  string old = 11 [deprecated = true];
  optional bool flag = 12;
}
// What a thing is.
enum Kind {
  KIND_UNSPECIFIED = 0;

  // Small.
  SMALL = 1;
}
message CreateRequest { Thing thing = 1 [(google.api.field_behavior) = REQUIRED]; bool dry_run = 2; }
message GetRequest { string thing_name = 1; string reason = 2; }
message UpdateRequest { Thing thing = 1; google.protobuf.FieldMask update_mask = 2; }
message Filter { repeated Kind kinds = 1; google.protobuf.Timestamp since = 2; Filter inner = 3; Limits limits = 4; }
message Limits { google.protobuf.Int32Value most = 1; google.protobuf.Duration within = 2; bytes token = 3; }
message ListRequest {
  Filter filter = 1;
  int32 page_size = 2 [(buf.validate.field).int32 = {gte: 0, lte: 100}];
  map<string, string> labels = 3;
  repeated Thing likes = 4;
  google.protobuf.Struct extra = 5;
}
message ListResponse { repeated Thing things = 1; }
"""


def document(**options: Any) -> Any:
    given: dict[str, Any] = {"title": "Things", "version": "1", "comments": compiled(API)[1], **options}
    return openapi_document([service(API)], **given)


def operation(found: Any, name: str) -> Any:
    return next(o for item in found["paths"].values() for o in item.values() if o["operationId"] == name)


def names(found: Any, place: str) -> list[str]:
    return [one["name"] for one in found.get("parameters", []) if one["in"] == place]


def test_every_binding_has_its_operation() -> None:
    """Paths, verbs and operation ids of all bindings, the additional ones numbered."""
    found = document()
    listed = {f"{v} {path}": o["operationId"] for path, item in found["paths"].items() for v, o in item.items()}
    assert listed == {
        "post /v1/things": "Api_Create",
        "post /old/things": "Api_Create_2",
        "get /v1/things/{thing}": "Api_Get",
        "patch /v1/things/{thing}": "Api_Update",
        "post /v1/things/{thing}:stop": "Api_Stop",
        "get /v1/things": "Api_List",
        "get /v1/things/{thing}:watch": "Api_Watch",
        "post /v1/things:send": "Api_Send",
        "get /v1/things/{thing}/content": "Api_Download",
        "post /v1/upload": "Api_Upload",
    }


def test_what_openapi_cannot_say_is_listed() -> None:
    """A second route of the same shape and an unknown method are named, not lost."""
    assert document()["x-not-expressible"] == [
        "GET /v1/things/{thing_name}: test.v1.Api.Same",
        "QUERY /v1/things: test.v1.Api.Query",
    ]


def test_methods_without_a_binding_are_there_when_asked() -> None:
    """The default binding is POST with the full names, its body the whole request."""
    found = document(default_bindings=True)["paths"]["/test.v1.Api/Unbound"]["post"]
    assert found["requestBody"]["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/GetRequest"}


def test_query_parameters_are_what_path_and_body_leave() -> None:
    """Nested fields are dotted; maps, lists of messages, free documents and recursion are left out."""
    listed = operation(document(), "Api_List")
    wanted = ["filter.kinds", "filter.since", "filter.limits.most", "filter.limits.within", "filter.limits.token"]
    assert names(listed, "query") == [*wanted, "page_size"]
    schemas = {one["name"]: one["schema"] for one in listed["parameters"]}
    assert schemas["filter.kinds"] == {"type": "array", "items": {"$ref": "#/components/schemas/Kind"}}
    assert schemas["filter.since"] == {"type": "string", "format": "date-time"}
    assert schemas["filter.limits.most"]["type"] == "integer"
    assert schemas["page_size"] == {"type": "integer", "format": "int32", "minimum": 0, "maximum": 100}
    assert names(operation(document(), "Api_Create"), "query") == ["dry_run"]
    assert names(operation(document(), "Api_Update"), "query") == ["update_mask"]
    assert names(operation(document(), "Api_Stop"), "query") == []
    assert names(operation(document(), "Api_Get"), "query") == ["reason"]


def test_the_body_is_a_field_or_the_rest() -> None:
    """A body that is a field has the field's schema; a body that is the rest lacks what the path holds."""
    found = document()
    created = operation(found, "Api_Create")["requestBody"]
    assert created["required"] is True
    assert created["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/ThingInput"}
    stopped = operation(found, "Api_Stop")["requestBody"]
    assert "required" not in stopped
    assert list(stopped["content"]["application/json"]["schema"]["properties"]) == ["reason"]
    assert operation(found, "Api_Upload")["requestBody"] == {"content": {"*/*": {}}, "required": True}
    assert list(operation(found, "Api_Send")["requestBody"]["content"]) == ["application/x-ndjson"]


def test_responses_are_messages_fields_streams_or_bytes() -> None:
    """Unary answers are JSON, streams come in both forms, HttpBody is the content itself."""
    found = document()
    thing = {"$ref": "#/components/schemas/Thing"}
    done = {name: operation(found, name)["responses"]["200"]["content"] for name in ("Api_Get", "Api_List")}
    assert done["Api_Get"] == {"application/json": {"schema": thing}}
    assert done["Api_List"] == {"application/json": {"schema": {"type": "array", "items": thing}}}
    watched = operation(found, "Api_Watch")["responses"]["200"]["content"]
    assert list(watched) == ["application/x-ndjson", "text/event-stream"]
    assert watched["text/event-stream"]["schema"]["anyOf"] == [thing, {"$ref": "#/components/schemas/Problem"}]
    assert operation(found, "Api_Download")["responses"]["200"]["content"] == {"*/*": {}}


def test_a_message_has_a_strict_and_an_open_form() -> None:
    """Requests refuse unknown members and require fields; responses do neither and hide what is only sent in."""
    schemas = document()["components"]["schemas"]
    strict, open_form = schemas["ThingInput"], schemas["Thing"]
    assert strict["additionalProperties"] is False
    assert strict["required"] == ["title"]
    assert strict["properties"]["made_at"]["readOnly"] is True
    assert strict["properties"]["secret"]["writeOnly"] is True
    assert strict["properties"]["owner"]["description"] == "It cannot be changed later."
    assert strict["properties"]["old"]["deprecated"] is True
    assert "additionalProperties" not in open_form and "required" not in open_form
    assert "secret" not in open_form["properties"]
    assert open_form["properties"]["parent"] == {"$ref": "#/components/schemas/Thing"}
    assert open_form["properties"]["parts"]["additionalProperties"] == {"$ref": "#/components/schemas/Thing"}
    wanted = [{"required": ["text"]}, {"required": ["number"]}]
    assert strict["oneOf"] == [*wanted, {"not": {"anyOf": wanted}}]


def test_comments_become_texts() -> None:
    """Comments of services, methods, messages, fields and values stand where readers look for them."""
    found = document()
    created = operation(found, "Api_Create")
    assert found["tags"] == [{"name": "Api", "description": "Things and what is done with them.\n\nMore about them."}]
    assert created["summary"] == "Makes a thing"
    assert created["description"] == "Makes a thing. It is there at once."
    schemas = found["components"]["schemas"]
    assert schemas["Thing"]["description"] == "A thing."
    assert schemas["Thing"]["properties"]["name"]["description"] == "Its name."
    assert schemas["Kind"]["description"] == "What a thing is.\n- `SMALL`: Small."
    assert "summary" not in operation(document(comments=None), "Api_Create")


def test_names_are_one_setting() -> None:
    """In camelCase, members of schemas, queries and paths change alike."""
    found = document(json_names="camel")
    assert "madeAt" in found["components"]["schemas"]["Thing"]["properties"]
    assert names(operation(found, "Api_Create"), "query") == ["dryRun"]


def test_problems_have_a_response_per_status_with_examples() -> None:
    """Operations refer to the statuses that fit them, each with codes of the catalogue; the default is any other."""
    rows = {"GONE": CodeEntry("GONE", "It is gone", 404, "NOT_FOUND")}
    found = document(problem_catalogue=rows)
    assert list(operation(found, "Api_Get")["responses"]) == ["200", "400", "404", "406", "429", "503", "default"]
    upload = list(operation(found, "Api_Upload")["responses"])
    assert upload == ["200", "400", "406", "409", "413", "415", "429", "503", "default"]
    missing = found["components"]["responses"]["Problem404"]["content"]["application/problem+json"]
    assert missing["schema"] == {"$ref": "#/components/schemas/Problem"}
    assert missing["examples"]["GONE"]["value"]["status"] == 404
    full = document()["components"]["responses"]
    assert "VALIDATION_FAILED" in full["Problem400"]["content"]["application/problem+json"]["examples"]
    assert "Retry-After" in full["Problem503"]["headers"]


def test_security_is_said_once_and_lifted_for_public_methods() -> None:
    """Schemes stand in the components; a public method needs none and answers neither 401 nor 403."""
    security = Security(openid_connect_url="https://id.example.com/x", public=frozenset({"test.v1.Api.Get"}))
    found = document(security=security)
    assert found["security"] == [{"bearer": []}, {"openIdConnect": []}]
    assert found["components"]["securitySchemes"]["bearer"] == {"type": "http", "scheme": "bearer"}
    assert operation(found, "Api_Get")["security"] == []
    assert "401" not in operation(found, "Api_Get")["responses"]
    assert {"401", "403"} <= operation(found, "Api_List")["responses"].keys()
    assert "security" not in document()


def test_deprecated_methods_are_marked() -> None:
    """A method that is deprecated in the proto file is so in the document."""
    assert operation(document(), "Api_Stop")["deprecated"] is True
    assert "deprecated" not in operation(document(), "Api_Get")


def test_a_binding_that_names_no_field_is_refused() -> None:
    """A template or body with a field that is not there is a mistake of the proto file, told by name."""
    body = """service Api { rpc Get(M) returns (M) { option (google.api.http) = {get: "/v1/{nope}"}; } }
    message M { string x = 1; }"""
    with pytest.raises(ValueError, match="has no field nope"):
        openapi_document([service(body)], title="x", version="1")


def test_the_same_input_gives_the_same_bytes() -> None:
    """Nothing in the document depends on order of sets or on the run."""
    assert json.dumps(document()) == json.dumps(document())


def test_equal_short_names_are_told_apart_by_their_full_names() -> None:
    """A message named like one of the document's own schemas, or like another one, keeps its full name."""
    body = """service Api { rpc Get(Problem) returns (Outer) { option (google.api.http) = {get: "/v1/x"}; } }
    message Problem { string x = 1; } message Outer { message Problem { string y = 1; } Problem inner = 1; }"""
    made: Any = openapi_document([service(body)], title="x", version="1")
    schemas = made["components"]["schemas"]
    assert {"Outer", "Outer.Problem", "Problem", "FieldError"} == set(schemas)
    assert "code" in schemas["Problem"]["properties"]
