"""Values of options: typed only where the text is exactly what JSON would write."""

import click
import pytest

from formicary.cli import options
from formicary.problems import Problem


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("5", 5),
        ("-3", -3),
        ("1.5", 1.5),
        ("true", True),
        ("null", None),
        ('{"a": [1]}', {"a": [1]}),
        ("[1, 2]", [1, 2]),
        ("007", "007"),
        ("1.10", "1.10"),
        ("1e3", "1e3"),
        ("yes", "yes"),
        ("", ""),
        ("a=b", "a=b"),
        ("{broken", "{broken"),
    ],
)
def test_a_value_is_typed_only_where_nothing_is_lost(text: str, value: object) -> None:
    """Version numbers and leading zeros stay text."""
    assert options.typed(text) == value


def test_what_a_job_declares_as_text_stays_text() -> None:
    """`-p zip=12345` of a text parameter is a text."""
    assert options.read_params(["zip=12345", "n=5"], {"zip": "str"}) == {"zip": "12345", "n": 5}


@pytest.mark.parametrize("text", ["novalue", "=x", " =x"])
def test_a_parameter_without_a_name_or_value_is_refused(text: str) -> None:
    """The sentence says how to write it."""
    with pytest.raises(click.UsageError, match="NAME=VALUE"):
        options.read_params([text])


def test_methods_are_checked() -> None:
    """Lower case is fine; a method that does not exist is named."""
    assert options.read_methods(["kubernetes=shell"]) == {"KUBERNETES": "SHELL"}
    with pytest.raises(click.UsageError, match="there is no method BASH"):
        options.read_methods(["KUBERNETES=BASH"])


@pytest.mark.parametrize("text", ["", "host", "host:", ":7778", "host:0", "host:99999", "host:x"])
def test_an_address_without_host_or_port_is_refused(text: str) -> None:
    """The sentence shows what an address looks like."""
    with pytest.raises(click.UsageError, match="HOST:PORT"):
        options.read_address(text, "--server")


def test_ids_are_taken_as_they_are_pasted() -> None:
    """Blanks and upper case do not matter; nothing at all does."""
    assert options.read_id(" 01ABC\n") == "01abc"
    with pytest.raises(Problem, match="not a job id"):
        options.read_id(" ")
