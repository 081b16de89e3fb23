"""The Jinja dialect: strict, sandboxed, bounded."""

import random

import pytest

from formicary.engine.jobs.templates.budget import TemplateError
from formicary.engine.jobs.templates.engine import render_text

VALUES = {"a": 5, "items": [1, 2], "build.result": "ok", "build.other": 3, "m": {"x": 1}}


def render(template: str) -> str:
    return render_text(template, VALUES, "jinja", now=12.0, rng=random.Random(1))


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("plain\n", "plain\n"),
        ("{{ a }}", "5"),
        ("{{ build.result }} {{ build.other }}", "ok 3"),
        ("{% for i in items %}{{ loop.index }}{{ i }},{% endfor %}", "11,22,"),
        ("{% for i in [] %}{% else %}none{% endfor %}", "none"),
        ("{% if a > 3 %}y{% else %}n{% endif %}", "y"),
        ("{{ 'x' ~ a ~ items }}", "x5[1, 2]"),
        ("{{ a == '5' }} {{ a == 'five' }} {{ a != 'five' }} {{ '10' > a }} {{ a == 5 }}", "True False True True True"),
        ("{{ true == 'true' }} {{ 'false' == true }} {{ false != 'no' }} {{ 1 < a < 9 }}", "True False True True"),
        ("{{ a + 1 }} {{ 2 ** 10 }} {{ 'ab' * 2 }} {{ '%03d' % a }}", "6 1024 abab 005"),
        ("{{ items | join('-') }} {{ m | tojson }}", '1-2 {"x": 1}'),
        ("{{ 'a-b' | replace('-', '+') }}", "a+b"),
        ("{{ nope | default('d') }}", "d"),
        ("{% set ns = namespace(n=0) %}{% for i in items %}{% set ns.n = ns.n + i %}{% endfor %}{{ ns.n }}", "3"),
        ("{% macro m(x) %}<{{ x }}>{% endmacro %}{{ m(1) }}", "<1>"),
        ("{# comment #}{% raw %}{{ a }}{% endraw %}", "{{ a }}"),
        ("{{ range(3) | list }}", "[0, 1, 2]"),
    ],
)
def test_a_template_is_rendered(template: str, expected: str) -> None:
    assert render(template) == expected


@pytest.mark.parametrize(
    ("template", "line"),
    [
        ("\n{{ nope }}", 2),
        ("{{ m.nope }}", 1),
        ("\n\n{% if %}", 3),
        ("{{ ''.__class__ }}", 1),
        ("{{ items.append(3) }}", 1),
        ("{{ '{}'.format(a) }}", 1),
        ("{{ 'x'.center(1000000000) }}", 1),
        ("{{ lipsum() }}", 1),
        ("\n{{ 1 / 0 }}", 2),
        ("{% include 'x' %}", 1),
        ("{% endfor %}", 1),
    ],
)
def test_a_wrong_template_says_in_which_line(template: str, line: int) -> None:
    with pytest.raises(TemplateError) as caught:
        render(template)
    assert caught.value.line == line and caught.value.message.endswith(".")


@pytest.mark.parametrize(
    "template",
    [
        "{% for i in range(99999) %}{% for j in range(9999) %}{% endfor %}{% endfor %}",
        "{{ range(1000000000) | list }}",
        "{{ 'a' * 10000000 }}",
        "{{ [1] * 10000000 }}",
        "{{ 10 ** 100000 }}",
        "{{ '%1000000000d' % 3 }}",
        "{% set ns = namespace(x='ab') %}{% for i in range(99) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
        "{% set ns = namespace(x='ab') %}{% for i in range(99) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
        "{% set ns = namespace(x='bb') %}{% for i in range(30) %}{% set ns.x = ns.x|replace('b', ns.x) %}{% endfor %}",
        "{% set x %}aaaaaaaa{% endset %}" + "{% set x %}{{ x }}{{ x }}{% endset %}" * 40,
        "{% set x = [1, 2] %}" + "{% set x = [x, x] %}" * 40 + "{{ x }}",
        "{% set x = [1, 2] %}" + "{% set x = [x, x] %}" * 40 + "{{ x | tojson }}",
        "{% macro m() %}{{ m() }}{{ m() }}{% endmacro %}{{ m() }}",
        "{{ " + "(" * 5000 + "a" + ")" * 5000 + " }}",
        "{% for i in range(90000) %}{{ i }} is a number{% endfor %}",
    ],
    ids=range(15),
)
def test_a_template_that_would_never_end_is_stopped(template: str) -> None:
    with pytest.raises(TemplateError) as caught:
        render(template)
    assert caught.value.code == "TEMPLATE_LIMIT"
