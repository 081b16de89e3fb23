"""The JSON Schema of job files, for editors; generated from the field table."""

from __future__ import annotations

from collections.abc import Mapping

from formicary.engine.jobs.container_fields import CONTAINER_FIELDS, SERVICE_FIELDS, ContainerField
from formicary.engine.jobs.cron import MISSED, OVERLAP
from formicary.engine.jobs.fields import JOB_FIELDS, TASK_FIELDS, Field
from formicary.engine.jobs.model import MAX_TASKS, METHODS
from formicary.engine.jobs.trigger_reader import AUTH_FIELDS, FIELDS
from formicary.engine.jobs.triggers import FORMS, MOST_TRIGGERS, PROVIDERS, TYPES
from formicary.engine.jobs.triggers import METHODS as AUTH_METHODS

_TEMPLATE = {"type": "string", "pattern": r"\{\{|\{%"}
_THIRD_PARTY = {"type": "string", "pattern": r"^[A-Za-z][A-Za-z0-9_]*(\.[A-Za-z][A-Za-z0-9_]*)+$"}
_SCALAR = {"type": ["string", "number", "boolean", "null"]}
_DURATION = {
    "anyOf": [
        {"type": "number", "minimum": 0},
        {"type": "string", "pattern": r"^([0-9]*\.?[0-9]+(ns|us|µs|ms|s|m|h|d))+$|^[0-9.]+$|\{\{|\{%"},
    ]
}
_TRUTHS = ("true", "false", "yes", "no", "on", "off")
_RANGE = {"anyOf": [_DURATION, {"type": "string", "pattern": r"^\S+ to \S+$"}]}
_TEXT_LIST = {"anyOf": [_SCALAR, {"type": "array", "items": _SCALAR}]}
_TEXT_MAP = {"type": ["object", "null"], "additionalProperties": _SCALAR}
_OBJECT = {"type": ["object", "null"]}


def _trigger_schema() -> dict[str, object]:
    texts = {name: _SCALAR for name in FIELDS if name not in ("params", "rate_limit", "auth", "poll_interval")}
    auth = dict.fromkeys(AUTH_FIELDS, _SCALAR) | {
        "method": {"enum": list(AUTH_METHODS)},
        "form": {"enum": list(FORMS)},
        "tolerance": _DURATION,
    }
    limit = {"max": {"type": "integer", "minimum": 1}, "window": _DURATION}
    return {
        "type": "object",
        "additionalProperties": False,
        "required": ["name"],
        "anyOf": [{"required": [name]} for name in ("type", *TYPES)],
        "properties": {
            **texts,
            **dict.fromkeys(TYPES, _OBJECT),
            "type": {"enum": [*TYPES, *(name.upper() for name in TYPES)]},
            "provider": {"enum": list(PROVIDERS)},
            "from_beginning": {"type": "boolean"},
            "enabled": {"type": "boolean"},
            "shared": {},
            "params": _OBJECT,
            "poll_interval": _DURATION,
            "rate_limit": {
                "type": "object",
                "additionalProperties": False,
                "required": ["max", "window"],
                "properties": limit,
            },
            "auth": {"type": "object", "additionalProperties": False, "required": ["method"], "properties": auth},
        },
    }


def _described(fields: Mapping[str, ContainerField]) -> dict[str, object]:
    """Names and meanings, for completion; values come in many forms, and other names are taken, too."""
    return {name: {"description": row.doc} for name, row in fields.items()}


