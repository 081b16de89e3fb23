"""Which template a path belongs to, and what its variables are; tables by hand, and a slow twin."""

import re
from collections.abc import Iterator
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from formicary.gateway.transcoding.path_template import PathTemplate
from formicary.gateway.transcoding.router import Match, PathError, Router

TABLES: dict[str, list[tuple[str, str | None, dict[str, str]]]] = {
    # templates -> (path, template that serves it or None, variables)
    "/**": [("/", "/**", {}), ("/a", "/**", {}), ("/a/", "/**", {}), ("/a/b/c", "/**", {})],
    "/a/** /b/* /c/*/d/** /c/*/d/e /c/f/d/e /": [
        ("/a/b", "/a/**", {}),
        ("/a/b/c", "/a/**", {}),
        ("/a", "/a/**", {}),
        ("/a/", "/a/**", {}),
        ("/b/c", "/b/*", {}),
        ("/b", None, {}),
        ("/b/", None, {}),
        ("/b/c/", None, {}),
        ("b/c", None, {}),
        ("", None, {}),
        ("/c/u/d/v", "/c/*/d/**", {}),
        ("/c/v/d/w/x", "/c/*/d/**", {}),
        ("/c/v/d", "/c/*/d/**", {}),
        ("/c/x/y/d/z", None, {}),
        ("/c//v/d/w/x", None, {}),
        ("/c//d/w", None, {}),
        ("/c/x/d/e", "/c/*/d/e", {}),
        ("/c/f/d/e", "/c/f/d/e", {}),
        ("/c/f/d/x", "/c/*/d/**", {}),
        ("/", "/", {}),
    ],
    (
        "/a/{x}/c/d/e /{x=a/*}/b/{y=*}/c /a/{x=b/*}/{y=d/**} /alpha/{x=*}/beta/{y=**}/gamma /{x=*}/a /{x=**}/a/b "
        "/a/b/{x=*} /a/b/c/{x=**} /{x=*}/d/e/f/{y=**}"
    ): [
        ("/a/book/c/d/e", "/a/{x}/c/d/e", {"x": "book"}),
        ("/a/hello/b/world/c", "/{x=a/*}/b/{y=*}/c", {"x": "a/hello", "y": "world"}),
        ("/a/b/zoo/d/animal/tiger", "/a/{x=b/*}/{y=d/**}", {"x": "b/zoo", "y": "d/animal/tiger"}),
        ("/a/b/zoo/d", "/a/{x=b/*}/{y=d/**}", {"x": "b/zoo", "y": "d"}),
        ("/alpha/dog/beta/eat/bones/gamma", "/alpha/{x=*}/beta/{y=**}/gamma", {"x": "dog", "y": "eat/bones"}),
        ("/alpha/dog/beta/gamma", "/alpha/{x=*}/beta/{y=**}/gamma", {"x": "dog", "y": ""}),
        ("/foo/a", "/{x=*}/a", {"x": "foo"}),
        ("/foo/bar/a/b", "/{x=**}/a/b", {"x": "foo/bar"}),
        ("/a/b/foo", "/a/b/{x=*}", {"x": "foo"}),
        ("/a/b/c/foo/bar/baz", "/a/b/c/{x=**}", {"x": "foo/bar/baz"}),
        ("/foo/d/e/f/bar/baz", "/{x=*}/d/e/f/{y=**}", {"x": "foo", "y": "bar/baz"}),
    ],
    "/a/{x}/c": [
        ("/a/p%20q%2Fr/c", "/a/{x}/c", {"x": "p q/r"}),
        ("/a/%41%c3%a9/c", "/a/{x}/c", {"x": "Aé"}),
        ("/a/b+c/c", "/a/{x}/c", {"x": "b+c"}),
        ("/%61/b/c", "/a/{x}/c", {"x": "b"}),
        ("/a%2Fb/c", None, {}),
        ("/a/%25/c", "/a/{x}/c", {"x": "%"}),
        ("/a/é/c", "/a/{x}/c", {"x": "é"}),
    ],
    "/a/{x=p/*/q/*}/c /b/{y=**}/c /d/{z=e}": [
        ("/a/p/foo%20foo/q/bar%2Fbar/c", "/a/{x=p/*/q/*}/c", {"x": "p/foo foo/q/bar%2Fbar"}),
        ("/a/p/foo/q/bar%2fbar/c", "/a/{x=p/*/q/*}/c", {"x": "p/foo/q/bar%2fbar"}),
        ("/b/p/foo%20foo/q/bar%2Fbar/c", "/b/{y=**}/c", {"y": "p/foo foo/q/bar%2Fbar"}),
        ("/b/%21%23%2F%252F/c", "/b/{y=**}/c", {"y": "!#%2F%2F"}),
        ("/b/x//y/c", "/b/{y=**}/c", {"y": "x//y"}),
        ("/b//y/c", None, {}),
        ("/d/e", "/d/{z=e}", {"z": "e"}),
        ("/d/f", None, {}),
    ],
    "/person /person/{id=*} /{x=**}:verb": [
        ("/person:verb", "/{x=**}:verb", {"x": "person"}),
        ("/person/jason:verb", "/{x=**}:verb", {"x": "person/jason"}),
        ("/animal/cat:verb", "/{x=**}:verb", {"x": "animal/cat"}),
        ("/person", "/person", {}),
        ("/person/jason", "/person/{id=*}", {"id": "jason"}),
        ("/animal", None, {}),
        ("/person:other", None, {}),
        ("/person/jason:other", "/person/{id=*}", {"id": "jason:other"}),
        ("/person/jason%3Averb", "/person/{id=*}", {"id": "jason:verb"}),
        ("/person/:verb", "/person/{id=*}", {"id": ":verb"}),
        ("/animal/cat:other", None, {}),
    ],
    "/a/{y=*}:verb /a/{y=d/**}:verb /{x=*}/a:verb /{x=**}/b:verb /e/{x=*}/f:verb /g/{x=**}/h:verb": [
        ("/a/world:verb", "/a/{y=*}:verb", {"y": "world"}),
        ("/a/d/animal/tiger:verb", "/a/{y=d/**}:verb", {"y": "d/animal/tiger"}),
        ("/foo/a:verb", "/{x=*}/a:verb", {"x": "foo"}),
        ("/foo/bar/baz/b:verb", "/{x=**}/b:verb", {"x": "foo/bar/baz"}),
        ("/e/foo/f:verb", "/e/{x=*}/f:verb", {"x": "foo"}),
        ("/g/foo/bar/h:verb", "/g/{x=**}/h:verb", {"x": "foo/bar"}),
        ("/a/world", None, {}),
    ],
    (
        "/a/{x=b/**} /a/{x=b/**}/z /a/{x=b/**}/y/z /a/{x=b/**}:verb /a/{x=**} /c/{x=*}/{y=d/**}/e "
        "/c/{x=*}/{y=d/**}/e:verb /f/{x=*}/{y=**}/g /a/{x=b/*/y/z/**}/foo /a/{x=b/*/**/y/z}/foo"
    ): [
        ("/a/b/hello/world/c", "/a/{x=b/**}", {"x": "b/hello/world/c"}),
        ("/a/b/world/c/z", "/a/{x=b/**}/z", {"x": "b/world/c"}),
        ("/a/b/world/c/y/z", "/a/{x=b/**}/y/z", {"x": "b/world/c"}),
        ("/a/b/world/c:verb", "/a/{x=b/**}:verb", {"x": "b/world/c"}),
        ("/a/hello/b/world/c", "/a/{x=**}", {"x": "hello/b/world/c"}),
        ("/c/hello/d/esp/world/e", "/c/{x=*}/{y=d/**}/e", {"x": "hello", "y": "d/esp/world"}),
        ("/c/hola/d/esp/mundo/e:verb", "/c/{x=*}/{y=d/**}/e:verb", {"x": "hola", "y": "d/esp/mundo"}),
        ("/f/foo/bar/baz/g", "/f/{x=*}/{y=**}/g", {"x": "foo", "y": "bar/baz"}),
        ("/a/b/foo/y/z/bar/baz/foo", "/a/{x=b/*/y/z/**}/foo", {"x": "b/foo/y/z/bar/baz"}),
        ("/a/b/foo/bar/baz/y/z/foo", "/a/{x=b/*/**/y/z}/foo", {"x": "b/foo/bar/baz/y/z"}),
    ],
    "/some/const:verb /some/*:verb /some/*/foo:verb /other/**:verb /other/**/const:verb": [
        ("/some/const:verb", "/some/const:verb", {}),
        ("/some/other:verb", "/some/*:verb", {}),
        ("/some/other:verb/", None, {}),
        ("/some/bar/foo:verb", "/some/*/foo:verb", {}),
        ("/some/foo1/foo2/foo:verb", None, {}),
        ("/some/foo/bar:verb", None, {}),
        ("/other/bar/foo:verb", "/other/**:verb", {}),
        ("/other/bar/foo/const:verb", "/other/**/const:verb", {}),
    ],
    "/{a=*}/{b=*}:verb /foo/*/hello": [
        ("/some:verb/const:verb", "/{a=*}/{b=*}:verb", {"a": "some:verb", "b": "const"}),
        ("/foo/other:verb/hello", "/foo/*/hello", {}),
    ],
    "/{a=**}:verb /{a=**}": [
        ("/some:verb/const:verb", "/{a=**}:verb", {"a": "some:verb/const"}),
        ("/some:verb/const", "/{a=**}", {"a": "some:verb/const"}),
        ("/some:verb2/const:verb2", "/{a=**}", {"a": "some:verb2/const:verb2"}),
        ("/dir/", "/{a=**}", {"a": "dir/"}),
    ],
    "/prefix/middle/suffix /prefix/middle /prefix": [
        ("/prefix/middle/suffix", "/prefix/middle/suffix", {}),
        ("/prefix/middle", "/prefix/middle", {}),
        ("/prefix", "/prefix", {}),
        ("/prefix/", None, {}),
        ("/prefix/middle/suffix/other", None, {}),
        ("/prefix/middle/other", None, {}),
        ("/prefix/other", None, {}),
        ("/other", None, {}),
        ("/PREFIX", None, {}),
    ],
}
ROWS = [(templates, *row) for templates, rows in TABLES.items() for row in rows]


