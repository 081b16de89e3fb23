"""What is wrong with one request, collected so that the caller hears of all of it at once."""

from __future__ import annotations

from dataclasses import dataclass

from formicary.problems import FieldError, Problem, problem

MOST = 100
"""More violations than these are not listed."""

Step = str | int


@dataclass(frozen=True, slots=True)
class BodyError(FieldError):
    """One thing wrong with the body, where the body is one field of the request and not all of it.

    Attributes:
        place: JSON pointer into the body.
    """

    place: str = ""

    @property
    def pointer(self) -> str:
        """The place in the body."""
        return self.place


class Violations:
    """The violations of one request, and the place that is being read.

    Attributes:
        found: In the order they were met.
        path: Field names and indices from the request message down; readers push and pop.
        document_at: How many steps of the path lie above the document that is the body.
    """

    __slots__ = ("document_at", "found", "path")

    def __init__(self) -> None:
        self.found: list[FieldError] = []
        self.path: list[Step] = []
        self.document_at = 0

    def add(self, code: str, message: str, *steps: Step) -> None:
        """Notes a violation at the present place, or further steps below it."""
        place = [*self.path, *steps]
        if self.document_at:
            self._note(BodyError(dotted(place), code, message, place=pointer(place[self.document_at :])))
        else:
            self.put(dotted(place), code, message)

    def put(self, field: str, code: str, message: str) -> None:
        """Notes a violation of a field."""
        self._note(FieldError(field, code, message))

    def _note(self, error: FieldError) -> None:
        if len(self.found) < MOST:
            self.found.append(error)

    def problem(self, detail: str = "") -> Problem:
        """The problem that lists them all."""
        many = len(self.found)
        text = detail or (f"{self.found[0].message}" if many == 1 else f"{many} things are wrong with the request.")
        alone = many == 1 and self.found[0].code == "MALFORMED_JSON"
        return problem("MALFORMED_JSON" if alone else "VALIDATION_FAILED", text, errors=self.found)


def dotted(steps: list[Step]) -> str:
    """The place as people write it: ``tasks[2].retry``, ``labels["a b"]`` where a key is no name."""
    text = ""
    for step in steps:
        if isinstance(step, int):
            text += f"[{step}]"
        elif step.replace("_", "a").replace("@", "a").isalnum():
            text += f".{step}" if text else step
        else:
            quoted = step.replace("\\", "\\\\").replace('"', '\\"')
            text += f'["{quoted}"]'
    return text


def pointer(steps: list[Step]) -> str:
    """The place as a JSON pointer (RFC 6901)."""
    return "".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in steps)
