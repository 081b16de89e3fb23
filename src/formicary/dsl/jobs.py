"""``@job``: a function that composes tasks."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import update_wrapper
from typing import TYPE_CHECKING, Generic, NoReturn, ParamSpec, TypedDict, TypeVar, Unpack, cast, overload

from formicary.dsl.builder import CURRENT, Builder, DefinitionError
from formicary.dsl.constants import to_json_value
from formicary.dsl.handles import Handle, ParameterHandle
from formicary.dsl.parameters import JobParameter, read_parameters
from formicary.dsl.source import write_source
from formicary.dsl.tasks import Duration, duration_text, function_name
from formicary.engine.jobs.model import MAX_TASKS, JobDefinition, Json, Violation
from formicary.engine.jobs.parse import parse_source
from formicary.problems import FieldError, Problem, problem

if TYPE_CHECKING:
    from formicary.dsl.results import JobResult

P = ParamSpec("P")
R = TypeVar("R")

MAX_BYTES = MAX_TASKS * 400
"""Size of the largest job that a function may compose, as text."""


class JobOptions(TypedDict, total=False):
    """Options of a job; each is the field of a job file with that name."""

    name: str
    description: str
    sem_version: str
    max_concurrency: int
    priority: int
    timeout: Duration
    retry: int
    delay_between_retries: Duration
    retry_backoff: Mapping[str, object]
    hard_reset_after_retries: int
    deadline: str
    estimated_runtime: Duration
    labels: Mapping[str, str]
    notify: Mapping[str, object]
    webhook: Mapping[str, object]
    retention_days_for_failed: int
    retention_days_for_completed: int
    retention_days_for_cancelled: int


_FIELD_NAMES = {"retry_backoff": "retry_backoff_policy"}
_OPTIONS = tuple(JobOptions.__annotations__)


@dataclass(frozen=True, slots=True)
class Built:
    """A job as its function composed it with certain parameters.

    Attributes:
        definition: The job.
        params: What is to be submitted with it.
        functions: The functions of its tasks by the name that the definition calls them by.
        returned: The handle that the job's function returned, if it did.
    """

    definition: JobDefinition
    params: Mapping[str, Json]
    functions: Mapping[str, Callable[..., object]]
    returned: Handle | None
    forked: tuple[Built, ...] = ()
    """Jobs in Python that it starts, and those that these start, each once."""


class Job(Generic[P, R]):
    """A job in Python.

    Attributes:
        function: The function that composes it.
        parameters: Its parameters by name.
    """

    __wrapped__: Callable[P, R]

    def __init__(self, function: Callable[P, R], options: JobOptions) -> None:
        if not inspect.isfunction(function) or inspect.iscoroutinefunction(function):
            raise DefinitionError(f"@job takes a plain function that composes tasks, not {function!r}.")
        update_wrapper(self, function)
        self.function = cast("Callable[P, R]", function)
        self.options = options
        self.parameters: Mapping[str, JobParameter] = read_parameters(function, self.name)

    @property
    def name(self) -> str:
        """The ``job_type``."""
        return self.options.get("name") or self.function.__name__

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> NoReturn:
        """Refuses: a job is run, not called."""
        raise DefinitionError(f"Run {self.name} with {self.name}.run(…), or durably with `formicary run module:job`.")

    def definition(self, **params: object) -> JobDefinition:
        """Returns the definition.

        Args:
            **params: Values that replace the defaults of parameters.

        Raises:
            DefinitionError: The function does not compose a job.
            Problem: VALIDATION_FAILED with everything that is wrong.
        """
        return self.build(params, bind=True).definition

    def run(self, **params: object) -> JobResult:
        """Runs the job in this process, without a server, and returns its result when it has ended.

        Works where an event loop is running, too; it then blocks that loop: use :meth:`run_async` there.
        """
        from formicary.dsl.running import run_job

        return run_job(self.build(params))

    async def run_async(self, **params: object) -> JobResult:
        """Does the same as :meth:`run` and lets the running event loop go on meanwhile."""
        from formicary.dsl.running import run_job_async

        return await run_job_async(self.build(params))

    def build(self, params: Mapping[str, object], *, bind: bool = False, seen: set[str] | None = None) -> Built:
        """Lets the function compose the job, and those that it starts.

        Args:
            params: Values of parameters.
            bind: Whether values become defaults of the definition; else only those are written into it that its shape
                depends on, and the others are left to be submitted.
            seen: Names of jobs that are built already; jobs may start each other.
        """
        seen = {self.name} if seen is None else seen
        for name in params:
            if name not in self.parameters:
                near = get_close_matches(name, self.parameters, 1)
                hint = f" Did you mean {near[0]}?" if near else f" It has {', '.join(self.parameters) or 'none'}."
                raise DefinitionError(f"{self.name} has no parameter {name}.{hint}")
        given = {name: self.parameters[name].convert(value, self.name) for name, value in params.items()}
        handles = {name: ParameterHandle(name, self.name, self._taker(name, given)) for name in self.parameters}
        builder = Builder(self.name)
        token = CURRENT.set(builder)
        try:
            returned: object = cast("Callable[..., object]", self.function)(**handles)
        finally:
            CURRENT.reset(token)
        if not builder.nodes:
            raise DefinitionError(f"{self.name} calls no task, so there is nothing to run.")
        fixed = {name for name, handle in handles.items() if handle.fixed}
        definition = self._parse(builder, given if bind else {k: v for k, v in given.items() if k in fixed}, fixed)
        return Built(
            definition,
            {} if bind else {name: value for name, value in given.items() if name not in fixed},
            {node.function: node.target for node in builder.nodes if node.function},
            returned if isinstance(returned, Handle) else None,
            tuple(_forked(builder, seen)),
        )

    def _taker(self, name: str, given: Mapping[str, Json]) -> Callable[[], object]:
        def take() -> object:
            parameter = self.parameters[name]
            if name not in given and parameter.required:
                raise DefinitionError(
                    f"{self.name} needs the value of {name} to know its tasks; give it: "
                    f"{self.name}.definition({name}=…) or -p {name}=…"
                )
            return given.get(name, parameter.default)

        return take

    def _parse(self, builder: Builder, values: Mapping[str, Json], fixed: set[str]) -> JobDefinition:
        source = write_source(self._fields(values, fixed), builder.task_fields())
        parsed = parse_source(source, filename=self.name, max_bytes=MAX_BYTES)[0]
        if parsed.definition is None:
            raise self._refused(builder, [v for v in parsed.violations if v.is_error])
        return parsed.definition

    def _refused(self, builder: Builder, violations: list[Violation]) -> Problem:
        errors = []
        for violation in violations:
            path, _, rest = violation.path.partition("]")
            number = path.partition("tasks[")[2]
            where = f"{builder.nodes[int(number)].name}{rest}" if number.isdigit() else violation.path
            errors.append(FieldError(where, violation.code, violation.message))
        lines = "; ".join(f"{error.field}: {error.message}" if error.field else error.message for error in errors)
        return problem("VALIDATION_FAILED", f"The job {self.name} is not valid: {lines}", errors=errors)

    def _fields(self, values: Mapping[str, Json], fixed: set[str]) -> dict[str, Json]:
        options = self.options
        fields: dict[str, Json] = {"job_type": self.name}
        description = options.get("description") or (inspect.getdoc(self.function) or "").partition("\n")[0][:500]
        if description:
            fields["description"] = description
        for name, value in options.items():
            if name not in ("name", "description"):
                if name == "retry_backoff":
                    value = {key: duration_text(item) for key, item in cast("Mapping[str, object]", value).items()}
                fields[_FIELD_NAMES.get(name, name)] = to_json_value(duration_text(value), f"the option {name}")
        parameters: list[Json] = []
        variables: dict[str, Json] = {}
        for name, parameter in self.parameters.items():
            required = parameter.required and name not in values
            if not required:
                variables[name] = values.get(name, parameter.default)
            if name not in fixed:
                row: dict[str, Json] = {"name": name, "type": parameter.type, "required": required}
                parameters.append(row if required else {**row, "default": variables[name]})
        if variables:
            fields["variables"] = variables
        if parameters:
            fields["parameters"] = parameters
            needed = [str(row["name"]) for row in parameters if isinstance(row, dict) and row["required"]]
            if needed:
                fields["required_params"] = needed
        return fields

    def __repr__(self) -> str:
        return f"<job {function_name(self.function)}>"


def _forked(builder: Builder, seen: set[str]) -> Iterator[Built]:
    for name, other in builder.forked.items():
        if name not in seen:
            seen.add(name)
            built = other.build({}, seen=seen)
            yield from built.forked
            yield built


@overload
def job(function: Callable[P, R], /) -> Job[P, R]: ...
@overload
def job(**options: Unpack[JobOptions]) -> Callable[[Callable[P, R]], Job[P, R]]: ...
def job(
    function: Callable[P, R] | None = None, /, **options: Unpack[JobOptions]
) -> Job[P, R] | Callable[[Callable[P, R]], Job[P, R]]:
    """Makes a function that calls tasks a job.

    Args:
        function: The function; its parameters are the job's.
        **options: Fields of the job: ``max_concurrency``, ``priority``, ``timeout``, ``retry`` and so on.
    """
    for option in options:
        if option not in _OPTIONS:
            near = get_close_matches(option, _OPTIONS, 1)
            raise DefinitionError(f"@job has no option {option}.{f' Did you mean {near[0]}?' if near else ''}")
    if function is not None:
        return Job(function, options)
    return lambda found: Job(found, options)
