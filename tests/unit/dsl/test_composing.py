"""Fan-out, fork and join in Python: the same definition as the YAML gives, run by the same engine."""

import pytest

from formicary import job, task
from formicary.dsl import DefinitionError, Handle, fork, fork_each, join
from formicary.engine.jobs.model import TaskDefinition, definition_id
from formicary.engine.jobs.parse import parse_source


@task
def towns(count: int) -> list[str]:
    return ["Tallinn", "Tartu", "Narva", "Valga"][:count]


@task
def measure(town: str, factor: int = 1) -> int:
    if town == "Atlantis":
        raise LookupError("not found")
    return len(town) * factor


@task
def total(lengths: list[int]) -> int:
    return sum(lengths)


@job
def census(count: int = 3, factor: int = 1) -> int:
    """Measures towns that are known only when it runs."""
    return total(measure.fan_out(towns(count), max_parallel=2, fail_fast=True, factor=factor))


YAML = """
job_type: census
description: Measures towns that are known only when it runs.
variables: {count: 3, factor: 1}
parameters:
- {name: count, type: int, required: false, default: 3}
- {name: factor, type: int, required: false, default: 1}
tasks:
- task_type: towns
  method: PYTHON
  function: tests.unit.dsl.test_composing:towns
  arguments: {count: {param: count}}
- task_type: measure
  method: PYTHON
  function: tests.unit.dsl.test_composing:measure
  arguments: {town: {param: town}, factor: {param: factor}}
  dependencies: [towns]
  fan_out: {source: {task: towns}, item_var: town, max_parallel: 2, fail_fast: true}
- task_type: total
  method: PYTHON
  function: tests.unit.dsl.test_composing:total
  arguments: {lengths: {task: measure, output: FanOutValues}}
  dependencies: [measure]
"""


def one(text: str) -> str:
    definition = parse_source(text)[0].definition
    assert definition is not None
    return definition_id(definition)


def test_both_front_ends_make_one_definition() -> None:
    """What Python composes is what the file says."""
    assert definition_id(census.definition()) == one(YAML)


def test_a_function_is_mapped_over_a_list_that_a_task_returns() -> None:
    """Results are a list in order, and arguments exact."""
    result = census.run(count=4, factor=2).check()
    assert result.value == 2 * (7 + 5 + 5 + 5)
    assert result.tasks["measure"].outputs["FanOutItemCount"] == 4


def test_outside_of_a_job_it_is_a_plain_map() -> None:
    """The same line works in a unit test of the function."""
    assert measure.fan_out(["a", "bb"], factor=3) == [3, 6]


def test_the_list_may_be_a_parameter_or_constants() -> None:
    """A parameter stays one: each submission may give another list. An element may be anything that JSON holds."""

    @task
    def show(thing: object) -> object:
        return thing

    @job
    def shown(things: list[int] = [1, 2]) -> object:  # noqa: B006  # the default of a parameter is a constant
        return show.fan_out(things)

    @job
    def constants() -> object:
        return show.fan_out([{"map": {"a": 1}, "b": 2}, ["x"], None])

    assert shown.definition().parameters[0].name == "things"
    assert shown.run(things=[4, 5, 6]).value == [4, 5, 6]
    assert constants.run().value == [{"map": {"a": 1}, "b": 2}, ["x"], None]


def test_an_element_does_not_hide_a_parameter_of_its_name() -> None:
    """`town` is a parameter of the job here, and the element has another name."""

    @task
    def pair(town: str, home: str) -> str:
        return f"{town} {home}"

    @job
    def pairs(town: str = "Riga") -> object:
        return pair.fan_out(["a", "b"], home=town)

    assert pairs.run().value == ["a Riga", "b Riga"]


def test_a_failed_element_fails_its_task() -> None:
    """The job says which one, and why."""

    @job
    def lost() -> object:
        return measure.fan_out(["Tartu", "Atlantis"])

    result = lost.run()
    assert result.state == "FAILED" and "measure[1] is FAILED" in result.error and "not found" in result.error


@job
def parcel(thing: str, weight: int = 1) -> str:
    return wrap(thing, weight)


@task
def wrap(thing: str, weight: int) -> str:
    return f"{thing} of {weight}"


@task
def told(given: object, job_id: object = None) -> object:
    return [given, bool(job_id)]


def test_fork_and_join() -> None:
    """A job starts another one with exact parameters, goes on, and takes what it gave."""

    @job
    def order(weight: int = 5) -> object:
        started = fork(parcel, thing="tea", weight=weight)
        return told(join(started), started)

    result = order.run(weight=7).check()
    assert isinstance(result.value, list)
    assert result.value[0]["result"] == "tea of 7" and result.value[1] is True
    fields = [(found.method, found.fork_job_type, found.await_forked_tasks) for found in order.definition().tasks[:2]]
    assert fields == [("FORK_JOB", "parcel", ()), ("AWAIT_FORKED_JOB", None, ("parcel",))]


def test_fork_and_wait_and_fork_each() -> None:
    """One job per element, at most two at a time; the handle is the list of what they gave."""

    @job
    def orders() -> object:
        first = fork(parcel, name="first", wait=True, thing="tea")
        return told(fork_each(parcel, ["a", "b"], item="thing", max_parallel=2, weight=3).after(first))

    result = orders.run().check()
    assert result.value == [["a of 3", "b of 3"], False]
    task: TaskDefinition = orders.definition().tasks[1]
    assert task.fan_out == {"source": ["a", "b"], "item_var": "thing", "max_parallel": 2}


def test_jobs_may_start_each_other() -> None:
    """Building ends; running such a circle is bounded by the engine."""

    @job
    def one_of_two() -> object:
        return fork(other)

    @job
    def other() -> object:
        return fork(one_of_two)

    assert [built.definition.job_type for built in one_of_two.build({}).forked] == ["other"]


def test_what_makes_no_job_is_refused() -> None:
    """Each with a sentence that says what to do."""

    @job
    def empty() -> object:
        return measure.fan_out([])

    @job
    def mixed() -> object:
        return measure.fan_out([towns(1), "a"])

    @job
    def full() -> object:
        return measure.fan_out(["a"], town="b", factor=1)

    @job
    def joined() -> object:
        handle = towns(1)
        assert isinstance(handle, Handle)
        return join(handle)

    with pytest.raises(Exception, match="The list is empty"):
        empty.definition()
    with pytest.raises(DefinitionError, match="Give one list"):
        mixed.definition()
    with pytest.raises(DefinitionError, match="leaves no argument"):
        full.definition()
    with pytest.raises(DefinitionError, match="what fork"):
        joined.definition()
    with pytest.raises(DefinitionError, match="inside of a job"):
        fork("x")
