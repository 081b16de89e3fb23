"""Definitions at the edge: parse, validate, identify, cache.

A definition is immutable. Its id is a digest of its source and of what changes its meaning (organisation, method
replacements, folder), so that the same text registered twice is one definition, and its version counts up per job type.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Mapping
from hashlib import sha256

import msgspec

from formicary.engine.jobs.availability import availability_violations
from formicary.engine.jobs.cron_reader import cron_violations
from formicary.engine.jobs.model import MAX_SOURCE_BYTES, JobDefinition, Violation
from formicary.engine.jobs.parse import parse_source
from formicary.engine.jobs.public_jobs import public_violations
from formicary.engine.storage.port import Row, Store
from formicary.problems import FieldError, Problem, problem

MAX_EXPANDED_BYTES = 1024 * 1024
"""Size of a source that `dynamic_template_tasks` has made."""
ONCE_IGNORED = frozenset({"tenant_limits"})
"""Fields that former versions have taken whatever stood there: a stored definition that is wrong there runs without."""
CACHED = 1000
"""Parsed definitions kept in memory beside those that live jobs use."""

_encode = msgspec.json.Encoder(order="deterministic").encode
_methods = msgspec.json.Decoder(dict[str, str]).decode


class Definitions:
    """Parsed definitions by id."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._models: OrderedDict[str, JobDefinition] = OrderedDict()

    def model(self, row: Row) -> JobDefinition:
        """The parsed definition of a stored row. Raises Problem where this version cannot read it any more."""
        key = str(row[0])
        found = self._models.get(key)
        if found is None:
            found = _stored(str(row[4]), _methods(_text(row[5])), str(row[7]))
            self._keep(key, found)
        return found

    def build(
        self,
        source: str,
        methods: Mapping[str, str],
        path: str,
        filename: str,
        org: str,
        *,
        expanded: bool = False,
    ) -> tuple[str, JobDefinition]:
        """Parses and checks a source for submission; blocking. Raises Problem with every violation."""
        key = sha256(b"\0".join(part.encode() for part in (org, source, path, repr(sorted(methods.items())))))
        definition_id = key.hexdigest()[:32]
        found = self._models.get(definition_id)
        if found is None:
            found = _parse(source, methods, filename, MAX_EXPANDED_BYTES if expanded else MAX_SOURCE_BYTES)
            if wrong := (*cron_violations(found, time.time()), *public_violations(found)):
                raise refused(list(wrong), filename)
            self._keep(definition_id, found)
        return definition_id, found

    def row(
        self,
        key: str,
        model: JobDefinition,
        methods: Mapping[str, str],
        path: str,
        filename: str,
        org: str,
        expanded_from: int = 0,
    ) -> Row:
        """The row of a new definition, with the next version of its type; blocking.

        What a template has made of version n for one job is no version of its own: its row says -n.
        """
        stored = self._store.definition(key)
        if stored is not None:
            return stored
        version = -expanded_from
        if not expanded_from:
            latest = self._store.latest_definition(org, model.job_type)
            version = int(latest[3] or 0) + 1 if latest is not None else 1
        return (key, org, model.job_type, version, model.source, _encode(dict(methods)), path, filename, time.time())

    def _keep(self, key: str, model: JobDefinition) -> None:
        self._models[key] = model
        self._models.move_to_end(key)
        while len(self._models) > CACHED:
            self._models.popitem(last=False)


def _text(value: object) -> bytes | str:
    return value if isinstance(value, (bytes, str)) and value else "{}"


def _stored(source: str, methods: Mapping[str, str], filename: str) -> JobDefinition:
    """The definition of a source that has been taken; what former versions did not look at may be wrong in it."""
    try:
        return _parse(source, methods, filename, MAX_EXPANDED_BYTES)
    except Problem:
        return _parse(source, methods, filename, MAX_EXPANDED_BYTES, ONCE_IGNORED)


def _parse(
    source: str, methods: Mapping[str, str], filename: str, max_bytes: int, leave_out: frozenset[str] = frozenset()
) -> JobDefinition:
    parsed = parse_source(
        source, filename=filename or "<job>", methods=methods, max_bytes=max_bytes, leave_out=leave_out
    )
    if len(parsed) != 1:
        raise problem(
            "VALIDATION_FAILED", f"{filename or 'the source'} holds {len(parsed)} jobs: register one at a time"
        )
    definition = parsed[0].definition
    violations = [found for found in parsed[0].violations if found.is_error]
    if definition is not None and not violations:
        violations = [found for found in availability_violations(definition, methods) if found.is_error]
    if violations or definition is None:
        raise refused(violations, filename)
    return definition


def refused(violations: list[Violation], filename: str) -> Problem:
    """The problem document of a definition with violations."""
    first = violations[0] if violations else None
    where = f"{filename or '<job>'}:{first.line}:{first.column}: {first.message}" if first else "no job in the source"
    more = f" (and {len(violations) - 1} more)" if len(violations) > 1 else ""
    unavailable = bool(violations) and all(found.code == "NOT_AVAILABLE" for found in violations)
    return problem(
        "NOT_AVAILABLE" if unavailable else "VALIDATION_FAILED",
        where + more,
        errors=[FieldError(v.path, v.code, v.message, v.line, v.column) for v in violations],
    )
