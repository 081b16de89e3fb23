"""Job files and `module:job` as the commands take them: read, checked, one definition chosen."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from formicary.cli.neighbours import needed, neighbours
from formicary.cli.options import read_params
from formicary.engine.jobs.availability import CODE as NOT_AVAILABLE
from formicary.engine.jobs.availability import availability_violations
from formicary.engine.jobs.cron_reader import cron_violations
from formicary.engine.jobs.forks import unknown_forks
from formicary.engine.jobs.model import (
    CONTAINER_METHODS,
    MAX_SOURCE_BYTES,
    QUEEN_METHODS,
    JobDefinition,
    Violation,
)
from formicary.engine.jobs.parse import parse_source
from formicary.engine.jobs.public_jobs import public_violations
from formicary.engine.scheduling.queues.reading import read_queues
from formicary.engine.scheduling.standing import never_true
from formicary.problems import FieldError, Problem, problem

_QUEUES = re.compile(r"^(queues|policy|placement|tenant_limits|overcommit|quality_of_service)\s*:", re.MULTILINE)
_JOB = re.compile(r"^(job_type|tasks)\s*:", re.MULTILINE)
"""What stands at the top of a file of queues, and of a job file."""


@dataclass(frozen=True, slots=True)
class Checked:
    """A file and everything that is wrong with it.

    Attributes:
        file: As it was named.
        definitions: Its jobs that could be read.
        violations: In the order of the file.
        is_queues: It is no job file but one of queues.
    """

    file: str
    definitions: tuple[JobDefinition, ...]
    violations: tuple[Violation, ...]
    is_queues: bool = False

    @property
    def valid(self) -> bool:
        """Whether every job of the file can run."""
        return not any(violation.is_error for violation in self.violations)

    @property
    def valid_elsewhere(self) -> bool:
        """Whether every job of the file can run where more methods are available than here."""
        return all(v.code == NOT_AVAILABLE for v in self.violations if v.is_error)

    def as_a_file(self) -> Checked:
        """The same where only the file is judged: what cannot run here and now is a warning."""
        violations = (replace(v, severity="warning") if v.code == NOT_AVAILABLE else v for v in self.violations)
        return replace(self, violations=tuple(violations))

    def among(self, known: Collection[str]) -> Checked:
        """The same with a warning for each job that is forked and not known."""
        found = [v for definition in self.definitions for v in unknown_forks(definition, known)]
        order = sorted((*self.violations, *found), key=lambda v: (v.line, v.column)) if found else self.violations
        return replace(self, violations=tuple(order))

    def lines(self) -> list[str]:
        """``file:line:column: sentence`` for each error."""
        return [f"{self.file}:{v.line}:{v.column}: {v.message}" for v in self.violations if v.is_error]


@dataclass(frozen=True, slots=True)
class Document:
    """The text of one job of a file.

    Attributes:
        source: The text.
        line: The line of the file on which it starts, from 1.
        filename: The file, where it is another one than that of the job that is submitted.
    """

    source: str
    line: int = 1
    filename: str = ""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A job that is ready to be registered and submitted.

    Attributes:
        documents: The jobs of the file; all are registered, the last one is submitted.
        params: What to submit.
        filename: For messages.
        path: Folder of PYTHON modules and relative working directories.
        places: Methods that the tasks of the job and of those it starts name, each with the ``line:column`` of the
            first such task.
    """

    job_type: str
    documents: tuple[Document, ...]
    params: dict[str, object]
    filename: str
    path: str
    places: Mapping[str, str] = field(default_factory=dict)


def check_file(file: str, methods: Mapping[str, str]) -> Checked:
    """Reads a file (``-`` = standard input) and finds everything that is wrong with it; never raises."""
    content = _content(file)
    if isinstance(content, Violation):
        return Checked(file, (), (content,))
    if file.endswith(".py"):
        message = (
            f"This is Python: `formicary run {file}:NAME` runs the job NAME of it; `validate` reads job files only."
        )
        return Checked(file, (), (Violation(1, 1, "", "PYTHON_FILE", message),))
    text = content.decode("utf-8", "replace")
    if _QUEUES.search(text) and not _JOB.search(text):
        return Checked(file, (), read_queues(text).violations, is_queues=True)
    violations: list[Violation] = []
    definitions: list[JobDefinition] = []
    seen: dict[str, int] = {}
    for parsed in parse_source(content, filename=file, methods=methods):
        violations += parsed.violations
        definition = parsed.definition
        if definition is None:
            continue
        violations += availability_violations(definition, methods)
        violations += cron_violations(definition, time.time())
        violations += never_true(definition, time.time())
        violations += public_violations(definition)
        definitions.append(definition)
        first = seen.setdefault(definition.job_type, definition.source_line)
        if first != definition.source_line:
            text = f"The job {definition.job_type} is in this file already, on line {first}; give it another job_type."
            violations.append(Violation(definition.source_line, 1, "job_type", "DUPLICATE_JOB", text))
    return Checked(file, tuple(definitions), tuple(violations))


