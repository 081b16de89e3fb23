"""A job in Python becomes the same value that a job file gives."""

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

from formicary.dsl import DefinitionError, Job, after, job, on_exit_code, on_failed, task
from formicary.dsl.handles import UndefinedValueError
from formicary.engine.jobs.parse import parse_source
from formicary.problems import Problem


@task(retry=3, tags=["cpu", "linux"], timeout="5m", delay=timedelta(seconds=90))
def extract(year: int) -> dict[str, object]:
    """Reads a year.

    More about it.
    """
    return {"year": year, "rows": [1, 2]}


@task
def summarise(raw: dict[str, object], year: int = 0) -> float:
    return float(year)


@task
def combine(parts: list[float], title: str = "all") -> float:
    return sum(parts)


@task(always_run=True)
def tidy_up(raw: object = None) -> None: ...


@task
def recover() -> None: ...


@job(max_concurrency=2, priority=5, timeout="10m")
def report(first: int = 1962, title: str = "a {{b}}") -> float:
    """Reports."""
    raw = extract(first)
    return combine([summarise(raw, 1), summarise(raw, year=2)], title)


def test_calls_become_tasks_in_order_with_their_options() -> None:
    """Each call is a PYTHON task; a second call of the same task gets a number."""
    definition = report.definition()
    assert [t.task_type for t in definition.tasks] == ["extract", "summarise", "summarise-2", "combine"]
    first = definition.tasks[0]
    assert (first.method, first.function) == ("PYTHON", f"{__name__}:extract")
    assert (first.retry, first.timeout_s, first.delay_s, first.tags) == (3, 300.0, 90.0, {"cpu", "linux"})
    assert first.description == "Reads a year."
    assert (definition.job_type, definition.description, definition.max_concurrency) == ("report", "Reports.", 2)
    assert (definition.priority, definition.timeout_s) == (5, 600.0)


def test_handles_are_dependencies_and_arguments() -> None:
    """A handle that is given to a task is an edge and delivers the result, also from inside of a list."""
    tasks = report.definition().tasks
    assert tasks[1].dependencies == ("extract",)
    assert tasks[1].arguments == {"raw": {"task": "extract", "output": "*"}, "year": 1}
    assert tasks[3].dependencies == ("summarise", "summarise-2")
    assert tasks[3].arguments is not None
    assert tasks[3].arguments["parts"] == [{"task": "summarise"}, {"task": "summarise-2"}]


def test_hints_become_parameters() -> None:
    """A parameter has the type of its hint; its default is a variable of the job."""
    definition = report.definition()
    assert [(p.name, p.type, p.required, p.default) for p in definition.parameters] == [
        ("first", "int", False, 1962),
        ("title", "str", False, "a {{b}}"),
    ]
    assert definition.variables == {"first": 1962, "title": "a {{b}}"}
    assert definition.tasks[0].arguments == {"year": {"param": "first"}}


def test_a_parameter_without_default_is_required() -> None:
    """It stands in required_params; a value that is given to definition() makes it optional."""

    @job
    def needy(year: int, city: str | None = None) -> object:
        return extract(year)

    assert needy.definition().required_params == ("year",)
    assert [p.type for p in needy.definition().parameters] == ["int", "str"]
    assert needy.definition(year="5").required_params == ()
    assert needy.definition(year="5").variables == {"year": 5, "city": None}


def test_the_source_parses_back_to_the_equal_definition() -> None:
    """Text that looks like a template stays text: nothing has to be rendered."""
    definition = report.definition()
    again = parse_source(definition.source)[0]
    assert again.definition == definition
    assert definition.is_static and not definition.variables_templated


def test_a_value_that_shapes_the_job_is_fixed() -> None:
    """Where the function needs the value itself it is written into the tasks, and is no parameter any more."""

    @job
    def per_year(first: int = 1962, last: int = 1964, title: str = "x") -> object:
        parts = summarise.map(range(first, last + 1), raw={})
        return combine(parts, title)

    definition = per_year.definition(last="1963")
    assert [t.task_type for t in definition.tasks] == ["summarise-1962", "summarise-1963", "combine"]
    assert definition.tasks[0].arguments == {"year": 1962, "raw": {"value": {}}}
    assert [p.name for p in definition.parameters] == ["title"]
    assert per_year.build({"last": 1962, "title": "y"}).params == {"title": "y"}


