"""Jobs that a file forks are found in the files beside it, where exactly one holds them."""

from __future__ import annotations

from pathlib import Path

from formicary.cli.job_files import check_file
from formicary.cli.neighbours import needed, neighbours
from formicary.engine.jobs.model import JobDefinition

FORK = "job_type: %s\ntasks:\n- {task_type: f, method: FORK_JOB, fork_job_type: %s}\n"
PLAIN = "job_type: %s\ntasks:\n- {task_type: f, script: x}\n"


def beside(file: Path) -> dict[str, list[str]]:
    """Job types by the name of the file that holds them."""

    def read(other: str) -> tuple[JobDefinition, ...]:
        checked = check_file(other, {})
        return checked.definitions if checked.valid else ()

    found = neighbours(str(file), read(str(file)), read)
    return {Path(name).name: [job.job_type for job in jobs] for name, jobs in found.items()}


def test_what_is_forked_directly_or_over_others_is_found(tmp_path: Path) -> None:
    """A circle ends; what stands in the file itself, or in none, is not looked at."""
    (tmp_path / "a.yaml").write_text(FORK % ("a", "b"))
    (tmp_path / "b.yml").write_text(FORK % ("'b' # the second", "c") + "---\n" + PLAIN % "other")
    (tmp_path / "c.yaml").write_text(FORK % ('"c"', "a"))
    (tmp_path / "d.yaml").write_text(FORK % ("d", "nowhere"))
    assert beside(tmp_path / "a.yaml") == {"b.yml": ["b"], "c.yaml": ["c"]}
    assert beside(tmp_path / "d.yaml") == {}


def test_what_two_files_hold_is_not_guessed(tmp_path: Path) -> None:
    """Neither is taken; a file that is not valid, a folder and a link to the file itself are none."""
    (tmp_path / "a.yaml").write_text(FORK % ("a", "b"))
    (tmp_path / "b.yaml").write_text(PLAIN % "b")
    assert beside(tmp_path / "a.yaml") == {"b.yaml": ["b"]}
    (tmp_path / "again.yaml").write_text(PLAIN % "b")
    assert beside(tmp_path / "a.yaml") == {}
    (tmp_path / "again.yaml").unlink()
    (tmp_path / "b.yaml").write_text(PLAIN % "b" + "  zebra: 1\n")
    (tmp_path / "c.yaml").mkdir()
    (tmp_path / "d.yaml").symlink_to(tmp_path / "a.yaml")
    (tmp_path / "gone.yaml").symlink_to(tmp_path / "nothing")
    assert beside(tmp_path / "a.yaml") == {}


def test_types_that_templates_make_are_left_out(tmp_path: Path) -> None:
    """Nobody knows them before the task runs."""
    (tmp_path / "a.yaml").write_text(FORK % ("a", "'{{.Which}}'"))
    (tmp_path / "b.yaml").write_text(PLAIN % "b")
    assert beside(tmp_path / "a.yaml") == {}


def test_a_job_needs_those_that_it_starts(tmp_path: Path) -> None:
    """Directly or over others; where a template says which one, it may be any."""
    file = tmp_path / "jobs.yaml"
    others = [FORK % ("a", "b"), FORK % ("b", "a"), PLAIN % "c", FORK % ("d", "'{{.which}}'")]
    submits = "job_type: e\ntasks:\n- {task_type: s, script: ['echo {{ SubmitJob \"c\" }}']}\n"
    file.write_text("---\n".join([*others, submits]))
    jobs = {job.job_type: job for job in check_file(str(file), {}).definitions}

    def types(name: str) -> list[str]:
        return [job.job_type for job in needed(jobs[name], jobs.values())]

    assert (types("a"), types("c")) == (["b", "a"], ["c"])
    assert types("d") == ["a", "b", "c", "e", "d"] and types("e") == ["a", "b", "c", "d", "e"]
