"""The OpenAPI document of the engine's API.

The contract's descriptors say most of it. What the servicers check beyond them, and what HTTP alone has (the header
Idempotency-Key), is added here, so that a request that fits the document is one that the server takes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

from google.protobuf.descriptor import ServiceDescriptor

from formicary.engine.jobs import lifecycle as life
from formicary.engine.jobs.model import MAX_SOURCE_BYTES
from formicary.engine.queen.events import KINDS
from formicary.gateway.openapi import Security, openapi_document
from formicary.idempotency.keys import MAX_KEY_CHARS
from formicary.server.api import yaml_body
from formicary.server.api.call_keys import keeps_answers
from formicary.server.api.events import STATES, WORDS
from formicary.server.api.jobs import COMPATIBLE_PATH
from formicary.server.api.rules import LARGEST_WHOLE
from formicary.server.api.webhook_paths import webhook_paths
from formicary.server.auth.principal import HOME
from formicary.server.auth.roles import ROLES
from formicary.server.auth.tokens import LONGEST
from formicary.v1 import (
    alerts_pb2,
    ants_pb2,
    approvals_pb2,
    artifacts_pb2,
    audit_pb2,
    breakers_pb2,
    configs_pb2,
    dead_letters_pb2,
    definitions_pb2,
    error_codes_pb2,
    events_pb2,
    jobs_pb2,
    locks_pb2,
    notifications_pb2,
    queues_pb2,
    tokens_pb2,
    triggers_pb2,
    uploads_pb2,
)

Json = dict[str, Any]

_DEFINITION = "job_type: hello\ntasks:\n- task_type: greet\n  script: ['echo hello {{.name}}']\n"
_BARE_KEY, _QUOTED_KEY = "[!#-~][!-~]*", r'"[!#-\[\]-~]+"'
_KEY: Json = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "A text of your own that is the same when you repeat this request, and no other's: a UUID, say. "
    "Visible ASCII, bare or in the quotes of a structured field.",
    "example": "f81d4fae-7dec-11d0-a765-00a0c91e6bf6",
}
_DIGEST: Json = {
    "name": "Content-Digest",
    "in": "header",
    "required": False,
    "description": "SHA-256 or SHA-512 of the body (RFC 9530): what differs is refused.",
    "schema": {"type": "string", "pattern": "^(sha-256=:[A-Za-z0-9+/]{43}=:|sha-512=:[A-Za-z0-9+/]{86}==:)$"},
    "example": "sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:",
}
_NUMBERED = re.compile(r"_\d+$")
"""The operations of a method's further routes are numbered."""
_OFFSET: Json = {
    "name": "Upload-Offset",
    "in": "header",
    "required": False,
    "description": "Where the part begins, as `offset` says it: the bytes that are there already.",
    "schema": {"type": "string", "pattern": "^[0-9]{1,15}$"},
    "example": "1048576",
}
_PARAM = {"$ref": "#/components/schemas/Param"}
_PARAMS: Json = {
    "description": "Any JSON but numbers beyond 2^53, which JSON does not keep: write them as texts.",
    "anyOf": [
        {"type": ["null", "boolean", "string"]},
        {"type": "number", "minimum": -LARGEST_WHOLE, "maximum": LARGEST_WHOLE},
        {"type": "array", "items": _PARAM},
        {"type": "object", "additionalProperties": _PARAM},
    ],
}

