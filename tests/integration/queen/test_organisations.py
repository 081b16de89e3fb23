"""What one organisation has, another one can neither see nor change."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from formicary.engine.queen.children import newest_definition
from formicary.engine.queen.runtime import Queen
from formicary.engine.storage.memory import MemoryStore
from formicary.problems import Problem
from formicary.v1 import jobs_pb2 as pb
from tests.integration.queen.test_queen import NOOP, queen_on, run, submission


class Watcher:
    """Nobody who listens."""

    def job_ended(self, end: object) -> None:
        raise AssertionError(end)


async def document(queen: Queen, job_id: str) -> None:
    await queen.document(job_id, org="b")


async def row(queen: Queen, job_id: str) -> None:
    await queen.row(job_id, org="b")


async def cancel(queen: Queen, job_id: str) -> None:
    await queen.cancel(job_id, org="b")


async def resume(queen: Queen, job_id: str) -> None:
    await queen.resume(job_id, org="b")


async def retry(queen: Queen, job_id: str) -> None:
    await queen.retry(job_id, org="b")


async def watch(queen: Queen, job_id: str) -> None:
    await queen.watch([job_id], Watcher(), org="b")


async def follow(queen: Queen, job_id: str) -> None:
    await anext(queen.follow(job_id, org="b"))


@pytest.mark.parametrize("ask", [document, row, cancel, resume, retry, watch, follow])
def test_a_job_of_another_organisation_is_not_found(ask: Callable[[Queen, str], Awaitable[None]]) -> None:
    """Every way to a job says NOT_FOUND to another organisation and changes nothing; lists do not hold it."""

    async def test() -> None:
        async with queen_on(MemoryStore()) as queen:
            key = await queen.register(NOOP, org="a")
            (job_id,) = await queen.submit(key, [submission()], org="a")
            with pytest.raises(Problem, match="no job") as refused:
                await asyncio.wait_for(ask(queen, job_id), 5)
            assert refused.value.code == "NOT_FOUND"
            assert (await queen.document(job_id, org="a"))["state"] == "PENDING"
            assert await queen.page(org="b") == []
            assert len(await queen.page(org="a")) == 1

    run(test)


def test_a_definition_of_another_organisation_is_not_found() -> None:
    """Its id, its type and submissions to it are unknown to others; the same text is a definition of their own."""

    async def test() -> None:
        async with queen_on(MemoryStore()) as queen:
            key = await queen.register(NOOP, org="a")
            request = pb.SubmitJobsRequest(definition_id=key, jobs=[pb.JobSubmission()])
            with pytest.raises(Problem) as refused:
                await queen.submit_request(request, "b", None)
            assert refused.value.code == "NOT_FOUND"
            with pytest.raises(Problem):
                await queen.submitting.definition(key, "b")
            assert await queen.register(NOOP, org="b") != key
            assert len(await queen.submit_request(request, "a", None)) == 1

    run(test)


PUBLIC = """job_type: io.example.thumbnails
sem_version: "%s"
public_plugin: %s
required_params: [picture]
max_concurrency: 1
tasks:
- task_type: make
  method: SHELL
  script: ['echo {{.picture}} {{.KEY}}']
"""
TYPE = "io.example.thumbnails"


async def found(queen: Queen, org: str, version: str = "") -> str:
    """The text with which a fork of an organisation runs, or why there is none."""
    await queen.pump.settle()
    model = queen.pump.definitions.model
    try:
        row, definition = newest_definition(queen.store, model, org, TYPE, version)
    except Problem as error:
        return error.detail
    assert (row[1], definition.source) == (org, row[4])
    return definition.source


def test_a_public_job_is_started_by_every_organisation_as_its_own() -> None:
    """Forked and submitted; configurations and secrets are the caller's, and nothing else of the owner is seen."""

    async def test() -> None:
        async with queen_on(MemoryStore()) as queen:
            key = await queen.register(PUBLIC % ("1.0.0", "true"), org="a", filename="/home/a/thumbnails.yaml")
            await queen.configs.put("a", "org", "", "KEY", "of a", secret=False)
            await queen.configs.put("b", "org", "", "KEY", "of b", secret=False)
            request = pb.SubmitJobsRequest(job_type=TYPE, jobs=[pb.JobSubmission()])
            with pytest.raises(Problem, match="needs the parameters picture") as refused:
                await queen.submit_request(request, "b", None)
            assert "/home/a" not in str(refused.value)
            request.jobs[0].params = b'{"picture": "cat"}'
            (job_id,) = await queen.submit_request(request, "b", None)
            job = queen.pump.core.jobs[job_id]
            assert (job.org, job.definition.org, job.definition.gate) == ("b", "b", ("b", TYPE))
            assert job.definition.id != key and job.definition.model.source == PUBLIC % ("1.0.0", "true")
            assert dict(queen.pump.core.view(job).names) == {"KEY": "of b"}
            assert await found(queen, "b") == PUBLIC % ("1.0.0", "true")
            assert [row[2] for row in await queen.definitions(org="b")] == []
            with pytest.raises(Problem):
                await queen.submitting.definition(key, "b")

    run(test)


