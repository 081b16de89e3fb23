"""The shapes of one plan: request headers as text and as ASGI has them, response metadata, whole ASGI responses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from formicary.headers import names, rate_limits
from formicary.headers.carrying import Carrier, Rules, Value
from formicary.headers.shapes import GENERATED_BYTES, Budget, Shape, Shapes, build
from formicary.headers.statistics import Statistics

Raw = Sequence[tuple[bytes, bytes]]
Names = tuple[str, ...]
RawNames = tuple[bytes, ...]
_PREFIXES = (names.GATEWAY_PREFIX.encode(), names.GATEWAY_TRAILER_PREFIX.encode())


@dataclass(frozen=True, slots=True)
class Arrival:
    """What happens to the request headers of one shape.

    Attributes:
        shape: What becomes metadata.
        kept: Places of the headers that the application may see; None means all of them.
    """

    shape: Shape
    kept: tuple[int, ...] | None


@dataclass(frozen=True, slots=True)
class Departure:
    """What happens to a response of one shape.

    Attributes:
        shape: What becomes headers.
        targets: Names of the headers that values become.
        constants: Defaults, where none is made for the call.
        blocked: Names that the application has set and that stay as it set them; empty when that concerns none.
        kept: Places of the application's headers that stay; None means all of them.
    """

    shape: Shape
    targets: RawNames
    constants: tuple[tuple[bytes, bytes], ...]
    blocked: frozenset[bytes]
    kept: tuple[int, ...] | None

    def merged(self, own: Raw, parts: list[str]) -> list[tuple[bytes, bytes]]:
        """All headers of a response.

        Args:
            own: The application's.
            parts: What arrives, as text.
        """
        found = [*zip(self.targets, map(str.encode, parts)), *self.constants]  # noqa: B905  # the first ones arrive
        if self.blocked:
            found = [pair for pair in found if pair[0] not in self.blocked]
        return [*own, *found] if self.kept is None else [*(own[place] for place in self.kept), *found]


@dataclass(frozen=True, slots=True)
class Answer:
    """What happens to the initial metadata of one shape that goes out as metadata, for requests of one shape.

    Attributes:
        shape: What becomes headers.
        targets: Their names in lower case.
        defaults: What fills in; ids that repeat the request's have their place.
        repeated: Places among the defaults, and of the metadata of the request that they repeat.
    """

    shape: Shape
    targets: Names
    defaults: tuple[tuple[str, str], ...]
    repeated: tuple[tuple[int, int], ...]

    def filled(self, parts: list[str], request: Sequence[tuple[str, Value]]) -> tuple[tuple[str, str], ...] | None:
        """All headers of an answer; None when an id of the request is none that can be repeated so.

        Args:
            parts: What arrives, as text.
            request: The metadata of the request.
        """
        found = list(self.defaults)
        for place, at in self.repeated:
            value = request[at][1]
            if not isinstance(value, str) or len(value) > GENERATED_BYTES:
                return None
            found[place] = (found[place][0], value)
        return (*zip(self.targets, parts), *found)  # noqa: B905  # the first ones arrive


class Before(NamedTuple):
    """The request before, where it was a tuple and its transforms are ours: the next one is often the same.

    Attributes:
        pairs: Its metadata; None = there is none.
        trusted: Whether its sender was believed.
        shape: What becomes of it.
        parts: What arrives, transformed.
        values: Of the pairs.
    """

    pairs: Sequence[tuple[str, Value]] | None
    trusted: bool
    shape: Shape
    parts: list[str]
    values: Sequence[Value]


Latest = tuple[Sequence[tuple[str, Value]], Names, Answer | None, list[str] | None]
"""Metadata of an answer, names of its request's metadata, and what was made of them."""
NO_ANSWER: Latest = ((), (), None, None)


