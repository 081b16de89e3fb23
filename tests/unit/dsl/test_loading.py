"""`formicary run module:job` finds the job, or says in one sentence why not."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from formicary.dsl import load
from formicary.problems import Problem

MODULE = """
from formicary import job, task

@task
def count(n: int) -> int:
    return n

def hidden():
    @task
    def inner() -> None: ...
    return inner

@job
def counting(times: int = 1, label: str = "x") -> None:
    for n in range(times):
        count(n)

@job
def needy(times: int) -> None:
    for n in range(times):
        count(n)

@job
def unreachable() -> None:
    hidden()()

plain = 5
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    (tmp_path / "counting_jobs.py").write_text(MODULE)
    (tmp_path / "broken_jobs.py").write_text("1 / 0\n")
    (tmp_path / "lacking_jobs.py").write_text("import nowhere_to_be_found\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path
    for name in ("counting_jobs", "broken_jobs", "lacking_jobs"):
        sys.modules.pop(name, None)


def test_a_job_is_found_by_module_or_file(folder: Path) -> None:
    """Both ways give the same definition; parameters that shape it are taken."""
    assert len(load("counting_jobs:counting", {"times": "3"}).tasks) == 3
    assert load(str(folder / "counting_jobs.py") + ":counting") == load("counting_jobs:counting")
    assert load("counting_jobs:counting").tasks[0].function == "counting_jobs:count"


@pytest.mark.parametrize(
    ("spec", "part"),
    [
        ("counting_jobs", "names no job: write package.module:job"),
        ("counting_jobs:countin", "has no job countin. Did you mean counting?"),
        ("counting_jobs:plain", "is a int, not a job"),
        ("counting_jobs:count", "is a Task, not a job: decorate it with @job"),
        ("nothing_here:job", "There is no module nothing_here"),
        ("nothing_here.py:job", "There is no file nothing_here.py"),
        ("broken_jobs:job", "cannot be imported: ZeroDivisionError: division by zero ("),
        ("lacking_jobs:job", "No module named 'nowhere_to_be_found'; install it"),
        ("counting_jobs:needy", "needs the value of times"),
        ("counting_jobs:unreachable", "An ant could not import the task counting_jobs:hidden.inner"),
    ],
)
def test_what_is_wrong_is_one_sentence(folder: Path, spec: str, part: str) -> None:
    """Each way to fail is a problem VALIDATION_FAILED that says what to do."""
    with pytest.raises(Problem) as caught:
        load(spec)
    assert caught.value.code == "VALIDATION_FAILED"
    assert part in caught.value.detail


def test_an_unknown_parameter_is_refused(folder: Path) -> None:
    """A name that the job does not have is told with those it has."""
    with pytest.raises(Problem, match=r"has no parameter lable\. Did you mean label"):
        load("counting_jobs:counting", {"lable": 1})
