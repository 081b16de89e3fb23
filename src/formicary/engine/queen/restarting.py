"""Restarts of ended jobs as people ask for them: soft or hard, with the same version of the definition or another."""

from __future__ import annotations

from typing import TYPE_CHECKING

from formicary.engine.jobs.lifecycle import IllegalTransition
from formicary.engine.queen import edge
from formicary.engine.queen.children import find_version
from formicary.engine.queen.core.records import Definition
from formicary.engine.queen.core.submission import Submission
from formicary.engine.queen.submitting import check_against
from formicary.engine.storage.port import Row
from formicary.problems import Problem, problem

if TYPE_CHECKING:
    from formicary.engine.queen.runtime import Queen


async def restart(queen: Queen, job_id: str, *, hard: bool, version: str, key: str, org: str) -> bool:
    """Runs an ended job again; answers after the commit.

    Args:
        queen: Whose job it is.
        job_id: The job.
        hard: Every task, instead of those that did not complete.
        version: Of the definition: a number, what it calls itself, its id, or ``latest``; empty = the job's own.
        key: Idempotency key, empty = none.
        org: Organisation.

    Returns:
        False where the key says that this was done before.

    Raises:
        Problem: NOT_FOUND; FAILED_PRECONDITION where the job has not ended or cannot go on with that version;
            IDEMPOTENCY_KEY_REUSED; UNAVAILABLE.
    """
    fingerprint = f"restart {job_id} {'hard' if hard else 'soft'} {version}"
    async with queen.reviving:  # what is read must still hold when it is used
        await queen.pump.settle()
        row = await queen.row(job_id, org=org)
        with queen.submitting.keys.lookup():
            if key and await _is_repeated(queen, org, edge.check_key(key), fingerprint):
                return False
            before = await queen.submitting.definition(str(row[3]))
            after = await _version(queen, row, before, version) if version else before
            number = int(row[0] or 0)
            tasks, found, checkpoints = await queen.pump.read(
                lambda: (
                    queen.store.tasks(number, elements=True),
                    queen.store.params([number]),
                    queen.store.checkpoints(number),
                )
            )
            params = found.get(number, (b"{}", None))[0]
            letters = await queen.dead_letters.retried(row)
            if after is not before:
                _check(queen, after, job_id, params, str(row[21] or ""), org)
            core = queen.pump.now()
            if key:
                known = core.keys.get((org, key)) or queen.submitting.keys.find((org, key))
                if known is not None:
                    _same(key, known[0], fingerprint)
                    return False
            if job_id in core.jobs:
                raise problem("FAILED_PRECONDITION", f"job {job_id} has not ended: cancel it first, or wait")
            try:
                core.retry(
                    after,
                    row,
                    tasks,
                    hard=hard,
                    before=before.model if after is not before else None,
                    params=params,
                    key=(key, fingerprint),
                    checkpoints=checkpoints,
                )
            except IllegalTransition as error:
                raise problem("FAILED_PRECONDITION", f"job {job_id}: {error}") from error
            queen.dead_letters.revive(core, letters)
        await queen.pump.commit()
    return True


async def _is_repeated(queen: Queen, org: str, key: str, fingerprint: str) -> bool:
    stored = await queen.pump.read(lambda: queen.store.find_keys(org, [key]))
    if key not in stored:
        return False
    _same(key, stored[key][0], fingerprint)
    return True


def _same(key: str, stored: str, fingerprint: str) -> None:
    if stored != fingerprint:
        text = f"the idempotency key {key!r} was used for another request; take a new key"
        raise problem("IDEMPOTENCY_KEY_REUSED", text)


async def _version(queen: Queen, row: Row, before: Definition, version: str) -> Definition:
    """The version that was asked for. Raises Problem FAILED_PRECONDITION where there is none that can be used."""
    org, job_type, store = str(row[2]), str(row[4]), queen.store
    model = queen.pump.definitions.model
    found = await queen.pump.read(lambda: find_version(store, model, org, job_type, version))
    if found is None:
        text = f"there is no version {version[:60]!r} of {job_type}; `formicary definitions list {job_type}` shows them"
        raise problem("FAILED_PRECONDITION", text)
    if str(found[0]) == before.id:
        return before
    try:
        if int(found[3] or 0) < 0:  # a public job of another organisation: its definition may not be stored yet
            read = await queen.pump.read(lambda: model(found))
            return queen.pump.now().define(found, read)
        return await queen.submitting.definition(str(found[0]))
    except Problem as error:
        text = f"version {version[:60]} of {job_type} cannot be read any more: {error.detail}"
        raise problem("FAILED_PRECONDITION", text) from error


def _check(queen: Queen, definition: Definition, job_id: str, params: bytes, user: str, org: str) -> None:
    """The job's parameters are what that version needs. Raises Problem FAILED_PRECONDITION."""
    configs = queen.configs.view(org, user, definition.job_type)
    try:
        check_against(definition, [Submission(job_id, params)], configs.names)
    except Problem as error:
        text = f"job {job_id} cannot go on with version {abs(int(definition.row[3] or 0))}: {error.detail}"
        raise problem("FAILED_PRECONDITION", text, errors=error.errors) from error
    if definition.model.dynamic_template_tasks:
        version = abs(int(definition.row[3] or 0))
        text = f"version {version} of {definition.job_type} makes its tasks by a template: no job goes on so"
        raise problem("FAILED_PRECONDITION", text)
