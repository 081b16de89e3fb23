"""The text of a job in Python: whatever constants it holds, the parser reads the same values back."""

from hypothesis import given, settings
from hypothesis import strategies as st

from formicary.dsl import job, task
from formicary.dsl.source import inline
from formicary.engine.jobs.arguments import resolve_arguments
from formicary.engine.jobs.model import Json
from formicary.engine.jobs.parse import parse_source
from formicary.engine.jobs.yaml_nodes import compose, to_json

ODD_TEXTS = ["{{.x}}", "{% if %}", "on", "null", "1e3", "0x1f", "- a", "a: b", "#", "''", "\\", '"', "<<", "=", "~"]
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20) | st.sampled_from(
    [*ODD_TEXTS, "\u2028\x85\ufeff"]
)
VALUES: st.SearchStrategy[Json] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)


class _Nothing:
    def param(self, name: str) -> Json:
        raise AssertionError(name)

    def outputs(self, task_type: str) -> dict[str, Json]:
        raise AssertionError(task_type)


@task
def take(value: object) -> None: ...


@given(VALUES)
def test_a_value_on_one_line_is_read_back(value: Json) -> None:
    """inline() and the YAML reader are inverse to each other, types included."""
    node = compose(inline(value))
    assert node is not None
    assert repr(to_json(node)) == repr(value)


@settings(max_examples=60)
@given(VALUES, TEXTS)
def test_a_definition_is_read_back(value: Json, default: str) -> None:
    """The source parses to the equal definition, nothing in it is a template, and the argument is what was given."""

    @job(name="any")
    def any_job(text: str = default) -> None:
        take(value)
        take(text)

    definition = any_job.definition()
    assert parse_source(definition.source)[0].definition == definition
    assert definition.is_static and not definition.variables_templated
    assert definition.variables == {"text": default}
    arguments = definition.tasks[0].arguments
    assert arguments is not None
    assert repr(resolve_arguments(arguments, _Nothing())) == repr({"value": value})