class Quick:
    """The shapes of one plan.

    Args:
        request: The rules for requests.
        response: The rules for responses.
        rules: What holds for every value.
        statistics: Where calls are counted.
        budget: Of the mapping.
        prefixed: Whether ``Grpc-Metadata-NAME`` of trusted peers crosses.
        rate_limit: Whether rate limit fields are made of metadata.
        strips: Names in lower case that applications behind strangers do not see.
        overwrites: Lower-case names of response headers that replace the application's.

    Attributes:
        request_before: The request before.
        latest: The answer before: the next one often says the same, but for its ids.
    """

    def __init__(
        self,
        request: tuple[Carrier, ...],
        response: tuple[Carrier, ...],
        rules: Rules,
        statistics: Statistics,
        budget: Budget,
        *,
        prefixed: bool,
        rate_limit: bool,
        strips: frozenset[str],
        overwrites: frozenset[str],
    ) -> None:
        self._request, self._response = request, response
        self._rules, self._statistics = rules, statistics
        self._prefixed, self._rate_limit = prefixed, rate_limit
        self.stripped = frozenset(name.encode() for name in strips)
        self.latest: Latest = NO_ANSWER
        nothing = build((), (), rules, statistics, trusted=False)
        assert nothing is not None, "without rules and names there is nothing to be slow about"
        self.request_before = Before(None, False, nothing, [], ())
        self._overwrites = frozenset(name.encode() for name in overwrites)
        retire, from_wire, to_wire = self._retire, self._retire_arrival, self._retire_departure
        self.strange: Shapes[Names, Shape] = Shapes(lambda key: self._of_request(key, trusted=False), retire, budget)
        self.trusted: Shapes[Names, Shape] = Shapes(lambda key: self._of_request(key, trusted=True), retire, budget)
        self.strange_wire: Shapes[RawNames, Arrival] = Shapes(
            lambda key: self._arrival(key, trusted=False), from_wire, budget
        )
        self.trusted_wire: Shapes[RawNames, Arrival] = Shapes(
            lambda key: self._arrival(key, trusted=True), from_wire, budget
        )
        self.response: Shapes[Names, Shape] = Shapes(self._of_response, retire, budget)
        self.answer: Shapes[tuple[Names, Names], Answer] = Shapes(self._answer, self._retire_answer, budget)
        self.reply: Shapes[tuple[Names, RawNames], Departure] = Shapes(self._departure, to_wire, budget)

    def _retire(self, shape: Shape) -> None:
        self._statistics.retire(shape.tally)

    def _retire_arrival(self, arrival: Arrival) -> None:
        self._statistics.retire(arrival.shape.tally)

    def _retire_departure(self, departure: Departure) -> None:
        self._statistics.retire(departure.shape.tally)

    def _retire_answer(self, answer: Answer) -> None:
        self._statistics.retire(answer.shape.tally)

    def _of_request(self, key: Names, *, trusted: bool) -> Shape | None:
        if trusted and self._prefixed:
            return None
        return build(self._request, [name.lower() for name in key], self._rules, self._statistics, trusted=trusted)

    def _of_response(self, key: Names) -> Shape | None:
        lower = [name.lower() for name in key]
        if self._rate_limit and not set(rate_limits.KEYS).isdisjoint(lower):
            return None
        return build(self._response, lower, self._rules, self._statistics, trusted=True)

    def _arrival(self, key: RawNames, *, trusted: bool) -> Arrival | None:
        shape = self._of_request(tuple(name.decode("latin-1") for name in key), trusted=trusted)
        if shape is None:
            return None
        kept = tuple(
            place
            for place, name in enumerate(key)
            if trusted or not (name in self.stripped or name.startswith(_PREFIXES[0]))
        )
        return Arrival(shape, None if len(kept) == len(key) else kept)

    def _answer(self, key: tuple[Names, Names]) -> Answer | None:
        shape = self._of_response(key[0])
        if shape is None or shape.measured or shape.steps:
            return None
        targets = tuple(name.lower() for name in shape.targets)
        defaults, repeated = list(shape.constants), []
        there = [name.lower() for name in key[1]]
        for carrier in shape.absent:
            if carrier.maker is not None:
                if carrier.sensitive or carrier.key not in there:
                    return None
                repeated.append((len(defaults), there.index(carrier.key)))
            defaults.append((carrier.target, carrier.constant or ""))
        fixed = tuple((name.lower(), value) for name, value in defaults)
        if any(name.endswith("-bin") for name in (*targets, *(name for name, _ in fixed))):
            return None
        return Answer(shape, targets, fixed, tuple(repeated))

    def _departure(self, key: tuple[Names, RawNames]) -> Departure | None:
        metadata, own = key[0], [name.lower() for name in key[1]]
        if any(name.startswith(_PREFIXES) for name in own):
            return None
        shape = self._of_response(metadata)
        if shape is None:
            return None
        targets = tuple(_wire(name) for name in shape.targets)
        made = tuple(_wire(carrier.target) for carrier in shape.absent)
        constants = tuple((_wire(name), value.encode("latin-1")) for name, value in shape.constants)
        arriving = {*targets, *made, *(name for name, _ in constants)}
        kept = tuple(place for place, name in enumerate(own) if name not in self._overwrites or name not in arriving)
        return Departure(
            shape,
            targets,
            constants,
            frozenset(own) & arriving - self._overwrites,
            None if len(kept) == len(own) else kept,
        )


def _wire(name: str) -> bytes:
    return name.lower().encode("latin-1")