def test_a_fixed_parameter_is_a_constant_everywhere() -> None:
    """Also where it was handed on before its value was needed, so that a submission cannot half change the job."""

    @job
    def twice(times: int = 2) -> None:
        extract(times)
        for _ in range(times):
            recover()

    assert twice.definition().tasks[0].arguments == {"year": {"value": 2}}


def test_map_names_tasks_after_their_items() -> None:
    """The item fills the first free argument; long or complex items count."""

    @job
    def mapped() -> object:
        return combine(summarise.map(["a b", {"x": 1}, "z" * 50], year=3))

    definition = mapped.definition()
    assert [t.task_type for t in definition.tasks][:3] == ["summarise-a-b", "summarise-2", "summarise-3"]
    assert definition.tasks[1].arguments == {"raw": {"value": {"x": 1}}, "year": 3}


def test_outputs_of_a_result_can_be_named() -> None:
    """handle["rows"] delivers one output."""

    @job
    def named() -> object:
        return combine(extract(1)["rows"])  # type: ignore[arg-type]  # the hint says object

    assert named.definition().tasks[1].arguments == {"parts": {"task": "extract", "output": "rows"}}


def test_routes_and_order_without_data() -> None:
    """after, on_failed and on_exit_code become edges; always_run tasks keep data but wait for nothing."""

    @job
    def routed() -> None:
        raw = extract(1)
        on_failed(raw, recover())
        on_exit_code(raw, {75: "EXECUTING", "ERR_TIMEOUT": "RESTART_JOB"})
        after(combine([]), raw, [summarise(raw)])
        tidy_up(raw)

    tasks = routed.definition().tasks
    by_name = {t.task_type: t for t in tasks}
    assert by_name["extract"].on_failed == "recover"
    assert by_name["extract"].on_exit_code == {"75": "EXECUTING", "ERR_TIMEOUT": "RESTART_JOB"}
    assert by_name["combine"].dependencies == ("extract", "summarise")
    assert by_name["tidy_up"].dependencies == () and by_name["tidy_up"].always_run
    assert by_name["tidy_up"].arguments == {"raw": {"task": "extract", "output": "*"}}


def test_tasks_without_edges_run_in_parallel() -> None:
    """Two calls that share nothing are two start tasks."""

    @job
    def both() -> None:
        recover()
        recover()

    assert both.definition().start == ("recover", "recover-2")


def test_constants_become_json() -> None:
    """Paths, dataclasses and tuples have a form; defaults that are not given are left to the function."""

    @dataclass
    class Point:
        x: int

    @job
    def constants() -> None:
        combine([Path("/a"), Point(1), (1, 2)])  # type: ignore[list-item]  # on purpose

    assert constants.definition().tasks[0].arguments == {"parts": {"value": ["/a", {"x": 1}, [1, 2]]}}


def test_functions_without_parameters_have_no_arguments() -> None:
    """None means that nothing is bound, {} that nothing is given: a variable of that name must not slip in."""

    @job
    def both(raw: str = "no") -> None:
        after(tidy_up(), recover())

    tasks = both.definition().tasks
    assert tasks[0].arguments == {} and tasks[1].arguments is None


def test_a_task_is_the_function_it_was() -> None:
    """Outside of a job's function it runs, map included; with_options leaves the original alone."""
    assert summarise({}, 3) == 3.0
    assert summarise.map([1, 2], raw={}) == [1.0, 2.0]
    assert extract.__doc__ is not None and extract.__name__ == "extract"
    assert extract.with_options(retry=9).options["retry"] == 9 and extract.options["retry"] == 3