_VIEWED = (
    *("/v1/definitions", "/v1/definitions/{id}", "/v1/job-types/{job_type}/definition"),
    *("/api/jobs/definitions", "/api/jobs/definitions/{id}"),
)
_SECURITY = Security(bearer_format="fmc_… of this server, or a JSON web token of its issuer", optional=True)
_SERVICES = (
    (jobs_pb2, "JobService"),
    (definitions_pb2, "DefinitionService"),
    (ants_pb2, "AntService"),
    (approvals_pb2, "ApprovalService"),
    (artifacts_pb2, "ArtifactService"),
    (uploads_pb2, "UploadService"),
    (configs_pb2, "ConfigService"),
    (queues_pb2, "QueueService"),
    (error_codes_pb2, "ErrorCodeService"),
    (events_pb2, "EventService"),
    (notifications_pb2, "NotificationService"),
    (audit_pb2, "AuditService"),
    (tokens_pb2, "TokenService"),
    (triggers_pb2, "TriggerService"),
    (dead_letters_pb2, "DeadLetterService"),
    (alerts_pb2, "AlertService"),
    (breakers_pb2, "BreakerService"),
    (locks_pb2, "LockService"),
)


def document() -> Json:
    """The document as JSON values."""
    services = [file.DESCRIPTOR.services_by_name[name] for file, name in _SERVICES]
    found: Json = openapi_document(services, title="Formicary", version=version("formicary"), security=_SECURITY)
    _submitting(found["paths"], found["components"]["schemas"])
    for path in ("/v1/jobs", COMPATIBLE_PATH):
        _listing(found["paths"][path]["get"], life.JOB_STATES)
    _listing(found["paths"]["/v1/jobs/{id}/tasks/{task_type}/elements"]["get"], life.TASK_STATES)
    for path in _VIEWED:
        _viewing(found["paths"][path]["get"])
    _watching(found["paths"]["/v1/events"]["get"])
    _registering(found["paths"]["/v1/definitions"]["post"], found["components"]["schemas"])
    _as_yaml(found["paths"])
    _firing(found["paths"]["/v1/triggers/{job_type}:fire"]["post"])
    _putting(found["paths"]["/v1/artifacts"]["post"])
    _uploading(found["paths"]["/v1/uploads"]["post"], found["paths"]["/v1/uploads/{id}"]["patch"])
    _keeping(found["paths"], services)
    found["paths"] |= webhook_paths()
    _tokens(found["components"]["schemas"]["CreateTokenRequest"])
    return found


def _tokens(request: Json) -> None:
    """Roles and bounds; an ant's token belongs to no other organisation than the server's own."""
    properties = request["properties"]
    properties["role"] = {"type": "string", "enum": [*ROLES]}
    for name in ("org", "name"):
        properties[name] = {"type": ["string", "null"], "maxLength": LONGEST, "pattern": "^[ -~]*$"}
    properties["lifetime"] = {"type": ["string", "null"], "pattern": "^[0-9]{1,9}s$", "examples": ["2592000s"]}
    request["anyOf"] = [
        {"properties": {"role": {"enum": [role for role in ROLES if role != "ant"]}}},
        {"properties": {"org": {"enum": ["", HOME, None]}}},
    ]


def _submitting(paths: Json, schemas: Json) -> None:
    """The key is a header over HTTP; one of two fields says which job."""
    for path, needed in (("/v1/jobs", ""), (COMPATIBLE_PATH, "?")):
        operation = paths[path]["post"]
        schema = {"type": "string", "maxLength": MAX_KEY_CHARS, "pattern": f"^({_BARE_KEY}|{_QUOTED_KEY}){needed}$"}
        operation["parameters"] = [{**_KEY, "required": path != COMPATIBLE_PATH, "schema": schema}]
        _answers(operation, "422", "The key was used for another request; nothing has happened.")
        operation["requestBody"]["required"] = True
        _example(operation, {"job_type": "hello", "params": {"name": "Ada"}})
    request = schemas["SubmitJobRequest"]
    properties = request["properties"]
    del properties["idempotency_key"]
    properties["params"]["additionalProperties"] = _PARAM
    schemas["Param"] = _PARAMS
    request["anyOf"] = [
        {"required": [name], "properties": {name: {"type": "string", "minLength": 1}}}
        for name in ("job_type", "definition_id")
    ]
    for verb in ("resume", "retry"):
        _answers(paths[f"/v1/jobs/{{id}}:{verb}"]["post"], "412", "The job is not in a state for that.")


