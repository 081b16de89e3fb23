"""Jobs that a job file forks and does not hold, looked for in the job files beside it.

Older files hold one job each, and a job that forks others has them in files of the same folder. `formicary run` brings
them along; what two files hold is not guessed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from formicary.engine.jobs.forks import forked_job_type
from formicary.engine.jobs.model import MAX_SOURCE_BYTES, JobDefinition, TaskDefinition

MOST_FILES = 500
_JOB_TYPE = re.compile(r"^job_type:[ \t]*[\"']?([^\"'#\r\n]+?)[\"']?[ \t]*(?:#.*)?$", re.MULTILINE)


def forked_types(job: JobDefinition) -> set[str]:
    """Job types that its tasks start; those that only templates know are left out."""
    found: set[str] = set()
    for task in job.tasks:
        spec: Mapping[str, object] = task.fan_out or {}
        named = spec.get("fork_job_type") or task.fork_job_type
        if isinstance(named, str) and "{" not in named:
            found.add(named)
    return found


def needed(job: JobDefinition, jobs: Iterable[JobDefinition]) -> list[JobDefinition]:
    """Those of the jobs that this one starts, directly or over others, and itself last.

    Where a template says which, all of them are: what it will name is not known.
    """
    known = {other.job_type: other for other in jobs}
    found = {job.job_type: job}
    wanted = [job]
    while wanted:
        one = wanted.pop()
        more = known if any(map(_is_open, one.tasks)) or "SubmitJob" in one.source else forked_types(one)
        for job_type in more:
            if job_type in known and job_type not in found:
                found[job_type] = known[job_type]
                wanted.append(known[job_type])
    return [*(other for other in known.values() if other.job_type in found and other is not job), job]


def _is_open(task: TaskDefinition) -> bool:
    """Whether a template says which job the task starts."""
    named = forked_job_type(task)
    return "{{" in named or "{%" in named


def neighbours(
    file: str, jobs: Iterable[JobDefinition], read: Callable[[str], tuple[JobDefinition, ...]]
) -> dict[str, list[JobDefinition]]:
    """Jobs that these start, directly or over others, by the file beside theirs that holds them.

    Args:
        file: The file of the jobs.
        jobs: All of its jobs.
        read: Gives the valid jobs of a file; none where it is not valid.
    """
    known = {job.job_type: job for job in jobs}
    wanted = sorted(set().union(*(forked_types(job) for job in known.values())) - known.keys())
    found: dict[str, list[JobDefinition]] = {}
    places = _places(Path(file)) if wanted else {}
    while wanted:
        job_type = wanted.pop()
        files = places.get(job_type, [])
        held = read(str(files[0])) if len(files) == 1 else ()
        for job in held:
            if job.job_type == job_type and job_type not in known:
                known[job_type] = job
                found.setdefault(str(files[0]), []).append(job)
                wanted += sorted(forked_types(job) - known.keys() - set(wanted))
    return found


def _places(file: Path) -> dict[str, list[Path]]:
    """Which files beside one hold which job types."""
    places: dict[str, list[Path]] = {}
    try:
        others = sorted(one for one in file.absolute().parent.iterdir() if one.suffix in (".yaml", ".yml"))
    except OSError:
        return {}
    for other in others[:MOST_FILES]:
        try:
            if other.samefile(file) or not other.is_file() or other.stat().st_size > MAX_SOURCE_BYTES:
                continue
            text = other.read_text("utf-8", "replace")
        except OSError:
            continue  # what cannot be read is not beside it
        for job_type in set(_JOB_TYPE.findall(text)):
            places.setdefault(job_type, []).append(other)
    return places
