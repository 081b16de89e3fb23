"""Script lines that name their interpreter: a text that begins with ``#!/bin/bash`` runs in bash, not in ``/bin/sh``.

The text is handed over as an argument, as to ``/bin/sh -c``: there is no file to write and to remove. That is possible
with interpreters that take a program so; of others the first line is the comment that it is for a shell.
"""

from __future__ import annotations

import os
import re
import shutil

NAMED = "#!"
_TEXT = re.compile(r"(?:(?P<c>(?:ba|da|z|k|mk|a)?sh|python[\d.]*)|(?P<e>perl|ruby|node))")
_OPTIONS_OF_ENV = ("-S", "--split-string")


def command_of(line: str, path: str | None) -> tuple[list[str], str]:
    """What runs a script line that begins with ``#!``.

    Args:
        line: The whole text.
        path: Where programs are looked for, as in PATH; None = where this process finds them.

    Returns:
        The arguments, the first one the program; and the name of an interpreter that is not here, empty = it is.
    """
    plain = ["/bin/sh", "-c", line]
    words = line.partition("\n")[0][len(NAMED) :].split()
    if not words:
        return plain, ""
    before: list[str] = []
    if os.path.basename(words[0]) == "env":
        before, words = words[:1], words[1:]
        while words and (words[0] in _OPTIONS_OF_ENV or "=" in words[0]):
            before, words = [*before, *(words[:1] if "=" in words[0] else ())], words[1:]
    if not words:
        return plain, ""
    found = _TEXT.fullmatch(os.path.basename(words[0]))
    if found is None:
        return plain, ""
    if shutil.which(words[0], path=path) is None:
        return plain, words[0]
    return [*before, *words, "-c" if found["c"] else "-e", line], ""