def _broken(name: str) -> Job[[], None]:
    other: list[object] = []

    @job
    def elsewhere() -> None:
        other.append(recover())

    elsewhere.definition()

    @job
    def broken() -> None:
        raw = extract(1)
        actions = {
            "bool": lambda: bool(raw),
            "loop": lambda: list(raw),
            "sum": lambda: 1 + combine([]),
            "deep": lambda: raw["rows"]["x"],  # type: ignore[index]  # on purpose
            "missing": lambda: extract(),  # type: ignore[call-arg]  # on purpose
            "unknown": lambda: extract(1, yeer=2),  # type: ignore[call-arg]  # on purpose
            "object": lambda: combine([object()]),  # type: ignore[list-item]  # on purpose
            "nan": lambda: combine([float("nan")]),
            "keys": lambda: combine({1: 2}),  # type: ignore[arg-type]  # on purpose
            "foreign": lambda: after(raw, other[0]),
            "action": lambda: on_failed(raw, "NOWHERE"),
            "order": lambda: on_failed(raw, summarise(raw)),
        }
        actions[name]()

    return broken


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("bool", "<result of extract> has no value while the job is defined"),
        ("loop", "has no value"),
        ("sum", "<result of combine> has no value"),
        ("deep", "Take it apart inside of a task"),
        ("missing", "extract: missing a required argument: 'year'"),
        ("unknown", "unexpected keyword argument 'yeer'"),
        ("object", "the argument parts[0] is a object; only JSON values"),
        ("nan", "which JSON cannot hold"),
        ("keys", "keys must be str"),
        ("foreign", "is of another job"),
        ("action", "'NOWHERE' is no action"),
        ("order", "cannot take its result"),
    ],
)
def test_mistakes_are_told_with_a_way_out(name: str, part: str) -> None:
    """A value that is not there yet, a wrong argument, an edge that cannot be: each is one clear sentence."""
    with pytest.raises((DefinitionError, UndefinedValueError)) as caught:
        _broken(name).definition()
    assert part in str(caught.value)


def test_mistakes_in_options_are_told() -> None:
    """Unknown options name the nearest; bad values name the task and what to write."""
    with pytest.raises(DefinitionError, match="Did you mean retry"):
        task(retri=3)  # type: ignore[call-overload]  # on purpose

    @task(timeout="soon")
    def slow() -> None: ...

    @job
    def hasty() -> None:
        slow()

    with pytest.raises(Problem, match=r"slow\.timeout: .*duration"):
        hasty.definition()
    with pytest.raises(DefinitionError, match="calls no task"):
        job(lambda: None).definition()
    with pytest.raises(DefinitionError, match=r"has no parameter tittle. Did you mean title\?"):
        report.definition(tittle="x")
    with pytest.raises(DefinitionError, match="the parameter first cannot be 'abc'"):
        report.definition(first="abc")
    with pytest.raises(DefinitionError, match=r"report\.run"):
        report()


def test_a_cycle_is_refused() -> None:
    """Two tasks that wait for each other are told by name."""

    @job
    def circle() -> None:
        first, second = recover(), recover()
        after(first, second)
        after(second, first)

    with pytest.raises(Problem, match="wait for each other"):
        circle.definition()


def test_who_is_told_stands_at_the_decorator() -> None:
    """notify and webhook are those of a job file; texts keep their templates; a mistake is refused."""

    @task(webhook={"url": "https://example.com/task"}, report_stdout=True)
    def work() -> None: ...

    @job(notify={"email": {"recipients": ["a@b.c"], "when": "onFailure", "subject": "{{.JobType}}"}})
    def told() -> None:
        work()

    definition = told.build({}).definition
    assert definition.notify == {"email": {"recipients": ["a@b.c"], "when": "onFailure", "subject": "{{.JobType}}"}}
    assert definition.tasks[0].webhook == {"url": "https://example.com/task"} and definition.tasks[0].report_stdout

    @job(notify={"email": {"recipients": ["nobody"]}})
    def wrong() -> None:
        work()

    with pytest.raises(Problem, match=r"notify\.email\.recipients\[0\]: 'nobody' is not the address"):
        wrong.build({})
