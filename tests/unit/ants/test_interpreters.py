"""Script lines that name what runs them."""

import pytest

from formicary.engine.ants.interpreters import command_of

PATH = "/usr/bin:/bin"


@pytest.mark.parametrize(
    ("first", "begins"),
    [
        ("#!/bin/bash", ["/bin/bash", "-c"]),
        ("#! /bin/bash  -eu", ["/bin/bash", "-eu", "-c"]),
        ("#!/usr/bin/env bash", ["/usr/bin/env", "bash", "-c"]),
        ("#!/usr/bin/env -S A=1 sh -x", ["/usr/bin/env", "A=1", "sh", "-x", "-c"]),
        ("#!/bin/sh", ["/bin/sh", "-c"]),
        ("#!/usr/bin/env perl", ["/usr/bin/env", "perl", "-e"]),
        ("#!", ["/bin/sh", "-c"]),
        ("#!/usr/bin/env", ["/bin/sh", "-c"]),
        ("#!/usr/bin/awk -f", ["/bin/sh", "-c"]),
    ],
)
def test_the_first_line_names_it(first: str, begins: list[str]) -> None:
    """The text is its last argument; what takes no text is left to the shell."""
    text = f"{first}\necho x\n"
    assert command_of(text, PATH) == ([*begins, text], "")


def test_one_that_is_not_here_is_named_and_the_shell_tries() -> None:
    """Scripts for other machines may run in any shell."""
    text = "#!/opt/none/bin/zsh\necho x"
    assert command_of(text, PATH) == (["/bin/sh", "-c", text], "/opt/none/bin/zsh")