def _keeping(paths: Json, services: Sequence[ServiceDescriptor]) -> None:
    """Calls that are answered again with what they answered first take a key, too."""
    names = {f"{service.name}_{one.name}" for service in services for one in service.methods if keeps_answers(one)}
    for item in paths.values():
        for operation in item.values():
            if isinstance(operation, dict) and _NUMBERED.sub("", operation.get("operationId", "")) in names:
                _firing(operation)
                _answers(operation, "409", "A call with this key is under way, or its answer is not kept.")


def _firing(operation: Json) -> None:
    """The key may be a header over HTTP."""
    schema = {"type": "string", "maxLength": MAX_KEY_CHARS, "pattern": f"^({_BARE_KEY}|{_QUOTED_KEY})$"}
    operation["parameters"] = [*operation.get("parameters", ()), {**_KEY, "required": False, "schema": schema}]
    _answers(operation, "422", "The key was used for another request; nothing has happened.")


def _putting(operation: Json) -> None:
    """As `_firing`, and the digest of the body may be a header."""
    _firing(operation)
    operation["parameters"].append(_DIGEST)
    _answers(operation, "409", "An upload with this key is under way; repeat it later.")


def _uploading(begin: Json, part: Json) -> None:
    """What only HTTP has: the address of a new upload, and where a part begins in a header."""
    _firing(begin)
    begin["responses"] = {"201" if status == "200" else status: one for status, one in begin["responses"].items()}
    begin["responses"]["201"]["headers"] = {"Location": {"schema": {"type": "string"}, "description": "Of the upload."}}
    part["parameters"] += [_OFFSET, _DIGEST]
    _answers(part, "409", "The part begins elsewhere than the upload ends, or another one has taken it over.")


def _answers(operation: Json, status: str, text: str) -> None:
    content = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    found = {**operation["responses"], status: {"description": text, "content": content}}
    operation["responses"] = dict(sorted(found.items()))  # digits before "default"


def _listing(operation: Json, states: Sequence[str]) -> None:
    known = {one["name"]: one for one in operation["parameters"]}
    known["states"]["schema"]["items"] = {"type": "string", "enum": list(states)}
    known["page_token"]["description"] = "next_page_token of the page before, with the same filters."


def _viewing(operation: Json) -> None:
    """A view is named, or numbered as in the contract."""
    (view,) = (one for one in operation["parameters"] if one["name"] == "view")
    numbers = sorted(definitions_pb2.DefinitionView.values())
    view["schema"] = {"anyOf": [view["schema"], {"type": "integer", "enum": numbers}]}


def _watching(operation: Json) -> None:
    known = {one["name"]: one for one in operation["parameters"]}
    known["after"]["schema"] = {"type": "string", "pattern": "^[0-9]{1,18}$"}
    known["kinds"]["schema"]["items"] = {"type": "string", "enum": [*dict.fromkeys((*WORDS, *KINDS))]}
    known["states"]["schema"]["items"] = {"type": "string", "enum": [*STATES]}


def _registering(operation: Json, schemas: Json) -> None:
    source = schemas["RegisterDefinitionRequest"]["properties"]["source"]
    source["contentMediaType"] = "application/yaml"
    _example(operation, {"source": _DEFINITION})


def _as_yaml(paths: Json) -> None:
    """On the older route the body may be the definition itself."""
    schema = {"type": "string", "minLength": 1, "maxLength": MAX_SOURCE_BYTES}
    body = paths[yaml_body.PATH]["post"]["requestBody"]
    body["content"] = body["content"] | {"application/yaml": {"schema": schema, "example": _DEFINITION}}


def _example(operation: Json, value: Json) -> None:
    operation["requestBody"]["content"]["application/json"]["examples"] = {"hello": {"value": value}}
