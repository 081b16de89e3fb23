"""Templates that count and submit other jobs, on a real store with real processes."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from formicary.embedded.colony import Colony, ColonyConfig
from formicary.engine.storage.port import JOB_COLUMNS

CHILD = "job_type: child\ntasks:\n- task_type: work\n  script: ['echo \"::set-output name=Got::{{.n}}\"']\n"
NEEDY = CHILD.replace("job_type: child", "job_type: needy\nrequired_params: [n]")


async def ended(colony: Colony, source: str, params: dict[str, object] | None = None) -> dict[str, Any]:
    """The document of a job of this source once it has ended."""
    job_id = await colony.submit(await colony.register(source), params or {})
    await colony.queen.ended([job_id])
    return await colony.get(job_id)


async def children(colony: Colony, job_type: str = "child") -> list[dict[str, Any]]:
    """Jobs of a type, oldest first, once all of them have ended."""
    found = await colony.queen.page(job_type=job_type)
    ids = [str(row[JOB_COLUMNS.index("id")]) for row in found]
    await colony.queen.ended(ids)
    return [await colony.get(job_id) for job_id in reversed(ids)]


def test_a_template_submits_jobs_once_however_often_it_is_rendered(tmp_path: Path) -> None:
    """Three attempts render the same two calls; equal calls are told apart; the ids stand in the text."""
    source = """job_type: parent
tasks:
- task_type: pick
  variables:
    more: '{{SubmitJobsFromJSON "child" .list}}'
  retry: 2
  delay_between_retries: 10ms
  script:
    - echo "::set-output name=Ids::{{SubmitJob "child" "n=1"}} {{SubmitJob "child" "n=1"}} {{.more}}"
    - test $FORMICARY_ATTEMPT -ge 3
"""

    async def test() -> None:
        async with Colony(ColonyConfig(tmp_path, slots=4)) as colony:
            await colony.register(CHILD)
            job = await ended(colony, source, {"list": '[{"n": 2}, {"n": 3}]'})
            assert (job["state"], job["tasks"][0]["attempts"]) == ("COMPLETED", 3)
            found = await children(colony)
            assert sorted(one["outputs"]["Got"] for one in found) == ["1", "1", "2", "3"]
            named = job["outputs"]["Ids"].replace(",", " ").split()
            assert sorted(named) == sorted(str(one["id"]) for one in found)

    asyncio.run(test())


def test_what_a_job_is_about_is_submitted_once_over_all_jobs_that_submit(tmp_path: Path) -> None:
    """`_user_key` finds the job again: in one call, in the next job, after a restart. Other keys and types are new."""
    source = """job_type: parent
tasks:
- task_type: pick
  variables:
    ids: '{{SubmitJobsFromJSON .type .list "n=7"}}'
  script: ['echo "::set-output name=Ids::{{.ids}}"']
"""
    listed = '[{"n": 1, "_user_key": "a", "_description": "One"}, {"n": 2, "_user_key": "a"}, {"_user_key": 3}]'

    async def test() -> None:
        named = []
        for turn in range(2):
            async with Colony(ColonyConfig(tmp_path, slots=4)) as colony:
                for other in (CHILD, CHILD.replace("job_type: child", "job_type: other")):
                    await colony.register(other)
                for _ in range(2 - turn):
                    job = await ended(colony, source, {"list": listed, "type": "child"})
                    named.append(job["outputs"]["Ids"].split(","))
                if turn:
                    await ended(colony, source, {"list": listed, "type": "other"})
                    assert len(await children(colony, "other")) == 2
                found = await children(colony)
                assert [one["outputs"]["Got"] for one in found] == ["7", "7"]
        assert named[0] == named[1] == named[2]
        assert named[0][0] == named[0][1] != named[0][2]
        assert sorted(set(named[0])) == sorted(str(one["id"]) for one in found)

    asyncio.run(test())


def test_a_task_that_is_left_out_or_cannot_be_rendered_submits_nothing(tmp_path: Path) -> None:
    """A job is submitted with the attempt whose text names it, and not without."""
    left_out = """job_type: left-out
tasks:
- task_type: a
  except: "true"
  script: ['echo {{SubmitJob "child" "n=1"}}']
"""
    wrong = """job_type: wrong
tasks:
- task_type: a
  script: ['echo {{SubmitJob "child" "n=1"}} {{SubmitJob "nobody"}}']
"""
    lacking = """job_type: lacking
tasks:
- task_type: a
  script: ['echo {{SubmitJob "child" "n=1"}} {{SubmitJob "needy"}}']
