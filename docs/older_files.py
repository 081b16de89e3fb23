"""The page of job files of the older engine: what each exercised, and the job of our corpus that shows it here."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

CORPUS = Path(__file__).resolve().parents[1] / "tests" / "acceptance" / "corpus"
_RUN = re.compile(r"# (run|again):(.*?)->([^:\n]*):(.*)")

OLDER: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("shell-job", "a chain that branches by exit code and meets again", ("weekday",)),
    ("always-run", "a failure in the middle, tasks that always run, allowed failures", ("tidy_up",)),
    ("shell_build", "branches in a task's text, tags, resources, artifacts", ("platform_build", "tagged")),
    ("basic-job", "typed variables of job and tasks", ("typed_values", "own_variables", "listed_variables")),
    (
        "fork_job, http_job, bad_job",
        "forks that call each other in a circle",
        ("circle_fork", "circle_call", "circle_bad"),
    ),
    ("http_job", "GET, POST, PUT, DELETE, then a child that fails", ("http_calls",)),
    ("sub-workflow-etl", "a child job with a pinned version, parameters in, outputs out", ("etl_child", "versions")),
    ("fan-out-task-regions, fan-out-deploy", "a task for each element of a list", ("regions",)),
    ("fan-out-job-etl", "a job for each element of a list", ("etl_child", "given_and_taken", "towns", "sub_flows")),
    ("retry-backoff-job", "growing waits of task and job", ("backoff",)),
    ("webhook-ci-trigger", "a job that a signed webhook starts", ("hook_build",)),
    ("queue-order-trigger, s3-etl-trigger", "jobs that messages and objects start", ("order_queue",)),
    ("sensor-job", "polls by exit code and by HTTP status", ("sensor", "http_sensor", "counted_polls")),
    ("pause-job", "a job that rests until its fourth retry", ("rest_until_fourth",)),
    ("retry-job", "FATAL, RESTART_TASK, ERR_…", ("retry_kinds", "restart_bounded", "exit_forms")),
    ("hello_world", "artifacts of two tasks, a failure by JobRetry", ("two_artifacts", "kept_on_failure")),
    (
        "iterate-job, loop-job",
        "loops in tasks, tasks that a loop makes",
        ("typed_values", "made_tasks", "made_leaves", "template_blocks", "loops", "inline_actions"),
    ),
    ("multi-party-approval, approval-unanimous", "gates with votes one after the other", ("voted/three_parties",)),
    ("approval-auto-reject, approval-with-sla", "a gate on which nobody votes", ("auto_reject", "auto_approve")),
    ("versioned-job", "versions by name and number, `latest`", ("versions", "newest_child", "who_am_i")),
    ("messaging-job", "a program behind a queue", ("messaged/quote",)),
    ("hello_world_scheduled", "cron and `skip_if`", ("left_out",)),
    ("artifact-cache-job", "a cache by the content of files", ("kept_cache",)),
    ("ai-gh-issue-picker", "templates that count and submit jobs", ("picker", "listed_jobs", "guarded")),
    ("kube-example1, sample-job", "every field of containers and pods", ("pod_fields", "container_build")),
    ("io.formicary.stock-plugin, plugin-client", "a plugin with a version in the making", ("price_plugin",)),
    ("parallel-video-encoding", "parts that jobs of their own work on", ("film",)),
    ("several", "fields that are seldom there, values written as text", ("release_train", "seldom_fields")),
    ("several", "lists and texts where others write the other", ("written_as_text", "secret_variable")),
    ("ai-gh-implement", "declared variables, marks, branches that join", ("polled_review",)),
    ("several", "elements of lists that are objects, empty lists", ("shards",)),
    ("several", "older names of fields and variables, commands with ': ' in them", ("spellings",)),
    ("several", "left-out tasks and what follows them", ("skipped_route", "left_out_source")),
    (
        "several",
        "every function of templates; anchors; braces in comments",
        ("every_function", "corners", "anchored", "commented"),
    ),
)
"""Older files, what they exercised, and our jobs by their path in the corpus without `.yaml`."""
_ELSEWHERE = {
    "voted/three_parties": "COMPLETED; FAILED where one party rejects: `tests/acceptance/test_corpus_votes.py`",
    "messaged/quote": "FAILED, since a refusal is left by a branch: `tests/acceptance/test_corpus_messages.py`",
}


def _runs(name: str) -> Iterator[tuple[str, str, str]]:
    """Arguments, state of the job and ends of the tasks of each run that a file announces."""
    for line in (CORPUS / f"{name}.yaml").read_text("utf-8").splitlines():
        if (found := _RUN.match(line)) is not None:
            _, arguments, state, tasks = (part.strip() for part in found.groups())
            yield arguments, state, tasks


def _ends(names: Iterable[str]) -> str:
    rows = []
    for name in names:
        if name in _ELSEWHERE:
            rows.append(f"| `{name}` | | {_ELSEWHERE[name]} | |")
        for arguments, state, tasks in _runs(name):
            given = f"`{arguments}`" if arguments else ""
            rows.append(f"| `{name}` | {given} | {state} | {tasks} |")
    return "\n".join(rows)


def older_files() -> str:
    """The page; its expected states are read from the heads of the corpus, which the tests hold the engine to."""
    names = list(dict.fromkeys(name for *_, jobs in OLDER for name in jobs))
    table = "\n".join(f"| {old} | {what} | {', '.join(f'`{job}`' for job in jobs)} |" for old, what, jobs in OLDER)
    return f"""# Job files of the older engine

A job file of the engine that came before runs here as it is. What its example files exercised is written down again, in
jobs of our own, under `tests/acceptance/corpus`; each is validated and run by `tests/acceptance/test_corpus.py`, which
compares the state of the job, and state and attempts of every task, with what is said here.

Where a file would have ended differently there, the [weak points](weak-points.md) say why: `max_concurrency: 1` is one,
`always_run` runs after failures, a retry is counted. Two forms are errors here: fields that nobody knows, and circles
of `on_*` routes ([decision 8](../decisions/0008-flow-rules.md)).

| older file | what it exercises | jobs here |
|---|---|---|
{table}

## How they end

A task stands with its state and its attempts. A job that ends FAILED is meant to: a way out of a failure goes on with
the job and does not undo the failure.

| job | run with | state | tasks |
|---|---|---|---|
{_ends(names)}
"""
