"""Finds a job by its name: ``package.module:job`` or ``path/to/file.py:job``."""

from __future__ import annotations

import importlib
import sys
import traceback
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from types import ModuleType

from formicary.dsl.builder import DefinitionError
from formicary.dsl.jobs import Built, Job
from formicary.engine.jobs.model import JobDefinition
from formicary.problems import problem

_NOTHING: Mapping[str, object] = {}


def load(spec: str, params: Mapping[str, object] = _NOTHING) -> JobDefinition:
    """Returns the definition of a job in Python.

    Args:
        spec: ``package.module:job``, looked up from the current folder on, or ``path/to/file.py:job``.
        params: What is going to be submitted: the shape of the job may depend on it.

    Raises:
        Problem: VALIDATION_FAILED: there is no such module or job, its module cannot be imported, or the job is not
            valid; the text says what to do.
    """
    return load_built(spec, params).definition


def load_built(spec: str, params: Mapping[str, object] = _NOTHING) -> Built:
    """Does the same as :func:`load` and returns the functions and the rest of the parameters, too."""
    found = find_job(spec)
    try:
        built = found.build(params)
    except DefinitionError as error:
        raise problem("VALIDATION_FAILED", f"{spec}: {error}") from error
    for name, function in built.functions.items():
        _check_importable(name, function)
    return built


def find_job(spec: str) -> Job[..., object]:
    """Imports a job.

    Raises:
        Problem: VALIDATION_FAILED, see :func:`load`.
    """
    place, separator, name = spec.rpartition(":")
    if not separator or not place or not name:
        raise problem("VALIDATION_FAILED", f"{spec!r} names no job: write package.module:job or path/to/file.py:job.")
    module = _import(place)
    found: object = module
    for part in name.split("."):
        found = getattr(found, part, None)
    if isinstance(found, Job):
        return found
    jobs = sorted(key for key, value in vars(module).items() if isinstance(value, Job))
    near = get_close_matches(name, jobs, 1)
    if found is not None:
        hint = "decorate it with @job" if callable(found) else "name a function that is decorated with @job"
        raise problem("VALIDATION_FAILED", f"{spec} is a {type(found).__name__}, not a job: {hint}.")
    hint = f" Did you mean {near[0]}?" if near else f" It has {', '.join(jobs)}." if jobs else " It has no job at all."
    raise problem("VALIDATION_FAILED", f"The module {place} has no job {name}.{hint}")


def _import(place: str) -> ModuleType:
    folder, module = Path.cwd(), place
    if place.endswith(".py"):
        path = Path(place)
        if not path.is_file():
            raise problem("VALIDATION_FAILED", f"There is no file {place}.")
        folder, module = path.resolve().parent, path.stem
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is not None and (module == error.name or module.startswith(error.name + ".")):
            hint = f" Did you mean {place.replace('/', '.')}?" if "/" in place else ""
            raise problem("VALIDATION_FAILED", f"There is no module {module} in {folder}.{hint}") from None
        raise problem("VALIDATION_FAILED", f"{place} cannot be imported: {error}; install it.") from error
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        where = f" ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""
        raise problem(
            "VALIDATION_FAILED", f"{place} cannot be imported: {type(error).__name__}: {error}{where}"
        ) from error


def _check_importable(name: str, function: object) -> None:
    """Refuses tasks that an ant could not import."""
    module_name, _, path = name.partition(":")
    found: object = sys.modules.get(module_name)
    for part in path.split("."):
        found = getattr(found, part, None)
    if getattr(found, "__wrapped__", found) is not function:
        raise problem(
            "VALIDATION_FAILED",
            f"An ant could not import the task {name}: define it at the top level of its module and under that name.",
        )