def load(
    target: str,
    params: Iterable[str],
    methods: Mapping[str, str],
    *,
    job_type: str = "",
    path: Path | None = None,
    elsewhere: bool = False,
) -> Loaded:
    """Reads FILE or ``module:job`` and chooses the job.

    Args:
        target: The file or the job in Python.
        params: As given with ``-p``.
        methods: Method replacements.
        job_type: Which job of the file; empty = the only one.
        path: Folder of PYTHON modules; None = the file's.
        elsewhere: The job runs on a server, which may offer methods that are not available here.

    Raises:
        Problem: VALIDATION_FAILED with every violation; NOT_AVAILABLE.
    """
    if _names_python(target):
        return _load_python(target, params, path)
    checked = check_file(target, methods)
    if checked.is_queues:
        text = f"This is a file of queues, not of jobs: `formicary queues apply {target}` puts it in place."
        raise refusal([replace(checked, violations=(Violation(1, 1, "", "QUEUES_FILE", text),))])
    if not checked.valid_elsewhere:
        raise refusal([checked])
    chosen = _choose(checked, job_type) if job_type or elsewhere or checked.valid else None
    if chosen is not None and not elsewhere:
        checked = _for(checked, chosen)
    if chosen is None or not (elsewhere or checked.valid):
        raise refusal([checked])
    _warn(checked)
    types = {parameter.name: parameter.type for parameter in chosen.parameters}
    folder = path or _folder_of(target)
    ordered = [*(definition for definition in checked.definitions if definition is not chosen), chosen]
    documents = tuple(Document(definition.source, definition.source_line) for definition in ordered)
    if not elsewhere and target != "-":
        documents = (*_beside(target, checked.definitions, methods), *documents)
    places: dict[str, str] = {}
    for task in (task for definition in needed(chosen, checked.definitions) for task in definition.tasks):
        places.setdefault(task.method, f"{task.position.line}:{task.position.column}")
    return Loaded(chosen.job_type, documents, read_params(params, types), target, str(folder.absolute()), places)


def _for(checked: Checked, chosen: JobDefinition) -> Checked:
    """The same for one job: those that it does not start need not be able to run here, and are left out then."""
    wanted = {definition.job_type for definition in needed(chosen, checked.definitions)}
    aside: list[JobDefinition] = []
    violations = checked.violations
    for definition in checked.definitions:
        if definition.job_type in wanted:
            continue
        begin, end = definition.source_line, definition.source_line + definition.source.count("\n")
        own = [v for v in violations if v.is_error and v.code == NOT_AVAILABLE and begin <= v.line <= end]
        if own:
            aside.append(definition)
            violations = tuple(v for v in violations if v not in own)
            where = f"{checked.file}:{own[0].line}:{own[0].column}"
            print(f"without the job {definition.job_type}: {where}: {own[0].message}", file=sys.stderr)
    rest = tuple(definition for definition in checked.definitions if definition not in aside)
    return replace(checked, definitions=rest, violations=violations)


def load_all(files: Sequence[str], methods: Mapping[str, str], *, path: Path | None = None) -> list[Loaded]:
    """Reads files of which every job is to be registered with a server.

    Args:
        files: Job files.
        methods: Method replacements.
        path: Folder of PYTHON modules; None = that of each file.

    Raises:
        Problem: VALIDATION_FAILED with every violation of all of them.
    """
    read = [check_file(file, methods) for file in files]
    if not all(checked.valid_elsewhere for checked in read):
        raise refusal(read)
    found = []
    for checked in read:
        _warn(checked)
        documents = tuple(Document(definition.source, definition.source_line) for definition in checked.definitions)
        folder = path or _folder_of(checked.file)
        found.append(Loaded("", documents, {}, checked.file, str(folder.absolute())))
    return found


def _warn(checked: Checked) -> None:
    for violation in checked.violations:
        if not violation.is_error:
            print(f"warning: {checked.file}:{violation.line}:{violation.column}: {violation.message}", file=sys.stderr)


