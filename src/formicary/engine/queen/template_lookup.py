"""What a template may ask of the other jobs: how many there are of a type, and that one is submitted.

Theory of operation. Rendering runs on a reader thread and changes nothing. A call that submits a job gives it an id
that follows from the job, its execution, the task and what is submitted, and notes it; the notes go to the core with
the rendered text, and both are one commit. Whatever is rendered again after a crash, or for a further attempt, finds
the same ids, and a job that exists already is not submitted again. Counts are of committed jobs, without the
own one.

A parameter ``_user_key`` names what a job is about, over all jobs that submit: while a job of that type and key is
kept, the call gives its id and submits none. Two jobs that ask in the same moment may both find none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from hashlib import sha256

import msgspec

from formicary.engine.jobs.configs import secret_in
from formicary.engine.jobs.model import JobDefinition
from formicary.engine.jobs.templates.lookup import LookupRefused
from formicary.engine.queen.children import newest_definition
from formicary.engine.queen.core.batch import RenderRequest, TemplateJob
from formicary.engine.queen.core.family import template_job_id
from formicary.engine.storage.port import JOB_COLUMNS, Row, Store, StoreError
from formicary.problems import Problem

_STATE = JOB_COLUMNS.index("state")
_USER_KEY = "_user_key"
_RESERVED = (_USER_KEY, "_description")
"""What an object says of its job and not to it; jobs have no descriptions of their own here."""
_encode = msgspec.json.Encoder().encode
_digest = msgspec.json.Encoder(order="deterministic").encode


class TemplateLookup:
    """The port of one rendering; blocking.

    Args:
        store: Where jobs and definitions are.
        model: The definition of a row.
        request: What is rendered.
    """

    def __init__(self, store: Store, model: Callable[[Row], JobDefinition], request: RenderRequest) -> None:
        self._store = store
        self._model = model
        self._request = request
        self._definitions: dict[str, tuple[Row, JobDefinition]] = {}
        self._jobs: dict[str, TemplateJob] = {}
        self._failure: StoreError | None = None

    def begin(self) -> None:
        """Forgets what was noted: the text is rendered again."""
        self._jobs.clear()

    def submit_job(self, job_type: str, params: Mapping[str, object]) -> str:
        """Notes a job and returns its id, or that of the job which has its `_user_key`. Raises LookupRefused."""
        if secret_in(params):
            raise LookupRefused(f"would pass a secret to {job_type}: name it there instead")
        given = {name: value for name, value in params.items() if name not in _RESERVED}
        row, model = self._definition(job_type)
        key = self._key(job_type, params.get(_USER_KEY))
        if key and (earlier := self._earlier(key)):
            return earlier
        encoded, turn = _encode(given), 0
        content = _digest([job_type, given])
        while (job_id := template_job_id(self._request, content, turn)) in self._jobs:
            turn += 1
        self._jobs[job_id] = TemplateJob(job_id, row, model, encoded, key)
        return job_id

    def _key(self, job_type: str, named: object) -> str:
        """The idempotency key of what a job is about, apart from those of clients; empty = there is none."""
        text = "" if named is None else str(named).strip()
        return f"about-{sha256(_digest([job_type, text])).hexdigest()}" if text else ""

    def _earlier(self, key: str) -> str:
        """The id of the job that has a key already; empty = there is none, or it is one of this rendering."""
        for job in self._jobs.values():
            if job.key == key:
                return job.id
        try:
            found = self._store.find_keys(self._request.org, [key]).get(key)
        except StoreError as error:
            raise self._failed(error) from error
        return found[1] if found is not None else ""

    def count_by_job_type_and_state(self, job_type: str, states: tuple[str, ...]) -> int:
        """Counts committed jobs. Raises LookupRefused."""
        request = self._request
        try:
            found = self._store.count_jobs(request.org, job_type, states)
            if job_type == request.definition.job_type:
                own = self._store.job(request.org, request.job_id)
                found -= own is not None and own[_STATE] in states
        except StoreError as error:
            raise self._failed(error) from error
        return found

    def jobs(self) -> tuple[TemplateJob, ...]:
        """The noted jobs that do not exist yet. Raises StoreError, also one that came up while rendering."""
        if self._failure is not None:
            raise self._failure
        known = self._store.find_ids(list(self._jobs)) if self._jobs else {}
        return tuple(job for job_id, job in self._jobs.items() if job_id not in known)

    def _definition(self, job_type: str) -> tuple[Row, JobDefinition]:
        found = self._definitions.get(job_type)
        if found is None:
            try:
                found = newest_definition(self._store, self._model, self._request.org, job_type)
            except StoreError as error:
                raise self._failed(error) from error
            except Problem as error:
                raise LookupRefused(str(error)) from error
            self._definitions[job_type] = found
        return found

    def _failed(self, error: StoreError) -> LookupRefused:
        self._failure = error
        return LookupRefused("the store cannot be read")