def routed(templates: list[str], path: str, method: str = "GET") -> tuple[str | None, dict[str, str]]:
    router: Router[str] = Router()
    for template in templates:
        router.add("GET", PathTemplate.parse(template), template)
    found = router.find(method, path)
    if not isinstance(found, Match):
        return None, {}
    return found.target, {".".join(key): value for key, value in found.values}


@pytest.mark.parametrize(("templates", "path", "serves", "variables"), ROWS, ids=[f"{r[1]} in {r[0]}" for r in ROWS])
def test_a_path_is_served_by_the_most_specific_template(
    templates: str, path: str, serves: str | None, variables: dict[str, str]
) -> None:
    """In whichever order the templates were added."""
    assert routed(templates.split(), path) == (serves, variables)
    assert routed(templates.split()[::-1], path) == (serves, variables)


@pytest.mark.parametrize(
    "path", ["/%", "/%4", "/%zz", "/a%2", "/%FF", "/%c3", "/%C3%28", "/%ED%A0%80", "/%F8%88%80%80"]
)
def test_bad_percent_encoding_is_an_error(path: str) -> None:
    """No path is served under a guess."""
    with pytest.raises(PathError):
        routed(["/**", "/{x}"], path)


def test_every_character_of_a_single_segment_is_decoded() -> None:
    """Upper and lower case hexadecimal digits alike."""
    for code in range(128):
        for form in (f"/%{code:02x}", f"/%{code:02X}"):
            assert routed(["/{x}"], form) == ("/{x}", {"x": chr(code)})