"""

    async def test() -> None:
        async with Colony(ColonyConfig(tmp_path, slots=4)) as colony:
            await colony.register(CHILD)
            await colony.register(NEEDY)
            assert (await ended(colony, left_out))["state"] == "COMPLETED"
            for source, said in ((wrong, "'nobody' is not registered"), (lacking, "needy needs the parameters n")):
                job = await ended(colony, source)
                error = job["tasks"][0]["error"]
                assert (job["state"], error["code"]) == ("FAILED", "ERR_VALIDATION")
                assert said in error["message"]
            assert await children(colony) == []

    asyncio.run(test())


@pytest.mark.parametrize("dialect", ["go", "jinja"])
def test_a_job_leaves_itself_out_while_another_one_of_its_type_runs(dialect: str, tmp_path: Path) -> None:
    """The count is of the other jobs: alone it runs, beside one that runs it does not."""
    condition = {
        "go": '{{ if gt (CountByJobTypeAndState "single" "EXECUTING") 0 }}true{{ end }}',
        "jinja": '{{ count_jobs("single", "EXECUTING") > 0 }}',
    }[dialect]
    wait = f"while [ ! -e {tmp_path}/go ]; do sleep 0.02; done"
    head = f"job_type: single\ntemplate: {dialect}\nskip_if: '{condition}'\n"
    source = f"{head}tasks:\n- task_type: a\n  script: ['{wait}']\n"

    async def test() -> None:
        async with Colony(ColonyConfig(tmp_path / "data", slots=4)) as colony:
            definition = await colony.register(source)
            first = await colony.submit(definition)
            async for document in colony.follow(first):
                if document["tasks"][0]["state"] in ("DISPATCHED", "EXECUTING"):
                    break
            second = await ended(colony, source)
            assert (second["state"], second["error"]["code"]) == ("FAILED", "ERR_FILTERED_JOB")
            (tmp_path / "go").touch()
            assert (await colony.queen.ended([first]))[first].state == "COMPLETED"
            assert (await ended(colony, source))["state"] == "COMPLETED"

    asyncio.run(test())


def test_jobs_that_submit_themselves_come_to_an_end(tmp_path: Path) -> None:
    """The depth of forks bounds them, too."""
    source = "job_type: again\ntasks:\n- task_type: a\n  script: ['echo {{SubmitJob \"again\"}}']\n"

    async def test() -> None:
        async with Colony(ColonyConfig(tmp_path, slots=4)) as colony:
            assert (await ended(colony, source))["state"] == "COMPLETED"
            found: list[dict[str, Any]] = []
            while not found or found[-1]["state"] == "COMPLETED":
                found = await children(colony, "again")
            assert len(found) == 11 and "more than 10 deep" in found[-1]["tasks"][0]["error"]["message"]

    asyncio.run(test())


MADE = """\
job_type: made
dynamic_template_tasks: true
tasks:
{{- range $i := Iterate .n }}
- task_type: t{{ $i }}
  always_run: {{ gt $i 0 }}
  script: ['echo "::set-output name=Of{{ $i }}::{{ $.n }} {{ $.REGION }}"']
{{- end }}
"""


def test_a_template_submits_jobs_whose_tasks_a_template_makes(tmp_path: Path) -> None:
    """Each has the tasks that its own parameters make of it, also where `job_variables` submit it; it sees what is
    configured; one whose template makes no tasks fails the task that names it, and nothing is submitted.
    """
    source = """job_type: parent
job_variables:
  early: '{{SubmitJob "made" "n" 3}}'
tasks:
- task_type: pick
  retry: 1
  delay_between_retries: 10ms
  script:
    - echo "::set-output name=Ids::{{.early}} {{SubmitJob "made" "n=2"}}"
    - test $FORMICARY_ATTEMPT -ge 2
"""

    async def test() -> None:
        async with Colony(ColonyConfig(tmp_path, slots=4)) as colony:
            await colony.queen.configs.put("local", "org", "", "REGION", "eu", secret=False, by="me")
            await colony.register(MADE)
            job = await ended(colony, source)
            assert (job["state"], job["tasks"][0]["attempts"]) == ("COMPLETED", 2)
            found = {str(one["id"]): one for one in await children(colony, "made")}
            early, late = (found.pop(job_id) for job_id in job["outputs"]["Ids"].split())
            assert [task["task_type"] for task in early["tasks"]] == ["t0", "t1", "t2"] and found == {}
            assert (early["outputs"]["Of2"], late["outputs"]["Of1"]) == ("3 eu", "2 eu")
            wrong = (
                source.replace("job_type: parent", "job_type: wrong").replace("n=2", "n=0").replace('"n" 3', '"n" 1')
            )
            job = await ended(colony, wrong)
            assert job["state"] == "FAILED"
            assert "the tasks of made cannot be made" in job["tasks"][0]["error"]["message"]
            assert len(await children(colony, "made")) == 3

    asyncio.run(test())