def test_versions_of_a_public_job() -> None:
    """The newest that is public and no early one; others by name; none once the owner has taken it back."""

    async def test() -> None:
        async with queen_on(MemoryStore()) as queen:
            for version in ("1.0.0", "1.1.0", "2.0.0-rc"):
                await queen.register(PUBLIC % (version, "true"), org="a")
            for version, wanted in (("", "1.1.0"), ("latest", "1.1.0"), ("2.0.0-rc", "2.0.0-rc"), ("1", "1.0.0")):
                assert await found(queen, "b", version) == PUBLIC % (wanted, "true")
            assert "is not registered" in await found(queen, "b", "3.0.0")
            await queen.register(PUBLIC % ("1.2.0", "false"), org="a")
            assert "is not registered" in await found(queen, "b")
            assert await found(queen, "a") == PUBLIC % ("1.2.0", "false")
            await queen.register((PUBLIC % ("9.0.0-dev", "true")).replace(TYPE, "io.example.new"), org="a")
            with pytest.raises(Problem, match="early versions only"):
                await queen.submitting.definition("", "b", "io.example.new")

    run(test)


def test_a_name_belongs_to_its_first_publisher_and_ones_own_comes_first() -> None:
    """Another organisation cannot put its job into the place of a public one, and a public one not into theirs."""

    async def test() -> None:
        async with queen_on(MemoryStore()) as queen:
            mine = PUBLIC % ("0.1.0", "false")
            await queen.register(mine, org="b")
            await queen.register(PUBLIC % ("1.0.0", "true"), org="a")
            assert await found(queen, "b") == mine
            for org in ("b", "c"):
                with pytest.raises(Problem, match="another organisation has a public job") as refused:
                    await queen.register(PUBLIC % ("7.0.0", "true"), org=org)
                assert refused.value.code == "ALREADY_EXISTS"
            assert await found(queen, "c") == PUBLIC % ("1.0.0", "true")
            with pytest.raises(Problem, match="reverse-domain form"):
                await queen.register((PUBLIC % ("1.0.0", "true")).replace(TYPE, "thumbnails"), org="a")

    run(test)


MADE = """job_type: io.example.rounds
public_plugin: true
dynamic_template_tasks: true
tasks:
{{- range $n := .rounds }}
- task_type: round-{{$n}}
  method: SHELL
  script: [echo]
  dependencies: []
{{- end }}
"""


def test_a_public_job_whose_template_makes_its_tasks_is_no_version_of_the_callers() -> None:
    """Its parameters are in nothing that the owner has; the caller has no job type of his own by it."""

    async def test() -> None:
        async with queen_on(MemoryStore()) as queen:
            await queen.register(MADE, org="a")
            params = b'{"rounds": [1, 2]}'
            request = pb.SubmitJobsRequest(job_type="io.example.rounds", jobs=[pb.JobSubmission(params=params)])
            (job_id,) = await queen.submit_request(request, "b", None)
            definition = queen.pump.core.jobs[job_id].definition
            assert [task.task_type for task in definition.model.tasks] == ["round-1", "round-2"]
            assert definition.org == "b" and int(definition.row[3] or 0) < 0
            assert await queen.definitions(org="b") == []
            (own,) = await queen.definitions(org="a", with_source=True)
            assert own[4] == MADE

    run(test)


def test_a_public_job_is_restarted_with_another_version() -> None:
    """By the caller, as a job of his own type; a version that is not public is not there for him."""

    async def test() -> None:
        async with queen_on(MemoryStore()) as queen:
            for version, public in (("1.0.0", "true"), ("1.1.0", "false"), ("1.2.0", "true")):
                await queen.register(PUBLIC % (version, public), org="a")
            params = b'{"picture": "cat"}'
            request = pb.SubmitJobsRequest(job_type=TYPE, jobs=[pb.JobSubmission(params=params)])
            (job_id,) = await queen.submit_request(request, "b", None)
            await queen.cancel(job_id, org="b")
            with pytest.raises(Problem, match=r"no version '1\.1\.0'"):
                await queen.retry(job_id, version="1.1.0", org="b")
            await queen.retry(job_id, version="1.0.0", org="b")
            definition = queen.pump.core.jobs[job_id].definition
            assert (definition.org, definition.model.sem_version) == ("b", "1.0.0")

    run(test)