def test_reserved_characters_may_be_kept() -> None:
    """Reserved expansion as RFC 6570 has it, where that is asked for."""
    router: Router[str] = Router(keep_reserved=True)
    router.add("GET", PathTemplate.parse("/a/{x}/{y=**}/c"), "t")
    every = "%21%23%24%26%27%28%29%2A%2B%2C%2F%3A%3B%3D%3F%40%5B%5D"
    found = router.find("GET", f"/a/{every}/{every}%20%41/c")
    assert isinstance(found, Match)
    assert dict(found.values) == {("x",): "!#$&'()*+,/:;=?@[]", ("y",): every + " A"}


def test_methods_of_less_specific_templates_are_found() -> None:
    """A leaf that lacks the method is passed over; what the path has is told."""
    router: Router[str] = Router()
    for method, template in (
        ("POST", "/a/b"),
        ("GET", "/a/{x}"),
        ("PUT", "/a/**"),
        ("*", "/any"),
        ("POST", "/a/{x}:go"),
    ):
        router.add(method, PathTemplate.parse(template), f"{method} {template}")

    def served(method: str, path: str) -> object:
        found = router.find(method, path)
        return found.target if isinstance(found, Match) else found

    assert served("POST", "/a/b") == "POST /a/b"
    assert served("GET", "/a/b") == "GET /a/{x}"
    assert served("PUT", "/a/b") == "PUT /a/**"
    assert served("DELETE", "/a/b") == {"POST", "GET", "PUT"}
    assert served("ANYTHING", "/any") == "* /any"
    assert served("GET", "/nowhere") == set()
    assert served("GET", "/a/b:go") == {"POST"}  # a verb belongs to its templates, whatever the method
    with pytest.raises(ValueError, match="answer the same requests"):
        router.add("GET", PathTemplate.parse("/a/{other}"), "twice")


