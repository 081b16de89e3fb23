"""The messages to workers that are no ants: what stands in them whatever the job says."""

from __future__ import annotations

import json

from formicary.engine.ants.attempt import Attempt
from formicary.engine.ants.remote_wire import task_message
from formicary.engine.jobs.model import TaskDefinition


def test_a_worker_finds_what_the_manual_shows_in_every_task() -> None:
    """Programs index these members, so that they are there where the job leaves them empty, too."""
    found = json.loads(task_message(Attempt(1, TaskDefinition(task_type="ask"), job_id="j"), "c"))
    assert (found["type"], found["protocol"], found["correlation_id"]) == ("task", 1, "c")
    assert (found["script"], found["variables"], found["environment"]) == ([], {}, {})
    assert "checkpoint" not in found and "reply_to" not in found
