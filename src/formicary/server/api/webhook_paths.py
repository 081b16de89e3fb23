"""What the OpenAPI document says of webhooks, which the contract does not have: their bodies are their senders' own."""

from __future__ import annotations

from typing import Any

from formicary.server.api.webhooks import COMPATIBLE_PATH, ORG_PATH, PATH

Json = dict[str, Any]
_PROBLEM = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
_REFUSALS = {
    "400": "The body is no JSON, or no job can be made of the event.",
    "401": "Nothing vouches for it (WEBHOOK_UNAUTHENTICATED), or its signed time is not the present (WEBHOOK_EXPIRED).",
    "404": "There is no such trigger; said to those alone who may know.",
    "409": "The trigger is paused.",
    "413": "The body is larger than 1 MB.",
    "429": "The trigger's rate limit is used up: send it again after Retry-After.",
    "503": "Nothing was taken: send it again.",
}
_NAME = {"type": "string", "minLength": 1, "maxLength": 100}
_OUTCOME = {
    "type": "object",
    "required": ["outcome", "id"],
    "properties": {
        "outcome": {"type": "string", "enum": ["started", "repeated", "filtered"]},
        "id": {"type": ["string", "null"], "description": "Id of the job."},
    },
}


def webhook_paths() -> Json:
    """The paths of webhooks."""
    return {path: {"post": _operation(path)} for path in (PATH, ORG_PATH, COMPATIBLE_PATH)}


def _operation(path: str) -> Json:
    names = [part.strip("{}") for part in path.split("/") if part.startswith("{")]
    answer = {"application/json": {"schema": _OUTCOME}}
    return {
        "tags": ["TriggerService"],
        "operationId": "Webhook" + "".join(part.strip("{}").title().replace("_", "") for part in path.split("/")),
        "summary": "An event of somebody else's that starts a job.",
        "description": "The trigger says how its sender is known: see the trigger's auth in the job file.",
        "security": [{}],
        "parameters": [{"name": name, "in": "path", "required": True, "schema": _NAME} for name in names],
        "requestBody": {"content": {"application/json": {"schema": {}}}},
        "responses": {
            "200": {"description": "It has started its job before, or the filter leaves it out.", "content": answer},
            "202": {"description": "It has started a job.", "content": answer},
            **{status: {"description": text, "content": _PROBLEM} for status, text in _REFUSALS.items()},
        },
    }