_KINDS: Mapping[str, Mapping[str, object]] = {
    "text": _SCALAR,
    "template": _SCALAR,
    "target": _SCALAR,
    "name": {"type": ["string", "number"]},
    "int": {"anyOf": [{"type": "integer"}, _TEMPLATE]},
    "number": {"anyOf": [{"type": "number"}, _TEMPLATE]},
    "bool": {"anyOf": [{"type": "boolean"}, {"enum": [*_TRUTHS]}, _TEMPLATE]},
    "duration": _DURATION,
    "duration_range": _RANGE,
    "moment": {"type": ["string", "number"]},
    "semver": _SCALAR,
    "choice": {"type": "string"},
    "method": {"anyOf": [{"enum": sorted(METHODS)}, _THIRD_PARTY, _TEMPLATE]},
    "function": {"type": "string"},
    "text_list": _TEXT_LIST,
    "script": _TEXT_LIST,
    "tags": _TEXT_LIST,
    "text_map": _TEXT_MAP,
    "routes": _TEXT_MAP,
    "object": _OBJECT,
    "object_map": _OBJECT,
    "variables": {"anyOf": [_OBJECT, {"type": "array", "items": {"type": ["string", "object"]}}]},
    "container": {"type": ["object", "string", "null"], "properties": _described(CONTAINER_FIELDS)},
    "services": {
        "type": ["array", "null"],
        "items": {"type": ["object", "string"], "properties": _described(SERVICE_FIELDS)},
    },
    "tolerations": {"anyOf": [_TEXT_MAP, {"type": "array", "items": {"type": "object"}}]},
    "affinity": _OBJECT,
    "needs": {"anyOf": [_OBJECT, {"type": "array", "items": {"type": "object"}}]},
    "placement": _OBJECT,
    "tenant_limits": _OBJECT,
    "devices": {"anyOf": [_OBJECT, {"type": "array", "items": _OBJECT}]},
    "backup": {"type": ["object", "boolean", "null"]},
    "gang": {"anyOf": [_OBJECT, {"const": "job"}]},
    "deadline": {"type": ["string", "number"]},
    "demands": {"anyOf": [_OBJECT, {"type": "array", "items": {"type": "object"}}]},
    "environment": {
        "anyOf": [_TEXT_MAP, {"type": "array", "items": {"type": ["string", "object"]}}],
    },
    "any": {},
    "cron": {
        "anyOf": [
            {"type": "string", "maxLength": 200},
            {
                "type": "object",
                "additionalProperties": False,
                "required": ["schedule"],
                "properties": {
                    "schedule": {"type": "string", "maxLength": 200},
                    "time_zone": {"type": "string"},
                    "missed": {"enum": list(MISSED)},
                    "overlap": {"enum": list(OVERLAP)},
                },
            },
        ]
    },
    "triggers": {"type": ["array", "null"], "maxItems": MOST_TRIGGERS, "items": _trigger_schema()},
    "backoff": {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "min": _DURATION,
            "max": _DURATION,
            "factor": {"type": "number", "minimum": 1},
            "jitter": {"anyOf": [{"type": "boolean"}, {"type": "number", "minimum": 0, "maximum": 1}]},
        },
    },
    "parameters": {
        "type": "array",
        "items": {
            "type": "object",
            "required": ["name"],
            "properties": {
                "name": {"type": "string"},
                "type": {"enum": ["str", "int", "float", "bool", "list", "dict", "any"]},
                "required": {"type": "boolean"},
                "default": {},
            },
        },
    },
    "artifacts": {
        "type": ["object", "null"],
        "additionalProperties": False,
        "required": ["paths"],
        "properties": {"paths": _TEXT_LIST, "when": _SCALAR, "expires_after": _DURATION, "expire_after": _DURATION},
    },
    "cache": {
        "type": ["object", "null"],
        "additionalProperties": False,
        "required": ["paths"],
        "properties": {
            "paths": _TEXT_LIST,
            "key": _SCALAR,
            "key_paths": _TEXT_LIST,
            "expires_after": _DURATION,
            "expire_after": _DURATION,
            "keys": _TEXT_LIST,
        },
    },
    "error_handling": {
        "type": ["object", "null"],
        "additionalProperties": False,
        "properties": {
            "max_retries": {"type": "integer", "minimum": 0, "maximum": 1000},
            "dead_letter_queue": {"type": ["string", "boolean"], "maxLength": 100},
            "alert_on_dlq": {"type": "boolean"},
        },
    },
    "circuit_breaker": {
        "type": ["object", "null"],
        "additionalProperties": False,
        "properties": {
            "downstream": {"type": "string", "maxLength": 100},
            "consecutive_failures": {"type": "integer", "minimum": 1, "maximum": 1_000_000},
            "failure_rate": {"anyOf": [{"type": "number", "minimum": 0, "maximum": 1}, {"type": "string"}]},
            "window": _DURATION,
            "minimum_jobs": {"type": "integer", "minimum": 1, "maximum": 1_000_000},
            "open_for": _DURATION,
            "trials": {"type": "integer", "minimum": 1, "maximum": 1000},
        },
    },
    "tasks": {"type": "array", "minItems": 1, "maxItems": MAX_TASKS, "items": {"$ref": "#/$defs/task"}},
}


def job_schema() -> dict[str, object]:
    """Returns the JSON Schema (draft 2020-12) of one job."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Formicary job",
        **_object(JOB_FIELDS),
        "$defs": {"task": _object(TASK_FIELDS)},
    }


def _object(table: tuple[Field, ...]) -> dict[str, object]:
    properties: dict[str, object] = {}
    for row in table:
        for name in (row.name, *row.aliases):
            properties[name] = _property(row)
    return {
        "type": "object",
        "additionalProperties": False,
        "patternProperties": {r"^(x-|\.)": {}},
        "required": [row.name for row in table if row.required],
        "properties": properties,
    }


def _property(row: Field) -> dict[str, object]:
    found = dict(_KINDS[row.kind])
    found["description"] = row.doc
    if row.default is not None:
        found["default"] = row.default
    if row.choices:
        found["enum"] = list(row.choices)
    if row.kind in ("text", "name", "template", "target", "function", "semver") and row.most is not None:
        found["maxLength"] = int(row.most)
    if row.kind in ("int", "number"):
        found["anyOf"] = [{"type": "integer" if row.kind == "int" else "number", **_limits(row)}, _TEMPLATE]
    return found


def _limits(row: Field) -> dict[str, object]:
    limits: dict[str, object] = {}
    if row.least is not None:
        limits["minimum"] = row.least
    if row.most is not None:
        limits["maximum"] = row.most
    return limits