def _folder_of(file: str) -> Path:
    return Path.cwd() if file == "-" else Path(file).absolute().parent


def check_methods(loaded: Loaded) -> None:
    """Makes sure that an ant of this machine offers what the tasks need.

    Raises:
        Problem: NOT_AVAILABLE, with all that is missing.
    """
    from formicary.engine.ants.offers import methods_here, missing_here

    lacking = loaded.places.keys() - methods_here() - QUEEN_METHODS
    lines = []
    for method in sorted(lacking):
        way = f", or run it with --method {method}=SHELL" if method in CONTAINER_METHODS else ""
        lines.append(f"{loaded.filename}:{loaded.places[method]}: The method {method} {missing_here(method)}{way}.")
    if lines:
        raise problem("NOT_AVAILABLE", "; ".join(lines), lines=lines)


def _beside(file: str, jobs: Iterable[JobDefinition], methods: Mapping[str, str]) -> list[Document]:
    """The jobs that these start and that stand in files of the same folder."""

    def valid_jobs(other: str) -> tuple[JobDefinition, ...]:
        checked = check_file(other, methods)
        return checked.definitions if checked.valid else ()

    found = []
    for other, definitions in neighbours(file, jobs, valid_jobs).items():
        for job in definitions:
            print(f"with the job {job.job_type} of {other}", file=sys.stderr)
            found.append(Document(job.source, job.source_line, other))
    return found


def relocated(error: Problem, filename: str, line: int) -> Problem:
    """The problem of one document of a file, with the lines of the file.

    Args:
        error: As the queen found it; its lines count from the document's first one.
        filename: The file.
        line: Line of the file on which the document starts.
    """
    if not error.errors or any(found.line is None for found in error.errors):
        return error
    moved = [replace(found, line=(found.line or 1) + line - 1) for found in error.errors]
    lines = [f"{filename}:{found.line}:{found.column or 1}: {found.message}" for found in moved]
    return problem(error.code, "; ".join(lines), errors=moved, remedy=error.remedy, lines=lines)


def refusal(files: Iterable[Checked]) -> Problem:
    """The problem that lists every violation of the files."""
    lines = [line for file in files for line in file.lines()]
    errors = [
        FieldError(v.path, v.code, v.message, v.line, v.column) for file in files for v in file.violations if v.is_error
    ]
    return problem("VALIDATION_FAILED", "; ".join(lines), errors=errors, lines=lines)


def _choose(checked: Checked, job_type: str) -> JobDefinition:
    jobs = checked.definitions
    if not job_type:
        if len(jobs) == 1:
            return jobs[0]
        names = ", ".join(job.job_type for job in jobs)
        raise problem(
            "VALIDATION_FAILED", f"{checked.file} holds {len(jobs)} jobs: choose one with --job TYPE ({names})."
        )
    for job in jobs:
        if job.job_type == job_type:
            return job
    names = ", ".join(job.job_type for job in jobs)
    raise problem("VALIDATION_FAILED", f"{checked.file} holds no job {job_type!r}; it holds {names}.")


def _names_python(target: str) -> bool:
    return ":" in target and not Path(target).exists()


def _load_python(target: str, params: Iterable[str], path: Path | None) -> Loaded:
    from formicary.dsl.loading import find_job, load_built

    if path is not None and str(path.absolute()) not in sys.path:
        sys.path.insert(0, str(path.absolute()))
    declared = {name: parameter.type for name, parameter in find_job(target).parameters.items()}
    built = load_built(target, read_params(params, declared))
    place = target.rpartition(":")[0]
    folder = path or (Path(place).absolute().parent if place.endswith(".py") else Path.cwd())
    definition = built.definition
    documents = tuple(Document(one.definition.source) for one in (*built.forked, built))
    return Loaded(definition.job_type, documents, dict(built.params), target, str(folder.absolute()))


def _content(file: str) -> bytes | Violation:
    """The bytes of a file, at most one more than a job file may have."""
    try:
        if file == "-":
            return sys.stdin.buffer.read(MAX_SOURCE_BYTES + 1)
        with open(file, "rb") as stream:
            return stream.read(MAX_SOURCE_BYTES + 1)
    except FileNotFoundError:
        return _unreadable(f"There is no file {file}; check the name, or name a job in Python as module:job.")
    except IsADirectoryError:
        return _unreadable(f"{file} is a folder; name the job file in it.")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        return _unreadable(f"{file} cannot be read: {reason}; check its permissions.")


def _unreadable(message: str) -> Violation:
    return Violation(1, 1, "", "UNREADABLE_FILE", message)