# --- slow twin --------------------------------------------------------------------------------------------------------

_segment = st.sampled_from(["a", "b", "*", "*"])
_templates = st.lists(
    st.tuples(
        st.lists(_segment, min_size=1, max_size=4),
        st.one_of(st.none(), st.lists(st.sampled_from(["a", "b"]), max_size=2)),
        st.sampled_from(["", "", ":v"]),
    ).map(lambda parts: "/" + "/".join([*parts[0], *(["**", *parts[1]] if parts[1] is not None else [])]) + parts[2]),
    min_size=1,
    max_size=8,
    unique=True,
)
_paths = st.lists(st.sampled_from(["a", "b", "c", "a", ""]), min_size=1, max_size=6).flatmap(
    lambda parts: st.sampled_from(["", "", ":v", ":w"]).map(lambda verb: "/" + "/".join(parts) + verb)
)


def slow(templates: list[str], path: str) -> str | None:
    """A regular expression for each template, then the most specific of those that match."""

    def pattern(template: str) -> str:
        body, _, verb = template.partition(":")
        out = ""
        for segment in body[1:].split("/"):
            out += {"*": "/[^/]+", "**": r"(?:/\Z|/[^/]+(?:/[^/]*)*|)"}.get(segment, "/" + segment)
        return out + (":" + verb if verb else "")

    def rank(template: str) -> Iterator[tuple[int, int]]:
        segments = template.partition(":")[0][1:].split("/")
        for index, segment in enumerate(segments):
            yield ({"*": 1, "**": 2}.get(segment, 0), -(len(segments) - index) if segment == "**" else 0)

    matching = [one for one in templates if re.fullmatch(pattern(one), path)]
    last = path.rpartition("/")[2]
    verb = last.rpartition(":")[2] if ":" in last and not last.startswith(":") else ""
    with_verb = [one for one in matching if verb and one.endswith(":" + verb)]
    chosen = with_verb or [one for one in matching if ":" not in one]
    return min(chosen, key=lambda one: [*rank(one), (-1, 0)], default=None)


@settings(max_examples=300, deadline=None)
@given(_templates, _paths)
def test_the_trie_is_as_the_slow_twin(templates: list[str], path: str) -> None:
    """Trie and regular expressions choose the same template."""
    assert routed(templates, path)[0] == slow(templates, path)


@settings(deadline=None)
@given(st.text(st.characters(codec="utf-8"), min_size=1))
def test_what_a_client_encodes_comes_back(text: str) -> None:
    """A value of one segment survives the way through a URL, whatever it is."""
    assert routed(["/{x}"], "/" + quote(text, safe="")) == ("/{x}", {"x": text})
