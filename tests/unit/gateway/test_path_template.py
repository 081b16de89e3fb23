"""What is a path template and what it consists of, by the grammar of google/api/http.proto."""

import pytest

from formicary.gateway.transcoding.path_template import PathTemplate, TemplateError

GOOD = [
    # template, segments, variables as (path, start, end, multi), verb
    ("/", "", [], ""),
    ("/shelves", "shelves", [], ""),
    ("/shelves/books", "shelves books", [], ""),
    ("/*", "*", [], ""),
    ("/**", "**", [], ""),
    ("/a:foo", "a", [], "foo"),
    ("/a/b/c:foo", "a b c", [], "foo"),
    ("/*/**", "* **", [], ""),
    ("/*/a/**", "* a **", [], ""),
    ("/a/{a.b.c}", "a *", [("a.b.c", 1, 2, False)], ""),
    ("/a/{a.b.c=*}", "a *", [("a.b.c", 1, 2, False)], ""),
    ("/a/{b=*}", "a *", [("b", 1, 2, False)], ""),
    ("/a/{b=**}", "a **", [("b", 1, 2, True)], ""),
    ("/a/{b=c/*}", "a c *", [("b", 1, 3, True)], ""),
    ("/a/{b=c}", "a c", [("b", 1, 2, False)], ""),
    ("/a/{b=c/*/d}", "a c * d", [("b", 1, 4, True)], ""),
    ("/a/{b=c/**}", "a c **", [("b", 1, 3, True)], ""),
    ("/a/{b=c/**}/d/e", "a c ** d e", [("b", 1, 3, True)], ""),
    ("/a/{b=c/**/d}/e", "a c ** d e", [("b", 1, 4, True)], ""),
    ("/a/{b=c/**/d}/e:verb", "a c ** d e", [("b", 1, 4, True)], "verb"),
    ("/*:verb", "*", [], "verb"),
    ("/**:verb", "**", [], "verb"),
    ("/{a}:verb", "*", [("a", 0, 1, False)], "verb"),
    ("/a/b/*:verb", "a b *", [], "verb"),
    ("/a/b/{a}:verb", "a b *", [("a", 2, 3, False)], "verb"),
    ("/{x.y.z=*/a/b}/c", "* a b c", [("x.y.z", 0, 3, True)], ""),
    ("/{x=**}:myverb", "**", [("x", 0, 1, True)], "myverb"),
    ("/{x=a/**/b}/c/d:custom", "a ** b c d", [("x", 0, 3, True)], "custom"),
    ("/{x}/{y}", "* *", [("x", 0, 1, False), ("y", 1, 2, False)], ""),
    ("/a/{b=*}/**:verb", "a * **", [("b", 1, 2, False)], "verb"),
    ("/a%20b/%C3%A9", "a b|é", [], ""),
    ("/v1.2/~x-y_z", "v1.2 ~x-y_z", [], ""),
    ("/_private/{_x9}", "_private *", [("_x9", 1, 2, False)], ""),
    ("/$discovery/rest", "$discovery rest", [], ""),
]

BAD = """
//|/{}|/a/|/a//b|:verb|/:verb|/a/:verb|:|/:|/*:|/**:|/{var}:|/a/b/:|/a/b/*:|/a/b/**:|/a/b/{var}:|/a/{|/a/{var|/a/{var.
/a/{x=var:verb}|a|{x}|{x=/a}|{x=/a/b}|a/b|a/b/{x}|a/{x}/b|a/{x}/b:verb|/a/{var=/b}|/{var=a/{nested=b}}
/a{x}|/{x}a|/a{x}b|/{x}a{y}|/a/b{x}|/a/{x}b|/a/b{x}c|/a/{x}b{y}|/a/b{x}/s|/a/{x}b/s|/a/b{x}c/s|/a/{x}b{y}/s
/a/**/*|/a/**/foo/*|/a/**/**|/a/**/foo/**|/{x=**}/{y}|/***|/*a|/a*|/{1x}|/{x.}|/{.x}|/{x..y}|/{x=}|/{x=*|/{x=*}}
/a?b|/a b|/a#b|/%|/%4|/%zz|/{x}/{x}|/{x}/{x.y}|/{x.y}/{x}|/a:b:c|/a/%FF|/{a-b}
"""


@pytest.mark.parametrize(("text", "segments", "variables", "verb"), GOOD, ids=[row[0] for row in GOOD])
def test_a_template_is_taken_apart(text: str, segments: str, variables: list[object], verb: str) -> None:
    """Segments, variables and verb are what the grammar says."""
    found = PathTemplate.parse(text)
    expected = segments.split("|") if "|" in segments else segments.split()
    assert [segment.text for segment in found.segments] == expected
    assert [(".".join(v.field_path), v.start, v.end, v.multi) for v in found.variables] == variables
    assert found.verb == verb


@pytest.mark.parametrize("text", ["", *BAD.replace("\n", "|").strip("|").split("|")])
def test_what_is_no_template_is_refused(text: str) -> None:
    """The error names the template."""
    with pytest.raises(TemplateError, match=r"."):
        PathTemplate.parse(text)


def test_an_error_says_where() -> None:
    """Which character is wrong."""
    with pytest.raises(TemplateError, match=r"/a/\{x: '\}' is expected at character 6"):
        PathTemplate.parse("/a/{x")
