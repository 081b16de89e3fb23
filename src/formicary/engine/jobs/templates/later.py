"""Actions of a text that is rendered twice which have to wait for the second time.

A job whose template makes its tasks is rendered at submission; what the engine sets (``JobID``, ``TaskRetry``, …) is
known only before an attempt. Actions that ask for it are printed as they stand.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Set

from formicary.engine.jobs.templates import go_ast as ast

_NAME = re.compile(r"(?<![\w).\"])(\$?)\.(\w+)")
_LOCAL = re.compile(r"\$\w|:?=")
_MARKS = " \t\n-"


class Later:
    """Finds them.

    Args:
        template: Of the Go dialect, being rendered for the first time.
        names: Variables that have a value only the second time.
    """

    __slots__ = ("_ends", "_names", "_source")

    def __init__(self, template: ast.Template, names: Set[str]) -> None:
        self._names = names
        self._source = template.source
        self._ends = dict(template.spans)

    def action(self, pos: int, root: Mapping[str, object], dot: object) -> str:
        """What stands between the braces of an action that has to wait; empty where it need not, or cannot.

        Args:
            pos: Where the action begins in the source.
            root: The variables.
            dot: What dot holds there.
        """
        inner = self._source[pos + 2 : self._ends[pos] - 2].strip(_MARKS)
        names = [(sign, name) for sign, name in _NAME.findall(inner) if name in self._names and name not in root]
        if not names or _LOCAL.search(inner) or not (dot is root or all(sign for sign, _ in names)):
            return ""
        return inner.removeprefix("else").lstrip()
